//! Runs a test: acquire, body, release. The attribute's one target, and yours without it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

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
    /// A test on a current-thread runtime.
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
    fn open(
        self,
        test: &Test,
        opened: &mut Opened,
    ) -> impl Future<Output = Result<Self::Databases>>;
}

/// The databases of a test, waiting for the test to give them back.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Opened(Vec<Box<dyn Parked>>);

/// A database that the runner ends, whatever its backend.
trait Parked: std::fmt::Debug {
    fn watch(&self) -> Option<Watch>;
    fn end(self: Box<Self>, passed: bool) -> BoxFuture<'static, Result<()>>;
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

    fn end(self: Box<Self>, passed: bool) -> BoxFuture<'static, Result<()>> {
        let inner = self.home.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            match inner {
                Some(inner) => inner.end(passed).await.map(drop),
                // Closed by the test itself, or still somewhere in a task of it.
                None if Arc::strong_count(&self.home) == 1 => Ok(()),
                None => Err(Error::not_given_back(&self.test, &self.name)),
            }
        })
    }
}

async fn open_one<B: Backend>(
    fixture: Fixture<B>,
    test: &Test,
    opened: &mut Opened,
) -> Result<TestDb<B>> {
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

/// Runs an asynchronous test on a runtime of its own and says how it went.
///
/// # Panics
/// With the body's own panic, after its databases were ended.
pub fn run<S, T, F>(test: Test, fixtures: S, body: F) -> ExitCode
where
    S: Fixtures,
    T: Termination,
    F: AsyncFnOnce(S::Databases) -> T,
{
    match try_run(test, fixtures, body) {
        Ok(code) => code,
        Err(Failure::Panic(panic)) => std::panic::resume_unwind(panic),
        Err(Failure::Error(error)) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same, for a test that returns nothing.
///
/// # Panics
/// If the test fails, or dbtest does.
pub fn run_unit<S, F>(test: Test, fixtures: S, body: F)
where
    S: Fixtures,
    F: AsyncFnOnce(S::Databases),
{
    match try_run(test, fixtures, body) {
        Ok(_) => {}
        Err(Failure::Panic(panic)) => std::panic::resume_unwind(panic),
        Err(Failure::Error(error)) => panic!("{error}"),
    }
}

/// Runs a synchronous test and says how it went. Its handles live on dbtest's own runtime.
///
/// # Panics
/// With the body's own panic, after its databases were ended.
pub fn run_blocking<S, T, F>(test: Test, fixtures: S, body: F) -> ExitCode
where
    S: Fixtures,
    T: Termination,
    F: FnOnce(S::Databases) -> T,
{
    run(test, fixtures, async |databases| body(databases))
}

/// The same, for a test that returns nothing.
///
/// # Panics
/// If the test fails, or dbtest does.
pub fn run_blocking_unit<S, F>(test: Test, fixtures: S, body: F)
where
    S: Fixtures,
    F: FnOnce(S::Databases),
{
    run_unit(test, fixtures, async |databases| body(databases));
}

/// Ends a test whose argument could not be made from its database.
///
/// # Panics
/// Always, with the error.
#[doc(hidden)]
pub fn fail(error: impl std::fmt::Display) -> ! {
    panic!("{error}")
}

enum Failure {
    Panic(Box<dyn Any + Send>),
    Error(Error),
}

fn try_run<S, T, F>(test: Test, fixtures: S, body: F) -> Result<ExitCode, Failure>
where
    S: Fixtures,
    T: Termination,
    F: AsyncFnOnce(S::Databases) -> T,
{
    let clock = Clock::default();
    let runtime = runtime(&test, &clock).map_err(Failure::Error)?;
    let result = runtime.block_on(async {
        let mut opened = Opened::default();
        let databases = match fixtures.open(&test, &mut opened).await {
            Ok(databases) => databases,
            Err(error) => {
                end_all(opened, true).await.map_err(Failure::Error)?;
                return skip_or_fail(&test, error);
            }
        };
        if test.paused {
            clock.watch(opened.0.iter().filter_map(|parked| parked.watch()).collect());
            tokio::task::spawn(clock.clone().keep_awake());
            tokio::time::pause();
        }
        let body = catch_unwind(body(databases)).await;
        if test.paused {
            clock.watch(Vec::new());
            tokio::time::resume();
        }
        // Reporting prints the error of a test that returned one.
        let body = body.map(Termination::report);
        let passed = match &body {
            Ok(code) => *code == ExitCode::SUCCESS,
            Err(_) => test.should_panic,
        };
        let ended = end_all(opened, passed).await;
        match (body, ended) {
            (Ok(_), Err(error)) if passed => Err(Failure::Error(error)),
            (Err(panic), Err(error)) => {
                // The test's own failure is the one to see; ours is not hidden.
                eprintln!("Error: {error}");
                Err(Failure::Panic(panic))
            }
            (Ok(code), Err(error)) => {
                eprintln!("Error: {error}");
                Ok(code)
            }
            (Ok(code), Ok(())) => Ok(code),
            (Err(panic), Ok(())) => Err(Failure::Panic(panic)),
        }
    });
    // Tasks that the test left behind end here, and do not hold up the next test.
    runtime.shutdown_background();
    result
}

/// Ends all databases; the first error is returned, the others printed.
async fn end_all(opened: Opened, passed: bool) -> Result<()> {
    let mut result = Ok(());
    for parked in opened.0 {
        if let Err(error) = parked.end(passed).await {
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

fn runtime(test: &Test, clock: &Clock) -> Result<tokio::runtime::Runtime> {
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
    if test.paused {
        let clock = clock.clone();
        builder.on_thread_park(move || clock.about_to_sleep());
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
            // Give the database the core for a moment instead of spinning on it.
            std::thread::yield_now();
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
