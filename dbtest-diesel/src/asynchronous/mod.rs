//! The same for [diesel-async](https://docs.rs/diesel-async): bb8 and deadpool pools of
//! `AsyncPgConnection`, `AsyncMysqlConnection` and SQLite's `SyncConnectionWrapper`.

mod arguments;
mod backend;
mod migrate;
#[cfg(feature = "async-mysql")]
mod mysql;
mod pool;
#[cfg(feature = "async-postgres")]
mod postgres;
#[cfg(feature = "conformance")]
mod probe;
mod sandbox;
#[cfg(feature = "async-sqlite")]
mod sqlite;

pub use dbtest_core::*;
pub use dbtest_macros::test_diesel_async as test;

pub use crate::FromTestDb;
pub use backend::DieselAsync;
#[cfg(feature = "async-mysql")]
pub use mysql::DieselAsyncMySql;
pub use pool::{Bb8, Deadpool};
#[cfg(feature = "async-postgres")]
pub use postgres::DieselAsyncPostgres;
#[cfg(feature = "async-sqlite")]
pub use sqlite::DieselAsyncSqlite;
