//! What a case works with: fixtures of the suite's own application under the strategy that is
//! tested, and its databases.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::probe::{Column, Op, Probe};
use super::schema;
use super::watching::{Log, Released, Watching};
use crate::backend::{DbError, End, Place};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::fixture::Fixture;
use crate::runner::{self, Test};
use crate::strategy::{IsolationStrategy, Promises, Strategy};
use crate::test_db::TestDb;

/// How long a condition is waited for. Only a broken strategy or server needs this long.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why a case failed.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

/// What a case returns.
pub(super) type Checked<T = ()> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the sentence as the case's fault unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err($crate::conformance::case::Fault(format!($($sentence)+)));
        }
    };
}
pub(super) use ensure;

/// How a test ended that the runner ran.
#[derive(Debug)]
pub(super) enum Ran {
    Passed,
    Failed,
    Panicked(String),
}

/// One case under one strategy on one backend.
pub(super) struct Case<B: Probe> {
    pub(super) strategy: Arc<dyn IsolationStrategy>,
    pub(super) promises: Promises,
    /// The test's full name, as the test harness knows it.
    pub(super) test: String,
    /// Keeps the databases of this pairing apart from those of others.
    pub(super) salt: String,
    log: Log,
    backend: PhantomData<fn() -> B>,
}

impl<B: Probe> Case<B> {
    pub(super) fn new(strategy: Arc<dyn IsolationStrategy>, test: &str, lane: usize) -> Self {
        let salt = format!("conformance {} {} {lane}", std::any::type_name::<B>(), strategy.name());
        let promises = strategy.promises(B::ENGINE);
        Self { strategy, promises, test: test.to_owned(), salt, log: Log::default(), backend: PhantomData }
    }

    /// A word that the statements of no other case have, in any process of this machine.
    pub(super) fn word(&self, word: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.test, &self.salt).hash(&mut hasher);
        format!("{word} {:016x}", hasher.finish())
    }

    pub(super) fn is(&self, engine: Engine) -> bool {
        B::ENGINE == engine
    }

    /// The suite's application.
    pub(super) fn fixture(&self) -> Fixture<B> {
        self.bare("").sql("the suite's schema", schema::setup(B::ENGINE))
    }

    /// A fixture without a setup, whose places no other case has.
    pub(super) fn bare(&self, word: &str) -> Fixture<B> {
        let watching = Watching { inner: Arc::clone(&self.strategy), log: Arc::clone(&self.log) };
        Fixture::new()
            .label("the conformance suite")
            .apart(format!("{} {word}", self.salt))
            .require(Strategy::Custom(Arc::new(watching)))
    }

    pub(super) async fn open(&self) -> Checked<Db<B>> {
        self.open_as(self.fixture(), &self.test).await
    }

    pub(super) async fn open_as(&self, fixture: Fixture<B>, test: &str) -> Checked<Db<B>> {
        Ok(Db(fixture.open_for(test).await?))
    }

    /// A test that must pass.
    pub(super) async fn test<T>(&self, body: impl AsyncFnOnce(&mut Db<B>) -> Checked<T>) -> Checked<T> {
        self.test_of(self.fixture(), body).await
    }

    /// A test of that fixture that must pass.
    pub(super) async fn test_of<T>(
        &self,
        fixture: Fixture<B>,
        body: impl AsyncFnOnce(&mut Db<B>) -> Checked<T>,
    ) -> Checked<T> {
        let mut db = self.open_as(fixture, &self.test).await?;
        let result = body(&mut db).await;
        let closed = db.close().await;
        let value = result?;
        closed.map_err(|error| Fault(format!("a test that did nothing wrong ended in an error: {error}")))?;
        Ok(value)
    }

    /// The next test finds the setup's rows and nothing else.
    pub(super) async fn next_is_clean(&self) -> Checked {
        self.test(async |db| db.clean().await).await
    }

    /// A test does this, and sees that it did; the next one finds nothing of it.
    pub(super) async fn leaves_nothing(&self, ops: impl Into<Vec<Op>>) -> Checked {
        let ops = ops.into();
        self.test(async |db| {
            db.clean().await?;
            db.run(ops).await?;
            ensure!(
                db.everything().await? != schema::BASELINE,
                "the test changed nothing, so there is nothing that the next one could see"
            );
            Ok(())
        })
        .await?;
        self.next_is_clean().await
    }

    /// Whether DDL works under this strategy; where not, it is refused.
    pub(super) fn takes_ddl(&self) -> bool {
        self.promises.raw_commit || !self.is(Engine::MySql)
    }

    /// A test that the runner runs, on a thread of its own.
    pub(super) fn ran<F>(&self, test: &str, body: F) -> Ran
    where
        F: AsyncFnOnce(TestDb<B>) -> Result<(), String> + Send,
    {
        let fixture = self.fixture();
        let test = Test::new(test);
        let outcome = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    std::panic::catch_unwind(AssertUnwindSafe(|| {
                        runner::run(test, (fixture,), async |(db,)| Ok(db), body)
                    }))
                })
                .join()
        });
        match outcome {
            Ok(Ok(ExitCode::SUCCESS)) => Ran::Passed,
            Ok(Ok(_)) => Ran::Failed,
            Ok(Err(panic)) | Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Ran::Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
            }
        }
    }

    /// The latest release of a test, as soon as there is one.
    pub(super) async fn released(&self, test: &str) -> Checked<Released> {
        until(&format!("the place of {test} was released"), async || {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(log.iter().rev().find(|released| released.test == test).cloned())
        })
        .await
    }

    /// Asks a database by its URL, through a handle of its own.
    pub(super) async fn look(&self, url: &str, query: &str) -> Result<Vec<String>, String> {
        let place = Place::new("another look", url, 1);
        let mut handle = B::open(&place).await.map_err(|error| error.to_string())?;
        let rows = B::run(&mut handle, &[Op::query(query)]).await;
        B::finish(handle, &place, End::Discard).await;
        rows.map(|answers| flat(answers.into_iter().flatten()))
    }

    /// The place is gone: nobody can open it, or its tables are no more.
    pub(super) async fn is_gone(&self, url: &str) -> bool {
        // By a session: a pool may try for long to connect to what is not there.
        let Ok(mut session) = B::session(url).await else { return true };
        let found = session.query(&schema::select(B::ENGINE, "code", "FROM kind")).await;
        session.close().await;
        found.is_err()
    }

    /// `Ok(true)` if the statement with the word runs at this moment.
    pub(super) async fn runs(&self, url: &str, word: &str) -> Checked<bool> {
        let mut session = B::session(url).await?;
        let runs = match schema::running(B::ENGINE, word) {
            Some(query) => session.query(&query).await.map(|rows| !rows.is_empty()),
            // It holds the only lock for writers.
            None => match session.execute("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK").await {
                Ok(()) => Ok(false),
                Err(error) if error.is("5") => Ok(true),
                Err(error) => Err(error),
            },
        };
        session.close().await;
        Ok(runs?)
    }

    /// Starts the operations and abandons them when the statement with the word is running.
    pub(super) async fn abandon(&self, db: &mut Db<B>, ops: &[Op], word: &str) -> Checked {
        let url = db.0.database_url();
        let what = format!("the server runs {word}");
        let reached = until(&what, async || Ok(self.runs(&url, word).await?.then_some(())));
        tokio::select! {
            ran = B::run(db.0.handle_mut(), ops) => {
                Err(Fault(format!("the slow write ended before it could be abandoned: {ran:?}")))
            }
            reached = reached => reached,
        }
    }
}

