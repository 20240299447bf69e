//! Postgres through Diesel: the test gets an r2d2 pool of `PgConnection`s.

use std::path::Path;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Rows, Session, Watch};
use diesel::deserialize;
use diesel::pg::{Pg, PgConnection, PgValue};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{QueryResult, RunQueryDsl};

use crate::speaks::{AsText, Speaks, Texts};
use crate::{migrate, pool, session};

/// Postgres through Diesel: the test gets an r2d2 pool of `PgConnection`s.
#[derive(Clone, Copy, Debug)]
pub struct DieselPostgres;

/// The SQLSTATEs that core cares for, by Postgres's own words: Diesel keeps the code itself to
/// itself. An error that is none of these has no code.
const CODES: &[(&str, &str)] = &[
    ("password authentication failed", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("Peer authentication failed", "28000"),
    ("too many clients already", "53300"),
    ("remaining connection slots", "53300"),
    ("too many connections", "53300"),
    ("the database system is", "57P03"),
    ("terminating connection due to administrator command", "57P01"),
    ("No space left on device", "53100"),
    ("permission denied", "42501"),
    ("must be owner of", "42501"),
    ("must be superuser", "42501"),
    ("current transaction is aborted", "25P02"),
];

/// What does not exist: the start of the message, behind which stands a name.
const MISSING: &[(&str, &str)] =
    &[("database ", "3D000"), ("schema ", "3F000"), ("function ", "42883"), ("relation ", "42P01")];

fn code(message: &str) -> Option<String> {
    let known = CODES.iter().find(|(words, _)| message.contains(words));
    let missing = || {
        let message = message.rsplit("FATAL:  ").next().unwrap_or(message);
        let is = |start: &&(&str, &str)| message.starts_with(start.0) && message.contains(" does not exist");
        MISSING.iter().find(is)
    };
    known.or_else(missing).map(|(_, code)| (*code).to_owned())
}

impl Speaks for PgConnection {
    fn texts(&mut self, sql: &str) -> QueryResult<Rows> {
        let rows: Vec<Texts> = diesel::sql_query(sql).load(self)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn db_error(error: Error) -> DbError {
        let Error::DatabaseError(kind, info) = error else {
            return DbError::statement(None, error.to_string());
        };
        let known = match kind {
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                return DbError::connection(code(info.message()), info.message());
            }
            DatabaseErrorKind::UniqueViolation => Some("23505"),
            DatabaseErrorKind::ForeignKeyViolation => Some("23503"),
            DatabaseErrorKind::NotNullViolation => Some("23502"),
            DatabaseErrorKind::CheckViolation => Some("23514"),
            DatabaseErrorKind::RestrictViolation => Some("23001"),
            DatabaseErrorKind::ExclusionViolation => Some("23P01"),
            DatabaseErrorKind::SerializationFailure => Some("40001"),
            DatabaseErrorKind::ReadOnlyTransaction => Some("25006"),
            _ => None,
        };
        DbError::statement(known.map(str::to_owned).or_else(|| code(info.message())), info.message())
    }

    fn connect_error(message: String) -> DbError {
        let nobody = message.contains("FATAL:  role ").then(|| "28000".to_owned());
        DbError::connection(code(&message).or(nobody), message.trim())
    }
}

impl AsText for Pg {
    /// Diesel asks for values in binary. Whatever is neither text nor a number should be cast.
    fn text(value: PgValue<'_>) -> deserialize::Result<String> {
        let bytes = value.as_bytes();
        Ok(match value.get_oid().get() {
            // bool
            16 => if bytes == [0] { "f" } else { "t" }.to_owned(),
            // int8, int2, int4
            20 => i64::from_be_bytes(bytes.try_into()?).to_string(),
            21 => i16::from_be_bytes(bytes.try_into()?).to_string(),
            23 => i32::from_be_bytes(bytes.try_into()?).to_string(),
            // oid, xid
            26 | 28 => u32::from_be_bytes(bytes.try_into()?).to_string(),
            // "char", name, text, json, unknown, bpchar, varchar, void
            18 | 19 | 25 | 114 | 705 | 1042 | 1043 | 2278 => String::from_utf8(bytes.to_vec())?,
            oid => return Err(format!("a column has the type {oid}: cast it to text").into()),
        })
    }
}

impl Backend for DieselPostgres {
    type Handle = pool::Pool<PgConnection>;

    const ENGINE: Engine = Engine::Postgres;
    const NAME: &'static str = "diesel";
    const POOL_TIMEOUT: &'static [&'static str] = pool::TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        // Errors are known by their words, so they had better be English; not everybody may say so.
        session::open::<PgConnection>(url, "SET lc_messages = 'C'").await
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
        Ok(Box::new(migrate::Folder::read::<Pg>(folder)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_by_their_words() {
        let of = |message: &str| code(message).unwrap_or_default();
        assert_eq!(of("sorry, too many clients already"), "53300");
        assert_eq!(
            of(
                "connection to server at \"localhost\" (::1), port 5432 failed: FATAL:  database \"a\" does not exist"
            ),
            "3D000"
        );
        assert_eq!(of("function _dbtest.settle() does not exist"), "42883");
        assert_eq!(of("relation \"a\" does not exist"), "42P01");
        assert_eq!(of("column \"relation \" does not exist"), "");
    }
}
