//! A small to-do service on axum and Diesel, built as any application is. Nothing in here knows
//! of dbtest: it is a dev-dependency, and [the tests](https://github.com/dbtest-rs/dbtest/tree/main/examples/todo-diesel/tests/it)
//! are what this example is about.
//!
//! ```text
//! cargo test -p todo-diesel
//! DATABASE_URL='sqlite://todo.db?mode=rwc' cargo run -p todo-diesel
//! ```
//!
//! All SQL is in [`store`]. The siblings of this crate are the same service on other ORMs, and
//! only that module differs.

pub mod clock;
mod error;
pub mod reminders;
mod routes;
pub mod schema;
pub mod store;

pub use error::{Error, Result};
pub use routes::router;
