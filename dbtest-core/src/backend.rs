//! What an adapter implements: one ORM or driver on one engine.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use crate::engine::Engine;
use crate::setup::Migrations;

/// A boxed future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Says whether a handle is at work; see [`Backend::watch`].
pub type Watch = Box<dyn Fn() -> bool + Send + Sync>;

/// Rows of text, as a [`Session`] returns them: `None` is SQL's NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// One ORM or driver on one engine: `SqlxPostgres`, `SqlxSqlite`, ….
///
/// A backend opens maintenance sessions for core and handles for tests, and it ends a test's
/// handle. It knows nothing of strategies: the [`Place`] it is given says all there is to do.
///
/// # Contract
/// - A handle from [`open`](Backend::open) starts from fresh connections. One that was used
///   by an earlier test would carry its session settings, temporary tables and locks along.
/// - With [`Place::sandbox`] set, every statement of the handle runs inside one transaction
///   that was opened with [`Sandbox::begin`] *through the ORM's own transaction manager*, so
///   that the application's transactions become savepoints.
/// - With [`Place::on_connect`] set, it runs on every connection of the handle before the test has it.
/// - [`finish`](Backend::finish) leaves no connection of the handle open, or counts it in
///   [`Finished::leaked`].
///
/// A backend that breaks one of these is caught by the conformance suite.
pub trait Backend: fmt::Debug + Send + Sync + Sized + 'static {
    /// What the test gets: a pool or a connection of this ORM.
    type Handle: Send + 'static;

    /// The engine that this backend speaks to.
    const ENGINE: Engine;

    /// The ORM or driver, as it is named in messages: `"sqlx"`.
    const NAME: &'static str;

    /// Words by which a failed test's message is known to be this ORM's pool timeout. Under a
    /// sandbox that means a second connection was asked for, and the test is told so.
    const POOL_TIMEOUT: &'static [&'static str] = &[];

    /// Opens a maintenance session: one connection that runs text.
    ///
    /// # Errors
    /// [`DbError`] with [`DbError::connect`] set where no connection could be made.
    fn session(url: &str) -> impl Future<Output = Result<Box<dyn Session>, DbError>> + Send;

    /// Opens the handle of one test.
    ///
    /// # Errors
    /// [`DbError`] as the database or the driver gave it.
    fn open(place: &Place) -> impl Future<Output = Result<Self::Handle, DbError>> + Send;

    /// Ends the handle of one test: checks and ends the sandbox, closes every connection.
    fn finish(handle: Self::Handle, place: &Place, end: End) -> impl Future<Output = Finished> + Send;

    /// A function that says whether a connection of the handle is checked out or connecting.
    /// While one is, tokio's paused clock stands still, so that a query takes no virtual time.
    fn watch(_handle: &Self::Handle) -> Option<Watch> {
        None
    }

    /// The place's URL as this ORM reads it, where that differs from how core writes it. It is
    /// what [`Place::url`] says from then on, and what the test is shown.
    fn url(url: &str) -> String {
        url.to_owned()
    }

    /// This ORM's migrations from a folder of files.
    ///
    /// # Errors
    /// A sentence that says why the folder can't be used.
    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String>;
}

/// A maintenance connection that a backend opens for core: it runs SQL text.
///
/// Both methods take several statements in one text, separated by semicolons, and send them
/// in one round trip where the driver can.
#[async_trait]
pub trait Session: Send {
    /// Runs the statements and throws their rows away.
    ///
    /// # Errors
    /// The first statement's error; those after it did not run.
    async fn execute(&mut self, sql: &str) -> Result<(), DbError>;

    /// Runs the statements and returns the rows of all of them as text.
    ///
    /// # Errors
    /// The first statement's error; those after it did not run.
    async fn query(&mut self, sql: &str) -> Result<Rows, DbError>;

    /// Closes the connection and waits until it is closed.
    async fn close(self: Box<Self>);
}

