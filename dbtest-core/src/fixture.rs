//! The builder: what a test database is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use dbtest_seed::Seed;
use tokio::sync::OnceCell;

use crate::backend::{Backend, BoxFuture, Place};
use crate::config::{Config, config};
use crate::engine::{Engine, Met, Places, postgres_schema};
use crate::error::{Error, ErrorKind, Result};
use crate::ground::{Fill, Ground, Names};
use crate::name::Name;
use crate::rows::{Format, RowFile};
use crate::server::budget::Budget;
use crate::server::spread::{self, Load};
use crate::server::{self, Connect, Running, Server};
use crate::setup::{Action, Migrations, Setup, StepError, fingerprint};
use crate::slot::Wanted;
use crate::strategy::{Context, IsolationStrategy, Lease, Outcome, Strategy};
use crate::test_db::TestDb;
use crate::{engine, hash, run, sql};

/// What a test database is: migrations, seeds, strategy, server. [`open`](Fixture::open) starts
/// a [`TestDb`] from it; the attribute does nothing that can't be said here.
///
/// Every method takes and returns the builder. What can't be used (a folder that is not there)
/// is reported by `open`.
#[must_use = "a fixture does nothing until it is opened"]
pub struct Fixture<B: Backend> {
    setup: Setup<B>,
    /// What is loaded for each test anew.
    own: Setup<B>,
    strategy: Option<Strategy>,
    require: Option<Strategy>,
    server: Server,
    max_connections: Option<u32>,
    restart_identity: bool,
    label: Option<String>,
    folder: Option<PathBuf>,
    version: Option<String>,
    /// Templates of other fixtures are not shared, though the setup is the same.
    salt: String,
    wrong: Option<Error>,
}

impl<B: Backend> Clone for Fixture<B> {
    fn clone(&self) -> Self {
        Self {
            setup: self.setup.clone(),
            own: self.own.clone(),
            strategy: self.strategy.clone(),
            require: self.require.clone(),
            server: self.server.clone(),
            max_connections: self.max_connections,
            restart_identity: self.restart_identity,
            label: self.label.clone(),
            folder: self.folder.clone(),
            version: self.version.clone(),
            salt: self.salt.clone(),
            wrong: self.wrong.clone(),
        }
    }
}

