#![doc = include_str!("../README.md")]

mod arguments;
#[cfg(feature = "_async")]
pub mod asynchronous;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "_async"))]
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "async-mysql"))]
mod mysql_session;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(feature = "conformance", any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
mod probe;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod session;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod speaks;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use arguments::FromTestDb;
pub use dbtest_core::*;
pub use dbtest_macros::test_diesel as test;
#[cfg(feature = "mysql")]
pub use mysql::DieselMySql;
#[cfg(feature = "postgres")]
pub use postgres::DieselPostgres;
#[cfg(feature = "sqlite")]
pub use sqlite::DieselSqlite;

/// The guide compiles and runs as it stands.
#[cfg(all(doctest, feature = "sqlite", feature = "postgres"))]
mod guide {
    #[doc = include_str!("../../docs/src/migrating/diesel.md")]
    mod migrating_diesel {}
}
