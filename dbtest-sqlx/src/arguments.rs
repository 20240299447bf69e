//! What a test may take as an argument.

use std::future::Future;

use dbtest_core::{Backend, Error, ErrorKind, Result, TestDb};

/// A type that a test can take: a pool, a connection, or the whole [`TestDb`]. The type says
/// the backend.
#[diagnostic::on_unimplemented(
    message = "a test cannot take `{Self}`",
    label = "neither a pool nor a connection of a database whose feature is on",
    note = "a test takes a `PgPool`, `MySqlPool` or `SqlitePool`, a `PoolConnection` of one of them, or a `TestDb`",
    note = "each is behind the feature of its engine: dbtest-sqlx = {{ version = \"…\", features = [\"postgres\"] }}, or \
            \"mysql\", or \"sqlite\", which is on by default",
    note = "the type must be the one of the sqlx that dbtest-sqlx uses: `cargo tree -d` shows whether there are two"
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

macro_rules! arguments {
    ($feature:literal, $backend:ty, $database:ty) => {
        #[cfg(feature = $feature)]
        impl FromTestDb for sqlx::Pool<$database> {
            type Backend = $backend;

            async fn from_test_db(db: TestDb<$backend>) -> Result<Self> {
                Ok(db.handle().clone())
            }
        }

        #[cfg(feature = $feature)]
        impl FromTestDb for sqlx::pool::PoolConnection<$database> {
            type Backend = $backend;

            async fn from_test_db(db: TestDb<$backend>) -> Result<Self> {
                db.handle().acquire().await.map_err(|error| {
                    Error::new(
                        ErrorKind::Connect,
                        format!("cannot take a connection to {}: {error}", db.name()),
                        "see the driver's message",
                    )
                })
            }
        }
    };
}

arguments!("postgres", crate::SqlxPostgres, sqlx::Postgres);
arguments!("mysql", crate::SqlxMySql, sqlx::MySql);
arguments!("sqlite", crate::SqlxSqlite, sqlx::Sqlite);
