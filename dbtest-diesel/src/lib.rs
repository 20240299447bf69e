#![doc = include_str!("../README.md")]

mod arguments;
#[cfg(feature = "async")]
pub mod asynchronous;

pub use arguments::FromTestDb;
pub use dbtest_core::*;
pub use dbtest_macros::test_diesel as test;
