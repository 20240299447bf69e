//! Everything about the adapter that needs a database.

mod app;
mod attribute;
mod bad_input;
#[cfg(feature = "conformance")]
mod conformance;
mod parametrised;
mod traps;
