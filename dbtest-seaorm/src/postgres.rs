//! Postgres through SeaORM: the test gets a `DatabaseConnection`.

use std::path::Path;

use dbtest_core::{Backend, Boundary, DbError, End, Engine, Finished, Migrations, Place, Session, Watch};
use dbtest_sqlx::SqlxPostgres;
use sea_orm::{DatabaseConnection, DatabaseConnectionType, SqlxPostgresConnector};

use crate::{SeaOrmBackend, migrate};

/// Postgres through SeaORM: the test gets a `DatabaseConnection`.
///
/// SeaORM stands on sqlx, and so does this: the pool is [`SqlxPostgres`]'s.
#[derive(Clone, Copy, Debug)]
pub struct SeaOrmPostgres;

impl SeaOrmBackend for SeaOrmPostgres {}

/// The pool inside, unless the application put another connection in its place.
pub(crate) fn pool(handle: &DatabaseConnection) -> Option<&<SqlxPostgres as Backend>::Handle> {
    let is_ours = matches!(handle.inner, DatabaseConnectionType::SqlxPostgresPoolConnection(_));
    is_ours.then(|| handle.get_postgres_connection_pool())
}

impl Backend for SeaOrmPostgres {
    type Handle = DatabaseConnection;

    const ENGINE: Engine = SqlxPostgres::ENGINE;
    const NAME: &'static str = "SeaORM";
    const POOL_TIMEOUT: &'static [&'static str] = crate::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        SqlxPostgres::session(url).await
    }

    async fn open(place: &Place) -> Result<DatabaseConnection, DbError> {
        SqlxPostgres::open(place).await.map(SqlxPostgresConnector::from_sqlx_postgres_pool)
    }

    async fn finish(handle: DatabaseConnection, place: &Place, end: End) -> Finished {
        match pool(&handle).cloned() {
            Some(pool) => SqlxPostgres::finish(pool, place, end).await,
            None => Finished { boundary: Boundary::Unknown, leaked: 0 },
        }
    }

    fn watch(handle: &DatabaseConnection) -> Option<Watch> {
        pool(handle).and_then(SqlxPostgres::watch)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(migrate::Folder { files: SqlxPostgres::migrations(folder)?, pool }))
    }
}
