//! Its tests are what there is: see `tests/suite.rs`.
