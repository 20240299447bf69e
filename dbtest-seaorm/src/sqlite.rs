//! SQLite through SeaORM: the test gets a `DatabaseConnection`.

use std::path::Path;

use dbtest_core::{Backend, Boundary, DbError, End, Engine, Finished, Migrations, Place, Session, Watch};
use dbtest_sqlx::SqlxSqlite;
use sea_orm::{DatabaseConnection, DatabaseConnectionType, SqlxSqliteConnector};

use crate::{SeaOrmBackend, migrate};

/// SQLite through SeaORM: the test gets a `DatabaseConnection`.
///
/// SeaORM stands on sqlx, and so does this: the pool is [`SqlxSqlite`]'s.
#[derive(Clone, Copy, Debug)]
pub struct SeaOrmSqlite;

impl SeaOrmBackend for SeaOrmSqlite {}

/// The pool inside, unless the application put another connection in its place.
pub(crate) fn pool(handle: &DatabaseConnection) -> Option<&<SqlxSqlite as Backend>::Handle> {
    let is_ours = matches!(handle.inner, DatabaseConnectionType::SqlxSqlitePoolConnection(_));
    is_ours.then(|| handle.get_sqlite_connection_pool())
}

impl Backend for SeaOrmSqlite {
    type Handle = DatabaseConnection;

    const ENGINE: Engine = SqlxSqlite::ENGINE;
    const NAME: &'static str = "SeaORM";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        SqlxSqlite::session(url).await
    }

    async fn open(place: &Place) -> Result<DatabaseConnection, DbError> {
        SqlxSqlite::open(place).await.map(SqlxSqliteConnector::from_sqlx_sqlite_pool)
    }

    async fn finish(handle: DatabaseConnection, place: &Place, end: End) -> Finished {
        match pool(&handle).cloned() {
            Some(pool) => SqlxSqlite::finish(pool, place, end).await,
            None => Finished { boundary: Boundary::Unknown, leaked: 0 },
        }
    }

    fn watch(handle: &DatabaseConnection) -> Option<Watch> {
        pool(handle).and_then(SqlxSqlite::watch)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder { files: SqlxSqlite::migrations(folder)?, pool }))
    }
}
