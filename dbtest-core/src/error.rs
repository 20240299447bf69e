//! Every error and every message. A message names the operation and the database, never a
//! password, and ends with the next step.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::backend::DbError;
use crate::engine::Engine;

/// What went wrong, for programs. People read the [`Error`]'s text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL, setting or builder option can't be used.
    Config,
    /// No server could be found or started.
    NoServer,
    /// A server is there but can't be reached or does not let us in.
    Connect,
    /// The server is too old.
    Version,
    /// The database user lacks a right.
    Rights,
    /// The server or database is not ours to touch.
    Refused,
    /// A strategy asks for what the engine or the user can't do.
    Unsupported,
    /// A migration or seed failed.
    Setup,
    /// A test left the transaction that was to be rolled back.
    Boundary,
    /// A place could not be made clean, kept or dropped.
    Cleanup,
    /// A statement of dbtest's own failed.
    Database,
    /// A file or process could not be used.
    System,
}

/// The error of every fallible call of dbtest. Cloning is cheap: tests that wait for the same
/// template share its error.
///
/// `Display` and `Debug` print the same text, because tests show errors through `unwrap()`.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    next: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result of dbtest.
pub type Result<T, E = Error> = std::result::Result<T, E>;

const FREE_SPACE: &str = "free space where the server has its data (SQLite: in DBTEST_DIR, which may be another folder), \
     then run the tests again";

/// The step that leads to a server in a container, where none was tried.
pub(crate) const START_DOCKER: &str = "start Docker";

/// Whether a database says that its disk is full. It has many codes for that, and MySQL some that mean
/// other things too.
fn is_full(message: &str) -> bool {
    let table_is_full = message.contains("The table '") && message.contains("' is full");
    table_is_full
        || ["No space left on device", "disk is full", "Disk full"]
            .iter()
            .any(|words| message.contains(words))
}

impl Error {
    /// What went wrong, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The database's own code, where the error is one of the database.
    pub(crate) fn code(&self) -> Option<&str> {
        self.0.source.as_ref()?.downcast_ref::<DbError>()?.code.as_deref()
    }

    /// What failed, without the next step.
    pub(crate) fn what(&self) -> &str {
        &self.0.what
    }

    /// What to do about it.
    pub(crate) fn next(&self) -> &str {
        &self.0.next
    }