/// A test's database.
#[derive(Debug)]
pub(super) struct Db<B: Probe>(pub(super) TestDb<B>);

impl<B: Probe> Db<B> {
    pub(super) async fn try_run(&mut self, ops: impl AsRef<[Op]>) -> Result<Vec<Column>, String> {
        B::run(self.0.handle_mut(), ops.as_ref()).await
    }

    pub(super) async fn run(&mut self, ops: impl AsRef<[Op]>) -> Checked<Vec<Column>> {
        Ok(self.try_run(ops).await?)
    }

    pub(super) async fn execute(&mut self, sql: &str) -> Checked {
        self.run([Op::execute(sql)]).await.map(drop)
    }

    /// The answer of a query that yields a column `v` of text.
    pub(super) async fn list(&mut self, query: &str) -> Checked<Vec<String>> {
        let answers = self.run([Op::query(query)]).await?;
        Ok(flat(answers.into_iter().flatten()))
    }

    /// One value of one row.
    pub(super) async fn value(&mut self, value: &str, rest: &str) -> Checked<String> {
        let rows = self.list(&schema::select(B::ENGINE, value, rest)).await?;
        match <[String; 1]>::try_from(rows) {
            Ok([value]) => Ok(value),
            Err(rows) => {
                Err(Fault(format!("one row was expected of {value} {rest}, and there were {rows:?}")))
            }
        }
    }

    /// All rows of all tables.
    pub(super) async fn everything(&mut self) -> Checked<Vec<String>> {
        let mut rows = self.list(&schema::everything(B::ENGINE)).await?;
        rows.sort();
        Ok(rows)
    }

    /// There are the setup's rows and no others.
    pub(super) async fn clean(&mut self) -> Checked {
        let rows = self.everything().await?;
        if rows == schema::BASELINE {
            return Ok(());
        }
        let unexpected: Vec<_> =
            rows.iter().filter(|row| !schema::BASELINE.contains(&row.as_str())).take(10).collect();
        let missing: Vec<_> =
            schema::BASELINE.iter().filter(|row| !rows.iter().any(|there| there == *row)).collect();
        Err(Fault(format!(
            "{} does not have the setup's rows. What should not be there: {unexpected:?}; what is missing: {missing:?}",
            self.0.name()
        )))
    }

    pub(super) async fn catalogue(&mut self) -> Checked<Vec<String>> {
        let mut rows = self.list(schema::catalogue(B::ENGINE)).await?;
        rows.sort();
        Ok(rows)
    }

    pub(super) async fn close(self) -> Result<(), Error> {
        self.0.close().await
    }
}

/// Nothing is wrong, or the test itself is blamed for leaving its transaction.
pub(super) fn blamed(ended: Result<(), Error>, test: &str) -> Checked {
    let Err(error) = ended else {
        return Err(Fault(format!("{test} lost its transaction, and nobody said so")));
    };
    ensure!(
        error.kind() == ErrorKind::Boundary,
        "{test} left its transaction; the error is another: {error}"
    );
    ensure!(error.to_string().contains(test), "the error does not name {test}: {error}");
    Ok(())
}

/// Waits until the condition yields something.
pub(super) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Checked<Option<T>>) -> Checked<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < deadline, "in {PATIENCE:?} it did not come true that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn flat(cells: impl Iterator<Item = Option<String>>) -> Vec<String> {
    cells.map(|cell| cell.unwrap_or_else(|| "null".to_owned())).collect()
}
