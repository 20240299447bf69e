//! rusqlite's own tests on dbtest. They block, so they open their databases with the blocking
//! twins, and need no runtime.

mod conformance;

use custom_backend::Rusqlite;
use dbtest_core::{ErrorKind, Fixture, Strategy, TestDb};
use rusqlite::Connection;

const STRATEGIES: [Strategy; 4] =
    [Strategy::Rollback, Strategy::Truncate, Strategy::Template, Strategy::Schema];

fn library() -> Fixture<Rusqlite> {
    Fixture::new().manifest_dir(env!("CARGO_MANIFEST_DIR")).migrations_dir("migrations")
}

fn open(strategy: &Strategy) -> TestDb<Rusqlite> {
    library().require(strategy.clone()).open_blocking().expect("opened")
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).expect("counted")
}

#[test]
fn rows_do_not_leak_to_the_next_test_under_any_strategy() {
    for strategy in &STRATEGIES {
        for _ in 0..3 {
            let db = open(strategy);
            assert_eq!((count(db.handle(), "author"), count(db.handle(), "book")), (1, 0), "{strategy:?}");
            db.handle()
                .execute_batch(
                    "INSERT INTO book (author_id, title) VALUES (1, 'The Dispossessed'); \
                     UPDATE author SET name = 'Somebody else'; \
                     INSERT INTO author (name) VALUES ('Ursula K. Le Guin')",
                )
                .expect("written");
            db.close_blocking().expect("closed");
        }
    }
}

#[test]
fn two_databases_at_the_same_time_share_nothing() {
    for strategy in &STRATEGIES {
        let (one, two) = (open(strategy), open(strategy));
        for db in [&one, &two] {
            db.handle().execute("INSERT INTO author (name) VALUES ('The same')", []).expect("no conflict");
            assert_eq!(count(db.handle(), "author"), 2);
        }
        one.close_blocking().expect("closed");
        two.close_blocking().expect("closed");
    }
}

#[test]
fn the_applications_transactions_commit_nest_and_roll_back_under_every_strategy() {
    for strategy in &STRATEGIES {
        let mut db = open(strategy);
        let mut outer = db.handle_mut().savepoint().expect("begun");
        outer.execute("INSERT INTO author (name) VALUES ('Kept')", []).expect("written");
        let inner = outer.savepoint().expect("begun");
        inner.execute("INSERT INTO author (name) VALUES ('Dropped')", []).expect("written");
        // A savepoint that is dropped rolls back.
        drop(inner);
        outer.commit().expect("committed");
        assert_eq!(count(db.handle(), "author"), 2, "{strategy:?}");
        db.close_blocking().expect("closed");
    }
}

#[test]
fn a_transaction_that_cannot_nest_says_so_under_rollback() {
    let mut db = open(&Strategy::Rollback);
    let error = db.handle_mut().transaction().expect_err("refused");
    assert!(error.to_string().contains("within a transaction"), "{error}");
    db.close_blocking().expect("closed");
}

#[test]
fn a_commit_as_text_is_blamed_on_the_test_that_did_it_and_changes_nothing() {
    let db = open(&Strategy::Rollback);
    db.handle().execute("INSERT INTO author (name) VALUES ('Lost')", []).expect("written");
    // The hook makes a rollback of it, or refuses it.
    let _ = db.handle().execute_batch("COMMIT");
    let error = db.close_blocking().expect_err("the test broke its boundary");
    assert_eq!(error.kind(), ErrorKind::Boundary, "{error}");

    let next = open(&Strategy::Rollback);
    assert_eq!(count(next.handle(), "author"), 1);
    next.close_blocking().expect("closed");
}

#[test]
fn a_constraint_that_is_checked_at_commit_is_checked_although_nothing_is_committed() {
    let db = open(&Strategy::Rollback);
    db.handle().execute("INSERT INTO book (author_id, title) VALUES (99, 'Nobody')", []).expect("deferred");
    let error = db.close_blocking().expect_err("its COMMIT would fail");
    assert!(error.to_string().contains("book"), "{error}");
}

#[test]
fn a_file_that_fails_is_named_with_its_statement() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-migrations");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("1_fine.sql"), "CREATE TABLE a (id INTEGER)").expect("a file");
    std::fs::write(folder.join("2_broken.sql"), "CREATE TABLE b (id INTEGER); INSERT INTO c VALUES (1)")
        .expect("a file");

    let error = Fixture::<Rusqlite>::new().migrations_dir(&folder).open_blocking().expect_err("it fails");

    assert_eq!(error.kind(), ErrorKind::Setup);
    let text = error.to_string();
    for part in ["2_broken.sql", "INSERT INTO c VALUES (1)", "no such table: c", "next step"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}
