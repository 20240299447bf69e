//! dbtest for sqlx (docs follow).

mod arguments;
mod error;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use arguments::FromTestDb;
pub use dbtest_core::*;
pub use dbtest_macros::test_sqlx as test;
#[cfg(feature = "mysql")]
pub use mysql::SqlxMySql;
#[cfg(feature = "postgres")]
pub use postgres::SqlxPostgres;
#[cfg(feature = "sqlite")]
pub use sqlite::SqlxSqlite;

/// How sqlx says that no connection was to be had.
const POOL_TIMEOUT: &[&str] = &["PoolTimedOut", "pool timed out"];