impl fmt::Debug for dyn Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// An error of a database or its driver, in text that core can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DbError {
    /// SQLSTATE on Postgres, the error number on MySQL, the extended result code on SQLite.
    pub code: Option<String>,
    /// The database's own message.
    pub message: String,
    /// No connection was made, or it broke.
    pub connect: bool,
}

impl DbError {
    /// An error that a statement got.
    pub fn statement(code: Option<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), connect: false }
    }

    /// An error of the connection itself.
    pub fn connection(code: Option<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), connect: true }
    }

    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// Where a test works: a database or schema, how to reach it, and how to open it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The database, schema or file, as dbtest named it.
    pub name: String,
    /// The URL that opens it. It may hold a password: never print it, see [`Place::shown`].
    pub url: String,
    /// Set where the handle must be opened inside a transaction that is never committed.
    pub sandbox: Option<Sandbox>,
    /// SQL that runs on every new connection before the test has it; may be empty. A place with a
    /// [`sandbox`](Place::sandbox) has none.
    pub on_connect: String,
    /// The most connections that a pool may open.
    pub max_connections: u32,
    /// Set by core when the test is over: see [`is_over`](Place::is_over).
    pub over: Arc<AtomicBool>,
    /// Why the sandbox's connection was found dead: see [`lose`](Place::lose).
    pub lost: Arc<OnceLock<DbError>>,
}

impl Place {
    pub(crate) fn new(name: impl Into<String>, url: impl Into<String>, max_connections: u32) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            sandbox: None,
            on_connect: String::new(),
            max_connections,
            over: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// The test is over. Asked by a backend whose pools can't be closed, before it opens one more
    /// connection: a clone of the pool that outlives the test must not reach the next one.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Notes why the sandbox's connection is dead. A backend calls it whose pool throws a dead
    /// connection away on its own: when the test is over nobody could tell any more that it was not
    /// the test that closed it, and [`finish`](Backend::finish) reports it as
    /// [`Boundary::Broken`].
    pub fn lose(&self, error: DbError) {
        // The first reason explains the others.
        let _ = self.lost.set(error);
    }

    /// The place without its password, for messages.
    pub fn shown(&self) -> String {
        crate::url::shown(&self.url)
    }
}

/// The SQL of a transaction that is never committed. Core writes it, a backend runs it.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// Runs on the new connection before the transaction; may be empty.
    pub before: String,
    /// Opens the transaction, through the ORM's own manager.
    pub begin: String,
    /// Runs right after it, inside the transaction.
    pub after: String,
    /// Runs when the test is over, in order, while the boundary should still be there.
    pub checks: Vec<Check>,
    /// Ends the transaction without a trace.
    pub rollback: String,
    /// Ends the transaction and keeps what it did, for `DBTEST_KEEP=1`.
    pub commit: String,
    /// There is no SQL that makes COMMIT fail (SQLite). A backend whose driver has a hook for it
    /// uses that. Without one a COMMIT is not prevented, but the checks find it, or core does
    /// where the connection is gone.
    pub refuse_commit: bool,
}

/// One check of a sandbox's boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The statements must succeed.
    Succeeds(String),
    /// The query must return no row; each that it returns is a violation.
    Empty(String),
}

/// What a backend does with a sandbox's transaction at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing of it stays.
    Discard,
    /// All of it stays, so that a person can look at it.
    Commit,
}

/// How a handle ended.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// What the boundary's checks found; `Ok` where there was no sandbox.
    pub boundary: Boundary,
    /// Connections that the test did not give back.
    pub leaked: usize,
}

/// Whether a sandbox's transaction was still there, and ours, when the test was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// It was, or there was none to keep.
    #[default]
    Intact,
    /// Nobody could ask: the only connection was leaked or is broken.
    Unknown,
    /// Its connection was closed, by the test that owned it or by a pool that threw it away, and
    /// with it the transaction. Core looks whether anything was committed before.
    Closed,
    /// A check failed with this error.
    Broken(DbError),
    /// A check returned this row.
    Violated(String),
}
