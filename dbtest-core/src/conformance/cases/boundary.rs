//! Where a sandbox ends: what a strategy does not promise is caught, blamed on the test that did
//! it, and leaves nothing to the next. Where it is promised, it works.

use crate::conformance::case::{Case, Checked, Fault, blamed, ensure};
use crate::conformance::probe::{Finish, Op, Probe};
use crate::conformance::schema;
use crate::engine::Engine;

fn note(text: &str) -> Op {
    Op::execute(format!("INSERT INTO keyless (note) VALUES ('{text}')"))
}

pub(crate) async fn an_expected_error_leaves_the_rest_of_the_test_usable_or_is_refused<B: Probe>(
    case: &Case<B>,
) -> Checked {
    const TEST: &str = "a_test_that_expects_an_error";
    let ops = [note("before"), Op::fails("INSERT INTO author (name) VALUES ('Ada')")];
    let select = schema::select(B::ENGINE, "note", "FROM keyless");
    if case.promises.errors_outside_transactions {
        case.test(async |db| {
            let answers = db.run(&ops).await?;
            ensure!(
                answers.iter().flatten().flatten().any(|message| !message.is_empty()),
                "the error has no message: {answers:?}"
            );
            db.run([note("after")]).await?;
            let mut notes = db.list(&select).await?;
            notes.sort();
            ensure!(notes == ["after", "before"], "after an expected error the notes are {notes:?}");
            Ok(())
        })
        .await?;
        return case.next_is_clean().await;
    }
    let mut db = case.open_as(case.fixture(), TEST).await?;
    let first = db.try_run(&ops).await;
    let second = db.try_run([note("after")]).await;
    let ended = db.close().await;
    first?;
    ensure!(
        second.is_err(),
        "a write behind the error was accepted, though the transaction it belongs to is lost"
    );
    blamed(ended, TEST)?;
    case.next_is_clean().await
}

/// A test that ends transactions in raw SQL. Where that is promised, what it committed is there.
/// Where not: either the statement is refused and nothing is lost, or the test is blamed; and
/// the next test finds nothing of it in any case.
async fn raw<B: Probe>(case: &Case<B>, test: &str, ops: &[Op], kept: &[&str]) -> Checked {
    let select = schema::select(B::ENGINE, "note", "FROM keyless");
    if case.promises.raw_commit {
        case.test(async |db| {
            db.run(ops).await?;
            let mut notes = db.list(&select).await?;
            notes.sort();
            ensure!(notes == kept, "raw transactions should leave the notes {kept:?}, and left {notes:?}");
            Ok(())
        })
        .await?;
        return case.next_is_clean().await;
    }
    let mut db = case.open_as(case.fixture(), test).await?;
    // As a test does it that does not look at results: one after the other, over one connection.
    let ran = db.try_run(ops).await;
    let later = db.try_run([note("later")]).await;
    let notes = db.list(&select).await;
    let ended = db.close().await;
    match (&ran, &notes) {
        // The refusal is what the test sees, and its transaction is whole.
        (Err(_), Ok(notes)) if ended.is_ok() => {
            ensure!(
                notes.iter().any(|note| note == "before") && later.is_ok(),
                "refusing the statement lost the test's rows, and nobody said so: {notes:?}, {later:?}"
            );
        }
        _ => blamed(ended, test).map_err(|fault| {
            Fault(format!("{fault} (the statements: {ran:?}; a later one: {later:?}; the notes: {notes:?})"))
        })?,
    }
    case.next_is_clean().await
}

pub(crate) async fn a_raw_commit_is_the_tests_own_or_is_blamed_on_it<B: Probe>(case: &Case<B>) -> Checked {
    if case.is(Engine::Sqlite) && case.promises.raw_commit {
        // Without a transaction, SQLite refuses it.
        case.test(async |db| db.run([note("before"), Op::fails("COMMIT")]).await.map(drop)).await?;
        return case.next_is_clean().await;
    }
    let ops = [note("before"), Op::execute("COMMIT"), note("behind")];
    raw(case, "a_test_that_commits", &ops, &["before", "behind"]).await
}

pub(crate) async fn raw_transactions_are_the_tests_own_or_are_blamed_on_it<B: Probe>(
    case: &Case<B>,
) -> Checked {
    let ops = [note("before"), Op::execute("BEGIN"), note("inside"), Op::execute("COMMIT"), note("behind")];
    raw(case, "a_test_that_begins_and_commits", &ops, &["before", "behind", "inside"]).await
}

