//! A check is a function over a [`Place`]. It runs at an ordinary database, where what it sees
//! is the truth, and at the sandbox, where it must see the same and leave nothing.

use std::future::Future;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dbtest_sqlx::{Fixture, SqlxPostgres, Strategy, TestDb};
use sqlx::{Connection, PgConnection};

use crate::fingerprint::{fingerprint, fingerprint_now};

/// How long a check may take in one half: several clients, each with a limit of its own.
const LIMIT: Duration = Duration::from_secs(180);

/// Where a check runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// What the client under test connects to: dbtest's URL, written as all of them read it.
    pub(crate) url: String,
    /// The URL as dbtest gives it.
    pub(crate) plain: String,
    /// The same database beside the sandbox: what a stranger sees, and the server's own views.
    pub(crate) beside: String,
    pub(crate) half: Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// A database of the check's own.
    Truth,
    /// One transaction for all clients, never committed.
    Sandbox,
}

impl Place {
    pub(crate) fn sandboxed(&self) -> bool {
        self.half == Half::Sandbox
    }

    /// The isolation level that a transaction was asked for and shows. In the sandbox it shows
    /// `read committed`, as the guide's table says, and is serializable: one runs at a time.
    #[track_caller]
    pub(crate) fn level(&self, asked: &str, shown: &str) -> String {
        assert_eq!(shown, if self.sandboxed() { "read committed" } else { asked });
        asked.to_owned()
    }
}

/// The check must say the same at the sandbox as without it.
#[track_caller]
pub(crate) fn same(check: fn(&Place) -> String) {
    let (truth, sandbox) = halves(check);
    let Some(sandbox) = sandbox else { return };
    if truth != sandbox {
        let line = truth.lines().zip(sandbox.lines()).take_while(|(truth, sandbox)| truth == sandbox).count();
        panic!(
            "not the same from line {} on.\n--- without the sandbox:\n{truth}\n--- through the sandbox:\n{sandbox}\n---",
            line + 1
        );
    }
}

/// The check asserts what it sees, and knows from [`Place::half`] where that differs.
pub(crate) fn each(check: fn(&Place)) {
    halves(check);
}

fn halves<T: Send + 'static>(check: fn(&Place) -> T) -> (T, Option<T>) {
    let db = open(Strategy::Template);
    let own = portable(db.url());
    let place =
        Place { url: own.clone(), plain: db.url().to_owned(), beside: own.clone(), half: Half::Truth };
    let truth = limited(check, place);
    db.close_blocking().expect("the database of the truth is dropped");
    if only_truth() {
        return (truth, None);
    }

    let db = open(Strategy::Rollback);
    let beside = at_database(&own, db.name());
    let place = Place {
        url: portable(db.url()),
        plain: db.url().to_owned(),
        beside: beside.clone(),
        half: Half::Sandbox,
    };
    assert_ne!(place.url, place.beside, "the URL leads past the sandbox");
    let before = fingerprint(&beside);
    let sandbox = limited(check, place);
    // While the transaction is open a stranger sees only what escaped it.
    before.assert_same(&fingerprint_now(&beside), "while the sandbox was open");
    db.close_blocking().expect("the sandbox ends as after a test that passed");
    // The next test may have the place by now, but in a sandbox again.
    before.assert_same(&fingerprint(&beside), "after the sandbox");
    (truth, Some(sandbox))
}

/// `SANDBOX_CLIENTS=truth` leaves the sandbox out: is it the client, or is it the sandbox?
fn only_truth() -> bool {
    match std::env::var("SANDBOX_CLIENTS").as_deref() {
        Err(_) | Ok("" | "both") => false,
        Ok("truth") => true,
        Ok(other) => panic!("SANDBOX_CLIENTS={other}: say truth or both"),
    }
}

pub(crate) fn open(strategy: Strategy) -> TestDb<SqlxPostgres> {
    let fixture = Fixture::<SqlxPostgres>::new()
        .label("sandbox-clients")
        .sql("schema.sql", include_str!("schema.sql"))
        .require(strategy);
    fixture.open_blocking().expect("a database")
}

/// A unix socket's folder as the host: the one way to write it that every client here reads.
/// libpq's `?host=` beside another host is passed over by asyncpg.
fn portable(url: &str) -> String {
    let mut parsed = ::url::Url::parse(url).expect("dbtest's URLs are URLs");
    let (hosts, others): (Vec<_>, Vec<_>) =
        parsed.query_pairs().into_owned().partition(|(key, _)| key == "host");
    let Some((_, host)) = hosts.first() else { return url.to_owned() };
    parsed.set_host(Some(&host.replace('/', "%2F"))).expect("a host");
    parsed.set_query(None);
    if !others.is_empty() {
        parsed.query_pairs_mut().extend_pairs(others);
    }
    parsed.into()
}

fn at_database(url: &str, name: &str) -> String {
    let mut url = ::url::Url::parse(url).expect("dbtest's URLs are URLs");
    url.set_path(name);
    url.into()
}

/// Runs the check on a thread of its own, so that one that hangs fails and is named. Its thread
/// stays behind; the test process ends it.
fn limited<T: Send + 'static>(check: fn(&Place) -> T, place: Place) -> T {
    let half = place.half;
    let (send, receive) = mpsc::channel();
    let name = std::thread::current().name().unwrap_or("check").to_owned();
    let thread = std::thread::Builder::new()
        .name(format!("{name} ({half:?})"))
        .spawn(move || {
            // Nobody listens any more if this came too late.
            let _ = send.send(check(&place));
        })
        .expect("a thread");
    match receive.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{half:?}: the check hangs after {LIMIT:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => {
                eprintln!("this was {half:?}");
                std::panic::resume_unwind(panic)
            }
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// Runs a check of an async client on a runtime of its own, with a limit.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let limited = async { tokio::time::timeout(Duration::from_secs(60), future).await };
    let result = runtime.block_on(limited);
    // A client's background task may be what hangs: it is left behind, not waited for.
    runtime.shutdown_background();
    result.expect("the client is done within 60 s")
}

/// Waits for a condition that the server's views show, asked beside the sandbox.
pub(crate) async fn until_true(place: &Place, condition: &str) {
    let mut beside = PgConnection::connect(&place.beside).await.expect("a connection beside the sandbox");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let met: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT ({condition})::bool")))
            .fetch_one(&mut beside)
            .await
            .expect("a condition");
        if met {
            break;
        }
        assert!(Instant::now() < deadline, "never came true: {condition}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    beside.close().await.expect("closed");
}

/// The name of the database that a URL leads to.
pub(crate) fn name_of(url: &str) -> String {
    let url = ::url::Url::parse(url).expect("a URL");
    url.path().trim_start_matches('/').to_owned()
}

/// Polls a future so many times and drops it: a timeout or a `select!` at that very await.
pub(crate) async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() && left == 0 { std::task::Poll::Ready(None) } else { polled }
    })
    .await
}
