//! The bookshop: its migrations on three engines, and the few calls that the tests make, so
//! that their bodies are written once.

use std::future::Future;

use dbtest_sqlx::{Backend, Fixture, SqlxMySql, SqlxPostgres, SqlxSqlite};
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

/// The rows that migrations and seeds leave in each table: what every test must find.
pub(crate) const BASELINE: [(&str, i64); 12] = [
    ("genre", 3),
    ("format", 3),
    ("publisher", 2),
    ("author", 2),
    ("book", 3),
    ("book_author", 3),
    ("stock", 3),
    ("order_state", 4),
    ("customer", 1),
    ("purchase", 0),
    ("purchase_line", 0),
    ("review", 0),
];

/// A backend on which the shop runs.
pub(crate) trait Shop: Backend<Handle: Calls + Clone + Sync> {
    /// The query for the server's version.
    const VERSION: &'static str;

    /// Migrations and seeds: all that dbtest has to know of the application.
    fn fixture() -> Fixture<Self>;
}

/// What the bodies of the tests call: they are SQL that all three engines understand.
pub(crate) trait Calls: Send {
    /// Runs one statement.
    fn run(&self, sql: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs the statements in a transaction of the application's own.
    fn transaction(&self, statements: &[&str], end: End) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The number of rows of a table, or of part of one: `"book WHERE cents = 999"`.
    fn count(&self, from: &str) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// The one text that a query returns.
    fn text(&self, sql: &str) -> impl Future<Output = sqlx::Result<String>> + Send;
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Rollback,
}

macro_rules! shop {
    ($backend:ty, $pool:ty, $version:literal, $migrations:literal) => {
        impl Shop for $backend {
            const VERSION: &'static str = $version;

            fn fixture() -> Fixture<Self> {
                static MIGRATOR: Migrator = sqlx::migrate!($migrations);
                Fixture::new()
                    .label("quickstart")
                    .migrations(&MIGRATOR)
                    .seed_sql("shelf.sql", include_str!("../seeds/shelf.sql"))
            }
        }

        impl Calls for $pool {
            async fn run(&self, sql: &str) -> sqlx::Result<()> {
                sqlx::query(AssertSqlSafe(sql)).execute(self).await.map(drop)
            }

            async fn transaction(&self, statements: &[&str], end: End) -> sqlx::Result<()> {
                let mut transaction = self.begin().await?;
                for sql in statements {
                    sqlx::query(AssertSqlSafe(*sql)).execute(&mut *transaction).await?;
                }
                match end {
                    End::Commit => transaction.commit().await,
                    End::Rollback => transaction.rollback().await,
                }
            }

            async fn count(&self, from: &str) -> sqlx::Result<i64> {
                sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {from}")))
                    .fetch_one(self)
                    .await
            }

            async fn text(&self, sql: &str) -> sqlx::Result<String> {
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(self).await
            }
        }
    };
}

shop!(SqlxSqlite, sqlx::SqlitePool, "SELECT sqlite_version()", "migrations/sqlite");
shop!(SqlxPostgres, sqlx::PgPool, "SHOW server_version", "migrations/postgres");
shop!(SqlxMySql, sqlx::MySqlPool, "SELECT VERSION()", "migrations/mysql");
