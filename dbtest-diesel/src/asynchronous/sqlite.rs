//! SQLite through diesel-async: Diesel's own connection, whose calls run on threads.

use dbtest_core::{DbError, Engine, Session, StepError};
use diesel::connection::AnsiTransactionManager;
use diesel::{QueryResult, SqliteConnection};
use diesel_async::AsyncMigrationHarness;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use super::backend::{DieselAsync, Driver};
use super::pool::Bb8;
use crate::migrate::All;
use crate::session;
use crate::speaks::Speaks;

/// The connection.
pub(super) type Connection = SyncConnectionWrapper<SqliteConnection>;

/// SQLite through diesel-async: the test gets a pool of `SyncConnectionWrapper<SqliteConnection>`.
///
/// Whoever drops a future of it is blocked until its statement has ended, which diesel-async can
/// do on a multi-thread runtime only: on any other it panics. A test that cancels queries says
/// `flavor = "multi_thread"`.
pub type DieselAsyncSqlite<P = Bb8> = DieselAsync<Connection, P>;

impl Driver for Connection {
    const ENGINE: Engine = Engine::Sqlite;
    const PREPARE: &'static str = SqliteConnection::PREPARE;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        session::open::<SqliteConnection>(url, SqliteConnection::PREPARE).await
    }

    fn migrate(self, all: &All) -> Result<(), StepError> {
        all.apply(&mut AsyncMigrationHarness::new(self))
    }

    async fn begin(&mut self, sql: &str) -> QueryResult<()> {
        let sql = sql.to_owned();
        self.spawn_blocking(move |connection| AnsiTransactionManager::begin_transaction_sql(connection, &sql))
            .await
    }

    async fn first_row(&mut self, sql: &str) -> QueryResult<Option<String>> {
        let sql = sql.to_owned();
        let mut rows = self.spawn_blocking(move |connection| connection.texts(&sql)).await?.into_iter();
        let words = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
        Ok(rows.next().map(|row| row.into_iter().map(words).collect::<Vec<_>>().join(", ")))
    }
}
