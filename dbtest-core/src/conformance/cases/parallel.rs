//! Tests that run at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::conformance::case::{Case, Checked, Fault, ensure, until};
use crate::conformance::probe::Probe;
use crate::conformance::schema;

pub(crate) async fn two_open_databases_do_not_see_each_other<B: Probe>(case: &Case<B>) -> Checked {
    let mut one = case.open().await?;
    let mut two = case.open().await?;
    let result = async {
        ensure!(one.0.name() != two.0.name(), "two open tests were given the same place, {}", one.0.name());
        one.execute("INSERT INTO author (name) VALUES ('Eve')").await?;
        one.execute("UPDATE kind SET label = 'Changed'").await?;
        two.clean().await?;
        // The same unique name, which one database would refuse.
        two.execute("INSERT INTO author (name) VALUES ('Eve')").await?;
        two.execute("DELETE FROM book").await?;
        let books = one.value("count(*)", "FROM book").await?;
        ensure!(books == "2", "the one test sees that the other deleted books: {books} of 2 are there");
        Ok(())
    }
    .await;
    let (first, second) = (one.close().await, two.close().await);
    result?;
    first?;
    second?;
    case.next_is_clean().await
}

/// How many tests run at the same time.
const TESTS: usize = 8;

/// Where all of them wait for each other; whoever fails lets the others go.
#[derive(Default)]
struct Meeting {
    opened: AtomicUsize,
    written: AtomicUsize,
    failed: AtomicBool,
}

impl Meeting {
    async fn all(&self, arrived: &AtomicUsize) -> Checked {
        arrived.fetch_add(1, Ordering::SeqCst);
        until("all tests are there", async || {
            ensure!(!self.failed.load(Ordering::SeqCst), "another of the tests failed");
            Ok((arrived.load(Ordering::SeqCst) == TESTS).then_some(()))
        })
        .await
    }
}

pub(crate) async fn parallel_tests_do_not_see_each_other<B: Probe>(case: &Case<B>) -> Checked {
    let meeting = Meeting::default();
    // Threads and runtimes of their own, as the test harness runs them.
    let faults: Vec<Fault> = std::thread::scope(|scope| {
        let tests: Vec<_> = (0..TESTS)
            .map(|number| {
                let meeting = &meeting;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    let result = runtime.block_on(one_of_many(case, number, meeting));
                    if result.is_err() {
                        meeting.failed.store(true, Ordering::SeqCst);
                    }
                    result
                })
            })
            .collect();
        tests
            .into_iter()
            .filter_map(|test| {
                test.join().unwrap_or_else(|_| Err(Fault("one of the tests panicked".to_owned()))).err()
            })
            .collect()
    });
    ensure!(faults.is_empty(), "of {TESTS} tests in parallel {} failed: {faults:?}", faults.len());
    case.next_is_clean().await
}

async fn one_of_many<B: Probe>(case: &Case<B>, number: usize, meeting: &Meeting) -> Checked {
    case.test(async |db| {
        meeting.all(&meeting.opened).await?;
        db.clean().await?;
        // Each has the same unique name, and a row that is only its own.
        db.execute(&format!("INSERT INTO author (name) VALUES ('Eve {}')", number % 2)).await?;
        db.execute(&format!("INSERT INTO keyless VALUES ('of test {number}')")).await?;
        meeting.all(&meeting.written).await?;
        let notes = db.list(&schema::select(B::ENGINE, "note", "FROM keyless")).await?;
        ensure!(notes == [format!("of test {number}")], "test {number} sees the notes {notes:?}");
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}
