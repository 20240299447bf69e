//! Servers: found or started, once per machine.

pub(crate) mod budget;
mod container;
mod doctor;
mod idle;
mod installed;
mod pooler;
mod registry;
pub(crate) mod spread;
pub(crate) mod watched;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

pub use self::container::Container;
pub use self::doctor::{Diagnosis, Finding, Health};
use self::registry::State;
pub(crate) use self::registry::{Entry, private};
use crate::backend::{BoxFuture, DbError, Session};
use crate::config::{ServerChoice, config, image_for, patient, url_for};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::report::{Phase, timed};
use crate::{guard, hash, run, runtime};

/// Where a test's databases live: how to find or start a server.
///
/// A server that dbtest starts is shared by all test processes of this user, found again by
/// the next run, reachable from this machine only, and ends itself when no client has been
/// connected for `DBTEST_IDLE` seconds.
///
/// ```
/// use dbtest_core::Server;
///
/// let found = Server::auto();
/// let own = Server::url("postgres://me:secret@localhost/app");
/// let pinned: Server = Server::container("postgres:17").arg("-c").arg("timezone=UTC").into();
/// assert!(!format!("{own:?}").contains("secret"));
/// # let _ = (found, pinned);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Server(Kind);

#[derive(Clone, Default, PartialEq, Eq, Hash)]
enum Kind {
    #[default]
    Auto,
    Url(String),
    Urls(Vec<String>),
    /// One of several that a variable names.
    Listed(String, String),
    Container(Container),
    Installed(Option<PathBuf>),
    Directory(PathBuf),
}

impl Server {
    /// The first that there is: the URL in `DBTEST_POSTGRES_URL` or `DBTEST_MYSQL_URL`, in
    /// `DATABASE_URL` if its scheme fits; a container; installed binaries. A URL that is set
    /// and fails is an error and is never skipped over. `DBTEST_SERVER` names the only kind
    /// to try. For SQLite: a folder in `DBTEST_DIR`.
    pub fn auto() -> Self {
        Self::default()
    }

    /// The server at this URL, which must be a test server: on a unix socket, on a loopback
    /// host, or on a host named in `DBTEST_ALLOW_HOST`. dbtest makes its own databases beside
    /// the URL's.
    pub fn url(url: impl Into<String>) -> Self {
        Self(Kind::Url(url.into()))
    }

    /// Several servers, as [`url`](Server::url) says of each. Every test goes to the one on which
    /// this process has the fewest tests; one that can't be reached is left out, with a line on stderr.
    ///
    /// ```
    /// use dbtest_core::Server;
    ///
    /// let two = Server::urls(["postgres://ci@localhost:5432/ci", "postgres://ci@localhost:5433/ci"]);
    /// # assert!(format!("{two:?}").contains("5433"));
    /// ```
    pub fn urls(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Kind::Urls(urls.into_iter().map(Into::into).collect()))
    }

    /// A container of this image, such as `postgres:17`, `mysql:8.4` or `mariadb:11.8`. Needs
    /// the feature `containers`.
    pub fn container(image: impl Into<String>) -> Container {
        Container::new(image)
    }

    /// A server from binaries that are installed on this machine: the ones on `PATH`, else the
    /// newest in the places where packages put them.
    pub fn installed() -> Self {
        Self(Kind::Installed(None))
    }

    /// A server from the binaries in this folder: `postgres` and `initdb`, or `mariadbd` or
    /// `mysqld`.
    pub fn installed_in(folder: impl Into<PathBuf>) -> Self {
        Self(Kind::Installed(Some(folder.into())))
    }

    /// A folder for SQLite's files. It is made, for this user alone, where it is missing.
    pub fn directory(folder: impl Into<PathBuf>) -> Self {
        Self(Kind::Directory(folder.into()))
    }
}

impl From<Container> for Server {
    fn from(container: Container) -> Self {
        Self(Kind::Container(container))
    }
}

