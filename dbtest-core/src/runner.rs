//! Runs a test: acquire, body, release. The attribute's one target, and yours without it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use dbtest_seed::Seed;
use tokio::runtime::Runtime;

use crate::backend::{Backend, BoxFuture, Watch};
use crate::config::config;
use crate::error::{Error, ErrorKind, Result};
use crate::fixture::Fixture;
use crate::progress;
use crate::test_db::{Home, TestDb};

/// What a test is called, and the runtime it wants.
#[derive(Clone, Debug)]
#[must_use = "it says how to run a test, and runs none"]
pub struct Test {
    name: String,
    package: String,
    folder: Option<String>,
    /// The worker threads of a multi-thread runtime; `None` is a current-thread runtime.
    workers: Option<Option<usize>>,
    paused: bool,
    should_panic: bool,
}

impl Test {
    /// A test on a current-thread runtime, by the name that is shown.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            package: "this crate".to_owned(),
            folder: None,
            workers: None,
            paused: false,
            should_panic: false,
        }
    }

    /// The same, by its path from `module_path!()`: the harness shows it without the crate.
    pub fn at(path: &str) -> Self {
        Self::new(path.split_once("::").map_or(path, |(_, rest)| rest))
    }

    /// The crate's folder.
    pub fn manifest_dir(mut self, folder: impl Into<String>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The crate's name, for messages.
    pub fn package(mut self, package: impl Into<String>) -> Self {
        self.package = package.into();
        self
    }

    /// A runtime with threads of its own; as many as there are cores by default.
    pub fn multi_thread(mut self, workers: Option<usize>) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The test starts with tokio's clock paused. Queries take no virtual time: the clock stands
    /// while a connection is at work. Only on a current-thread runtime.
    pub fn start_paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// A panic is how this test passes.
    pub fn should_panic(mut self) -> Self {
        self.should_panic = true;
        self
    }
}

/// One to four fixtures, which a test gets as so many databases.
pub trait Fixtures {
    /// The databases.
    type Databases;

    /// Opens all of them, or none.
    #[doc(hidden)]
    fn open(self, test: &Test, opened: &mut Opened) -> impl Future<Output = Result<Self::Databases>>;
}

/// The databases of a test, waiting for the test to give them back.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Opened(Vec<Box<dyn Parked>>);

/// A database that the runner ends, whatever its backend.
trait Parked: std::fmt::Debug {
    fn watch(&self) -> Option<Watch>;
    fn end(self: Box<Self>, ended: Ended) -> BoxFuture<'static, Result<()>>;
}

struct Waiting<B: Backend> {
    home: Home<B>,
    name: String,
    test: String,
    watch: Mutex<Option<Watch>>,
}

impl<B: Backend> std::fmt::Debug for Waiting<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({})", self.name)
    }
}

impl<B: Backend> Parked for Waiting<B> {
    fn watch(&self) -> Option<Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(self: Box<Self>, ended: Ended) -> BoxFuture<'static, Result<()>> {
        let inner = self.home.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            match inner {
                Some(inner) => inner.end(ended).await.map(drop),
                // Closed by the test itself, or still somewhere in a task of it.
                None if Arc::strong_count(&self.home) == 1 => Ok(()),
                None => Err(Error::not_given_back(&self.test, &self.name)),
            }
        })
    }
}

async fn open_one<B: Backend>(fixture: Fixture<B>, test: &Test, opened: &mut Opened) -> Result<TestDb<B>> {
    let db = fixture.for_test(&test.package).open_for(&test.name).await?;
    let watch = db.watch();
    let name = db.name().to_owned();
    let (db, home) = db.at_home();
    opened.0.push(Box::new(Waiting { home, name, test: test.name.clone(), watch: Mutex::new(watch) }));
    Ok(db)
}

macro_rules! fixtures {
    ($($backend:ident $fixture:ident),+) => {
        impl<$($backend: Backend),+> Fixtures for ($(Fixture<$backend>,)+) {
            type Databases = ($(TestDb<$backend>,)+);

            async fn open(self, test: &Test, opened: &mut Opened) -> Result<Self::Databases> {
                let ($($fixture,)+) = self;
                Ok(($(open_one($fixture, test, opened).await?,)+))
            }
        }
    };
}

fixtures!(A a);
fixtures!(A a, B b);
fixtures!(A a, B b, C c);
fixtures!(A a, B b, C c, D d);

/// Runs an asynchronous test on a runtime of its own and says how it went. `arguments` makes what
/// the body takes from the databases.
///
/// # Panics
/// With the body's own panic, after its databases were ended.
pub fn run<S, A, T, M, F>(test: Test, fixtures: S, arguments: M, body: F) -> ExitCode
where
    S: Fixtures,
    T: Termination,
    M: AsyncFnOnce(S::Databases) -> Result<A>,
    F: AsyncFnOnce(A) -> T,
{
    code(try_run(test, fixtures, arguments, on_runtime(body)))
}

