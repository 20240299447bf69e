//! SQLite through sqlx: the test gets a `SqlitePool`.

use std::path::Path;
use std::str::FromStr;

use dbtest_core::{
    Backend, BoxFuture, DbError, End, Engine, Finished, Migrations, Place, Sandbox, Session, Watch,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, SqliteConnection, SqlitePool};

use crate::session::SqlxSession;
use crate::{error, migrate, pool};

/// SQLite through sqlx: the test gets a `SqlitePool`.
#[derive(Clone, Copy, Debug)]
pub struct SqlxSqlite;

fn options(url: &str) -> Result<SqliteConnectOptions, DbError> {
    let options = SqliteConnectOptions::from_str(url).map_err(error::db_error)?;
    // Nobody mourns a test database after a power cut.
    Ok(options.synchronous(SqliteSynchronous::Off).disable_statement_logging())
}

/// SQLite has no SQL that refuses a COMMIT, but a hook.
fn refuse_commit<'c>(
    connection: &'c mut SqliteConnection,
    sandbox: &'c Sandbox,
) -> BoxFuture<'c, sqlx::Result<()>> {
    Box::pin(async move {
        if sandbox.refuse_commit {
            connection.lock_handle().await?.set_commit_hook(|| false);
        }
        Ok(())
    })
}

fn allow_commit<'c>(connection: &'c mut SqliteConnection, _: &'c Sandbox) -> BoxFuture<'c, sqlx::Result<()>> {
    Box::pin(async move {
        connection.lock_handle().await?.remove_commit_hook();
        Ok(())
    })
}

impl Backend for SqlxSqlite {
    type Handle = SqlitePool;

    const ENGINE: Engine = Engine::Sqlite;
    const NAME: &'static str = "sqlx";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let connection = options(url)?.connect().await.map_err(error::db_error)?;
        Ok(Box::new(SqlxSession::<Sqlite>(connection)))
    }

    async fn open(place: &Place) -> Result<SqlitePool, DbError> {
        pool::open(place, options(&place.url)?, refuse_commit).await
    }

    async fn finish(handle: SqlitePool, place: &Place, end: End) -> Finished {
        pool::finish(handle, place, end, allow_commit).await
    }

    fn watch(handle: &SqlitePool) -> Option<Watch> {
        pool::watch(handle)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder::read(folder)?))
    }
}