/// Without the URL's password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Auto => f.write_str("Server::auto()"),
            Kind::Url(url) => write!(f, "Server::url({:?})", crate::url::shown(url)),
            Kind::Urls(urls) => {
                write!(
                    f,
                    "Server::urls({:?})",
                    urls.iter().map(|url| crate::url::shown(url)).collect::<Vec<_>>()
                )
            }
            Kind::Listed(variable, url) => write!(f, "{} of {variable}", crate::url::shown(url)),
            Kind::Container(container) => container.fmt(f),
            Kind::Installed(None) => f.write_str("Server::installed()"),
            Kind::Installed(Some(folder)) => write!(f, "Server::installed_in({folder:?})"),
            Kind::Directory(folder) => write!(f, "Server::directory({folder:?})"),
        }
    }
}

/// Opens a maintenance session on a URL. Core knows no driver; the backend gives this.
pub(crate) type Connect =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Box<dyn Session>, DbError>> + Send + Sync>;

/// A running server.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    /// The maintenance URL. It may hold a password: show it with `url::shown`.
    pub(crate) url: String,
    /// Where it came from, for messages: `DATABASE_URL`, `container postgres:18`.
    pub(crate) origin: String,
    /// dbtest started it, in this run or an earlier one.
    pub(crate) started: bool,
    /// Where its state is written, where it was found by that.
    pub(crate) entry: Option<Entry>,
    /// Another process of this run found it, and this one has not asked it anything yet.
    pub(crate) recalled: bool,
    /// The session that proved that the server answers, until somebody takes it.
    session: Mutex<Option<Box<dyn Session>>>,
}

impl Running {
    fn new(
        engine: Engine,
        url: String,
        origin: String,
        started: bool,
        session: Option<Box<dyn Session>>,
    ) -> Self {
        Self { engine, url, origin, started, entry: None, recalled: false, session: Mutex::new(session) }
    }

    /// A maintenance session on [`url`](Self::url): the one that found the server, once, so that a
    /// process that needs one makes one connection and not two; then new ones. To be awaited
    /// on dbtest's runtime.
    pub(crate) async fn session(&self, connect: &Connect) -> Result<Box<dyn Session>> {
        let found = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = found {
            return Ok(session);
        }
        let failed = |error| Error::connect(&self.shown(), self.engine, error);
        let mut session = reach(connect, &self.url, patient(PATIENCE)).await.map_err(failed)?;
        if !self.started && self.engine == Engine::Postgres {
            session.execute(guard::MARK).await.map_err(failed)?;
        }
        Ok(session)
    }

    /// The server in a message: where it is and where it came from.
    pub(crate) fn shown(&self) -> String {
        format!("{}, {}", crate::url::shown(&self.url), self.origin)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.shown())
    }
}

/// How long a server that is said to run may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server that was just started may take until it lets us in.
const START: Duration = Duration::from_secs(90);

/// How long a server that starts may take to say so.
const SILENCE: Duration = Duration::from_secs(5);

type Found = Arc<OnceCell<Result<Arc<Running>>>>;

static FOUND: LazyLock<Mutex<HashMap<(Engine, Server), Found>>> = LazyLock::new(Mutex::default);

/// Finds or starts the server, once per process: all tests of a process share the outcome,
/// also a bad one, so that none waits again for what another waited for in vain.
///
/// # Errors
/// Says which servers were tried, why each could not be had, and the next step.
pub(crate) async fn find(server: &Server, engine: Engine, connect: &Connect) -> Result<Arc<Running>> {
    let found = {
        let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((engine, server.clone())).or_default())
    };
    let look = || {
        let (server, connect) = (server.clone(), Arc::clone(connect));
        runtime::run(Box::pin(async move {
            timed(Phase::Server, recall_or_look(&server, engine, &connect)).await.map(Arc::new)
        }))
    };
    found.get_or_init(look).await.clone()
}

