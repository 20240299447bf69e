//! Opens and ends a test's pool, the same for bb8 and deadpool and for every engine.

use std::future::Future;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dbtest_core::{Boundary, DbError, End, Finished, Place, SANDBOX_LOST, SANDBOX_WAIT, Watch};
use diesel::ConnectionError;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod, bb8, deadpool,
};
use tokio::time::{Instant, timeout_at};

use super::backend::Driver;
use super::sandbox;

/// How long the end of a test waits for connections that are on their way back to the pool.
const GRACE: Duration = Duration::from_secs(1);

/// How long a plain pool waits for a connection. It is bb8's own, and deadpool would wait for ever.
const WAIT: Duration = Duration::from_secs(30);

type Manager<C> = AsyncDieselConnectionManager<C>;

/// Pools of [bb8](https://docs.rs/bb8), the default.
#[derive(Clone, Copy, Debug)]
pub struct Bb8;

/// Pools of [deadpool](https://docs.rs/deadpool).
#[derive(Clone, Copy, Debug)]
pub struct Deadpool;

/// A kind of pool, as dbtest uses one of connections `C`.
pub trait Pooling<C>: Send + Sync + 'static {
    /// What the test gets.
    type Pool: Clone + Send + Sync + 'static;
    /// A connection on loan.
    type Lent: DerefMut<Target = C> + Send;

    /// How the pool says that no connection was to be had.
    const TIMEOUT: &'static [&'static str];

    /// A pool that has no connection yet.
    fn build(manager: Manager<C>, most: u32, wait: Duration) -> Self::Pool;

    /// Takes a connection.
    fn take(pool: &Self::Pool) -> impl Future<Output = Result<Self::Lent, String>> + Send;

    /// A connection that the pool no longer knows of.
    fn own(pool: &Self::Pool) -> impl Future<Output = Result<C, String>> + Send;

    /// Closes a connection and takes it out of the pool.
    fn discard(lent: Self::Lent);

    /// How many connections the pool has, and how many of them are lent or waited for.
    fn count(pool: &Self::Pool) -> (usize, usize);

    /// Closes what is idle, and until then waits for what is not.
    fn close(pool: &Self::Pool, until: Instant) -> impl Future<Output = ()> + Send;
}

/// Both kinds of pool for a connection. Diesel's bounds on a generic one would be a page long.
macro_rules! pools {
    ($feature:literal, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl Pooling<$connection> for Bb8 {
            type Pool = bb8::Pool<$connection>;
            type Lent = bb8::PooledConnection<'static, $connection>;

            const TIMEOUT: &'static [&'static str] = &["TimedOut", "Timed out in bb8"];

            fn build(manager: Manager<$connection>, most: u32, wait: Duration) -> Self::Pool {
                // None is replaced for its age: a paused clock may jump by hours.
                bb8::Pool::builder()
                    .max_size(most)
                    .connection_timeout(wait)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .error_sink(Box::new(Told))
                    .build_unchecked(manager)
            }

            async fn take(pool: &Self::Pool) -> Result<Self::Lent, String> {
                pool.get_owned().await.map_err(|error| error.to_string())
            }

            async fn own(pool: &Self::Pool) -> Result<$connection, String> {
                pool.dedicated_connection().await.map_err(|error| error.to_string())
            }

            fn discard(mut lent: Self::Lent) {
                // bb8 has no other way to say it.
                sandbox::status(&mut *lent).set_in_error();
            }

            fn count(pool: &Self::Pool) -> (usize, usize) {
                let state = pool.state();
                let all = state.connections as usize;
                (all, all.saturating_sub(state.idle_connections as usize))
            }

            async fn close(pool: &Self::Pool, until: Instant) {
                while pool.state().connections > 0 {
                    match timeout_at(until, <Self as Pooling<$connection>>::take(pool)).await {
                        Ok(Ok(lent)) => <Self as Pooling<$connection>>::discard(lent),
                        _ => break,
                    }
                }
            }
        }

        #[cfg(feature = $feature)]
        impl Pooling<$connection> for Deadpool {
            type Pool = deadpool::Pool<$connection>;
            type Lent = deadpool::Object<$connection>;

            const TIMEOUT: &'static [&'static str] =
                &["Timeout(Wait)", "waiting for a slot to become available"];

            fn build(manager: Manager<$connection>, most: u32, wait: Duration) -> Self::Pool {
                deadpool::Pool::builder(manager)
                    .max_size(most as usize)
                    .wait_timeout(Some(wait))
                    .runtime(::deadpool::Runtime::Tokio1)
                    .build()
                    .unwrap_or_else(|error| unreachable!("a timeout needs a runtime, and has one: {error}"))
            }

            async fn take(pool: &Self::Pool) -> Result<Self::Lent, String> {
                pool.get().await.map_err(|error| error.to_string())
            }

            async fn own(pool: &Self::Pool) -> Result<$connection, String> {
                let lent = pool.get().await.map_err(|error| error.to_string())?;
                Ok(deadpool::Object::take(lent))
            }

            fn discard(lent: Self::Lent) {
                drop(deadpool::Object::take(lent));
            }

            fn count(pool: &Self::Pool) -> (usize, usize) {
                let status = pool.status();
                (status.size, status.size - status.available + status.waiting)
            }

            async fn close(pool: &Self::Pool, until: Instant) {
                pool.close();
                // What is lent leaves the pool when it is given back, and nobody is told.
                while pool.status().size > 0 && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    };
}

