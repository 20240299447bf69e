//! Everything about the adapter that needs a database.

#[cfg(feature = "conformance")]
mod conformance;
