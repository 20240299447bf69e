//! MySQL and MariaDB through SeaORM: the test gets a `DatabaseConnection`.

use std::path::Path;

use dbtest_core::{Backend, Boundary, DbError, End, Engine, Finished, Migrations, Place, Session, Watch};
use dbtest_sqlx::SqlxMySql;
use sea_orm::{DatabaseConnection, DatabaseConnectionType, SqlxMySqlConnector};

use crate::{SeaOrmBackend, migrate};

/// MySQL and MariaDB through SeaORM: the test gets a `DatabaseConnection`.
///
/// SeaORM stands on sqlx, and so does this: the pool is [`SqlxMySql`]'s.
#[derive(Clone, Copy, Debug)]
pub struct SeaOrmMySql;

impl SeaOrmBackend for SeaOrmMySql {}

/// The pool inside, unless the application put another connection in its place.
pub(crate) fn pool(handle: &DatabaseConnection) -> Option<&<SqlxMySql as Backend>::Handle> {
    let is_ours = matches!(handle.inner, DatabaseConnectionType::SqlxMySqlPoolConnection(_));
    is_ours.then(|| handle.get_mysql_connection_pool())
}

impl Backend for SeaOrmMySql {
    type Handle = DatabaseConnection;

    const ENGINE: Engine = SqlxMySql::ENGINE;
    const NAME: &'static str = "SeaORM";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        SqlxMySql::session(url).await
    }

    async fn open(place: &Place) -> Result<DatabaseConnection, DbError> {
        SqlxMySql::open(place).await.map(SqlxMySqlConnector::from_sqlx_mysql_pool)
    }

    async fn finish(handle: DatabaseConnection, place: &Place, end: End) -> Finished {
        match pool(&handle).cloned() {
            Some(pool) => SqlxMySql::finish(pool, place, end).await,
            None => Finished { boundary: Boundary::Unknown, leaked: 0 },
        }
    }

    fn watch(handle: &DatabaseConnection) -> Option<Watch> {
        pool(handle).and_then(SqlxMySql::watch)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder { files: SqlxMySql::migrations(folder)?, pool }))
    }
}
