//! A sqlx connection as core's maintenance session.

use async_trait::async_trait;
use dbtest_core::{DbError, Rows, Session};
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Database, Decode, Executor, Row};

use crate::error::db_error;

/// One connection that runs text.
pub(crate) struct SqlxSession<DB: Database>(pub(crate) DB::Connection);

#[async_trait]
impl<DB> Session for SqlxSession<DB>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> Option<String>: Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await.map(drop).map_err(db_error)
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.0).await.map_err(db_error)?;
        rows.iter().map(|row| texts::<DB>(row).map_err(db_error)).collect()
    }

    async fn close(self: Box<Self>) {
        // A connection that can't say goodbye is gone as well.
        let _ = self.0.close().await;
    }
}

/// A row of text. Unchecked: the text of a number is what is wanted.
pub(crate) fn texts<DB>(row: &DB::Row) -> sqlx::Result<Vec<Option<String>>>
where
    DB: Database,
    for<'r> Option<String>: Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    (0..row.len()).map(|column| row.try_get_unchecked(column)).collect()
}
