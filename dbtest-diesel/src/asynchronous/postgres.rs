//! Postgres through diesel-async.

use async_trait::async_trait;
use dbtest_core::{DbError, Engine, Rows, Session};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::backend::{DieselAsync, Driver};
use super::pool::Bb8;

/// Postgres through diesel-async: the test gets a pool of [`AsyncPgConnection`].
pub type DieselAsyncPostgres<P = Bb8> = DieselAsync<AsyncPgConnection, P>;

impl Driver for AsyncPgConnection {
    const ENGINE: Engine = Engine::Postgres;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let connecting = config(url).map_err(db_error)?.connect(NoTls).await;
        let (client, connection) = connecting.map_err(|error| DbError { connect: true, ..db_error(error) })?;
        // What ends it is told by the next statement.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(Box::new(PostgresSession { client, connection }))
    }

    async fn connect(url: &str) -> ConnectionResult<Self> {
        let config = config(url).map_err(|error| ConnectionError::InvalidConnectionUrl(words(&error)))?;
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|error| ConnectionError::BadConnection(words(&error)))?;
        Self::try_from_client_and_connection(client, connection).await
    }

    async fn begin(&mut self, sql: &str) -> QueryResult<()> {
        AnsiTransactionManager::begin_transaction_sql(self, sql).await
    }
}

/// As libpq reads it: a socket that the parameter `host` names stands for the URL's own host.
/// tokio-postgres would try both, that host first.
fn config(url: &str) -> Result<Config, tokio_postgres::Error> {
    let both: Config = url.parse()?;
    let Some(socket) = both.get_hosts().iter().find(|host| !matches!(host, Host::Tcp(_))) else {
        return Ok(both);
    };
    let mut config = Config::new();
    match socket {
        Host::Tcp(host) => config.host(host),
        #[cfg(unix)]
        Host::Unix(path) => config.host_path(path),
    };
    if let Some(port) = both.get_ports().first() {
        config.port(*port);
    }
    if let Some(user) = both.get_user() {
        config.user(user);
    }
    if let Some(password) = both.get_password() {
        config.password(password);
    }
    if let Some(database) = both.get_dbname() {
        config.dbname(database);
    }
    if let Some(options) = both.get_options() {
        config.options(options);
    }
    if let Some(name) = both.get_application_name() {
        config.application_name(name);
    }
    Ok(config)
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
        Some(database) => {
            DbError::statement(Some(database.code().code().to_owned()), database.message())
        }
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
