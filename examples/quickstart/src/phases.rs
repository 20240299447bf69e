//! What the quickstart does: tests under each strategy, the proof, and the same without dbtest.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dbtest_sqlx::{Engine, Fixture, Result, Strategy};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::args::Options;
use crate::bodies::{self, Failure};
use crate::report::{Report, Under, Without};
use crate::shop::Shop;

/// The strategies and what they are called.
const STRATEGIES: [(&str, Strategy); 4] = [
    ("rollback", Strategy::Rollback),
    ("truncate", Strategy::Truncate),
    ("template", Strategy::Template),
    ("schema", Strategy::Schema),
];

/// How many tests the proof holds in the middle at the same time.
const TOGETHER: usize = 8;

/// One test: how long its parts took, and why it failed.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) open: Duration,
    pub(crate) body: Duration,
    pub(crate) close: Duration,
    pub(crate) failure: Option<Failure>,
}

/// Runs all of it on one engine.
///
/// # Errors
/// There is no server, or the setup does not run on it.
pub(crate) async fn all<B: Shop>(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let jobs = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let progress = Progress::new();
    progress.now("a server, migrations and seeds");
    // Whatever can't be had is found out here, and not by every test.
    let first = Instant::now();
    let db = fixture::<B>(&Strategy::Template).open_for("quickstart").await?;
    let setup = first.elapsed();
    let version = crate::shop::Calls::text(db.handle(), B::VERSION).await.unwrap_or_default();
    let server = if B::ENGINE == Engine::Sqlite { "in process".to_owned() } else { db.origin().to_owned() };
    db.close().await?;
    progress.done(&format!("{} {version} ({server}): ready after {}", B::ENGINE, seconds(setup)));

    let mut under = Vec::new();
    for (name, strategy) in &STRATEGIES {
        let fixture = fixture::<B>(strategy);
        let begun = Instant::now();
        let tests = many(&fixture, options.tests, jobs, |done| {
            progress.now(&format!("{name}: {done} of {} tests, {jobs} at a time", options.tests));
        })
        .await;
        let took = begun.elapsed();
        progress.now(&format!("{name}: {TOGETHER} tests write the same keys"));
        let proof = together(&fixture).await;
        let one = Under::new(name, tests, proof, took);
        progress.done(&one.line());
        under.push(one);
    }

    progress.now("the same without dbtest");
    let without = without::<B>().await?;
    progress.done(&without.line());
    Ok(Report { engine: B::ENGINE, server, version, setup, jobs, under, without, took: begun.elapsed() })
}

/// The strategy is required, since it is what is measured: `DBTEST_STRATEGY` does not apply.
fn fixture<B: Shop>(strategy: &Strategy) -> Fixture<B> {
    B::fixture().require(strategy.clone())
}

/// Runs many tests, so many at a time, as a test harness does.
async fn many<B: Shop>(
    fixture: &Fixture<B>,
    tests: usize,
    jobs: usize,
    progress: impl Fn(usize),
) -> Vec<Measured> {
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..jobs {
        let (fixture, next, sender) = (fixture.clone(), Arc::clone(&next), sender.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // Nobody listens any more if this program is ending.
                if number >= tests || sender.send(one(&fixture, number).await).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut measured = Vec::new();
    while let Some(test) = receiver.recv().await {
        measured.push(test);
        progress(measured.len());
    }
    measured
}

/// One test, in its three parts.
async fn one<B: Shop>(fixture: &Fixture<B>, number: usize) -> Measured {
    let name = format!("quickstart test {number}");
    let begun = Instant::now();
    let opened = fixture.clone().open_for(&name).await;
    let open = begun.elapsed();
    let mut db = match opened {
        Ok(db) => db,
        Err(error) => {
            let failure = Some(error.into());
            return Measured { open, body: Duration::ZERO, close: Duration::ZERO, failure };
        }
    };
    let begun = Instant::now();
    let result = bodies::body(number, db.handle()).await;
    let body = begun.elapsed();
    if result.is_err() {
        // The evidence stays, and `close` prints the command that opens it.
        db.keep();
    }
    let begun = Instant::now();
    let closed = db.close().await;
    let close = begun.elapsed();
    let failure = result.and(closed.map_err(Failure::from)).err();
    Measured { open, body, close, failure }
}

/// The proof: all write the same keys, and only when all have written does each look. Returns
/// how many there were, and the failures.
async fn together<B: Shop>(fixture: &Fixture<B>) -> (usize, Vec<Failure>) {
    let barrier = Arc::new(Barrier::new(TOGETHER));
    let mut tests = JoinSet::new();
    for number in 0..TOGETHER {
        let (fixture, barrier) = (fixture.clone(), Arc::clone(&barrier));
        tests.spawn(async move {
            let opened = fixture.open_for(&format!("quickstart proof {number}")).await;
            let written = match &opened {
                Ok(db) => bodies::writes_the_same_keys(number, db.handle()).await,
                Err(_) => Ok(()),
            };
            // Also those that failed come here, or the others would wait for them for ever.
            barrier.wait().await;
            let mut db = opened?;
            let seen = match written {
                Ok(()) => bodies::sees_only_its_own(number, db.handle()).await,
                failed => failed,
            };
            if seen.is_err() {
                db.keep();
            }
            let closed = db.close().await;
            seen.and(closed.map_err(Failure::from))
        });
    }
    let mut failures = Vec::new();
    while let Some(ended) = tests.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => failures.push(failure),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    (TOGETHER, failures)
}

/// The counter-example: the same tests at the same time on one database, as without dbtest.
async fn without<B: Shop>() -> Result<Without> {
    let db = fixture::<B>(&Strategy::Truncate).open_for("quickstart without dbtest").await?;
    let mut tests = JoinSet::new();
    for number in 0..TOGETHER {
        let shared = db.handle().clone();
        tests.spawn(async move {
            bodies::writes_the_same_keys(number, &shared).await?;
            bodies::sees_only_its_own(number, &shared).await
        });
    }
    let mut failures = Vec::new();
    while let Some(ended) = tests.join_next().await {
        match ended {
            Ok(result) => failures.extend(result.err()),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    db.close().await?;
    Ok(Without { tests: TOGETHER, failures })
}

/// Seconds for people.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Says on stderr what is being done: renewed in place on a terminal, else only what is done.
struct Progress {
    on_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { on_terminal: std::io::stderr().is_terminal() }
    }

    fn now(&self, what: &str) {
        if self.on_terminal {
            eprint!("\r\x1b[2K… {what}");
            // If stderr is gone, nobody waits for this line.
            let _ = std::io::stderr().flush();
        }
    }

    fn done(&self, what: &str) {
        let clear = if self.on_terminal { "\r\x1b[2K" } else { "" };
        eprintln!("{clear}✓ {what}");
    }
}
