//! A maintenance session on MySQL and MariaDB.
//!
//! Diesel reads rows of prepared statements only. What core asks these servers for (SHOW CREATE,
//! CHECKSUM TABLE) they do not describe when it is prepared, and Diesel then refuses it. So the
//! session speaks the text protocol, through the driver of diesel-async. It is pure Rust.

use dbtest_core::{DbError, Rows, Session, async_trait};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, Opts, Row, Value};

/// One connection that runs text.
struct MySqlSession(Conn);

/// Opens a session, whatever words the URL has for other drivers.
pub(crate) async fn open(url: &str) -> Result<Box<dyn Session>, DbError> {
    let options =
        Opts::from_url(&understood(url)).map_err(|error| DbError::connection(None, error.to_string()))?;
    let user = options.user().unwrap_or_default().to_owned();
    match Conn::new(options).await {
        Ok(connection) => Ok(Box::new(MySqlSession(connection))),
        // What MySQL also asks of a user that it does not have, so as not to say so.
        Err(Error::Driver(DriverError::UnknownAuthPlugin { name })) => Err(DbError::connection(
            Some("1045".to_owned()),
            format!("the user {user} is not there, or has to authenticate with {name}, which dbtest can't"),
        )),
        Err(error) => Err(DbError { connect: true, ..db_error(error) }),
    }
}

/// The URL without the parameters that mysql_async does not know: it refuses those.
pub(crate) fn understood(url: &str) -> String {
    let url = url.strip_prefix("mariadb://").map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
    let (place, parameters) = url.split_once('?').unwrap_or((&url, ""));
    let socket = parameters.split('&').find_map(|parameter| match parameter.split_once('=') {
        Some(("socket" | "unix_socket", path)) => Some(path),
        _ => None,
    });
    match socket {
        Some(path) => format!("{place}?socket={path}"),
        // It goes from a port to the socket that the server behind it names. That path is one of
        // the server's own machine: outside a container it is another server's, or nobody's.
        None => format!("{place}?prefer_socket=false"),
    }
}

#[async_trait]
impl Session for MySqlSession {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.0.query_drop(sql).await.map_err(db_error)
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let mut all = Rows::new();
        let mut result = self.0.query_iter(sql).await.map_err(db_error)?;
        while !result.is_empty() {
            let rows: Vec<Row> = result.collect().await.map_err(db_error)?;
            all.extend(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()));
        }
        Ok(all)
    }

    async fn close(self: Box<Self>) {
        // A connection that can't say goodbye is gone as well.
        let _ = self.0.disconnect().await;
    }
}

/// A value as the text protocol has it.
fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

fn db_error(error: Error) -> DbError {
    match error {
        Error::Server(server) => DbError::statement(Some(server.code.to_string()), server.message),
        Error::Io(_) | Error::Driver(_) => DbError::connection(None, error.to_string()),
        other => DbError::statement(None, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_what_the_driver_does_not_know() {
        assert_eq!(
            understood("mariadb://u:p@localhost/d?ssl_mode=disabled&unix_socket=/run/x"),
            "mysql://u:p@localhost/d?socket=/run/x"
        );
        assert_eq!(understood("mysql://u@h:1/d?charset=utf8"), "mysql://u@h:1/d?prefer_socket=false");
    }
}
