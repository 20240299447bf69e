//! Postgres through sqlx: the test gets a `PgPool`.

use std::path::Path;
use std::str::FromStr;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Session, Watch};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool, Postgres};

use crate::session::SqlxSession;
use crate::{error, migrate, pool};

/// Postgres through sqlx: the test gets a `PgPool`.
#[derive(Clone, Copy, Debug)]
pub struct SqlxPostgres;

fn options(url: &str) -> Result<PgConnectOptions, DbError> {
    PgConnectOptions::from_str(url).map(ConnectOptions::disable_statement_logging).map_err(error::db_error)
}

impl Backend for SqlxPostgres {
    type Handle = PgPool;

    const ENGINE: Engine = Engine::Postgres;
    const NAME: &'static str = "sqlx";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let connection = options(url)?.connect().await.map_err(error::db_error)?;
        Ok(Box::new(SqlxSession::<Postgres>(connection)))
    }

    async fn open(place: &Place) -> Result<PgPool, DbError> {
        pool::open(place, options(&place.url)?, pool::no_guard::<PgConnection>).await
    }

    async fn finish(handle: PgPool, place: &Place, end: End) -> Finished {
        pool::finish(handle, place, end, pool::no_guard::<PgConnection>).await
    }

    fn watch(handle: &PgPool) -> Option<Watch> {
        pool::watch(handle)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder::read(folder)?))
    }
}