pools!("async-postgres", diesel_async::AsyncPgConnection);
pools!("async-mysql", diesel_async::AsyncMysqlConnection);
pools!("async-sqlite", super::sqlite::Connection);

/// bb8 tells nobody else why it could not connect: whoever waits sees a timeout.
#[derive(Clone, Copy, Debug)]
struct Told;

impl ::bb8::ErrorSink<PoolError> for Told {
    fn sink(&self, error: PoolError) {
        eprintln!("dbtest: the pool has no connection: {error}");
    }

    fn boxed_clone(&self) -> Box<dyn ::bb8::ErrorSink<PoolError>> {
        Box::new(*self)
    }
}

/// Connections that are being opened, in the whole process: bb8 does not count them.
static CONNECTING: AtomicUsize = AtomicUsize::new(0);

struct Connecting;

impl Connecting {
    fn new() -> Self {
        CONNECTING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        CONNECTING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How the pool gets its connections: the first is given, and a sandbox has no other.
fn manager<C: Driver>(place: &Place, url: String, first: C) -> Manager<C> {
    let is_sandbox = place.sandbox.is_some();
    let (place, first) = (Arc::new(place.clone()), Mutex::new(Some(first)));
    let checked = Arc::clone(&place);
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(move |url| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Neither pool's clones end with the test, and what outlives it must get nothing.
        let place = Arc::clone(&place);
        Box::pin(async move {
            match first {
                Some(connection) => Ok(connection),
                None if place.is_over() => {
                    Err(refused("dbtest: the test that this pool belonged to is over"))
                }
                None if is_sandbox => Err(refused(SANDBOX_LOST)),
                None => {
                    let _connecting = Connecting::new();
                    sandbox::fresh(url, &place).await
                }
            }
        })
    });
    // The connections are as young as the test: there is nothing else to test before each use.
    config.recycling_method = if is_sandbox {
        RecyclingMethod::CustomFunction(Box::new(move |connection| {
            let place = Arc::clone(&checked);
            Box::pin(async move {
                sandbox::settle(connection).await.inspect_err(|error| {
                    if C::is_closed(error) {
                        place.lose(C::db_error(error));
                    }
                })
            })
        }))
    } else {
        RecyclingMethod::Fast
    };
    AsyncDieselConnectionManager::new_with_config(url, config)
}

fn refused(words: &str) -> ConnectionError {
    ConnectionError::BadConnection(words.to_owned())
}

/// A pool of the place with one connection, and in a sandbox never another: that one is inside a
/// transaction that diesel-async's transaction manager knows of.
pub(super) async fn open<C: Driver, P: Pooling<C>>(place: &Place) -> Result<P::Pool, DbError> {
    let url = C::url(&place.url);
    // Made here, where its error is seen: bb8 tells nobody why it could not connect.
    let first = sandbox::connect(&url, place).await?;
    let (most, wait) = match place.sandbox {
        Some(_) => (1, SANDBOX_WAIT),
        None => (place.max_connections, WAIT),
    };
    let pool = P::build(manager(place, url, first), most, wait);
    // From here on, a pool without a connection is one that lost it.
    drop(P::take(&pool).await.map_err(|error| DbError::connection(None, error))?);
    Ok(pool)
}

/// Checks and ends the sandbox, closes the pool, counts what did not come back.
pub(super) async fn finish<C: Driver, P: Pooling<C>>(pool: P::Pool, place: &Place, end: End) -> Finished {
    let until = Instant::now() + GRACE;
    let closed = || place.lost.get().map_or(Boundary::Closed, |error| Boundary::Broken(error.clone()));
    let boundary = match &place.sandbox {
        None => Boundary::Intact,
        // The pool threw it away: whoever had it panicked, or was cancelled in the middle.
        Some(_) if P::count(&pool).0 == 0 => closed(),
        Some(sandbox) => match timeout_at(until, P::take(&pool)).await {
            Ok(Ok(mut lent)) => {
                let boundary = sandbox::end(&mut *lent, sandbox, end).await;
                P::discard(lent);
                boundary
            }
            _ if P::count(&pool).0 == 0 => closed(),
            _ => Boundary::Unknown,
        },
    };
    P::close(&pool, until).await;
    Finished { boundary, leaked: P::count(&pool).0 }
}

/// Closes a pool that nobody else has.
pub(super) async fn close<C, P: Pooling<C>>(pool: &P::Pool) {
    P::close(pool, Instant::now() + GRACE).await;
}

/// Whether a connection of the pool is checked out or connecting.
pub(super) fn watch<C: Driver, P: Pooling<C>>(pool: &P::Pool) -> Option<Watch> {
    let pool = pool.clone();
    Some(Box::new(move || P::count(&pool).1 > 0 || CONNECTING.load(Ordering::Relaxed) > 0))
}
