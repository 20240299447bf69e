//! Tests that end in other ways than by returning success.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::conformance::case::{Case, Checked, Db, Fault, Ran, blamed, ensure, until};
use crate::conformance::probe::{Finish, Op, Probe};
use crate::conformance::schema;
use crate::error::ErrorKind;

fn note(text: &str) -> Op {
    Op::execute(format!("INSERT INTO keyless (note) VALUES ('{text}')"))
}

pub(crate) async fn a_panic_cleans_up<B: Probe>(case: &Case<B>) -> Checked {
    let _alone = super::keep::alone(case).await?;
    let ran = case.ran(&case.test, async |mut db| {
        let wrote = B::run(db.handle_mut(), &[note("left behind")]).await;
        panic!("on purpose: {wrote:?}");
    });
    ensure!(
        matches!(&ran, Ran::Panicked(message) if message == "on purpose: Ok([])"),
        "the test's own panic is not what came out of it: {ran:?}"
    );
    let released = case.released(&case.test).await?;
    ensure!(!released.passed, "the strategy was told that a test passed which panicked");
    case.next_is_clean().await
}

pub(crate) async fn an_early_return_cleans_up<B: Probe>(case: &Case<B>) -> Checked {
    let _alone = super::keep::alone(case).await?;
    let ran = case.ran(&case.test, async |mut db| {
        // In the middle of a transaction.
        let ops = [note("left behind"), Op::execute("no such statement")];
        B::run(db.handle_mut(), &[Op::transaction(ops, Finish::Commit)]).await?;
        Ok(())
    });
    ensure!(matches!(ran, Ran::Failed), "a test that returned an error ended like this: {ran:?}");
    let released = case.released(&case.test).await?;
    ensure!(!released.passed, "the strategy was told that a test passed which returned an error");
    case.next_is_clean().await
}

pub(crate) async fn a_cancelled_body_cleans_up<B: Probe>(case: &Case<B>) -> Checked {
    let place = Mutex::new(String::new());
    let body = async {
        let mut db = case.open().await?;
        db.run([note("left behind")]).await?;
        *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = db.0.name().to_owned();
        std::future::pending::<()>().await;
        // Never reached; the future is dropped while it waits, and the database with it.
        db.close().await?;
        Checked::Ok(())
    };
    tokio::select! {
        ended = body => return Err(Fault(format!("the body ended: {ended:?}"))),
        wrote = until("the body wrote", async || {
            let name = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Ok((!name.is_empty()).then_some(()))
        }) => wrote?,
    }
    // Nobody waits for it, but it is done.
    case.released(&case.test).await?;
    case.next_is_clean().await
}

pub(crate) async fn a_leaked_connection_is_reported_and_does_not_reach_the_next_test<B: Probe>(
    case: &Case<B>,
) -> Checked {
    const TEST: &str = "a_test_that_leaks_a_connection";
    if !B::POOLED {
        // There is nothing to leak but the handle itself.
        let mut db = case.open_as(case.fixture(), TEST).await?;
        db.run([note("taken away")]).await?;
        let handle = db.0.take_handle();
        let ended = db.close().await;
        drop(handle);
        if !case.promises.raw_commit {
            blamed(ended, TEST)?;
        }
        return case.next_is_clean().await;
    }
    let mut db = case.open_as(case.fixture(), TEST).await?;
    // In the middle of a transaction, holding locks.
    let begin = if case.promises.raw_commit { vec![Op::execute("BEGIN")] } else { Vec::new() };
    let ops: Vec<Op> =
        begin.into_iter().chain([note("leaked"), Op::execute("UPDATE kind SET label = 'locked'")]).collect();
    B::leak(db.0.handle_mut(), &ops).await?;
    let ended = db.close().await;
    if case.promises.many_connections {
        ended?;
    } else {
        // It was the only one, so nobody can say how the transaction ended.
        blamed(ended, TEST)?;
    }
    let released = case.released(TEST).await?;
    ensure!(released.leaked == 1, "1 connection was leaked; the strategy was told of {}", released.leaked);
    case.leaves_nothing([note("next"), Op::execute("UPDATE kind SET label = 'free'")]).await
}

