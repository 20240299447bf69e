#![doc = include_str!("../README.md")]

mod arguments;
mod error;
mod migrate;
#[cfg(feature = "mysql")]
mod mysql;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "conformance")]
mod probe;
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

/// The README and the guide compile and run as they stand.
#[cfg(all(doctest, feature = "sqlite", feature = "postgres"))]
mod guide {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/src/strategies.md")]
    mod strategies {}
    #[doc = include_str!("../../docs/src/sandbox.md")]
    mod sandbox {}
    #[doc = include_str!("../../docs/src/servers.md")]
    mod servers {}
    #[doc = include_str!("../../docs/src/settings.md")]
    mod settings {}
    #[doc = include_str!("../../docs/src/errors.md")]
    mod errors {}
    #[doc = include_str!("../../docs/src/ci.md")]
    mod ci {}
    #[doc = include_str!("../../docs/src/other-tools.md")]
    mod other_tools {}
    #[doc = include_str!("../../docs/src/checked-queries.md")]
    mod checked_queries {}
    #[doc = include_str!("../../docs/src/migrating/sqlx-test.md")]
    mod migrating_sqlx_test {}
    #[doc = include_str!("../../docs/src/migrating/create-database.md")]
    mod migrating_create_database {}
    #[doc = include_str!("../../docs/src/migrating/testcontainers.md")]
    mod migrating_testcontainers {}
}