impl<B: Backend> std::fmt::Debug for Fixture<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture")
            .field("backend", &format_args!("{} on {}", B::NAME, B::ENGINE))
            .field("setup", &self.setup)
            .field("strategy", &self.strategy)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Default for Fixture<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Fixture<B> {
    /// A fixture without a setup.
    pub fn new() -> Self {
        Self {
            setup: Setup::default(),
            own: Setup::default(),
            strategy: None,
            require: None,
            server: Server::auto(),
            max_connections: None,
            restart_identity: false,
            label: None,
            folder: None,
            version: None,
            salt: String::new(),
            wrong: None,
        }
    }

    /// The folder that relative paths start from: the crate's own.
    pub fn manifest_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder.get_or_insert_with(|| {
            // A test archive may run on another machine, and its runner says where.
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| folder.into(), PathBuf::from)
        });
        self
    }

    /// A name for messages; the crate's by default.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Migrations of the ORM.
    pub fn migrations(mut self, migrations: impl Migrations<B>) -> Self {
        self.setup.migrations(migrations);
        self
    }

    /// The ORM's migrations from a folder, read when the test runs.
    pub fn migrations_dir(self, folder: impl AsRef<Path>) -> Self {
        let folder = self.resolve(folder.as_ref());
        self.try_setup(|setup| {
            let migrations = B::migrations(&folder).map_err(|why| Error::migrations_folder(&folder, &why))?;
            setup.boxed_migrations(Arc::from(migrations));
            Ok(())
        })
    }

    /// The same, if there is such a folder.
    pub fn migrations_dir_if_any(self, folder: impl AsRef<Path>) -> Self {
        let path = self.resolve(folder.as_ref());
        if path.is_dir() { self.migrations_dir(path) } else { self }
    }

    /// The `.sql` files of a folder, in the order of their names, without an ORM's bookkeeping.
    pub fn sql_dir(self, folder: impl AsRef<Path>) -> Self {
        let folder = self.resolve(folder.as_ref());
        self.try_setup(|setup| setup.sql_folder(&folder))
    }

    /// SQL text. The name is for messages.
    pub fn sql(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.setup.sql(name, text);
        self
    }

    /// Seed rows as SQL text, part of the baseline. The name is for messages.
    pub fn seed_sql(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        let name = name.into();
        self.sql(format!("seed {name}"), text)
    }

    /// Seed files, part of the baseline: SQL, and the rows of one table as `.csv` or `.json`, whose
    /// name says the table (`books.csv`, `02_books.csv`). Files of rows that follow each other are
    /// loaded in the order of their tables' references.
    ///
    /// In CSV the first line names the columns, and an empty field is NULL. JSON is a list of
    /// objects; a column that one does not name gets its default.
    pub fn seed_files(self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let folder = self.folder.clone();
        self.try_setup(|setup| {
            paths.into_iter().try_for_each(|path| setup.seed_file(&resolve(folder.as_deref(), path.as_ref())))
        })
    }

    /// What was added until here becomes a template of its own, and what follows starts from a copy
    /// of it: groups of tests that have the same beginning (migrations, say) run it once together,
    /// whatever each group adds.
    ///
    /// ```no_run
    /// # use dbtest_core::{Backend, Fixture};
    /// fn migrated<B: Backend>() -> Fixture<B> {
    ///     Fixture::new().migrations_dir("migrations").base()
    /// }
    /// fn with_books<B: Backend>() -> Fixture<B> {
    ///     migrated().seed_files(["seeds/authors.csv", "seeds/books.csv"]) // Migrates nothing.
    /// }
    /// ```
    ///
    /// Under the strategy `schema` on Postgres nothing can be copied, and all of it is run.
    pub fn base(mut self) -> Self {
        self.setup.base();
        self
    }

    /// Rows for this test alone: files as in [`seed_files`](Fixture::seed_files), loaded in order
    /// into the place that the test has leased, before it gets its handle. They cost as long as
    /// loading them takes, in every test, and no template; many rows that many tests share are
    /// cheaper as `seed_files`.
    ///
    /// Under `rollback` on MySQL and SQLite nobody but the test's own connection can write into
    /// its transaction, so there they are part of the template after all; and so they are where the
    /// fixture has no other setup.
    pub fn seeds(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let folder = self.folder.clone();
        let mut added = paths.into_iter();
        let added = added.try_for_each(|path| self.own.seed_file(&resolve(folder.as_deref(), path.as_ref())));
        if let Err(error) = added {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// The same for files that the test was compiled with: the name of each, which says what it
    /// holds, and its content. The attribute's `seeds("users.sql", "books.csv")` is this.
    pub fn seeds_included(
        mut self,
        files: impl IntoIterator<Item = (impl AsRef<Path>, impl Into<Vec<u8>>)>,
    ) -> Self {
        let mut added = files.into_iter();
        let added =
            added.try_for_each(|(name, content)| self.own.seed_content(name.as_ref(), content.into()));
        if let Err(error) = added {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// All `.sql`, `.csv` and `.json` files of a folder, in the order of their names, as in
    /// [`seed_files`](Fixture::seed_files): part of the baseline.
    pub fn seed_dir(self, folder: impl AsRef<Path>) -> Self {
        let folder = self.resolve(folder.as_ref());
        self.try_setup(|setup| setup.seed_folder(&folder))
    }

    /// Seed rows of one table as CSV text, as in [`seed_files`](Fixture::seed_files). The name is
    /// the file's, and says the table.
    pub fn seed_csv(mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        self.setup.rows(RowFile { name: name.into(), content: text.into(), format: Format::Csv });
        self
    }

    /// The same as JSON text.
    pub fn seed_json(mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        self.setup.rows(RowFile { name: name.into(), content: text.into(), format: Format::Json });
        self
    }

    /// Code that fills the database: seeds, or migrations of your own. It becomes part of the
    /// template, so it runs once and not once per test.
    ///
    /// Code can't be compared, so the template is rebuilt when the test executable changes. Say
    /// [`version`](Fixture::version) before it to decide that yourself.
    #[track_caller]
    pub fn seed<F, Fut, E>(mut self, code: F) -> Self
    where
        F: Fn(B::Handle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let at = std::panic::Location::caller();
        let name = format!("the seed at {}:{}", at.file(), at.line());
        let version = self.version.take();
        self.setup.code(name, version.as_deref(), code);
        self
    }

    /// The blocking twin of [`seed`](Fixture::seed), for drivers without async. The code runs on a
    /// thread where it may block.
    #[track_caller]
    pub fn seed_blocking<F, E>(self, code: F) -> Self
    where
        F: Fn(B::Handle) -> Result<(), E> + Send + Sync + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let code = Arc::new(code);
        self.seed(move |handle| {
            let code = Arc::clone(&code);
            let seed = Seed::current();
            crate::runtime::blocking(move || {
                let _entered = seed.enter();
                code(handle)
            })
        })
    }

    /// The version of the next [`seed`](Fixture::seed): the template is rebuilt when it changes,
    /// and not when the executable does.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The database stays empty: no migrations are wanted.
    pub fn empty(mut self) -> Self {
        self.setup.empty = true;
        self
    }

    /// The strategy, unless `DBTEST_STRATEGY` says another.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// The strategy, whatever `DBTEST_STRATEGY` says: the test is wrong under any other.
    pub fn require(mut self, strategy: Strategy) -> Self {
        self.require = Some(strategy);
        self
    }

    /// The server; [`Server::auto`] by default.
    pub fn server(mut self, server: impl Into<Server>) -> Self {
        self.server = server.into();
        self
    }

    /// The most connections that a pool opens; 10 by default.
    pub fn max_connections(mut self, most: u32) -> Self {
        self.max_connections = Some(most);
        self
    }

    /// Identity values restart for every test also where that costs DDL (MySQL). Elsewhere they
    /// always do.
    pub fn restart_identity(mut self, restart: bool) -> Self {
        self.restart_identity = restart;
        self
    }

    /// A word that keeps this fixture's templates and slots apart from those of other fixtures
    /// with the same setup.
    pub fn apart(mut self, word: impl Into<String>) -> Self {
        self.salt = word.into();
        self
    }

    pub(crate) fn for_test(mut self, package: &str) -> Self {
        self.label.get_or_insert_with(|| package.to_owned());
        self
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        resolve(self.folder.as_deref(), path)
    }

    fn try_setup(mut self, add: impl FnOnce(&mut Setup<B>) -> Result<()>) -> Self {
        if let Err(error) = add(&mut self.setup) {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// Opens a test database. The test's name is the thread's, as the test harness sets it.
    ///
    /// # Errors
    /// No server, a setup that fails, a strategy that the engine can't have: see
    /// [`ErrorKind`](crate::ErrorKind).
    pub async fn open(self) -> Result<TestDb<B>> {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        self.open_for(&name).await
    }

    /// The same, for a test of that name.
    ///
    /// # Errors
    /// As [`open`](Fixture::open).
    pub async fn open_for(self, test: &str) -> Result<TestDb<B>> {
        let test = test.to_owned();
        let leasing = async move { self.lease(&test).await };
        let (lease, context, strategy) = crate::runtime::run(Box::pin(leasing)).await?;
        Box::pin(TestDb::open(lease, context, strategy)).await
    }

    /// The blocking twin of [`open`](Fixture::open), for tests without a runtime. The handle's
    /// connections live on dbtest's own runtime.
    ///
    /// # Errors
    /// As [`open`](Fixture::open).
    pub fn open_blocking(self) -> Result<TestDb<B>> {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        crate::runtime::block(Box::pin(async move {
            let (lease, context, strategy) = self.lease(&name).await?;
            TestDb::open(lease, context, strategy).await
        }))
    }

    /// Makes what the tests will need before the first of them runs: starts the server, builds the
    /// template, makes a slot. For a setup script of nextest, so that no test waits for it:
    ///
    /// ```text
    /// fn main() -> dbtest_sqlx::Result<()> {
    ///     app::tests::fixture().prepare_blocking()
    /// }
    /// ```
    ///
    /// What is there already is checked and not made again.
    ///
    /// # Errors
    /// As [`open`](Fixture::open).
    pub async fn prepare(self) -> Result<()> {
        crate::runtime::run(self.prepared()).await
    }

    /// The blocking twin of [`prepare`](Fixture::prepare), for a `main` without a runtime.
    ///
    /// # Errors
    /// As [`prepare`](Fixture::prepare).
    pub fn prepare_blocking(self) -> Result<()> {
        crate::runtime::block(self.prepared())
    }

    fn prepared(self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let (lease, context, strategy) = self.lease("the preparation of the tests").await?;
            strategy.release(&context, lease, &Outcome::untouched()).await.map(drop)
        })
    }

    /// A database for tools that look at a schema while nothing runs, such as `sqlx::query!` and
    /// `cargo sqlx prepare`: its URL, with its password. It has what the setup makes, under a name
    /// that stays, `dbtest_stable_WORD`; no test gets it, and no sweep drops it. It is made when it is
    /// not there, and made anew, whoever is connected, when the setup has changed: what somebody wrote
    /// there is lost then.
    ///
    /// ```text
    /// println!("DATABASE_URL={}", fixture().stable("shop").await?);
    /// ```
    ///
    /// # Errors
    /// No server, a setup that fails, a word of other than lower-case letters and digits.
    pub async fn stable(self, word: &str) -> Result<String> {
        crate::runtime::run(self.stable_url(word)).await
    }

    /// The blocking twin of [`stable`](Fixture::stable), for a `main` without a runtime.
    ///
    /// # Errors
    /// As [`stable`](Fixture::stable).
    pub fn stable_blocking(self, word: &str) -> Result<String> {
        crate::runtime::block(self.stable_url(word))
    }

    fn stable_url(self, word: &str) -> BoxFuture<'static, Result<String>> {
        let word = word.to_owned();
        Box::pin(async move {
            let name = Name::stable(&word).ok_or_else(|| Error::stable_word(&word))?;
            let who = format!("the stable database {word:?}");
            let site = self.site(&self.server, &who, false).await?;
            let ground = self.ground_of(&self.setup, &site)?;
            ground.stable(&name, &who).await?;
            Ok(B::url(&ground.places.url(&name)))
        })
    }

    async fn lease(&self, test: &str) -> Result<Leased> {
        let servers = spread::servers(&self.server, B::ENGINE)?;
        let mut last = None;
        for server in &servers {
            match self.lease_on(server, test).await {
                Err(error) if servers.len() > 1 && error.kind() == ErrorKind::Connect => {
                    spread::leave_out(server, &error);
                    last = Some(error);
                }
                leased => return leased,
            }
        }
        Err(last.unwrap_or_else(|| Error::unavailable("no server is named", "name one in the list of URLs")))
    }

    async fn lease_on(&self, server: &Server, test: &str) -> Result<Leased> {
        match self.try_lease(server, test).await {
            // The server that another process of this run had found is gone since.
            Err(error)
                if error.kind() == ErrorKind::Connect && server::forget_recalled(server, B::ENGINE)? =>
            {
                self.try_lease(server, test).await
            }
            leased => leased,
        }
    }

    async fn try_lease(&self, server: &Server, test: &str) -> Result<Leased> {
        let load = Load::on(server);
        let (config, begun) = (config()?, Instant::now());
        let (choice, overruled) =
            Strategy::choose(config.strategy.as_deref(), self.strategy.as_ref(), self.require.as_ref())?;
        let mut strategy = choice.get();
        if overruled {
            crate::progress::say(&format!(
                "{test} requires the strategy {:?}; DBTEST_STRATEGY does not apply to it",
                strategy.name()
            ));
        }
        let mut site = self.site(server, test, strategy.schemas()).await;
        if matches!(choice, Strategy::Auto)
            && site.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported)
        {
            strategy = Strategy::Schema.get();
            site = self.site(server, test, strategy.schemas()).await;
        }
        let site = site?;
        let max_connections = config.max_connections.or(self.max_connections).unwrap_or(10);
        let wanted = Wanted {
            max_connections,
            pool: strategy.connections(B::ENGINE, max_connections),
            restart_identity: self.restart_identity,
        };
        // Where the handle is one connection inside a transaction, nobody else can write into that; and
        // where there is nothing else to share, these rows are the setup.
        let beside = strategy.promises(B::ENGINE).many_connections && !self.setup.steps.is_empty();
        let own = Some(&self.own).filter(|own| !own.steps.is_empty());
        let mut setup = Cow::Borrowed(&self.setup);
        if let Some(own) = own.filter(|_| !beside) {
            setup.to_mut().steps.extend(own.steps.iter().cloned());
        }
        let ground = self.ground_of(&setup, &site)?;
        let context = Context {
            ground,
            engine: B::ENGINE,
            test: test.to_owned(),
            wanted,
            origin: site.origin.clone(),
            begun,
            _load: Arc::new(load),
        };
        let lease = strategy.acquire(&context).await?;
        if let Some(own) = own.filter(|_| beside) {
            let fill = fill(own.clone(), Arc::clone(&site.connect));
            if let Err(error) = fill(lease.place.clone()).await {
                strategy.release(&context, lease, &Outcome::untouched()).await?;
                return Err(error);
            }
        }
        Ok((lease, context, strategy))
    }

    /// The server, found or started, where this fixture's places are.
    async fn site(&self, server: &Server, test: &str, schemas: bool) -> Result<Site> {
        let config = config()?;
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        if self.setup.steps.is_empty() && self.own.steps.is_empty() && !self.setup.empty {
            return Err(Error::no_setup(test));
        }
        let connect = server::watched::connect::<B>();
        let running = server::find(server, B::ENGINE, &connect).await?;
        let places = places(&running, B::NAME, &connect, schemas).await?;
        if !places.copies() {
            for (name, text) in self.setup.texts().into_iter().chain(self.own.texts()) {
                if let Some(statement) = sql::names_schema(&text, "public") {
                    return Err(postgres_schema::schema_qualified(&format!(
                        "{name}: {}",
                        sql::excerpt(statement)
                    )));
                }
            }
        }
        let budget = |allowed| Budget::new(&config.dir, &places.shown(), allowed, config.connections);
        let budget = places.connections().map(budget).transpose()?.map(Arc::new);
        Ok(Site { places, budget, connect, origin: running.origin.clone() })
    }

    fn ground_of(&self, setup: &Setup<B>, site: &Site) -> Result<Arc<Ground>> {
        let label = self.label.as_deref().unwrap_or("this crate");
        Ok(ground_of(setup, site, label, &self.salt, config()?))
    }
}

