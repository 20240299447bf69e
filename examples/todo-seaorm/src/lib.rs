//! A small to-do service on axum and SeaORM, built as any application is. Nothing in here knows
//! of dbtest: it is a dev-dependency, and [the tests](https://github.com/dbtest-rs/dbtest/tree/main/examples/todo-seaorm/tests/it)
//! are what this example is about.
//!
//! ```text
//! cargo test -p todo-seaorm
//! DATABASE_URL='sqlite://todo.db?mode=rwc' cargo run -p todo-seaorm
//! ```
//!
//! All of SeaORM is in [`store`], with its [`entity`] and [`migration`]. The siblings of this crate
//! are the same service on other ORMs, and only those modules differ.

pub mod clock;
pub mod entity;
mod error;
pub mod migration;
pub mod reminders;
mod routes;
pub mod store;

pub use error::{Error, Result};
pub use routes::router;
