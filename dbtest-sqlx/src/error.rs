//! sqlx's errors as core reads them.

use dbtest_core::DbError;

/// The database's code and message, and whether the connection itself failed.
pub(crate) fn db_error(error: sqlx::Error) -> DbError {
    match &error {
        sqlx::Error::Database(database) => DbError::statement(code(&**database), database.message()),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            DbError::connection(None, error.to_string())
        }
        _ => DbError::statement(None, error.to_string()),
    }
}

/// SQLSTATE, or MySQL's error number, which says more.
fn code(error: &dyn sqlx::error::DatabaseError) -> Option<String> {
    #[cfg(feature = "mysql")]
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(mysql.number().to_string());
    }
    error.code().map(Into::into)
}

/// The character at which Postgres found the error, from 1.
pub(crate) fn position(error: &sqlx::Error) -> Option<usize> {
    #[cfg(feature = "postgres")]
    if let sqlx::Error::Database(database) = error
        && let Some(postgres) = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        && let Some(sqlx::postgres::PgErrorPosition::Original(position)) = postgres.position()
    {
        return Some(position);
    }
    let _ = error;
    None
}