/// A write, abandoned in the middle, in a transaction or not.
async fn abandoned<B: Probe>(case: &Case<B>, wrap: impl Fn(Vec<Op>) -> Vec<Op>) -> Checked {
    const TEST: &str = "a_test_that_is_cancelled_in_the_middle";
    const WORD: &str = "abandoned";
    let word = case.word(WORD);
    let mut db = case.open_as(case.fixture(), TEST).await?;
    if B::BLOCKING {
        // Nothing can be abandoned; a statement that ended is cleaned up like any other.
        let ran = db.run(wrap(vec![note(WORD)])).await;
        let ended = db.close().await;
        ran?;
        ended?;
        return case.next_is_clean().await;
    }
    let ops = wrap(vec![Op::execute(schema::slow_write(B::ENGINE, &word))]);
    let abandoned = case.abandon(&mut db, &ops, &word).await;
    let ended = db.close().await;
    abandoned?;
    if let Err(error) = ended {
        // The only connection is still busy with it.
        ensure!(
            !case.promises.many_connections && error.kind() == ErrorKind::Boundary,
            "a cancelled statement ended the test in an error: {error}"
        );
        blamed(Err(error), TEST)?;
    }
    case.test(async |db| {
        db.clean().await?;
        // Whoever still writes to this place would do so behind the reset.
        ensure!(
            !case.runs(&db.0.database_url(), &word).await?,
            "the next test has its place, and the cancelled statement still runs"
        );
        db.run([note("next")]).await.map(drop)
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn a_cancelled_write_changes_nothing_for_the_next_test<B: Probe>(case: &Case<B>) -> Checked {
    abandoned(case, |ops| ops).await
}

pub(crate) async fn a_cancelled_transaction_changes_nothing_for_the_next_test<B: Probe>(
    case: &Case<B>,
) -> Checked {
    abandoned(case, |ops| vec![Op::transaction(ops, Finish::Commit)]).await
}

/// Set for the process that is to be killed: where it writes the URL of its place.
const VICTIM: &str = "DBTEST_CONFORMANCE_VICTIM";

pub(crate) async fn a_client_killed_in_a_slow_write_changes_nothing_for_the_next_test<B: Probe>(
    case: &Case<B>,
) -> Checked {
    // Places of its own: another process would take the dead one's place first.
    let fixture = || case.bare("killed").sql("the suite's schema", schema::setup(B::ENGINE));
    let word = case.word("killed");
    if let Some(file) = std::env::var_os(VICTIM) {
        let mut db = case.open_as(fixture(), &case.test).await?;
        let part = Path::new(&file).with_extension("part");
        std::fs::write(&part, format!("{}\n{}", db.0.name(), db.0.database_url()))?;
        std::fs::rename(&part, &file)?;
        let ran = db.try_run([Op::execute(schema::slow_write(B::ENGINE, &word))]).await;
        return Err(Fault(format!("nobody killed this process: {ran:?}")));
    }
    // The template is there before, so that the kill meets the write and nothing else.
    let place = async |db: &mut Db<B>| {
        db.clean().await?;
        Ok(db.0.name().to_owned())
    };
    let reuses = case.test_of(fixture(), place).await? == case.test_of(fixture(), place).await?;
    // Held, so that this process must look for a place on the server.
    let mut held = vec![case.open_as(fixture(), &case.test).await?];
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("place");
    let mut victim = Command::new(std::env::current_exe()?)
        .args([&case.test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let reached = until("the other process is in its write", async || {
        ensure!(victim.try_wait()?.is_none(), "the other process ended before it was killed");
        let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
        let Some((name, url)) = text.split_once('\n') else { return Ok(None) };
        Ok(case.runs(url, &word).await?.then(|| (name.to_owned(), url.to_owned())))
    })
    .await;
    victim.kill()?;
    victim.wait()?;
    let (name, url) = reached?;
    ensure!(held[0].0.name() != name, "two processes were given the same place, {name}");
    let result = async {
        // The server may need a moment to see that the lease's holder is dead.
        for _ in 0..20 {
            let mut next = case.open_as(fixture(), &case.test).await?;
            let again = next.0.name() == name;
            let result = async {
                next.clean().await?;
                ensure!(
                    !again || !case.runs(&next.0.database_url(), &word).await?,
                    "the place was leased again while the dead process's write runs in it"
                );
                next.run([note("next")]).await.map(drop)
            }
            .await;
            held.push(next);
            result?;
            if again || !reuses || case.is_gone(&url).await {
                return Ok(());
            }
        }
        Err(Fault(format!("{name} of the dead process is neither dropped nor leased again")))
    }
    .await;
    for db in held {
        db.close().await?;
    }
    result?;
    case.test_of(fixture(), async |db| db.clean().await).await
}
