//! MySQL and MariaDB through sqlx: the test gets a `MySqlPool`.

use std::path::Path;
use std::str::FromStr;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Session, Watch};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, MySql, MySqlConnection, MySqlPool};

use crate::session::SqlxSession;
use crate::{error, migrate, pool};

/// MySQL and MariaDB through sqlx: the test gets a `MySqlPool`.
#[derive(Clone, Copy, Debug)]
pub struct SqlxMySql;

fn options(url: &str) -> Result<MySqlConnectOptions, DbError> {
    MySqlConnectOptions::from_str(url).map(ConnectOptions::disable_statement_logging).map_err(error::db_error)
}

impl Backend for SqlxMySql {
    type Handle = MySqlPool;

    const ENGINE: Engine = Engine::MySql;
    const NAME: &'static str = "sqlx";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let connection = options(url)?.connect().await.map_err(error::db_error)?;
        Ok(Box::new(SqlxSession::<MySql>(connection)))
    }

    async fn open(place: &Place) -> Result<MySqlPool, DbError> {
        pool::open(place, options(&place.url)?, pool::no_guard::<MySqlConnection>).await
    }

    async fn finish(handle: MySqlPool, place: &Place, end: End) -> Finished {
        pool::finish(handle, place, end, pool::no_guard::<MySqlConnection>).await
    }

    fn watch(handle: &MySqlPool) -> Option<Watch> {
        pool::watch(handle)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder::read(folder)?))
    }
}
