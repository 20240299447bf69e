//! What a test may take as an argument.

use std::future::Future;

use dbtest_core::{Backend, Result, TestDb};

/// A type that a test can take: a pool, a pooled connection, a connection of the test's own, or
/// the whole [`TestDb`]. The type says the backend.
#[diagnostic::on_unimplemented(
    message = "a test cannot take `{Self}`",
    label = "neither a pool nor a connection of a database whose feature is on",
    note = "a test takes a connection of Diesel or diesel-async, a pool of them or what the pool lends, or a `TestDb`",
    note = "each is behind a feature of dbtest-diesel: \"sqlite\", which is on by default, \"postgres\", \"mysql\", and for \
            diesel-async \"async-sqlite\", \"async-postgres\", \"async-mysql\"",
    note = "the type must be the one of the diesel that dbtest-diesel uses: `cargo tree -d` shows whether there are two"
)]
pub trait FromTestDb: Sized {
    /// The backend that this type belongs to.
    type Backend: Backend;

    /// Makes the argument from the test's database.
    ///
    /// # Errors
    /// No connection could be taken.
    fn from_test_db(db: TestDb<Self::Backend>) -> impl Future<Output = Result<Self>>;
}

impl<B: Backend> FromTestDb for TestDb<B> {
    type Backend = B;

    async fn from_test_db(db: Self) -> Result<Self> {
        Ok(db)
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod diesels {
    use dbtest_core::{Error, ErrorKind, Result, TestDb, blocking};
    use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};

    use super::FromTestDb;
    use crate::pool;

    fn refused(name: &str, why: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Connect,
            format!("cannot take a connection to {name}: {why}"),
            "see the driver's message",
        )
    }

    macro_rules! arguments {
        ($feature:literal, $backend:ty, $connection:ty) => {
            #[cfg(feature = $feature)]
            impl FromTestDb for Pool<ConnectionManager<$connection>> {
                type Backend = $backend;

                async fn from_test_db(db: TestDb<$backend>) -> Result<Self> {
                    Ok(db.handle().clone())
                }
            }

            #[cfg(feature = $feature)]
            impl FromTestDb for PooledConnection<ConnectionManager<$connection>> {
                type Backend = $backend;

                async fn from_test_db(db: TestDb<$backend>) -> Result<Self> {
                    let pool = db.handle().clone();
                    blocking(move || pool.get()).await.map_err(|error| refused(db.name(), error))
                }
            }

            #[cfg(feature = $feature)]
            impl FromTestDb for $connection {
                type Backend = $backend;

                async fn from_test_db(mut db: TestDb<$backend>) -> Result<Self> {
                    let place = db.give_away();
                    blocking(move || pool::connect(&place)).await.map_err(|error| refused(db.name(), error))
                }
            }
        };
    }

    arguments!("postgres", crate::DieselPostgres, diesel::PgConnection);
    arguments!("mysql", crate::DieselMySql, diesel::MysqlConnection);
    arguments!("sqlite", crate::DieselSqlite, diesel::SqliteConnection);
}
