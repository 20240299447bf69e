//! A test's database: its handle, its URL, and how it ends.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::backend::{Backend, Boundary, BoxFuture, End, Finished, Place, Watch};
use crate::config::config;
use crate::dump::{Diff, Dump};
use crate::error::{Error, Result};
use crate::report::{Phase, timed};
use crate::runner::Ended;
use crate::server::watched;
use crate::slot::Kept;
use crate::strategy::{Context, IsolationStrategy, Lease, Outcome};
use crate::{progress, report, runtime};

/// How long a second user of a sandbox's only connection waits for it, in every adapter.
pub const SANDBOX_WAIT: Duration = Duration::from_secs(5);

/// How every adapter says that a sandbox's only connection is gone, with all that the test did.
pub const SANDBOX_LOST: &str =
    "dbtest: the connection of this test's transaction was closed, and its rows are gone";

/// One test's database.
///
/// [`close`](TestDb::close) ends it and reports what went wrong; the attribute does that for
/// you. Dropped without it, the place is put back in the background, and an error of that is
/// only printed.
pub struct TestDb<B: Backend> {
    inner: Option<Inner<B>>,
    /// Where the attribute's runner waits for it to come back.
    home: Option<Home<B>>,
}

pub(crate) type Home<B> = Arc<Mutex<Option<Inner<B>>>>;

pub(crate) struct Inner<B: Backend> {
    handle: Option<B::Handle>,
    /// The second handle, once somebody asked for it.
    read_only: OnceCell<B::Handle>,
    readers: Arc<Readers>,
    place: Place,
    lease: Option<Lease>,
    context: Context,
    strategy: Arc<dyn IsolationStrategy>,
    keep: bool,
    /// The test has a connection of its own, and closes it.
    given_away: bool,
    /// What opening it took.
    cost: Duration,
}

impl<B: Backend> fmt::Debug for TestDb<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestDb({}, {})", self.name(), self.strategy())
    }
}

impl<B: Backend> TestDb<B> {
    /// Opens the handle of a leased place. Whoever calls owns the runtime that the handle's
    /// connections belong to.
    pub(crate) async fn open(
        lease: Lease,
        context: Context,
        strategy: Arc<dyn IsolationStrategy>,
    ) -> Result<Self> {
        let mut place = lease.place.clone();
        place.url = B::url(&place.url);
        match timed(Phase::Connect, B::open(&place)).await {
            Ok(handle) => {
                let cost = context.begun.elapsed();
                let inner = Inner {
                    cost,
                    handle: Some(handle),
                    read_only: OnceCell::new(),
                    readers: Arc::default(),
                    place,
                    lease: Some(lease),
                    context,
                    strategy,
                    keep: false,
                    given_away: false,
                };
                Ok(Self { inner: Some(inner), home: None })
            }
            Err(error) => {
                let error = Error::connect(&place.shown(), B::ENGINE, error);
                runtime::run(Box::pin(lease.claim.recycle(0, false))).await?;
                Err(error)
            }
        }
    }

    /// From here on a drop hands the database to whoever holds the home.
    pub(crate) fn at_home(mut self) -> (Self, Home<B>) {
        let home = Home::default();
        self.home = Some(Arc::clone(&home));
        (self, home)
    }

    pub(crate) fn watch(&self) -> Option<Watch> {
        let inner = self.inner();
        let first = inner.handle.as_ref().and_then(B::watch)?;
        let readers = Arc::clone(&inner.readers);
        Some(Box::new(move || first() || readers.are_busy()))
    }