/// The same, for a test that returns nothing.
///
/// # Panics
/// If the test fails, or dbtest does.
pub fn run_unit<S, A, M, F>(test: Test, fixtures: S, arguments: M, body: F)
where
    S: Fixtures,
    M: AsyncFnOnce(S::Databases) -> Result<A>,
    F: AsyncFnOnce(A),
{
    unit(try_run(test, fixtures, arguments, on_runtime(body)));
}

/// Runs a synchronous test and says how it went. The runtime of its handles works in the
/// background, and the body may block.
///
/// # Panics
/// With the body's own panic, after its databases were ended.
pub fn run_blocking<S, A, T, M, F>(test: Test, fixtures: S, arguments: M, body: F) -> ExitCode
where
    S: Fixtures,
    T: Termination,
    M: AsyncFnOnce(S::Databases) -> Result<A>,
    F: FnOnce(A) -> T,
{
    code(try_run(test.multi_thread(Some(1)), fixtures, arguments, on_thread(body)))
}

/// The same, for a test that returns nothing.
///
/// # Panics
/// If the test fails, or dbtest does.
pub fn run_blocking_unit<S, A, M, F>(test: Test, fixtures: S, arguments: M, body: F)
where
    S: Fixtures,
    M: AsyncFnOnce(S::Databases) -> Result<A>,
    F: FnOnce(A),
{
    unit(try_run(test.multi_thread(Some(1)), fixtures, arguments, on_thread(body)));
}

type Panic = Box<dyn Any + Send>;

enum Failure {
    Panic(Panic),
    Error(Error),
}

fn code(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Failure::Panic(panic)) => std::panic::resume_unwind(panic),
        Err(Failure::Error(error)) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn unit(result: Result<ExitCode, Failure>) {
    match result {
        Ok(_) => {}
        Err(Failure::Panic(panic)) => std::panic::resume_unwind(panic),
        Err(Failure::Error(error)) => panic!("{error}"),
    }
}

/// A body that runs on the test's runtime.
fn on_runtime<A, T, F>(body: F) -> impl FnOnce(&Runtime, Option<&Clock>, A) -> Result<T, Panic>
where
    F: AsyncFnOnce(A) -> T,
{
    move |runtime, clock, arguments| {
        runtime.block_on(async {
            let result = catch_unwind(body(arguments)).await;
            if let Some(clock) = clock {
                clock.watch(Vec::new());
                // The test may have resumed it itself; what follows needs real time.
                let _ = std::panic::catch_unwind(tokio::time::resume);
            }
            result
        })
    }
}

/// A body that runs on the test's thread, outside every runtime.
fn on_thread<A, T, F>(body: F) -> impl FnOnce(&Runtime, Option<&Clock>, A) -> Result<T, Panic>
where
    F: FnOnce(A) -> T,
{
    move |_, _, arguments| std::panic::catch_unwind(AssertUnwindSafe(|| body(arguments)))
}

fn try_run<S, A, T, M>(
    test: Test,
    fixtures: S,
    arguments: M,
    body: impl FnOnce(&Runtime, Option<&Clock>, A) -> Result<T, Panic>,
) -> Result<ExitCode, Failure>
where
    S: Fixtures,
    T: Termination,
    M: AsyncFnOnce(S::Databases) -> Result<A>,
{
    let clock = test.paused.then(Clock::default);
    // A seed that can't be read is reported with the other settings, when the fixture is opened.
    let seed = config().ok().map(|_| Seed::of(&test.name));
    let _entered = seed.as_ref().map(Seed::enter);
    let runtime = runtime(&test, clock.as_ref(), seed.clone()).map_err(Failure::Error)?;
    let mut opened = Opened::default();
    let given = runtime.block_on(async {
        if let Some(clock) = &clock {
            // Standing still from the start: a clock that is paused later shows fractions.
            clock.watch(vec![Box::new(|| true)]);
            tokio::task::spawn(clock.clone().keep_awake());
        }
        let databases = fixtures.open(&test, &mut opened).await?;
        arguments(databases).await
    });
    let result = match given {
        Ok(given) => {
            if let Some(clock) = &clock {
                clock.watch(opened.0.iter().filter_map(|parked| parked.watch()).collect());
            }
            let begun = Instant::now();
            let body = body(&runtime, clock.as_ref(), given);
            let took = begun.elapsed();
            // Reporting prints the error of a test that returned one.
            let body = body.map(Termination::report);
            let passed = match &body {
                Ok(code) => *code == ExitCode::SUCCESS,
                Err(_) => test.should_panic,
            };
            if let Some(told) = seed.as_ref().and_then(Seed::told).filter(|_| !passed) {
                eprintln!("{told}");
            }
            let message = body.as_ref().err().and_then(message);
            let ended = runtime.block_on(end_all(opened, Ended { passed, message, took }));
            both(body, ended, passed)
        }
        Err(error) => match runtime.block_on(async {
            if clock.is_some() {
                tokio::time::resume();
            }
            end_all(opened, Ended::passed()).await
        }) {
            Ok(()) => skip_or_fail(&test, error),
            Err(second) => {
                eprintln!("Error: {second}");
                Err(Failure::Error(error))
            }
        },
    };
    // Tasks that the test left behind end here, and do not hold up the next test.
    runtime.shutdown_background();
    result
}

