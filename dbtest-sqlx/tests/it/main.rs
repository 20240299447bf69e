//! Everything about the adapter that needs a database.

mod attribute;
mod bad_input;
mod crash;
