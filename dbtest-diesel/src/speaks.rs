//! What differs from one engine of Diesel's to the next.

use dbtest_core::{DbError, Rows};
use diesel::connection::{AnsiTransactionManager, LoadConnection};
use diesel::deserialize::{self, QueryableByName};
use diesel::r2d2::R2D2Connection;
use diesel::result::Error;
use diesel::row::{Field, NamedRow, Row};
use diesel::{Connection, QueryResult};

/// A connection of Diesel's to one engine.
pub(crate) trait Speaks:
    Connection<TransactionManager = AnsiTransactionManager> + LoadConnection + R2D2Connection + Send + 'static
{
    /// Runs on every new connection of a test.
    const PREPARE: &'static str = "";

    /// The rows of one statement.
    fn texts(&mut self, sql: &str) -> QueryResult<Rows>;

    /// The error with its code, which Diesel hides: from its kind, or from the database's words.
    fn db_error(error: Error) -> DbError;

    /// An error of connecting, of which Diesel has words only.
    fn connect_error(message: String) -> DbError;
}

/// Connects.
pub(crate) fn establish<C: Speaks>(url: &str) -> Result<C, DbError> {
    C::establish(url).map_err(|error| C::connect_error(error.to_string()))
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
