//! Postgres through diesel-async.

use dbtest_core::{DbError, Engine, Rows, Session, StepError, async_trait};
use diesel::QueryResult;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::backend::{DieselAsync, Driver};
use super::pool::Bb8;
use crate::migrate::All;

/// Postgres through diesel-async: the test gets a pool of [`AsyncPgConnection`].
pub type DieselAsyncPostgres<P = Bb8> = DieselAsync<AsyncPgConnection, P>;

impl Driver for AsyncPgConnection {
    const ENGINE: Engine = Engine::Postgres;

    /// For libpq, a socket that the parameter `host` names stands for the URL's own host;
    /// tokio-postgres tries both, and the URL's own first, where another server may be. So the
    /// socket is written where the host is.
    fn url(url: &str) -> String {
        socket_as_host(url).unwrap_or_else(|| url.to_owned())
    }

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let connecting = tokio_postgres::connect(url, NoTls).await;
        let (client, connection) =
            connecting.map_err(|error| DbError { connect: true, ..db_error(error) })?;
        // What ends it is told by the next statement.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(Box::new(PostgresSession { client, connection }))
    }

    fn migrate(self, all: &All) -> Result<(), StepError> {
        all.apply(&mut AsyncMigrationHarness::new(self))
    }

    async fn begin(&mut self, _sql: &str) -> QueryResult<()> {
        let refused = "a sandbox on Postgres is on the wire, and none in a connection of diesel-async";
        Err(diesel::result::Error::QueryBuilderError(refused.into()))
    }
}

fn socket_as_host(url: &str) -> Option<String> {
    let (front, parameters) = url.split_once('?')?;
    let socket = parameters.split('&').find_map(|pair| pair.strip_prefix("host="))?;
    let socket = socket.replace('/', "%2F");
    if !socket.starts_with("%2F") {
        return None;
    }
    let (scheme, rest) = front.split_once("://")?;
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (format!("{user}@"), place),
        None => (String::new(), authority),
    };
    let port = place.rsplit_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
    let others: Vec<_> = parameters.split('&').filter(|pair| !pair.starts_with("host=")).collect();
    let others = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    Some(format!("{scheme}://{user}{socket}{port}/{database}{others}"))
}

/// One connection that runs text.
struct PostgresSession {
    client: Client,
    connection: JoinHandle<()>,
}

#[async_trait]
impl Session for PostgresSession {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).await.map_err(db_error)
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let messages = self.client.simple_query(sql).await.map_err(db_error)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn close(self: Box<Self>) {
        let Self { client, connection } = *self;
        drop(client);
        // A connection that can't say goodbye is gone as well.
        let _ = connection.await;
    }
}

fn db_error(error: tokio_postgres::Error) -> DbError {
    match error.as_db_error() {
        Some(database) => DbError::statement(Some(database.code().code().to_owned()), database.message()),
        None if error.is_closed() => DbError::connection(None, words(&error)),
        None => DbError::statement(None, words(&error)),
    }
}

/// The error with its causes, which its own text leaves out.
fn words(error: &tokio_postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        return database.message().to_owned();
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_written_where_the_host_is() {
        let url = AsyncPgConnection::url("postgres://u:p@localhost:5432/d?host=/run/x%20y&options=-c%20a");
        assert_eq!(url, "postgres://u:p@%2Frun%2Fx%20y:5432/d?options=-c%20a");
        let url = AsyncPgConnection::url("postgres://u@localhost:5432/d?host=/run");
        assert_eq!(url, "postgres://u@%2Frun:5432/d");
    }

    #[test]
    fn other_urls_stay_as_they_are() {
        for url in ["postgres://u@h:1/d?host=other", "postgres://u:p@h/d", "postgres://u@%2Frun/d?options=-c"]
        {
            assert_eq!(AsyncPgConnection::url(url), url);
        }
    }
}