/// Forgets a server that another process of this run had found, so that [`find`] looks for it.
/// `false` if this process found it itself, and knows better than to look again.
pub(crate) fn forget_recalled(server: &Server, engine: Engine) -> Result<bool> {
    let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (engine, server.clone());
    let found = all.get(&key).and_then(|cell| cell.get().cloned());
    if !found.is_some_and(|found| found.is_ok_and(|running| running.recalled)) {
        return Ok(false);
    }
    all.remove(&key);
    run::forget(config()?, &note(server, engine)?);
    Ok(true)
}

/// A server as one process of a run tells it to the others.
#[derive(Serialize, Deserialize)]
struct Seen {
    url: String,
    origin: String,
    started: bool,
}

/// The note of the server that this setting means, with all that has a say in it.
fn note(server: &Server, engine: Engine) -> Result<String> {
    let config = config()?;
    let own = match &server.0 {
        Kind::Url(url) | Kind::Listed(_, url) => url.clone(),
        _ => String::new(),
    };
    let parts = [
        engine.word().to_owned(),
        format!("{server:?}"),
        own,
        format!("{:?} {:?} {:?}", config.server, config.idle, config.allow_hosts),
        format!("{:?}", url_for(engine)?),
        image_for(engine)?,
    ];
    Ok(format!("server-{}", hash::word(&parts.each_ref().map(String::as_str))))
}

/// Whether a server that another process of this run found is still there, its first user finds
/// out: asking it here would cost every test a connection.
async fn recall_or_look(server: &Server, engine: Engine, connect: &Connect) -> Result<Running> {
    if engine == Engine::Sqlite {
        return sqlite(server);
    }
    let (config, note) = (config()?, note(server, engine)?);
    let seen = run::read(config, &note).and_then(|text| serde_json::from_str(&text).ok());
    if let Some(Seen { url, origin, started }) = seen {
        return Ok(Running { recalled: true, ..Running::new(engine, url, origin, started, None) });
    }
    let running = look(server, engine, connect).await?;
    let Running { url, origin, started, .. } = &running;
    let seen = Seen { url: url.clone(), origin: origin.clone(), started: *started };
    // Strings and a truth value: this can't fail.
    run::write(config, &note, &serde_json::to_string(&seen).unwrap_or_default());
    Ok(running)
}

async fn look(server: &Server, engine: Engine, connect: &Connect) -> Result<Running> {
    match &server.0 {
        Kind::Auto => auto(engine, connect).await,
        Kind::Url(url) => at_url("the fixture's URL", url, engine, connect).await,
        Kind::Listed(variable, url) => at_url(variable, url, engine, connect).await,
        Kind::Urls(urls) => match urls.first() {
            Some(url) => at_url("the fixture's URLs", url, engine, connect).await,
            None => Err(Error::unavailable("the fixture's list of URLs is empty", "name a server in it")),
        },
        Kind::Container(container) => container::find(container, engine, connect).await,
        Kind::Installed(folder) => installed::find(folder.as_deref(), engine, connect).await,
        Kind::Directory(folder) => Err(Error::unsupported(
            format!("{engine} has a server; the folder {} can't hold its databases", folder.display()),
            "use Server::auto(), Server::url(…), Server::container(…) or Server::installed()",
        )),
    }
}

async fn auto(engine: Engine, connect: &Connect) -> Result<Running> {
    let choice = config()?.server;
    let may = |kind| choice == ServerChoice::Auto || choice == kind;
    let mut tried = Vec::new();
    if may(ServerChoice::Url) {
        if let Some((variable, text)) = url_for(engine)? {
            let url = spread::urls(&text).next().unwrap_or(&text);
            return at_url(&variable, url, engine, connect).await;
        }
        tried.push(("a URL".to_owned(), Error::unavailable("none is set", "")));
    }
    if may(ServerChoice::Container) {
        let image = image_for(engine)?;
        let name = format!("container {image}");
        match container::find(&Container::new(image), engine, connect).await {
            Ok(running) => return Ok(running),
            Err(error) => tried.push((name, error)),
        }
    }
    if may(ServerChoice::Installed) {
        match installed::find(None, engine, connect).await {
            Ok(running) => return Ok(running),
            Err(error) => tried.push(("installed binaries".to_owned(), error)),
        }
    }
    Err(Error::no_server(engine, &tried))
}

