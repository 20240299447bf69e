//! MySQL and MariaDB through diesel-async.

use dbtest_core::{DbError, Engine, Session, StepError};
use diesel::result::Error;
use diesel::sql_types::Integer;
use diesel::{IntoSql, QueryResult};
use diesel_async::{AnsiTransactionManager, AsyncMigrationHarness, AsyncMysqlConnection, RunQueryDsl};

use super::backend::{DieselAsync, Driver};
use super::pool::Bb8;
use crate::migrate::All;
use crate::mysql_session;

/// MySQL and MariaDB through diesel-async: the test gets a pool of [`AsyncMysqlConnection`].
pub type DieselAsyncMySql<P = Bb8> = DieselAsync<AsyncMysqlConnection, P>;

impl Driver for AsyncMysqlConnection {
    const ENGINE: Engine = Engine::MySql;

    /// What mysql_async does not know it refuses, and from a port it goes on to a socket.
    fn url(url: &str) -> String {
        mysql_session::understood(url)
    }

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        mysql_session::open(url).await
    }

    fn migrate(self, all: &All) -> Result<(), StepError> {
        all.apply(&mut AsyncMigrationHarness::new(self))
    }

    async fn begin(&mut self, sql: &str) -> QueryResult<()> {
        AnsiTransactionManager::begin_transaction_sql(self, sql).await
    }

    async fn in_step(&mut self) -> QueryResult<()> {
        use std::sync::atomic::{AtomicI32, Ordering};
        // A number that no earlier statement was asked for.
        static NEXT: AtomicI32 = AtomicI32::new(1);
        let asked = NEXT.fetch_add(1, Ordering::Relaxed);
        let answer: i32 = diesel::select(asked.into_sql::<Integer>()).get_result(self).await?;
        if answer == asked { Ok(()) } else { Err(Error::BrokenTransactionManager) }
    }

    fn is_closed(error: &Error) -> bool {
        // diesel-async keeps only mysql_async's text.
        matches!(error, Error::DatabaseError(_, info) if info.message().starts_with("Input/output error"))
    }

    fn db_error(error: &Error) -> DbError {
        let message = error.to_string();
        let code = [
            ("SAVEPOINT _dbtest does not exist", "1305"),
            ("XA_RBTIMEOUT", "1613"),
            ("XA_RBDEADLOCK", "1614"),
        ];
        let code = code.iter().find(|(words, _)| message.contains(words));
        DbError::statement(code.map(|(_, code)| (*code).to_owned()), message)
    }
}