/// How the body ended, for what a person is told about it.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) passed: bool,
    /// The panic's message.
    pub(crate) message: Option<String>,
    pub(crate) took: Duration,
}

impl Ended {
    pub(crate) fn passed() -> Self {
        Self { passed: true, message: None, took: Duration::ZERO }
    }
}

fn message(panic: &Panic) -> Option<String> {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

/// The test's own failure is the one to see, and ours is not hidden by it.
fn both(body: Result<ExitCode, Panic>, ended: Result<()>, passed: bool) -> Result<ExitCode, Failure> {
    match (body, ended) {
        (Ok(code), Ok(())) => Ok(code),
        (Err(panic), Ok(())) => Err(Failure::Panic(panic)),
        (_, Err(error)) if passed => Err(Failure::Error(error)),
        (Ok(code), Err(error)) => {
            eprintln!("Error: {error}");
            Ok(code)
        }
        (Err(panic), Err(error)) => {
            eprintln!("Error: {error}");
            Err(Failure::Panic(panic))
        }
    }
}

/// Ends all databases; the first error is returned, the others printed.
async fn end_all(opened: Opened, ended: Ended) -> Result<()> {
    let mut result = Ok(());
    for parked in opened.0 {
        if let Err(error) = parked.end(ended.clone()).await {
            match &result {
                Ok(()) => result = Err(error),
                Err(_) => eprintln!("Error: {error}"),
            }
        }
    }
    result
}

/// A missing server fails its tests, unless somebody asked for them to be skipped.
fn skip_or_fail(test: &Test, error: Error) -> Result<ExitCode, Failure> {
    let skips = config().is_ok_and(|config| config.skip_missing);
    if skips && error.kind() == ErrorKind::NoServer {
        progress::say(&format!("skipped {} (DBTEST_SKIP_MISSING=1): {error}", test.name));
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Error(error))
}

fn runtime(test: &Test, clock: Option<&Clock>, seed: Option<Seed>) -> Result<Runtime> {
    let mut builder = match test.workers {
        Some(workers) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            if let Some(workers) = workers {
                builder.worker_threads(workers);
            }
            builder
        }
        None => tokio::runtime::Builder::new_current_thread(),
    };
    if let Some(seed) = seed {
        // The runtime is the test's alone, so its threads never leave the seed.
        builder.on_thread_start(move || std::mem::forget(seed.enter()));
    }
    if let Some(clock) = clock.cloned() {
        builder.on_thread_park(move || clock.about_to_sleep()).start_paused(true);
    }
    builder.enable_all().build().map_err(|error| Error::system("start the test's runtime", error))
}

/// Catches a panic of the future, as `catch_unwind` does of a function.
async fn catch_unwind<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

/// Keeps tokio's paused clock standing while a connection is at work.
///
/// A paused clock jumps to the next timer whenever the runtime is about to sleep, and waiting
/// for a database looks like sleep. So while a handle is busy the runtime is not let sleep: a
/// task of ours is woken instead, and the socket is polled again.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<ClockState>>);

#[derive(Default)]
struct ClockState {
    watches: Vec<Watch>,
    sleeper: Option<Waker>,
}

impl Clock {
    fn state(&self) -> std::sync::MutexGuard<'_, ClockState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, watches: Vec<Watch>) {
        self.state().watches = watches;
    }

    fn about_to_sleep(&self) {
        let state = self.state();
        if state.watches.iter().any(|busy| busy())
            && let Some(sleeper) = &state.sleeper
        {
            // Leaves the core to the database for a moment instead of spinning on it.
            std::thread::sleep(Duration::from_micros(20));
            sleeper.wake_by_ref();
        }
    }

    /// Never ends; it is there to be woken.
    async fn keep_awake(self) {
        std::future::poll_fn(|context| {
            self.state().sleeper = Some(context.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    }
}