/// The servers that are there, without starting one: the one that the environment names, and those
/// that some process of this user started and that still answer. For SQLite, its folder.
///
/// # Errors
/// Of each: it is named but can't be used, or is there but lets nobody in.
pub(crate) async fn present(engine: Engine, connect: &Connect) -> Vec<Result<Running>> {
    let config = match config() {
        Ok(config) => config,
        Err(error) => return vec![Err(error)],
    };
    if engine == Engine::Sqlite {
        // Looking makes no folder.
        let there = config.dir.join("sqlite").is_dir();
        return there.then(|| sqlite(&Server::auto())).into_iter().collect();
    }
    let mut servers = Vec::new();
    if matches!(config.server, ServerChoice::Auto | ServerChoice::Url) {
        match url_for(engine) {
            Ok(Some((variable, text))) => {
                for url in spread::urls(&text) {
                    servers.push(at_url(&variable, url, engine, connect).await);
                }
            }
            Ok(None) => {}
            Err(error) => return vec![Err(error)],
        }
    }
    servers.extend(started(engine, connect).await);
    servers
}

/// Those that some process of this user started and that still answer.
async fn started(engine: Engine, connect: &Connect) -> Vec<Result<Running>> {
    let mut servers = Vec::new();
    let states = match registry::states() {
        Ok(states) => states,
        Err(error) => return vec![Err(error)],
    };
    for (entry, state) in
        states.into_iter().filter(|(_, state)| crate::url::engine(&state.url) == Some(engine))
    {
        let origin = if state.origin.is_empty() { "started by dbtest".to_owned() } else { state.origin };
        let silent = || {
            let why = format!("no answer within {} seconds", patient(PATIENCE).as_secs());
            Error::connect(&origin, engine, DbError::connection(None, why))
        };
        match tokio::time::timeout(patient(PATIENCE), connect(state.url.clone())).await {
            Ok(Ok(session)) => {
                let mut running = Running::new(engine, state.url, origin, true, Some(session));
                running.entry = Some(entry);
                servers.push(Ok(running));
            }
            Ok(Err(error)) if is_full(&error) => servers.push(Err(Error::connect(&origin, engine, error))),
            // It ended itself: a server that nobody uses does.
            Ok(Err(_)) => {}
            Err(_) => servers.push(Err(silent())),
        }
    }
    servers
}

/// Ends a server that dbtest started. The next test that needs it starts it again.
///
/// # Errors
/// The container engine's or the system's own.
pub(crate) async fn end(entry: &Entry, what: &str) -> Result<()> {
    // Nobody starts it while we end it.
    let lock = entry.lock(what).await?;
    let ended = match entry.read() {
        Some(State { container: Some(id), .. }) => container::end(&id).await,
        Some(State { folder: Some(folder), .. }) => installed::end(entry, folder).await,
        _ => Ok(()),
    };
    if ended.is_ok() {
        entry.forget();
    }
    drop(lock);
    ended
}

/// The server at a URL that a person set: checked, reached, and looked at for signs of
/// production before anything is done there.
async fn at_url(source: &str, url: &str, engine: Engine, connect: &Connect) -> Result<Running> {
    let parsed = guard::check(url, engine, source, "make test databases", &config()?.allow_hosts)?;
    let url = maintenance(&parsed, engine);
    let mut session = reach(connect, &url, patient(PATIENCE))
        .await
        .map_err(|error| Error::connect(&format!("{}, {source}", crate::url::shown(&url)), engine, error))?;
    let mut running = Running::new(engine, url, source.to_owned(), false, None);
    guard::signs(engine, &mut *session, &running).await?;
    if engine == Engine::Postgres {
        pooler::refuse(connect, &mut *session, &running).await?;
    }
    running.session = Mutex::new(Some(session));
    Ok(running)
}

