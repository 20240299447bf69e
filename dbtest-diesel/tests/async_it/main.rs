//! Everything about the asynchronous half that needs a database.

#[cfg(feature = "conformance")]
mod conformance;