    /// An error with a sentence that says what failed on which database, and the next step.
    /// For strategies and backends of other crates.
    pub fn new(kind: ErrorKind, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), next: next.into(), source: None }))
    }

    fn caused(
        kind: ErrorKind,
        what: impl Into<String>,
        next: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self(Arc::new(Inner { kind, what: what.into(), next: next.into(), source }))
    }

    /// For a test that needs a setup which failed in another test of this run.
    pub(crate) fn setup_failed_before(first: &str) -> Self {
        Self::new(
            ErrorKind::Setup,
            format!("the setup failed before in this run, in {first}"),
            "read that test's error; the setup is not tried again in this run",
        )
    }

    pub(crate) fn system(operation: impl fmt::Display, error: std::io::Error) -> Self {
        let next = match error.kind() {
            std::io::ErrorKind::StorageFull => "free space there, or set DBTEST_DIR to another folder",
            std::io::ErrorKind::PermissionDenied => {
                "give this user the right, or set DBTEST_DIR to a folder of its own"
            }
            _ => "see the cause; DBTEST_DIR sets another folder for dbtest's files",
        };
        Self::caused(ErrorKind::System, format!("cannot {operation}: {error}"), next, error)
    }

    pub(crate) fn malformed_url(source: &str, engine: Engine, why: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("{source} is not a URL of a {engine} server: {why}"),
            format!("write it as {}", engine.example_url()),
        )
    }

    pub(crate) fn setting(name: &str, value: &str, expected: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("the environment variable {name} is {value:?}, which dbtest cannot use"),
            format!("set it to {expected}, or unset it"),
        )
    }

    pub(crate) fn dotenv(place: &str, why: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("cannot read {place}: {why}"),
            "write it as NAME=value, with quotes around a value that has spaces; \
             DBTEST_DOTENV=0 leaves the file unread",
        )
    }

    pub(crate) fn stable_word(word: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("a stable database can't be called {word:?}"),
            "write up to 32 lower-case letters and digits",
        )
    }

    pub(crate) fn no_setup(test: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!(
                "{test} names no setup: no migrations, no seeds, and its crate has no `migrations` folder"
            ),
            "add `migrations = \"path\"` to the attribute or `.migrations(…)` to the fixture; \
             for an empty database write `migrations = false` or `.empty()`",
        )
    }

    pub(crate) fn empty_folder(folder: &std::path::Path) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("the folder {} has no migrations (no .sql file)", folder.display()),
            "name the folder that holds them; for an empty database write `migrations = false` or `.empty()`",
        )
    }

    pub(crate) fn seed_file(path: &std::path::Path) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("the seed file {} is of no kind that dbtest reads", path.display()),
            "name a .sql file, or a .csv or .json file of one table's rows",
        )
    }

    pub(crate) fn migrations_folder(folder: &std::path::Path, why: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("the migrations in {} cannot be used: {why}", folder.display()),
            "name a folder that holds migrations; for an empty database write `migrations = false` or `.empty()`",
        )
    }

    pub(crate) fn no_server(engine: Engine, tried: &[(String, Error)]) -> Self {
        let mut what = format!("no {engine} server could be found or started. Tried:");
        for (name, error) in tried {
            what.push_str(&format!("\n  - {name}: {}", error.0.what));
        }
        // What is missing for a container may be another thing than Docker.
        let container = tried.iter().find(|(name, _)| name.starts_with("container "));
        let container = container.map_or(START_DOCKER, |(_, error)| error.next());
        Self::new(ErrorKind::NoServer, what, engine.server_next_step(container))
    }

    /// An image that is not here and can't be had.
    #[cfg(feature = "containers")]
    pub(crate) fn no_image(image: &str, engine: Engine, why: impl fmt::Display) -> Self {
        let (variable, default) = crate::config::image_setting(engine);
        // Two servers share the variable.
        let example = if engine == Engine::MySql { "mariadb:11.8" } else { default };
        Self::unavailable(
            format!("container {image} cannot be started: {why}"),
            format!(
                "pull the image (docker pull {image}), or name one that is here in {variable} ({example})"
            ),
        )
    }

    /// A server is missing; `why` says what failed. For one entry of `auto`.
    pub(crate) fn unavailable(why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoServer, why, next)
    }

    pub(crate) fn connect(place: &str, engine: Engine, error: DbError) -> Self {
        let next = match error.code.as_deref() {
            Some("28P01" | "28000" | "1045" | "1698") => {
                "check user and password in the URL (dbtest never prints them)"
            }
            Some("53300" | "1040") => {
                "raise the server's connection limit, or lower DBTEST_MAX_CONNECTIONS or the number of test threads"
            }
            Some("3D000" | "1049") => {
                "name a database that exists in the URL; dbtest makes its own beside it"
            }
            Some("57P03") => "wait until the server has started, then run the test again",
            _ => "start the server, or correct or unset the URL so that dbtest starts one",
        };
        let what = format!("cannot connect to {engine} ({place}): {}", error.message);
        Self::caused(ErrorKind::Connect, what, next, error)
    }

    /// A person dropped it while tests run.
    pub(crate) fn template_gone(template: &str, place: &str) -> Self {
        Self::new(
            ErrorKind::Database,
            format!("cannot copy the template {template} ({place}): it is gone"),
            "run the test again, which builds it anew; clean a MySQL server when no test runs",
        )
    }

    pub(crate) fn too_old(engine: &str, place: &str, version: &str, least: &str) -> Self {
        Self::new(
            ErrorKind::Version,
            format!("the server ({place}) is {engine} {version}; dbtest needs {least} or newer"),
            "upgrade it, or unset the URL so that dbtest starts a current one",
        )
    }

    pub(crate) fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, what, next)
    }

    pub(crate) fn unsupported(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, what, next)
    }

    /// A second handle of a sandbox that has one connection.
    pub(crate) fn one_connection(strategy: &str, engine: Engine, place: &str) -> Self {
        Self::unsupported(
            format!(
                "a read-only handle to {place} would need a second connection, and under the strategy \
                 {strategy:?} a test on {engine} has one, which alone sees the test's rows"
            ),
            "use the strategy \"truncate\" or \"template\" for this test",
        )
    }

    /// A statement of dbtest's own failed.
    pub(crate) fn database(operation: &str, place: &str, error: DbError) -> Self {
        let (kind, next) = match error.code.as_deref() {
            Some("42501" | "1044" | "1142" | "1227" | "1370" | "1410" | "1419") => (
                ErrorKind::Rights,
                "give the database user the right (Postgres: ALTER ROLE … CREATEDB; MySQL: GRANT ALL ON \
                 `dbtest\\_%`.* TO …), or use the strategy \"schema\", which creates no database",
            ),
            _ if is_full(&error.message) => (ErrorKind::Database, FREE_SPACE),
            Some("53300" | "1040") => (
                ErrorKind::Database,
                "raise the server's connection limit, or lower DBTEST_MAX_CONNECTIONS or the number of test threads",
            ),
            _ => (ErrorKind::Database, "see the database's message; DBTEST_FRESH=1 builds everything anew"),
        };
        Self::caused(kind, format!("cannot {operation} ({place}): {}", error.message), next, error)
    }

    pub(crate) fn setup(step: &str, statement: Option<&str>, message: &str) -> Self {
        let mut what = format!("the setup failed in {step}: {message}");
        if let Some(statement) = statement {
            what.push_str("\n  statement: ");
            what.push_str(&crate::sql::excerpt(statement));
        }
        if is_full(message) {
            return Self::new(ErrorKind::Setup, what, FREE_SPACE);
        }
        Self::new(ErrorKind::Setup, what, format!("correct {step}, then run the tests again"))
    }

    pub(crate) fn boundary(test: &str, place: &str, why: &str, next: &str) -> Self {
        Self::new(
            ErrorKind::Boundary,
            format!("{test} left its transaction ({place}): {why}"),
            next.to_owned(),
        )
    }

    /// A sandbox could not be opened.
    #[cfg(feature = "sandbox")]
    pub(crate) fn sandbox(place: &str, why: impl fmt::Display) -> Self {
        let error = DbError::connection(None, why.to_string());
        Self::connect(place, Engine::Postgres, error)
    }

    /// A sandbox of a server whose connections must be encrypted.
    #[cfg(feature = "sandbox")]
    pub(crate) fn no_tls(place: &str, mode: &str) -> Self {
        Self::unsupported(
            format!(
                "cannot open the sandbox of {place}: its connections must be encrypted (sslmode={mode}), and a sandbox speaks no TLS"
            ),
            "use the strategy truncate or template, or sslmode=prefer (also in PGSSLMODE) where the network is trusted",
        )
    }

    pub(crate) fn leaked(test: &str, leaked: usize) -> Self {
        Self::new(
            ErrorKind::Cleanup,
            format!("{test} leaked connections: {leaked} (DBTEST_LEAKS=fail)"),
            "give every connection back before the test ends: await the tasks that hold one",
        )
    }

    pub(crate) fn not_given_back(test: &str, place: &str) -> Self {
        Self::new(
            ErrorKind::Cleanup,
            format!("{test} ended while a task of it still had its database ({place})"),
            "await that task, or close the database there; this process keeps the place until it ends",
        )
    }

    pub(crate) fn no_connections(
        server: &str,
        test: &str,
        missing: u32,
        connections: u32,
        holders: &[(String, u32)],
    ) -> Self {
        const SHOWN: usize = 8;
        let mut held: Vec<String> =
            holders.iter().take(SHOWN).map(|(holder, count)| format!("{count} by {holder}")).collect();
        if holders.len() > SHOWN {
            let others: u32 = holders[SHOWN..].iter().map(|(_, count)| count).sum();
            held.push(format!("{others} by {} others", holders.len() - SHOWN));
        }
        let held = held.join(", ");
        Self::new(
            ErrorKind::Connect,
            format!(
                "{test} waited in vain for {missing} connections to {server}: all tests together may have \
                 {connections}, and they are held: {held}"
            ),
            "raise the server's max_connections, or lower DBTEST_MAX_CONNECTIONS (the pools' size), or run fewer \
             tests at once; DBTEST_CONNECTIONS says how many connections all tests may have",
        )
    }

    pub(crate) fn not_to_be_seen(place: &str) -> Self {
        Self::unsupported(
            format!(
                "cannot read the rows of {place}: on this engine the strategy \"rollback\" shows them to the test's own connection alone"
            ),
            "use the strategy \"truncate\" or \"template\" for this test",
        )
    }

    pub(crate) fn cleanup(place: &str, why: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Cleanup,
            format!("cannot make {place} clean: {why}"),
            "the place is retired and the next test gets another; if this repeats, run with DBTEST_FRESH=1",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  next step: {}", self.0.what, self.0.next)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