    fn inner(&self) -> &Inner<B> {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("only close and drop take it, and they take the TestDb"),
        }
    }

    /// The pool or connection.
    ///
    /// # Panics
    /// After [`take_handle`](TestDb::take_handle).
    pub fn handle(&self) -> &B::Handle {
        match &self.inner().handle {
            Some(handle) => handle,
            None => panic!("the handle of {} was taken", self.name()),
        }
    }

    /// The same, to change.
    ///
    /// # Panics
    /// After [`take_handle`](TestDb::take_handle).
    pub fn handle_mut(&mut self) -> &mut B::Handle {
        match self.inner.as_mut().and_then(|inner| inner.handle.as_mut()) {
            Some(handle) => handle,
            None => panic!("the handle was taken"),
        }
    }

    /// A second handle to the same place, whose writes the server refuses: for code that reads from
    /// a replica. It sees what the test committed, at once, where a real replica may lag behind.
    /// The first call opens it; it ends with the test.
    ///
    /// ```text
    /// let service = Service::new(db.handle().clone(), db.read_only().await?.clone());
    /// ```
    ///
    /// It is the session that may not write: code that lifts that (`BEGIN READ WRITE` on Postgres) can
    /// write here, and not on a replica.
    ///
    /// # Errors
    /// Under `rollback` on MySQL and SQLite the test has one connection, and this would be a second.
    pub async fn read_only(&self) -> Result<&B::Handle> {
        let inner = self.inner();
        inner
            .read_only
            .get_or_try_init(|| async { open_readers::<B>(&inner.readers, inner.replica()?).await })
            .await
    }

    /// The same, to change.
    ///
    /// # Errors
    /// As [`read_only`](TestDb::read_only).
    pub async fn read_only_mut(&mut self) -> Result<&mut B::Handle> {
        self.read_only().await?;
        match self.inner.as_mut().and_then(|inner| inner.read_only.get_mut()) {
            Some(handle) => Ok(handle),
            None => unreachable!("it was just opened"),
        }
    }

    /// The blocking twin of [`read_only`](TestDb::read_only).
    ///
    /// # Errors
    /// As [`read_only`](TestDb::read_only).
    pub fn read_only_blocking(&self) -> Result<&B::Handle> {
        let inner = self.inner();
        loop {
            if let Some(handle) = inner.read_only.get() {
                return Ok(handle);
            }
            let (readers, place) = (Arc::clone(&inner.readers), inner.replica()?);
            let handle = runtime::block(Box::pin(async move { open_readers::<B>(&readers, place).await }))?;
            // Another thread may have been faster: its handle is the one, and this one is dropped.
            let _ = inner.read_only.set(handle);
        }
    }

    /// Takes the handle out. Its connections are then the test's to close; what it leaves open
    /// is ended with the test.
    pub fn take_handle(&mut self) -> Option<B::Handle> {
        self.inner.as_mut()?.handle.take()
    }

    /// For adapters whose connections a test may own: drops the handle and returns the place, in
    /// which the test then has one connection of its own. In a sandbox that connection begins it;
    /// nobody ends it, and closing the connection rolls it back.
    pub fn give_away(&mut self) -> Place {
        if let Some(inner) = &mut self.inner {
            inner.handle = None;
            inner.given_away = true;
        }
        self.inner().place.clone()
    }

    /// The URL of this database, with its password, for a process that the test starts. It ends
    /// with the test. Under the strategy `rollback` it leads to the test's sandbox on Postgres,
    /// so that the process shares the test's rows; on MySQL and SQLite it shows the baseline.
    pub fn url(&self) -> &str {
        &self.inner().place.url
    }

    /// The URL of the database itself, with its password. Under the strategy `rollback` what the
    /// test did is not seen there.
    pub fn database_url(&self) -> String {
        let inner = self.inner();
        inner.lease.as_ref().map_or_else(|| inner.place.url.clone(), |lease| B::url(&lease.claim.place().url))
    }

    /// The name of the database, schema or file.
    pub fn name(&self) -> &str {
        self.inner.as_ref().map_or("closed", |inner| &inner.place.name)
    }

    /// Where the server came from: the variable that names its URL, `container postgres:18`,
    /// `installed /usr/lib/postgresql/17/bin/postgres`.
    pub fn origin(&self) -> &str {
        self.inner.as_ref().map_or("closed", |inner| &inner.context.origin)
    }

    /// The strategy's name.
    pub fn strategy(&self) -> &str {
        self.inner.as_ref().map_or("closed", |inner| inner.strategy.name())
    }

    /// All rows that are committed in this database, as text in a stable order. Under the strategy
    /// `rollback` on Postgres also what the test did.
    ///
    /// # Errors
    /// They can't be read: under `rollback` on MySQL and SQLite only the test's own connection
    /// sees them.
    pub async fn dump(&self) -> Result<Dump> {
        let place = self.inner().place.clone();
        runtime::run(Box::pin(async move { dump::<B>(&place).await })).await
    }

    /// What differs from the baseline that the test began with: the setup's rows, without those
    /// of [`seeds`](crate::Fixture::seeds). It is compared with a second clean place, so it
    /// takes as long as opening one.
    ///
    /// # Errors
    /// As [`dump`](TestDb::dump), or no second place can be had.
    pub async fn diff(&self) -> Result<Diff> {
        let (place, context) = (self.inner().place.clone(), self.inner().context.clone());
        runtime::run(Box::pin(async move { diff::<B>(&place, &context).await })).await
    }

    /// The blocking twin of [`dump`](TestDb::dump).
    ///
    /// # Errors
    /// As [`dump`](TestDb::dump).
    pub fn dump_blocking(&self) -> Result<Dump> {
        let place = self.inner().place.clone();
        runtime::block(Box::pin(async move { dump::<B>(&place).await }))
    }

    /// The blocking twin of [`diff`](TestDb::diff).
    ///
    /// # Errors
    /// As [`diff`](TestDb::diff).
    pub fn diff_blocking(&self) -> Result<Diff> {
        let (place, context) = (self.inner().place.clone(), self.inner().context.clone());
        runtime::block(Box::pin(async move { diff::<B>(&place, &context).await }))
    }

    /// Keeps the database after the test, also if it passes. Under `rollback` this commits.
    pub fn keep(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.keep = true;
        }
    }

    /// Ends the test database as after a test that passed: checks the boundary, ends what is
    /// left of the test, makes the place clean.
    ///
    /// # Errors
    /// The test broke the strategy's boundary, or the place could not be made clean.
    pub async fn close(mut self) -> Result<()> {
        match self.inner.take() {
            Some(inner) => inner.end(Ended::passed()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Ends the test database as after a test that failed: the place is kept, and the command
    /// that opens it printed.
    ///
    /// # Errors
    /// The place could not be kept.
    pub async fn close_failed(mut self) -> Result<()> {
        match self.inner.take() {
            Some(inner) => inner.end(Ended { passed: false, ..Ended::passed() }).await.map(drop),
            None => Ok(()),
        }
    }

    /// The blocking twin of [`close`](TestDb::close).
    ///
    /// # Errors
    /// As [`close`](TestDb::close).
    pub fn close_blocking(mut self) -> Result<()> {
        match self.inner.take() {
            Some(inner) => runtime::block(inner.end(Ended::passed())).map(drop),
            None => Ok(()),
        }
    }
}

/// Whether the second handle is at work, for tokio's paused clock.
#[derive(Default)]
struct Readers {
    opening: AtomicUsize,
    watch: OnceLock<Watch>,
}

impl Readers {
    fn are_busy(&self) -> bool {
        self.opening.load(Ordering::Relaxed) > 0 || self.watch.get().is_some_and(|busy| busy())
    }
}

/// While there is one, the second handle is being opened.
struct Opening<'a>(&'a Readers);

impl<'a> Opening<'a> {
    fn new(readers: &'a Readers) -> Self {
        readers.opening.fetch_add(1, Ordering::Relaxed);
        Self(readers)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn open_readers<B: Backend>(readers: &Readers, place: Place) -> Result<B::Handle> {
    let _opening = Opening::new(readers);
    let opened = B::open(&place).await;
    let handle = opened.map_err(|error| Error::connect(&place.shown(), B::ENGINE, error))?;
    if let Some(watch) = B::watch(&handle) {
        let _ = readers.watch.set(watch);
    }
    Ok(handle)
}

impl<B: Backend> Drop for TestDb<B> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if let Some(home) = &self.home {
            *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
            return;
        }
        // The net: nothing here may block, and nobody is left to hear of an error.
        let ended = Ended { passed: !std::thread::panicking(), ..Ended::passed() };
        runtime::detach(async move {
            if let Err(error) = inner.end(ended).await {
                progress::say(&error.to_string());
            }
        });
    }
}

impl<B: Backend> Inner<B> {
    /// The same place for readers.
    fn replica(&self) -> Result<Place> {
        if self.place.sandbox.is_some() {
            return Err(Error::one_connection(self.strategy.name(), B::ENGINE, &self.place.name));
        }
        Ok(Place { on_connect: B::ENGINE.read_only().to_owned(), ..self.place.clone() })
    }

    /// Finishes the handle, releases the lease, and says what a person should know.
    pub(crate) fn end(self, ended: Ended) -> BoxFuture<'static, Result<Option<Kept>>> {
        Box::pin(self.finish(ended))
    }

    /// The server is not there to make the place clean. Whoever leases it next does, or the claim's end
    /// when the server comes back.
    fn let_go(mut self) {
        if let Some(lease) = self.lease.take() {
            runtime::detach(async move { drop(lease.claim.recycle(1, false).await) });
        }
    }

    async fn finish(mut self, ended: Ended) -> Result<Option<Kept>> {
        let config = config()?;
        let begun = Instant::now();
        let passed = ended.passed;
        let keep = self.keep || config.keep;
        let sandboxed = self.place.sandbox.is_some();
        if !passed && config.diff {
            let (place, context) = (self.place.clone(), self.context.clone());
            // Only a help: what the test failed of is said in any case.
            match runtime::run(Box::pin(async move { diff::<B>(&place, &context).await })).await {
                Ok(diff) => eprintln!("dbtest: what {} changed:\n{diff}", self.context.test()),
                Err(error) => eprintln!("dbtest: DBTEST_DIFF=1 has nothing to show: {error}"),
            }
        }
        let end = if keep && sandboxed { End::Commit } else { End::Discard };
        self.place.over.store(true, Ordering::SeqCst);
        if let Some(lease) = self.lease.as_mut().filter(|_| passed && !keep && !sandboxed) {
            lease.claim.closing();
        }
        // It writes nothing, so it has no boundary.
        let readers = self.read_only.take();
        let handle = self.handle.take();
        let place = &self.place;
        let finish = async move {
            let read = match readers {
                Some(handle) => B::finish(handle, place, End::Discard).await.leaked,
                None => 0,
            };
            let finished = match handle {
                Some(handle) => Some(B::finish(handle, place, end).await),
                None => None,
            };
            (read, finished)
        };
        // The place itself: a sandbox's URL is our own server's.
        let url =
            self.lease.as_ref().map_or_else(|| place.url.clone(), |lease| B::url(&lease.claim.place().url));
        let (read, finished) = match timed(Phase::Close, watched::or_silence::<B, _>(&url, finish)).await {
            Ok(finished) => finished,
            Err(error) => {
                let shown = place.shown();
                self.let_go();
                return Err(Error::connect(&shown, B::ENGINE, error));
            }
        };
        let mut finished = match finished {
            Some(finished) => finished,
            None if sandboxed && self.given_away => Finished { boundary: Boundary::Closed, leaked: 0 },
            // Taken: nobody can say how its transaction ended.
            None if sandboxed => Finished { boundary: Boundary::Unknown, leaked: 0 },
            None => Finished::default(),
        };
        finished.leaked += read;
        let test = self.context.test().to_owned();
        let leaked = finished.leaked;
        // Whoever lost the connection is told that, and not that a second one was wanted.
        let lost = matches!(finished.boundary, Boundary::Broken(_));
        let outcome = Outcome {
            passed,
            keep: keep || !passed,
            committed: end == End::Commit && finished.boundary == Boundary::Intact,
            finished,
        };
        let Some(mut lease) = self.lease.take() else { return Ok(None) };
        if passed {
            lease.claim.passed();
        }
        let (strategy, context) = (Arc::clone(&self.strategy), self.context.clone());
        let release =
            runtime::run(Box::pin(async move { strategy.release(&context, lease, &outcome).await }));
        let kept = match watched::or_silence::<B, _>(&url, release).await {
            Ok(kept) => kept,
            // It goes on by itself, should the server come back.
            Err(error) => Err(Error::connect(&self.place.shown(), B::ENGINE, error)),
        };
        report::test_ended(config, self.cost + begun.elapsed());
        if leaked > 0 {
            let what = if leaked == 1 { "1 connection".to_owned() } else { format!("{leaked} connections") };
            eprintln!("dbtest: {test} leaked {what} of {}; dbtest ended what was left", self.place.name);
        }
        if !passed && sandboxed && !lost && starved::<B>(&ended) {
            eprintln!(
                "dbtest: the handle of {test} has one connection (strategy {}), and a second was asked for while \
                 the first was in use: a transaction was open, or a connection held, when the pool timed out. \
                 Give the first back before, or use the strategy \"truncate\" for this test.",
                self.strategy.name()
            );
        }
        if let Some(what) = refused::<B>(&ended).filter(|_| !passed && sandboxed) {
            eprintln!(
                "dbtest: {test} sent {what} in SQL of its own, which the strategy {} refuses on {}. Use the ORM's own \
                 transactions, or the strategy \"truncate\" or \"template\" for this test.",
                self.strategy.name(),
                B::ENGINE
            );
        }
        if let Ok(Some(kept)) = &kept {
            eprintln!(
                "dbtest: {test} (strategy {}, setup {}) left its database for you:\n{}",
                self.strategy.name(),
                self.context.ground.fingerprint,
                kept.opened()
            );
        } else if !passed && sandboxed {
            eprintln!(
                "dbtest: {test} (strategy {}, setup {}) was rolled back; to see its rows, run it again with:\n  \
                 DBTEST_KEEP=1 cargo test {}",
                self.strategy.name(),
                self.context.ground.fingerprint,
                test.rsplit("::").next().unwrap_or(&test)
            );
        }
        let kept = kept?;
        if leaked > 0 && config.leaks_fail && passed {
            return Err(Error::leaked(&test, leaked));
        }
        Ok(kept)
    }
}

