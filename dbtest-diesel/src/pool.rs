//! Opens and ends a test's pool and its connections, the same for every engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dbtest_core::{
    Boundary, Check, DbError, End, Finished, Place, SANDBOX_LOST, SANDBOX_WAIT, Sandbox, Watch, blocking,
};
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, NopErrorHandler, PooledConnection};
use diesel::{ConnectionError, QueryResult};

use crate::speaks::Speaks;

/// Diesel's pool, as an application has it.
pub(crate) type Pool<C> = r2d2::Pool<ConnectionManager<C>>;

/// How r2d2 says that no connection was to be had: as it displays it, and as `unwrap` does.
pub(crate) const TIMEOUT: &[&str] = &["timed out waiting for connection", "Error(None)"];

/// How long the end of a test waits for connections that are on their way back to the pool.
const GRACE: Duration = Duration::from_secs(1);

/// What every connection of a test goes through before the test has it.
#[derive(Debug)]
struct Fresh {
    place: Place,
    opened: AtomicBool,
}

impl<C: Speaks> CustomizeConnection<C, r2d2::Error> for Fresh {
    fn on_acquire(&self, connection: &mut C) -> Result<(), r2d2::Error> {
        // A second one would begin an empty transaction, and the test's rows were gone. r2d2 has
        // no way to close a pool, so what outlives its test must get nothing either.
        let refused = if self.place.is_over() {
            Some("dbtest: the test that this pool belonged to is over")
        } else if self.opened.swap(true, Ordering::SeqCst) && self.place.sandbox.is_some() {
            Some(SANDBOX_LOST)
        } else {
            None
        };
        match refused {
            Some(words) => {
                Err(r2d2::Error::ConnectionError(ConnectionError::BadConnection(words.to_owned())))
            }
            None => begin(connection, &self.place).map_err(r2d2::Error::QueryError),
        }
    }
}

/// A pool of the place with r2d2's own defaults, but for connecting only when it is asked to; in
/// a sandbox a pool of one connection, inside a transaction that Diesel knows of.
pub(crate) fn open<C: Speaks>(place: &Place) -> Pool<C> {
    let pool = r2d2::Pool::builder()
        .max_size(place.max_connections.max(1))
        .min_idle(Some(0))
        // The connections are as young as the test: there is nothing to test before each use.
        .test_on_check_out(false)
        .error_handler(Box::new(NopErrorHandler))
        .connection_customizer(Box::new(Fresh { place: place.clone(), opened: AtomicBool::new(false) }));
    let pool = match place.sandbox {
        None => pool,
        Some(_) => pool.max_size(1).connection_timeout(SANDBOX_WAIT).idle_timeout(None).max_lifetime(None),
    };
    pool.build_unchecked(ConnectionManager::new(&place.url))
}

/// One connection that the test owns.
pub(crate) fn connect<C: Speaks>(place: &Place) -> Result<C, DbError> {
    let mut connection = crate::speaks::establish::<C>(&place.url)?;
    begin(&mut connection, place).map_err(C::db_error)?;
    Ok(connection)
}

fn run<C: Speaks>(connection: &mut C, sql: &str) -> QueryResult<()> {
    if sql.is_empty() { Ok(()) } else { connection.batch_execute(sql) }
}

/// Prepares the connection, and begins the sandbox where the place has one.
fn begin<C: Speaks>(connection: &mut C, place: &Place) -> QueryResult<()> {
    run(connection, C::PREPARE)?;
    run(connection, &place.on_connect)?;
    let Some(sandbox) = &place.sandbox else { return Ok(()) };
    run(connection, &sandbox.before)?;
    // Depth 1 in Diesel's own book, so that the application's transactions are savepoints; and
    // marked, or a pool would take the connection for one that somebody left in a transaction.
    // The transaction itself is another: Diesel does not notice that it is exchanged.
    connection.begin_test_transaction()?;
    connection.batch_execute(&format!("ROLLBACK; {}", sandbox.begin))?;
    connection.batch_execute(&sandbox.after)
}

/// Checks and ends the sandbox, closes the connections, counts what did not come back.
pub(crate) async fn finish<C: Speaks>(pool: Pool<C>, place: &Place, end: End) -> Finished {
    let sandbox = place.sandbox.clone();
    blocking(move || {
        let boundary = match &sandbox {
            Some(sandbox) => boundary(&pool, sandbox, end),
            None => Boundary::Intact,
        };
        let patience = Instant::now() + GRACE;
        loop {
            // Clones of the pool may live on; a connection in error is closed when it comes back.
            while let Some(connection) = pool.try_get() {
                discard(connection);
            }
            let leaked = pool.state().connections as usize;
            if leaked == 0 || sandbox.is_some() || Instant::now() > patience {
                return Finished { boundary, leaked };
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    })
    .await
}

fn boundary<C: Speaks>(pool: &Pool<C>, sandbox: &Sandbox, end: End) -> Boundary {
    // Never opened, or thrown away: Diesel closes a connection that a panic or a transaction
    // that would not end left behind.
    if pool.state().connections == 0 {
        return Boundary::Closed;
    }
    match pool.get_timeout(GRACE) {
        Ok(mut connection) => {
            let boundary = end_sandbox(&mut *connection, sandbox, end);
            discard(connection);
            boundary
        }
        Err(_) if pool.state().connections == 0 => Boundary::Closed,
        Err(_) => Boundary::Unknown,
    }
}

fn discard<C: Speaks>(mut connection: PooledConnection<ConnectionManager<C>>) {
    AnsiTransactionManager::transaction_manager_status_mut(&mut *connection).set_in_error();
}

fn end_sandbox<C: Speaks>(connection: &mut C, sandbox: &Sandbox, end: End) -> Boundary {
    for check in &sandbox.checks {
        match check {
            Check::Succeeds(sql) => {
                if let Err(error) = connection.batch_execute(sql) {
                    return Boundary::Broken(C::db_error(error));
                }
            }
            Check::Empty(sql) => match connection.texts(sql) {
                Ok(rows) => {
                    if let Some(row) = rows.into_iter().next() {
                        let row: Vec<_> =
                            row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect();
                        return Boundary::Violated(row.join(", "));
                    }
                }
                Err(error) => return Boundary::Broken(C::db_error(error)),
            },
        }
    }
    let last = match end {
        End::Discard => &sandbox.rollback,
        End::Commit => &sandbox.commit,
    };
    match connection.batch_execute(last) {
        Ok(()) => Boundary::Intact,
        Err(error) => Boundary::Broken(C::db_error(error)),
    }
}

/// Whether a connection of the pool is checked out.
pub(crate) fn watch<C: Speaks>(pool: &Pool<C>) -> Option<Watch> {
    let pool = pool.clone();
    Some(Box::new(move || {
        let state = pool.state();
        state.idle_connections < state.connections
    }))
}
