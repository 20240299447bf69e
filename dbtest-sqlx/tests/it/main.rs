//! Everything about the adapter that needs a database.

mod attribute;
mod bad_input;
#[cfg(feature = "conformance")]
mod conformance;
mod crash;
mod dump;
mod growth;
mod manners;
#[cfg(feature = "postgres")]
mod sandbox;
#[cfg(feature = "conformance")]
mod seeds;
mod teeth;
