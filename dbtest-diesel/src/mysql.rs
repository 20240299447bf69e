//! MySQL and MariaDB through Diesel: the test gets an r2d2 pool of `MysqlConnection`s.

use std::path::Path;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Rows, Session, Watch};
use diesel::deserialize;
use diesel::mysql::{Mysql, MysqlConnection, MysqlType, MysqlValue};
use diesel::result::Error;
use diesel::{QueryResult, RunQueryDsl};

use crate::session::{AsText, Speaks, Texts};
use crate::{migrate, pool, session};

/// MySQL and MariaDB through Diesel: the test gets an r2d2 pool of `MysqlConnection`s.
#[derive(Clone, Copy, Debug)]
pub struct DieselMySql;

/// The numbers of errors that come before or instead of an answer, by the words of the client
/// library and the server: nobody can be asked any more.
const CODES: &[(&str, &str)] = &[
    ("Access denied for user", "1045"),
    ("Unknown database", "1049"),
    ("Too many connections", "1040"),
    ("Server shutdown in progress", "1053"),
    ("Connection was killed", "1927"),
];

/// How the client library says that the connection is gone.
const GONE: &[&str] =
    &["Lost connection", "server has gone away", "Server has gone away", "Connection was killed"];

fn code(message: &str) -> Option<String> {
    CODES.iter().find(|(words, _)| message.contains(words)).map(|(_, code)| (*code).to_owned())
}

impl Speaks for MysqlConnection {
    fn texts(&mut self, sql: &str) -> QueryResult<Rows> {
        let rows: Vec<Texts> = diesel::sql_query(sql).load(self)?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    fn db_error(&mut self, error: Error) -> DbError {
        let Error::DatabaseError(_, info) = error else {
            return DbError::statement(None, error.to_string());
        };
        let message = info.message();
        if GONE.iter().any(|words| message.contains(words)) {
            return DbError::connection(code(message), message);
        }
        // The server still knows the last statement's error; it is ours if it has our words.
        let numbers = self.texts("SHOW WARNINGS").unwrap_or_default();
        let number = numbers.into_iter().find_map(|row| match <[_; 3]>::try_from(row) {
            Ok([_, number, text]) if text.as_deref() == Some(message) => number,
            _ => None,
        });
        DbError::statement(number.or_else(|| code(message)), message)
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
        session::open::<MysqlConnection>(Self::url(url)).await
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
