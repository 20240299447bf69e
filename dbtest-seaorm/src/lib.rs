#![doc = include_str!("../README.md")]

mod arguments;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "conformance")]
mod probe;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use arguments::{Db, FromTestDb, SeaOrmBackend};
pub use dbtest_core::*;
pub use dbtest_macros::test_seaorm as test;
pub use migrate::{SeaOrmMigrator, migrator};
#[cfg(feature = "mysql")]
pub use mysql::SeaOrmMySql;
#[cfg(feature = "postgres")]
pub use postgres::SeaOrmPostgres;
#[cfg(feature = "sqlite")]
pub use sqlite::SeaOrmSqlite;

/// How SeaORM says that no connection was to be had.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
const POOL_TIMEOUT: &[&str] = &["ConnectionAcquire(Timeout)", "Connection pool timed out"];
