//! The application's own transactions, which work as in production.

use crate::conformance::case::{Case, Checked, Db, blamed, ensure};
use crate::conformance::probe::{Begin, Finish, Op, Probe};
use crate::conformance::schema;
use crate::engine::Engine;
use crate::test_db::SANDBOX_WAIT;

fn note(text: &str) -> Op {
    Op::execute(format!("INSERT INTO keyless (note) VALUES ('{text}')"))
}

fn in_transaction(ops: impl Into<Vec<Op>>, finish: Finish) -> Op {
    Op::transaction(ops, finish)
}

/// The operations leave exactly these notes, as seen by the same test afterwards.
async fn leave<B: Probe>(db: &mut Db<B>, ops: impl Into<Vec<Op>>, notes: &[&str]) -> Checked {
    db.run(ops.into()).await?;
    let mut found = db.list(&schema::select(B::ENGINE, "note", "FROM keyless")).await?;
    found.sort();
    ensure!(found == notes, "the test should see the notes {notes:?} now, and sees {found:?}");
    Ok(())
}

pub(crate) async fn a_committed_transaction_is_seen_by_the_rest_of_its_test<B: Probe>(
    case: &Case<B>,
) -> Checked {
    case.test(async |db| {
        leave(db, [in_transaction([note("a"), note("b")], Finish::Commit)], &["a", "b"]).await?;
        leave(db, [in_transaction([note("c")], Finish::Commit), note("d")], &["a", "b", "c", "d"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn a_rolled_back_transaction_leaves_nothing<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        let ops = [note("a"), in_transaction([note("b")], Finish::Rollback), note("c")];
        leave(db, ops, &["a", "c"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn a_dropped_transaction_rolls_back<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        leave(db, [note("a"), in_transaction([note("b")], Finish::Drop)], &["a"]).await?;
        leave(db, [in_transaction([note("c")], Finish::Drop), note("d")], &["a", "d"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn an_inner_rollback_keeps_the_outer_transaction<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        let inner = in_transaction([note("inner")], Finish::Rollback);
        let dropped = in_transaction([note("dropped")], Finish::Drop);
        let outer = in_transaction([note("outer"), inner, dropped, note("outer too")], Finish::Commit);
        leave(db, [outer], &["outer", "outer too"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn an_outer_rollback_takes_the_inner_commit_along<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        let innermost = in_transaction([note("innermost")], Finish::Commit);
        let inner = in_transaction([note("inner"), innermost], Finish::Commit);
        leave(db, [in_transaction([note("outer"), inner], Finish::Rollback), note("rest")], &["rest"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn an_error_inside_a_transaction_leaves_the_rest_usable<B: Probe>(
    case: &Case<B>,
) -> Checked {
    let duplicate = "INSERT INTO author (name) VALUES ('Ada')";
    case.test(async |db| {
        let failed = in_transaction([note("lost"), Op::fails(duplicate)], Finish::Rollback);
        leave(db, [note("a"), failed, note("b")], &["a", "b"]).await?;
        // Inside another one, which goes on and commits.
        let inner = in_transaction([note("lost"), Op::fails(duplicate)], Finish::Rollback);
        let outer = in_transaction([note("c"), inner, note("d")], Finish::Commit);
        leave(db, [outer], &["a", "b", "c", "d"]).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn a_transaction_with_an_isolation_level_works_or_is_refused<B: Probe>(
    case: &Case<B>,
) -> Checked {
    const TEST: &str = "a_test_that_asks_for_an_isolation_level";
    let ops = [
        note("before"),
        Op::Transaction(Begin::Strict, vec![note("strict")], Finish::Commit),
        Op::Transaction(Begin::Strict, vec![note("gone")], Finish::Rollback),
        note("after"),
    ];
    if case.promises.raw_commit {
        case.test(async |db| leave(db, ops, &["after", "before", "strict"]).await).await?;
        return case.next_is_clean().await;
    }
    let mut db = case.open_as(case.fixture(), TEST).await?;
    let ran = db.try_run(&ops).await;
    let notes = db.list(&schema::select(B::ENGINE, "note", "FROM keyless")).await;
    let ended = db.close().await;
    match (ran, notes) {
        (Ok(_), Ok(mut notes)) => {
            notes.sort();
            ensure!(notes == ["after", "before", "strict"], "it seemed to work; the notes are {notes:?}");
            ended?;
        }
        // Refused, and what was there before still is; or the transaction was lost, and the test
        // is told.
        (Err(_), Ok(notes)) if notes == ["before"] => ended?,
        (refused, notes) => {
            blamed(ended, TEST).map_err(|fault| {
                crate::conformance::case::Fault(format!(
                    "{fault} (it ran: {refused:?}, the notes are {notes:?})"
                ))
            })?;
        }
    }
    case.next_is_clean().await
}

pub(crate) async fn a_constraint_that_is_checked_at_commit_is_checked<B: Probe>(case: &Case<B>) -> Checked {
    const TEST: &str = "a_test_that_breaks_a_deferred_constraint";
    let orphan = "INSERT INTO loan (book_id) VALUES (99)";
    if case.is(Engine::MySql) {
        // It defers no constraint: the statement itself fails.
        case.test(async |db| {
            db.run([in_transaction([Op::fails(orphan)], Finish::Rollback)]).await?;
            db.run([in_transaction([Op::execute("INSERT INTO loan (book_id) VALUES (1)")], Finish::Commit)])
                .await
                .map(drop)
        })
        .await?;
        return case.next_is_clean().await;
    }
    // Put right before the commit, it is no violation.
    let right = [Op::execute(orphan), Op::execute("UPDATE loan SET book_id = 1")];
    case.test(async |db| db.run([in_transaction(right, Finish::Commit)]).await.map(drop)).await?;
    let mut db = case.open_as(case.fixture(), TEST).await?;
    let ran = db.try_run([in_transaction([Op::execute(orphan)], Finish::Commit)]).await;
    let ended = db.close().await;
    if case.promises.raw_commit {
        ensure!(ran.is_err(), "the COMMIT of a transaction that breaks a deferred constraint succeeded");
        ended?;
    } else {
        // There is no COMMIT; it is the end of the test that says so.
        ensure!(ran.is_ok(), "a deferred constraint failed before the transaction's end: {ran:?}");
        blamed(ended, TEST)?;
    }
    case.next_is_clean().await
}

pub(crate) async fn two_connections_of_a_test_see_each_others_rows<B: Probe>(case: &Case<B>) -> Checked {
    let count = schema::select(B::ENGINE, "count(*)", "FROM keyless");
    let first = [note("one"), in_transaction([note("two")], Finish::Commit)];
    let second = [Op::query(count.as_str()), note("three")];
    case.test(async |db| {
        let began = std::time::Instant::now();
        let ran = B::run_two(db.0.handle_mut(), &first, &second).await;
        if B::POOLED && case.promises.many_connections {
            ensure!(
                ran == Ok(vec![vec![Some("2".to_owned())]]),
                "the second connection should see 2 rows of the first, and its answer is {ran:?}"
            );
            let notes = db.value("count(*)", "FROM keyless").await?;
            ensure!(notes == "3", "of 3 notes of two connections {notes} are there");
            return Ok(());
        }
        let Err(words) = ran else {
            return Err(crate::conformance::case::Fault(
                "a second connection was given out where only one can be".to_owned(),
            ));
        };
        if B::POOLED {
            ensure!(
                B::POOL_TIMEOUT.iter().any(|timeout| words.contains(timeout)),
                "the second connection was refused, but not in the words of the ORM's timeout: {words}"
            );
            let took = began.elapsed();
            ensure!(
                took < 3 * SANDBOX_WAIT,
                "the refusal took {took:?}, where {SANDBOX_WAIT:?} are promised"
            );
        }
        // The one connection goes on.
        leave(db, [note("four")], &["four"]).await
    })
    .await?;
    case.next_is_clean().await
}