/// A test's lease, with what gives it back.
type Leased = (Lease, Context, Arc<dyn IsolationStrategy>);

/// Where a fixture's places are.
struct Site {
    places: Arc<dyn Places>,
    /// The connections that tests may have, where the server counts them.
    budget: Option<Arc<Budget>>,
    connect: Connect,
    /// Where the server came from, for messages.
    origin: String,
}

fn resolve(folder: Option<&Path>, path: &Path) -> PathBuf {
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

type Shared<T> = LazyLock<Mutex<HashMap<String, Arc<T>>>>;

/// The places of a server, found once per process.
async fn places(
    running: &Running,
    driver: &str,
    connect: &Connect,
    schemas: bool,
) -> Result<Arc<dyn Places>> {
    static ALL: Shared<OnceCell<Arc<dyn Places>>> = LazyLock::new(Mutex::default);
    let engine = running.engine;
    let schemas = schemas && engine == Engine::Postgres;
    let key = format!("{driver} {engine} {schemas} {}", running.url);
    let cell = {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_default())
    };
    let places = cell
        .get_or_try_init(|| async {
            let (url, connect) = (running.url.clone(), Arc::clone(connect));
            if engine == Engine::Sqlite {
                return engine::sqlite::places(url, connect).await;
            }
            let (config, note) = (config()?, format!("facts-{}", hash::word(&[&schemas.to_string(), &url])));
            let recalled = if running.recalled { run::read(config, &note) } else { None };
            let is_new = recalled.is_none();
            let met = match recalled {
                Some(facts) => Met::Facts(facts),
                None => Met::Session(running.session(&connect).await?),
            };
            let places = if engine == Engine::Postgres {
                engine::postgres::places(url, connect, met, schemas).await?
            } else {
                engine::mysql::places(url, connect, met).await?
            };
            if is_new {
                run::write(config, &note, &places.facts());
            }
            Ok(places)
        })
        .await?;
    Ok(Arc::clone(places))
}

