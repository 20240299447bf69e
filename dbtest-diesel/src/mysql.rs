//! MySQL and MariaDB through Diesel: the test gets an r2d2 pool of `MysqlConnection`s.

use std::path::Path;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Rows, Session, Watch};
use diesel::deserialize;
use diesel::mysql::{Mysql, MysqlConnection, MysqlType, MysqlValue};
use diesel::result::Error;
use diesel::{QueryResult, RunQueryDsl};

use crate::speaks::{AsText, Speaks, Texts};
use crate::{migrate, mysql_session, pool};

/// MySQL and MariaDB through Diesel: the test gets an r2d2 pool of `MysqlConnection`s.
#[derive(Clone, Copy, Debug)]
pub struct DieselMySql;

/// The numbers of the errors that core cares for, by their words: Diesel keeps the numbers to
/// itself.
const CODES: &[(&str, &str)] = &[
    ("Access denied for user", "1045"),
    ("Unknown database", "1049"),
    ("Too many connections", "1040"),
    ("SAVEPOINT _dbtest does not exist", "1305"),
    ("XA_RBTIMEOUT", "1613"),
    ("XA_RBDEADLOCK", "1614"),
];

fn code(message: &str) -> Option<String> {
    CODES.iter().find(|(words, _)| message.contains(words)).map(|(_, code)| (*code).to_owned())
}

impl Speaks for MysqlConnection {
    fn texts(&mut self, sql: &str) -> QueryResult<Rows> {
        let rows: Vec<Texts> = diesel::sql_query(sql).load(self)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn db_error(error: Error) -> DbError {
        let message = error.to_string();
        DbError::statement(code(&message), message)
    }

    fn connect_error(message: String) -> DbError {
        DbError::connection(code(&message), message)
    }
}

impl AsText for Mysql {
    /// Diesel asks for values in binary. Dates should be cast.
    fn text(value: MysqlValue<'_>) -> deserialize::Result<String> {
        let bytes = value.as_bytes();
        Ok(match value.value_type() {
            MysqlType::Tiny => i8::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::UnsignedTiny => u8::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::Short => i16::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::UnsignedShort => u16::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::Long => i32::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::UnsignedLong => u32::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::LongLong => i64::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::UnsignedLongLong => u64::from_le_bytes(bytes.try_into()?).to_string(),
            MysqlType::Numeric | MysqlType::String | MysqlType::Blob | MysqlType::Enum | MysqlType::Set => {
                String::from_utf8(bytes.to_vec())?
            }
            other => return Err(format!("a column has the type {other:?}: cast it to CHAR").into()),
        })
    }
}

impl Backend for DieselMySql {
    type Handle = pool::Pool<MysqlConnection>;

    const ENGINE: Engine = Engine::MySql;
    const NAME: &'static str = "diesel";
    const POOL_TIMEOUT: &'static [&'static str] = pool::TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        mysql_session::open(url).await
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

    /// Diesel's words for a scheme and parameters that others spell in another way.
    fn url(url: &str) -> String {
        let url =
            url.strip_prefix("mariadb://").map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
        let Some((place, parameters)) = url.split_once('?') else { return url };
        let parameters: Vec<_> = parameters
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some(("socket", path)) => format!("unix_socket={path}"),
                Some((key, value)) if key.starts_with("ssl-") => format!("{}={value}", key.replace('-', "_")),
                _ => parameter.to_owned(),
            })
            .collect();
        format!("{place}?{}", parameters.join("&"))
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder::read::<Mysql>(folder)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_put_into_diesels_words() {
        assert_eq!(
            DieselMySql::url("mariadb://u:p@h:1/d?socket=/run/x&ssl-mode=disabled"),
            "mysql://u:p@h:1/d?unix_socket=/run/x&ssl_mode=disabled"
        );
        assert_eq!(DieselMySql::url("mysql://u@h/d"), "mysql://u@h/d");
    }
}
