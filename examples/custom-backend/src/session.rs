//! The maintenance session: one connection that runs text.

use dbtest_core::{BlockingSession, DbError, Rows};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection};

use crate::backend::db_error;

/// rusqlite blocks, so dbtest runs each call on a thread of its own.
pub(crate) struct RusqliteSession(pub(crate) Connection);

impl BlockingSession for RusqliteSession {
    fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.0.execute_batch(sql).map_err(db_error)
    }

    fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        rows(&self.0, sql).map_err(db_error)
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