pub(crate) async fn a_raw_rollback_is_the_tests_own_or_is_blamed_on_it<B: Probe>(case: &Case<B>) -> Checked {
    if case.promises.raw_commit {
        let ops =
            [note("before"), Op::execute("BEGIN"), note("inside"), Op::execute("ROLLBACK"), note("behind")];
        return raw(case, "a_test_that_rolls_back", &ops, &["before", "behind"]).await;
    }
    let ops = [note("before"), Op::execute("ROLLBACK"), note("behind")];
    raw(case, "a_test_that_rolls_back", &ops, &[]).await
}

pub(crate) async fn a_raw_commit_inside_a_transaction_is_caught<B: Probe>(case: &Case<B>) -> Checked {
    const TEST: &str = "a_test_that_commits_inside_a_transaction";
    // The ORM does not know that its transaction is over.
    let ops = [
        note("before"),
        Op::transaction([note("inside"), Op::execute("COMMIT"), note("behind")], Finish::Drop),
    ];
    if !case.promises.raw_commit {
        return raw(case, TEST, &ops, &[]).await;
    }
    // The application's own bug, as in production: whatever it did, the next test sees none.
    let mut db = case.open_as(case.fixture(), TEST).await?;
    let _ = db.try_run(&ops).await;
    db.close().await?;
    case.next_is_clean().await
}

pub(crate) async fn schema_changes_are_transactional_or_refused<B: Probe>(case: &Case<B>) -> Checked {
    let ops = [
        note("before"),
        Op::execute("CREATE TABLE extra (id int)"),
        Op::execute("INSERT INTO extra VALUES (1)"),
    ];
    if case.takes_ddl() {
        case.test(async |db| {
            db.run(&ops).await?;
            // Rolled back with the transaction, on engines that can.
            let gone = Op::transaction([Op::execute("CREATE TABLE inner_one (id int)")], Finish::Rollback);
            db.run([gone]).await?;
            let there = db.catalogue().await?.iter().any(|object| object.contains("inner_one"));
            ensure!(
                there == case.is(Engine::MySql),
                "a table of a transaction that was rolled back is there: {there}"
            );
            Ok(())
        })
        .await?;
        return case.next_is_clean().await;
    }
    raw(case, "a_test_that_changes_the_schema", &ops, &["before"]).await
}

pub(crate) async fn an_open_transaction_of_a_test_does_not_reach_the_next<B: Probe>(
    case: &Case<B>,
) -> Checked {
    const TEST: &str = "a_test_that_begins_and_goes";
    // Begun in raw SQL, and never ended; behind a row that is committed, and with nothing else
    // that could tell that the place was used.
    for before in [vec![note("before")], Vec::new()] {
        let ops: Vec<Op> = before.into_iter().chain([Op::execute("BEGIN"), note("open")]).collect();
        let mut db = case.open_as(case.fixture(), TEST).await?;
        let ran = db.try_run(&ops).await;
        let ended = db.close().await;
        if case.promises.raw_commit {
            ran?;
            ended?;
        } else if let Err(error) = ended {
            blamed(Err(error), TEST)?;
        }
        // It would hold locks that this one meets.
        case.leaves_nothing([note("next"), Op::execute("UPDATE kind SET label = 'free'")]).await?;
    }
    Ok(())
}

pub(crate) async fn a_lost_server_connection_is_blamed_on_its_test_or_replaced<B: Probe>(
    case: &Case<B>,
) -> Checked {
    const TEST: &str = "a_test_that_ends_its_server_connection";
    let end = match B::ENGINE {
        Engine::Postgres => "SELECT pg_terminate_backend(pg_backend_pid())",
        Engine::MySql => "KILL CONNECTION_ID()",
        // There is no server that could end one.
        Engine::Sqlite => return case.next_is_clean().await,
    };
    let mut db = case.open_as(case.fixture(), TEST).await?;
    // The rows are on the connection if it holds the transaction of all of the test.
    let sandboxed = db.0.url() != db.0.database_url() || !case.promises.raw_commit;
    let _ = db.try_run([note("before")]).await;
    let _ = db.try_run([Op::execute(end)]).await;
    let ended = db.close().await;
    if sandboxed {
        blamed(ended, TEST)?;
    } else {
        ended?;
    }
    case.next_is_clean().await
}
