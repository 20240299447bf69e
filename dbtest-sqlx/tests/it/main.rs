//! Everything about the adapter that needs a database.

mod attribute;
mod bad_input;
mod budget;
#[cfg(feature = "conformance")]
mod conformance;
mod crash;
mod dump;
mod growth;
mod manners;
mod pages;
mod parametrised;
#[cfg(feature = "postgres")]
mod pooler;
#[cfg(feature = "postgres")]
mod put_back;
mod resets;
mod round_trips;
#[cfg(feature = "postgres")]
mod sandbox;
mod schemas;
#[cfg(feature = "conformance")]
mod seeds;
#[cfg(feature = "postgres")]
mod several;
mod stable;
mod teeth;
mod users;
