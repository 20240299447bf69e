//! MySQL and MariaDB through diesel-async.

use async_trait::async_trait;
use dbtest_core::{DbError, Engine, Rows, Session, StepError};
use diesel::result::Error;
use diesel::sql_types::Integer;
use diesel::{IntoSql, QueryResult};
use diesel_async::{AnsiTransactionManager, AsyncMigrationHarness, AsyncMysqlConnection, RunQueryDsl};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value};

use super::backend::{DieselAsync, Driver};
use super::pool::Bb8;
use crate::migrate::All;

/// MySQL and MariaDB through diesel-async: the test gets a pool of [`AsyncMysqlConnection`].
pub type DieselAsyncMySql<P = Bb8> = DieselAsync<AsyncMysqlConnection, P>;

impl Driver for AsyncMysqlConnection {
    const ENGINE: Engine = Engine::MySql;

    /// mysql_async goes from a port to the socket that the server behind it names. That path is
    /// one of the server's own machine: outside a container it is another server's, or nobody's.
    fn url(url: &str) -> String {
        let joint = if url.contains('?') { '&' } else { '?' };
        if url.contains("prefer_socket=") {
            url.to_owned()
        } else {
            format!("{url}{joint}prefer_socket=false")
        }
    }

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let options = Opts::from_url(url).map_err(|error| DbError::connection(None, error.to_string()))?;
        let connection = Conn::new(options).await;
        let connection = connection.map_err(|error| DbError { connect: true, ..db_error(error) })?;
        Ok(Box::new(MySqlSession(connection)))
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

/// One connection that runs text.
struct MySqlSession(Conn);

#[async_trait]
impl Session for MySqlSession {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.0.query_drop(sql).await.map_err(db_error)
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let mut all = Rows::new();
        let mut result = self.0.query_iter(sql).await.map_err(db_error)?;
        while !result.is_empty() {
            let rows: Vec<Row> = result.collect().await.map_err(db_error)?;
            all.extend(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()));
        }
        Ok(all)
    }

    async fn close(self: Box<Self>) {
        // A connection that can't say goodbye is gone as well.
        let _ = self.0.disconnect().await;
    }
}

/// A value as the text protocol has it.
fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

fn db_error(error: mysql_async::Error) -> DbError {
    match error {
        mysql_async::Error::Server(server) => {
            DbError::statement(Some(server.code.to_string()), server.message)
        }
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => {
            DbError::connection(None, error.to_string())
        }
        other => DbError::statement(None, other.to_string()),
    }
}
