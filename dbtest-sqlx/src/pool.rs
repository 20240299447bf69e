//! Opens and ends a test's pool, the same for every engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbtest_core::{
    Boundary, Check, DbError, End, Finished, Place, SANDBOX_LOST, SANDBOX_WAIT, Sandbox, Watch,
};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Database, Decode, Executor, Pool};

use crate::error::db_error;
use crate::session::texts;

/// How long the end of a test waits for connections that are on their way back to the pool.
const GRACE: Duration = Duration::from_secs(1);

/// Runs on the new connection of a sandbox, before its transaction.
pub(crate) type Guard<DB> = for<'c> fn(
    &'c mut <DB as Database>::Connection,
    &'c Sandbox,
) -> dbtest_core::BoxFuture<'c, sqlx::Result<()>>;

/// A pool of the place, with sqlx's own defaults; in a sandbox a pool of one connection, inside
/// a transaction that sqlx's transaction manager knows of.
pub(crate) async fn open<DB>(
    place: &Place,
    options: <DB::Connection as Connection>::Options,
    guard: Guard<DB>,
) -> Result<Pool<DB>, DbError>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    // The connections are as young as the test: there is nothing to test before each use.
    let pool = PoolOptions::<DB>::new().max_connections(place.max_connections).test_before_acquire(false);
    let Some(sandbox) = place.sandbox.clone() else {
        let first: Arc<str> = place.on_connect.as_str().into();
        let pool = match &*first {
            "" => pool,
            _ => pool.after_connect(move |connection, _| {
                let first = Arc::clone(&first);
                Box::pin(async move { run::<DB>(connection, &first).await })
            }),
        };
        return Ok(pool.connect_lazy_with(options));
    };
    let (sandbox, opened) = (Arc::new(sandbox), Arc::new(AtomicBool::new(false)));
    pool.max_connections(1)
        .acquire_timeout(SANDBOX_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let (sandbox, opened) = (Arc::clone(&sandbox), Arc::clone(&opened));
            Box::pin(async move {
                if opened.swap(true, Ordering::SeqCst) {
                    // A second one would begin an empty transaction, and the test's rows were gone.
                    return Err(sqlx::Error::Configuration(SANDBOX_LOST.into()));
                }
                guard(connection, &sandbox).await?;
                if !sandbox.before.is_empty() {
                    run::<DB>(connection, &sandbox.before).await?;
                }
                // Depth 1 in sqlx's own book: the application's transactions are savepoints.
                let begin = AssertSqlSafe(format!("{}; {}", sandbox.begin, sandbox.after));
                std::mem::forget(connection.begin_with(begin).await?);
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .map_err(db_error)
}

async fn run<DB>(connection: &mut DB::Connection, sql: &str) -> sqlx::Result<()>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Checks and ends the sandbox, closes the pool, counts what did not come back.
pub(crate) async fn finish<DB>(pool: Pool<DB>, place: &Place, end: End, release: Guard<DB>) -> Finished
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> Option<String>: Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut finished = Finished::default();
    if let Some(sandbox) = &place.sandbox {
        finished.boundary = match tokio::time::timeout(GRACE, pool.acquire()).await {
            Ok(Ok(mut connection)) => {
                let boundary = end_sandbox::<DB>(&mut connection, sandbox, end, release).await;
                // sqlx must not roll back what is already ended.
                connection.close_on_drop();
                boundary
            }
            _ if pool.size() == 0 => Boundary::Broken(DbError::connection(
                None,
                "the only connection was closed, and the transaction with it: by the application, or by the driver \
                 when a BEGIN with options or a ROLLBACK of it failed",
            )),
            _ => Boundary::Unknown,
        };
    }
    if tokio::time::timeout(GRACE, pool.close()).await.is_err() {
        // While one is missing, sqlx does not close the idle ones either; those are not leaked.
        finished.leaked = (pool.size() as usize).saturating_sub(pool.num_idle());
    }
    finished
}

async fn end_sandbox<DB>(
    connection: &mut DB::Connection,
    sandbox: &Sandbox,
    end: End,
    release: Guard<DB>,
) -> Boundary
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> Option<String>: Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    let (mut violations, mut text) = (Vec::new(), String::new());
    for check in &sandbox.checks {
        match check {
            Check::Succeeds(sql) => text = format!("{text}{sql}; "),
            Check::Empty(sql) => violations.push(sql),
        }
    }
    // Where a hook refuses every COMMIT, that is the look at the constraints which it checks.
    let refused = sandbox.refuse_commit && end == End::Discard;
    if !refused && let Some(boundary) = violated::<DB>(connection, &violations).await {
        return boundary;
    }
    text.push_str(match end {
        End::Discard if refused => &sandbox.commit,
        End::Discard => &sandbox.rollback,
        End::Commit => {
            if let Err(error) = release(connection, sandbox).await {
                return Boundary::Broken(db_error(error));
            }
            &sandbox.commit
        }
    });
    // In one go: what comes after a statement that fails does not run.
    let error = match run::<DB>(connection, &text).await {
        Ok(()) => return Boundary::Intact,
        Err(error) => db_error(error),
    };
    match error.code.as_deref() {
        Some(REFUSED) if refused => Boundary::Intact,
        Some(FOREIGN_KEY) if refused => {
            violated::<DB>(connection, &violations).await.unwrap_or(Boundary::Broken(error))
        }
        _ => Boundary::Broken(error),
    }
}

/// SQLite's COMMIT got as far as the hook, which rolled the transaction back.
const REFUSED: &str = "531";

/// A constraint that is checked at COMMIT does not hold.
const FOREIGN_KEY: &str = "787";

/// The first row that one of the queries returns.
async fn violated<DB>(connection: &mut DB::Connection, queries: &[&String]) -> Option<Boundary>
where
    DB: Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> Option<String>: Decode<'r, DB>,
    usize: ColumnIndex<DB::Row>,
{
    for sql in queries {
        match sqlx::raw_sql(AssertSqlSafe(sql.as_str())).fetch_optional(&mut *connection).await {
            Ok(None) => {}
            Ok(Some(row)) => {
                let row = texts::<DB>(&row).unwrap_or_default();
                let row: Vec<_> = row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect();
                return Some(Boundary::Violated(row.join(", ")));
            }
            Err(error) => return Some(Boundary::Broken(db_error(error))),
        }
    }
    None
}

/// Whether a connection of the pool is checked out or connecting.
pub(crate) fn watch<DB: Database>(pool: &Pool<DB>) -> Option<Watch> {
    let pool = pool.clone();
    Some(Box::new(move || pool.num_idle() < pool.size() as usize))
}

/// For engines whose sandbox is SQL alone.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn no_guard<'c, C: Send>(
    _: &'c mut C,
    _: &'c Sandbox,
) -> dbtest_core::BoxFuture<'c, sqlx::Result<()>> {
    Box::pin(async { Ok(()) })
}
