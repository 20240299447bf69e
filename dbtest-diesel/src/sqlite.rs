//! SQLite through Diesel: the test gets an r2d2 pool of `SqliteConnection`s.

use std::path::Path;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Rows, Session, Watch};
use diesel::deserialize::{self, FromSql};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteConnection, SqliteValue};
use diesel::{QueryResult, RunQueryDsl};

use crate::speaks::{AsText, Speaks, Texts};
use crate::{migrate, pool, session};

/// SQLite through Diesel: the test gets an r2d2 pool of `SqliteConnection`s.
///
/// Diesel has no hook that refuses a COMMIT. Under `rollback` one in raw SQL therefore works, and
/// the test that sends it is failed for it afterwards.
#[derive(Clone, Copy, Debug)]
pub struct DieselSqlite;

impl Speaks for SqliteConnection {
    // Diesel alone gives up at once where another connection writes. Nobody mourns a test
    // database after a power cut.
    const PREPARE: &'static str = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = OFF";

    fn texts(&mut self, sql: &str) -> QueryResult<Rows> {
        let rows: Vec<Texts> = diesel::sql_query(sql).load(self)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn db_error(error: Error) -> DbError {
        let Error::DatabaseError(kind, info) = error else {
            return DbError::statement(None, error.to_string());
        };
        // The result codes of SQLite, by its own words for those that Diesel has no kind for.
        let code = match kind {
            DatabaseErrorKind::UniqueViolation => Some("2067"),
            DatabaseErrorKind::ForeignKeyViolation => Some("787"),
            DatabaseErrorKind::NotNullViolation => Some("1299"),
            DatabaseErrorKind::CheckViolation => Some("275"),
            _ => match info.message() {
                "database is locked" => Some("5"),
                "database table is locked" => Some("6"),
                "attempt to write a readonly database" => Some("8"),
                "database or disk is full" => Some("13"),
                _ => None,
            },
        };
        DbError::statement(code.map(str::to_owned), info.message())
    }

    fn connect_error(message: String) -> DbError {
        DbError::connection(None, message)
    }
}

impl AsText for Sqlite {
    fn text(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<String> {
        <String as FromSql<Text, Sqlite>>::from_sql(value)
    }
}

impl Backend for DieselSqlite {
    type Handle = pool::Pool<SqliteConnection>;

    const ENGINE: Engine = Engine::Sqlite;
    const NAME: &'static str = "diesel";
    const POOL_TIMEOUT: &'static [&'static str] = pool::TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        session::open::<SqliteConnection>(url, SqliteConnection::PREPARE).await
    }

    async fn open(place: &Place) -> Result<Self::Handle, DbError> {
        Ok(pool::open(place))
    }

    async fn finish(handle: Self::Handle, place: &Place, end: End) -> Finished {
        pool::finish(handle, place, end).await
    }

    fn watch(handle: &Self::Handle) -> Option<Watch> {
        pool::watch(handle)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder::read::<Sqlite>(folder)?))
    }
}