/// The ground of a setup on a server, the same for all tests of the process.
fn ground<B: Backend>(
    setup: &Setup<B>,
    places: &dyn Places,
    label: String,
    salt: &str,
    config: &'static Config,
    make: impl FnOnce(Names) -> Arc<Ground>,
) -> Arc<Ground> {
    static ALL: Shared<Ground> = LazyLock::new(Mutex::default);
    // A run with DBTEST_FRESH has templates of its own; the old ones are swept as any others.
    let fresh = if config.fresh { config.run.as_str() } else { "" };
    let fingerprint = fingerprint(setup, places.version(), &[B::NAME, salt, fresh]);
    // Places are those of one user on one server, found once in a process; what is shown of them
    // names no user.
    let key = format!("{:p} {fingerprint}", std::ptr::from_ref(places));
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ground) = all.get(&key) {
        return Arc::clone(ground);
    }
    // Fresh ones must not count as newer versions of the one that the next run wants again.
    let identity = setup.identity(&format!("{label} {salt}{}", if config.fresh { " fresh" } else { "" }));
    let made = make(Names { fingerprint, label, identity });
    all.insert(key, Arc::clone(&made));
    made
}

/// The ground of a setup, over that of the setup that it starts from, where places can be copied.
fn ground_of<B: Backend>(
    setup: &Setup<B>,
    site: &Site,
    label: &str,
    salt: &str,
    config: &'static Config,
) -> Arc<Ground> {
    let places = &site.places;
    let (base, rest) = setup.split().filter(|_| places.copies()).unzip();
    let base = base.map(|base| ground_of(&base, site, label, salt, config));
    let fill = fill(rest.unwrap_or_else(|| setup.clone()), Arc::clone(&site.connect));
    let budget = site.budget.clone();
    ground(setup, &**places, label.to_owned(), salt, config, |names| {
        Ground::new(Arc::clone(places), names, config, budget, fill, base)
    })
}

