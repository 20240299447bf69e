//! A Diesel connection as core's maintenance session: SQL text in, rows of text out.

use dbtest_core::{BlockingSession, DbError, Rows, Session, blocking_session, statements};
use diesel::connection::{AnsiTransactionManager, LoadConnection};
use diesel::deserialize::{self, QueryableByName};
use diesel::r2d2::R2D2Connection;
use diesel::result::Error;
use diesel::row::{Field, NamedRow, Row};
use diesel::{Connection, QueryResult};

/// What differs from one engine of Diesel's to the next.
pub(crate) trait Speaks:
    Connection<TransactionManager = AnsiTransactionManager> + LoadConnection + R2D2Connection + Send + 'static
{
    /// Runs on every new connection of a test.
    const PREPARE: &'static str = "";

    /// Runs on every new session; it may fail.
    const SESSION: &'static str = "";

    /// The rows of one statement.
    fn texts(&mut self, sql: &str) -> QueryResult<Rows>;

    /// The error with its code, which Diesel hides. May ask the database for it.
    fn db_error(&mut self, error: Error) -> DbError;

    /// An error of connecting, of which Diesel has words only.
    fn connect_error(message: String) -> DbError;
}

/// Connects.
pub(crate) fn establish<C: Speaks>(url: &str) -> Result<C, DbError> {
    C::establish(url).map_err(|error| C::connect_error(error.to_string()))
}

/// Opens a session.
pub(crate) async fn open<C: Speaks>(url: String) -> Result<Box<dyn Session>, DbError> {
    blocking_session(move || {
        let mut connection = establish::<C>(&url)?;
        if !C::SESSION.is_empty() {
            // What it asks for is not everybody's to have.
            let _ = connection.batch_execute(C::SESSION);
        }
        Ok(DieselSession(connection))
    })
    .await
}

/// One connection that runs text.
struct DieselSession<C>(C);

impl<C: Speaks> BlockingSession for DieselSession<C> {
    fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.0.batch_execute(sql).map_err(|error| self.0.db_error(error))
    }

    fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let mut rows = Rows::new();
        // Diesel returns the rows of one statement at a time, and MySQL prepares only some of
        // them: what has no rows goes out as text, as much at a time as there is.
        for piece in pieces(sql) {
            match piece {
                Piece::Text(sql) => self.execute(sql)?,
                Piece::Query(sql) => {
                    rows.extend(self.0.texts(sql).map_err(|error| self.0.db_error(error))?);
                }
            }
        }
        Ok(rows)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// Statements without rows.
    Text(&'a str),
    /// One statement that returns rows.
    Query(&'a str),
}

/// Cuts the text before and behind every statement that returns rows.
fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut text: Option<(usize, usize)> = None;
    for statement in statements(sql) {
        let end = statement.start + statement.text.len();
        if returns_rows(statement.text) {
            pieces.extend(text.take().map(|(from, to)| Piece::Text(&sql[from..to])));
            pieces.push(Piece::Query(statement.text));
        } else {
            text = Some((text.map_or(statement.start, |(from, _)| from), end));
        }
    }
    pieces.extend(text.map(|(from, to)| Piece::Text(&sql[from..to])));
    pieces
}

fn returns_rows(statement: &str) -> bool {
    const WORDS: &[&str] = &["select", "show", "with", "values", "table", "checksum", "explain", "pragma"];
    let first = statement.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    WORDS.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// A value of this engine as text.
pub(crate) trait AsText: diesel::backend::Backend {
    fn text(value: Self::RawValue<'_>) -> deserialize::Result<String>;
}

/// A row of whatever columns there are.
pub(crate) struct Texts(pub(crate) Vec<Option<String>>);

impl<DB: AsText> QueryableByName<DB> for Texts {
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let cell = |at| match Row::get(row, at) {
            Some(field) => field.value().map(DB::text).transpose(),
            None => Ok(None),
        };
        (0..row.field_count()).map(cell).collect::<deserialize::Result<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_without_rows_go_out_together() {
        let sql = "SET a = 1; SET b = ';';\n SELECT 1; INSERT INTO t SELECT 2;DELETE FROM t ;show x";
        assert_eq!(
            pieces(sql),
            [
                Piece::Text("SET a = 1; SET b = ';'"),
                Piece::Query("SELECT 1"),
                Piece::Text("INSERT INTO t SELECT 2;DELETE FROM t"),
                Piece::Query("show x"),
            ]
        );
        assert_eq!(pieces("DO $$ BEGIN; SELECT 1; END $$"), [Piece::Text("DO $$ BEGIN; SELECT 1; END $$")]);
        assert_eq!(pieces(" -- nothing\n"), []);
    }
}
