//! The maintenance session: one connection that runs text.

use std::sync::{Arc, Mutex, PoisonError};

use dbtest_core::{DbError, Rows, Session, async_trait};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection};

use crate::backend::db_error;

/// rusqlite blocks, and a session must not block dbtest's runtime: each call runs on one of
/// tokio's threads for that.
pub(crate) struct RusqliteSession(Arc<Mutex<Connection>>);

impl RusqliteSession {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(connection)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let connection = Arc::clone(&self.0);
        let work = move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(db_error),
            Err(error) => Err(DbError::connection(None, format!("the session's thread ended: {error}"))),
        }
    }
}

#[async_trait]
impl Session for RusqliteSession {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        let sql = sql.to_owned();
        self.blocking(move |connection| connection.execute_batch(&sql)).await
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let sql = sql.to_owned();
        self.blocking(move |connection| rows(connection, &sql)).await
    }

    async fn close(self: Box<Self>) {
        // SQLite closes with the last reference, and this is it.
    }
}

/// Runs the statements and returns the rows of all of them as text.
pub(crate) fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Rows> {
    let mut all = Rows::new();
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let cells = (0..columns).map(|column| row.get_ref(column).map(text));
            all.push(cells.collect::<rusqlite::Result<_>>()?);
        }
    }
    Ok(all)
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}