/// The setup as one function that fills a place.
fn fill<B: Backend>(setup: Setup<B>, connect: Connect) -> Fill {
    let setup = Arc::new(setup);
    Arc::new(move |place| {
        let (setup, connect) = (Arc::clone(&setup), Arc::clone(&connect));
        // Not the seed of the test that happens to come first: all tests have what is made here.
        let seed = Seed::of_setup();
        Box::pin(async move {
            for step in &setup.steps {
                match &step.action {
                    Action::Sql(text) => run_sql(&connect, &place, &step.name, text, B::ENGINE).await?,
                    Action::Rows(files) => load_rows(&connect, &place, files, B::ENGINE).await?,
                    Action::Migrations(migrations) => {
                        let handle = open::<B>(&place).await?;
                        if let Err(error) = migrations.run(handle).await {
                            let error = locate(&connect, &place, error, &migrations.sql()).await;
                            return Err(failed(&step.name, error));
                        }
                    }
                    Action::Code(code) => {
                        let handle = open::<B>(&place).await?;
                        let code = seed.within(|| code(handle));
                        code.await.map_err(|error| failed(&step.name, error))?;
                    }
                }
            }
            Ok(())
        })
    })
}

async fn open<B: Backend>(place: &Place) -> Result<B::Handle> {
    let place = Place { url: B::url(&place.url), ..place.clone() };
    B::open(&place).await.map_err(|error| Error::connect(&place.shown(), B::ENGINE, error))
}

