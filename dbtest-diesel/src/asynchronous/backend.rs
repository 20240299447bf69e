//! diesel-async as a backend, over the connection's type and the pool's.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;

use dbtest_core::{Backend, DbError, End, Engine, Finished, Migrations, Place, Session, StepError, Watch};
use diesel::QueryResult;
use diesel_async::pooled_connection::PoolableConnection;

use super::pool::{self, Bb8, Pooling};
use crate::migrate::{All, Folder};

/// A connection that dbtest has a backend for: what differs between the engines.
pub(super) trait Driver: PoolableConnection + Sized + Send + 'static {
    /// The engine.
    const ENGINE: Engine;

    /// Runs on every new connection of a test.
    const PREPARE: &'static str = "";

    /// A URL of core's as the driver reads it.
    fn url(url: &str) -> String {
        url.to_owned()
    }

    /// Opens a maintenance session, over the driver that this connection stands on.
    fn session(url: &str) -> impl Future<Output = Result<Box<dyn Session>, DbError>> + Send;

    /// Opens a sandbox's transaction, known to diesel-async as the outermost one.
    fn begin(&mut self, sql: &str) -> impl Future<Output = QueryResult<()>> + Send;

    /// Runs migrations, and blocks its thread.
    fn migrate(self, all: &All) -> Result<(), StepError>;

    /// Fails where an abandoned statement's answer is still to come, which the next statement
    /// would take for its own.
    fn in_step(&mut self) -> impl Future<Output = QueryResult<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Whether the error says that the server closed the connection. An abandoned statement's answer
    /// is another error, of whatever kind.
    fn is_closed(_error: &diesel::result::Error) -> bool {
        false
    }

    /// The first row of a query: only SQLite's sandbox has a check that looks at rows.
    fn first_row(&mut self, _sql: &str) -> impl Future<Output = QueryResult<Option<String>>> + Send {
        std::future::ready(Err(diesel::result::Error::NotFound))
    }

    /// The database's error, with the code that core looks for. Diesel keeps only the text.
    fn db_error(error: &diesel::result::Error) -> DbError {
        DbError::statement(None, error.to_string())
    }
}

/// diesel-async over a connection `C` in a pool of kind `P`. Its names are
/// `DieselAsyncPostgres`, `DieselAsyncMySql` and `DieselAsyncSqlite`, with [`Bb8`] unless you say
/// [`Deadpool`](super::Deadpool).
pub struct DieselAsync<C, P = Bb8>(PhantomData<fn() -> (C, P)>);

impl<C, P> fmt::Debug for DieselAsync<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DieselAsync")
    }
}

impl<C: Driver, P: Pooling<C>> Backend for DieselAsync<C, P> {
    type Handle = P::Pool;

    const ENGINE: Engine = C::ENGINE;
    const NAME: &'static str = "diesel-async";
    const POOL_TIMEOUT: &'static [&'static str] = P::TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        C::session(&C::url(url)).await
    }

    async fn open(place: &Place) -> Result<P::Pool, DbError> {
        pool::open::<C, P>(place).await
    }

    async fn finish(handle: P::Pool, place: &Place, end: End) -> Finished {
        pool::finish::<C, P>(handle, place, end).await
    }

    fn watch(handle: &P::Pool) -> Option<Watch> {
        pool::watch::<C, P>(handle)
    }

    fn url(url: &str) -> String {
        C::url(url)
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(Folder::read::<C::Backend>(folder)?))
    }
}
