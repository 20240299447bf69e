//! A Diesel connection as core's maintenance session: SQL text in, rows of text out.

use dbtest_core::{BlockingSession, DbError, Rows, Session, blocking_session, statements};

use crate::speaks::{Speaks, establish};

/// Opens a session. `first` is what it is asked for first, and may be refused.
pub(crate) async fn open<C: Speaks>(url: &str, first: &'static str) -> Result<Box<dyn Session>, DbError> {
    let url = url.to_owned();
    blocking_session(move || {
        let mut connection = establish::<C>(&url)?;
        let _ = connection.batch_execute(first);
        Ok(DieselSession(connection))
    })
    .await
}

/// One connection that runs text.
struct DieselSession<C>(C);

impl<C: Speaks> BlockingSession for DieselSession<C> {
    fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.0.batch_execute(sql).map_err(C::db_error)
    }

    fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let mut rows = Rows::new();
        // Diesel returns the rows of one statement at a time. What has none goes out together.
        for piece in pieces(sql) {
            match piece {
                Piece::Text(sql) => self.execute(sql)?,
                Piece::Query(sql) => {
                    rows.extend(self.0.texts(sql).map_err(C::db_error)?);
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