fn failed(step: &str, error: StepError) -> Error {
    Error::setup(error.step.as_deref().unwrap_or(step), error.statement.as_deref(), &error.message)
}

/// The statement that failed, where the ORM named only the file: its statements are run one by
/// one, in a place that is dropped anyhow, until one fails in the same way. Earlier ones may fail
/// in another: MySQL has them already.
async fn locate(
    connect: &Connect,
    place: &Place,
    mut error: StepError,
    texts: &[(String, String)],
) -> StepError {
    let text = error.step.as_ref().and_then(|step| texts.iter().find(|(name, _)| name == step));
    let (None, Some((_, text))) = (&error.statement, text) else { return error };
    let Ok(mut session) = connect(place.url.clone()).await else { return error };
    for statement in sql::statements(text) {
        if let Err(found) = session.execute(statement.text).await
            && same_failure(&found.message, &error.message)
        {
            error.statement = Some(statement.text.to_owned());
            break;
        }
    }
    session.close().await;
    error
}

/// MySQL quotes the rest of the text, which is another for one statement than for the file.
fn same_failure(one: &str, other: &str) -> bool {
    let head = |message: &str| message.split(" near '").next().map(str::to_owned);
    head(one) == head(other)
}

async fn load_rows(connect: &Connect, place: &Place, files: &[RowFile], engine: Engine) -> Result<()> {
    let mut session =
        connect(place.url.clone()).await.map_err(|error| Error::connect(&place.shown(), engine, error))?;
    let result = crate::load::load(&mut *session, engine, files).await;
    session.close().await;
    result
}

/// Runs SQL text statement by statement, so that the one that fails can be shown.
async fn run_sql(connect: &Connect, place: &Place, step: &str, text: &str, engine: Engine) -> Result<()> {
    let mut session =
        connect(place.url.clone()).await.map_err(|error| Error::connect(&place.shown(), engine, error))?;
    let mut result = Ok(());
    for statement in sql::statements(text) {
        if let Err(error) = session.execute(statement.text).await {
            result = Err(Error::setup(step, Some(statement.text), &error.message));
            break;
        }
    }
    session.close().await;
    result
}