/// The URL whose database dbtest takes its locks in. On MySQL locks belong to the server, and
/// `information_schema` is there for every user; on Postgres it is the database that the URL names, since the
/// user may be let into no other. A stable database of ours is dropped and made anew, so it is not
/// where to wait for that.
fn maintenance(url: &::url::Url, engine: Engine) -> String {
    match engine {
        Engine::MySql => {
            let url = crate::url::with_database(url, "information_schema");
            url.strip_prefix("mariadb:").map_or_else(|| url.clone(), |rest| format!("mysql:{rest}"))
        }
        Engine::Postgres if Name::parse(url.path().trim_start_matches('/')).is_some() => {
            crate::url::with_database(url, "postgres")
        }
        _ => url.as_str().to_owned(),
    }
}

fn sqlite(server: &Server) -> Result<Running> {
    let (folder, origin) = match &server.0 {
        Kind::Auto => (config()?.dir.join("sqlite"), "DBTEST_DIR"),
        Kind::Directory(folder) => (folder.clone(), "the fixture's folder"),
        Kind::Url(url) => (sqlite_folder(url)?, "the fixture's URL"),
        Kind::Container(_) | Kind::Installed(_) | Kind::Urls(_) | Kind::Listed(..) => {
            return Err(Error::unsupported(
                "SQLite runs in the test's own process; there is no server to start",
                "use Server::auto(), or Server::directory(…) for a folder of your choice",
            ));
        }
    };
    if matches!(server.0, Kind::Auto) {
        registry::private(&config()?.dir)?;
        registry::private(&folder)?;
    } else {
        make_folder(&folder)?;
    }
    let folder = std::path::absolute(&folder)
        .map_err(|error| Error::system(format!("find the folder {}", folder.display()), error))?;
    let url = format!("sqlite://{}", folder.display());
    Ok(Running::new(Engine::Sqlite, url, origin.to_owned(), true, None))
}

/// A folder that the user named may be shared or a link: that is the user's choice.
fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() { Ok(()) } else { registry::private(folder) }
}

fn sqlite_folder(url: &str) -> Result<PathBuf> {
    let malformed = |why: &str| Error::malformed_url("the fixture's URL", Engine::Sqlite, why);
    let path = url.strip_prefix("sqlite:").ok_or_else(|| malformed("its scheme is not sqlite"))?;
    let path = path.split('?').next().unwrap_or(path).trim_start_matches("//");
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(malformed("it names no folder"));
    }
    Ok(PathBuf::from(path))
}

/// Opens a session, and does not wait for ever for a server that hangs.
async fn reach(connect: &Connect, url: &str, patience: Duration) -> Result<Box<dyn Session>, DbError> {
    match tokio::time::timeout(patience, connect(url.to_owned())).await {
        Ok(result) => result,
        Err(_) => Err(DbError::connection(None, format!("no answer within {} seconds", patience.as_secs()))),
    }
}

/// Why a server that was just started is not there.
enum Failed {
    /// It has ended. What it said last is to be found elsewhere.
    Ended,
    /// It did not let us in before the deadline.
    Deadline(DbError),
}

/// Whether the server's process or container still runs.
type Alive<'a> = dyn FnMut() -> BoxFuture<'static, bool> + Send + 'a;

