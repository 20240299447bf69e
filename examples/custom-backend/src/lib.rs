//! dbtest on a driver that it does not ship: [rusqlite](https://docs.rs/rusqlite), on dbtest's
//! public API. The test gets a `rusqlite::Connection`, under every strategy.
//!
//! - [`Rusqlite`] is the backend: it opens and ends a test's connection.
//! - `session.rs` is the maintenance session that dbtest itself works with.
//! - [`SqlFiles`] are the migrations: a folder of `.sql` files, as an application may have them.
//!
//! ```text
//! cargo test -p custom-backend
//! ```
//!
//! rusqlite has no transaction manager that knows how deep it is: `Connection::transaction` is a
//! BEGIN and can't stand inside another. `Connection::savepoint` works at every depth, so an
//! application that uses it can be tested under `rollback`; one that does not is told
//! "cannot start a transaction within a transaction", and takes another strategy.

mod backend;
mod migrations;
#[cfg(feature = "conformance")]
mod probe;
mod session;

pub use backend::Rusqlite;
pub use migrations::SqlFiles;