async fn dump<B: Backend>(place: &Place) -> Result<Dump> {
    if place.sandbox.is_some() {
        return Err(Error::not_to_be_seen(&place.shown()));
    }
    let session = B::session(&place.url).await;
    let mut session = session.map_err(|error| Error::connect(&place.shown(), B::ENGINE, error))?;
    let dump = crate::dump::read(&mut *session, B::ENGINE, &place.shown()).await;
    session.close().await;
    dump
}

async fn diff<B: Backend>(place: &Place, context: &Context) -> Result<Diff> {
    let after = dump::<B>(place).await?;
    let clean = context.slot().await?;
    let before = dump::<B>(&clean.place()).await;
    clean.recycle(0, false).await?;
    Ok(crate::dump::diff(before?, after))
}

/// Whether the failure is the pool's timeout. An error that the test returned is printed and not
/// seen here, so a test that failed after as long as the timeout is told too.
fn starved<B: Backend>(ended: &Ended) -> bool {
    match &ended.message {
        Some(message) if message.contains(SANDBOX_LOST) => false,
        Some(message) => B::POOL_TIMEOUT.iter().any(|words| message.contains(words)),
        None => !B::POOL_TIMEOUT.is_empty() && ended.took >= SANDBOX_WAIT,
    }
}

/// What the database refused in the sandbox's transaction, if the failure is its error. One that the test
/// returned is not seen here.
fn refused<B: Backend>(ended: &Ended) -> Option<&'static str> {
    let (words, what) = B::ENGINE.refused_in_a_transaction()?;
    ended.message.as_ref()?.contains(words).then_some(what)
}