/// Connects until it works. `alive` is asked from time to time whether waiting makes sense. One that
/// starts says so or is not to be reached; one that `was_left` by somebody and lets us wait twice
/// without a word is frozen. The first of the URLs that works is taken: a server that let us in only
/// after that was tried is asked there once more.
async fn ready(
    connect: &Connect,
    urls: &[String],
    was_left: bool,
    alive: &mut Alive<'_>,
) -> Result<(String, Box<dyn Session>), Failed> {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_millis(5);
    let mut silences = 0;
    loop {
        let mut last = None;
        for (at, url) in urls.iter().enumerate() {
            let asked = std::time::Instant::now();
            match reach(connect, url, patient(SILENCE)).await {
                Ok(session) => {
                    for before in &urls[..at] {
                        if let Ok(better) = reach(connect, before, patient(SILENCE)).await {
                            session.close().await;
                            return Ok((before.clone(), better));
                        }
                    }
                    return Ok((url.clone(), session));
                }
                Err(error) => {
                    silences += u32::from(asked.elapsed() >= patient(SILENCE));
                    last = last.or(Some(error));
                }
            }
        }
        if was_left && (silences > 1 || urls.is_empty()) {
            let none = || DbError::connection(None, "there is no address to reach it at");
            return Err(Failed::Deadline(last.unwrap_or_else(none)));
        }
        if !alive().await {
            return Err(Failed::Ended);
        }
        if start.elapsed() > patient(START) {
            let none = || DbError::connection(None, "there is no address to reach it at");
            return Err(Failed::Deadline(last.unwrap_or_else(none)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}

/// The server that the entry's state file names, if it still answers.
///
/// # Errors
/// It answers but has no connection left: a second one would not be shared.
async fn known(entry: &Entry, engine: Engine, origin: &str, connect: &Connect) -> Result<Option<Running>> {
    let Some(state) = entry.read() else { return Ok(None) };
    match reach(connect, &state.url, patient(PATIENCE)).await {
        Ok(session) => Ok(Some(Running::new(engine, state.url, origin.to_owned(), true, Some(session)))),
        Err(error) if is_full(&error) => Err(Error::connect(origin, engine, error)),
        Err(_) => Ok(None),
    }
}

fn is_full(error: &DbError) -> bool {
    error.is("53300") || error.is("1040")
}

/// A setting of a server's command line, and what the server says of it then.
struct Setting {
    argument: &'static str,
    variable: &'static str,
    /// How versions word it. Empty where a version may not know the setting.
    values: &'static [&'static str],
}

const fn setting(argument: &'static str, variable: &'static str, values: &'static [&'static str]) -> Setting {
    Setting { argument, variable, values }
}

/// Settings that make a server fast and forgetful. `loose` skips what a version does not have.
const fn fast(engine: Engine) -> &'static [Setting] {
    match engine {
        Engine::MySql => MYSQL_FAST,
        _ => POSTGRES_FAST,
    }
}

const MYSQL_FAST: &[Setting] = &[
    setting("--skip-log-bin", "log_bin", &["0", "OFF"]),
    setting("--sync-binlog=0", "sync_binlog", &["0"]),
    setting("--innodb-flush-log-at-trx-commit=0", "innodb_flush_log_at_trx_commit", &["0"]),
    setting("--innodb-doublewrite=OFF", "innodb_doublewrite", &["0", "OFF"]),
    setting("--loose-innodb-redo-log-capacity=33554432", "innodb_redo_log_capacity", &[]),
];

const POSTGRES_FAST: &[Setting] = &[
    setting("fsync=off", "fsync", &["off"]),
    setting("synchronous_commit=off", "synchronous_commit", &["off"]),
    setting("full_page_writes=off", "full_page_writes", &["off"]),
    setting("wal_level=minimal", "wal_level", &["minimal"]),
    setting("max_wal_senders=0", "max_wal_senders", &["0"]),
    setting("autovacuum=off", "autovacuum", &["off"]),
    // A gigabyte of log, the default, has no use in memory.
    setting("max_wal_size=256MB", "max_wal_size", &["256MB"]),
];

/// Asks the server whether it really runs with these settings; one that an image or a version
/// ignores would cost every test, silently.
async fn prove_fast(engine: Engine, session: &mut dyn Session, origin: &str) -> Result<()> {
    let asked = || fast(engine).iter().filter(|setting| !setting.values.is_empty());
    let columns: Vec<_> = asked()
        .map(|setting| match engine {
            Engine::MySql => format!("@@global.{}", setting.variable),
            _ => format!("current_setting('{}')", setting.variable),
        })
        .collect();
    let query = format!("SELECT {}", columns.join(", "));
    let rows =
        session.query(&query).await.map_err(|error| Error::database("read settings", origin, error))?;
    for (at, setting) in asked().enumerate() {
        let value = rows.first().and_then(|row| row.get(at)?.as_deref()).unwrap_or("nothing");
        if !setting.values.contains(&value) {
            return Err(Error::unavailable(
                format!(
                    "{origin} was started with {} but says {}={value}",
                    setting.argument, setting.variable
                ),
                "use an image whose entrypoint passes its arguments on, or turn durable() on",
            ));
        }
    }
    Ok(())
}

fn fast_args(engine: Engine) -> Vec<String> {
    let settings: Vec<_> = fast(engine).iter().map(|setting| setting.argument).collect();
    arguments(engine, &settings)
}

/// Room for every test thread of every process.
fn room_args(engine: Engine) -> Vec<String> {
    match engine {
        Engine::MySql => {
            // MariaDB counts the writes to each table only when it is told to.
            arguments(engine, &["--max-connections=1000", "--loose-mysqlx=OFF", "--loose-userstat=ON"])
        }
        _ => arguments(engine, &["max_connections=500"]),
    }
}

fn arguments(engine: Engine, settings: &[&str]) -> Vec<String> {
    let mut args = Vec::new();
    for setting in settings {
        if engine == Engine::Postgres {
            args.push("-c".to_owned());
        }
        args.push((*setting).to_owned());
    }
    args
}

/// The signal after which the server ends without waiting for its clients.
fn fast_signal(engine: Engine) -> &'static str {
    if engine == Engine::Postgres { "INT" } else { "TERM" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn nobody() -> Connect {
        Arc::new(|_| Box::pin(async { Err(DbError::connection(None, "refused, as the test wants")) }))
    }

    /// A session that nobody asks anything.
    struct Silent;

    #[async_trait::async_trait]
    impl Session for Silent {
        async fn execute(&mut self, _: &str) -> Result<(), DbError> {
            Ok(())
        }

        async fn query(&mut self, _: &str) -> Result<crate::backend::Rows, DbError> {
            Ok(Vec::new())
        }

        async fn close(self: Box<Self>) {}
    }

    /// A server that starts while it is asked: its first address refuses the first `refusals` times.
    async fn address_of_one_that_starts(refusals: usize) -> String {
        let tried = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let connect: Connect = Arc::new(move |url| {
            let first = url == "published";
            let refused = first && tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < refusals;
            Box::pin(async move {
                match refused {
                    true => Err(DbError::connection(None, "it starts")),
                    false => Ok(Box::new(Silent) as Box<dyn Session>),
                }
            })
        });
        let urls = ["published".to_owned(), "its own".to_owned()];
        let mut alive = || -> BoxFuture<'static, bool> { Box::pin(async { true }) };
        let Ok((url, _)) = ready(&connect, &urls, false, &mut alive).await else { panic!("it lets us in") };
        url
    }

    #[tokio::test]
    async fn the_published_address_is_taken_also_where_the_other_one_answers_first() {
        for refusals in [0, 1] {
            assert_eq!(address_of_one_that_starts(refusals).await, "published");
        }
        assert_eq!(address_of_one_that_starts(usize::MAX).await, "its own");
    }

    async fn error(server: Server, engine: Engine) -> Error {
        find(&server, engine, &nobody()).await.expect_err("an error")
    }

    #[tokio::test]
    async fn a_url_that_fails_is_an_error_that_names_place_and_source() {
        let error = error(Server::url("postgres://u:secret@localhost:1/app"), Engine::Postgres).await;
        assert_eq!(error.kind(), ErrorKind::Connect);
        let text = error.to_string();
        assert!(text.contains("app at localhost:1, the fixture's URL"), "{text}");
        assert!(text.contains("refused, as the test wants") && !text.contains("secret"), "{text}");
    }

    #[tokio::test]
    async fn a_url_of_another_engine_or_host_is_refused_before_anyone_connects() {
        let wrong = error(Server::url("mysql://u:secret@localhost/app"), Engine::Postgres).await;
        assert_eq!(wrong.kind(), ErrorKind::Config);
        let remote = error(Server::url("mysql://u:secret@db.internal/app"), Engine::MySql).await;
        assert_eq!(remote.kind(), ErrorKind::Refused);
        assert!(!format!("{wrong}{remote}").contains("secret"));
    }

    #[tokio::test]
    async fn a_server_that_the_engine_does_not_have_is_refused_with_the_reason() {
        for (server, engine) in [
            (Server::installed(), Engine::Sqlite),
            (Server::container("postgres:17").into(), Engine::Sqlite),
            (Server::directory("/nowhere"), Engine::Postgres),
        ] {
            assert_eq!(error(server, engine).await.kind(), ErrorKind::Unsupported);
        }
    }

    #[tokio::test]
    async fn a_folder_without_binaries_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        for engine in [Engine::Postgres, Engine::MySql] {
            let error = error(Server::installed_in(folder.path()), engine).await;
            assert_eq!(error.kind(), ErrorKind::NoServer);
            assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        }
    }

    /// Runs itself again in a process whose engine's address leads nowhere: a test can't change
    /// its own environment.
    #[cfg(all(unix, feature = "containers"))]
    #[test]
    fn an_absent_container_engine_is_named_at_once() {
        const NOWHERE: &str = "unix:///nowhere/docker.sock";
        if std::env::var("DOCKER_HOST").as_deref() == Ok(NOWHERE) {
            let server = Server::container("postgres:17").into();
            let error = runtime::block(Box::pin(async move { error(server, Engine::Postgres).await }));
            assert_eq!(error.kind(), ErrorKind::NoServer);
            let text = error.to_string();
            assert!(text.contains(NOWHERE) && text.contains("start Docker"), "{text}");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let start = std::time::Instant::now();
        let again = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "server::tests::an_absent_container_engine_is_named_at_once"])
            .env("DOCKER_HOST", NOWHERE)
            .env("DBTEST_DIR", folder.path())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_sqlite_folder_is_made_for_this_user_alone() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("deep/er");
        let running = find(&Server::directory(&folder), Engine::Sqlite, &nobody()).await.expect("a folder");
        assert_eq!(running.url, format!("sqlite://{}", folder.display()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&folder).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_server_is_shown_without_its_password() {
        let shown = format!("{:?}", Server::url("postgres://u:secret@h/d"));
        assert_eq!(shown, r#"Server::url("d at h")"#);
    }

    #[test]
    fn mysql_is_maintained_from_information_schema() {
        let url = ::url::Url::parse("mariadb://u:p@localhost:1/app?x=1").expect("a URL");
        let expected = "mysql://u:p@localhost:1/information_schema?x=1";
        assert_eq!(maintenance(&url, Engine::MySql), expected);
    }

    #[test]
    fn postgres_is_maintained_from_the_urls_database_unless_that_is_ours() {
        let url = |database: &str| format!("postgres://u:p@localhost:1/{database}?x=1");
        for (given, expected) in
            [("app", "app"), ("dbtest_stable_app", "postgres"), ("dbtest_app", "dbtest_app")]
        {
            let given = ::url::Url::parse(&url(given)).expect("a URL");
            assert_eq!(maintenance(&given, Engine::Postgres), url(expected));
        }
    }
}
