//! What a rollback leaves behind all the same, and what gets past the sandbox: the next test in the
//! same place meets nothing of it.

use dbtest_sqlx::{Fixture, SqlxPostgres, Strategy, TestDb};
use sqlx::{Connection, Executor, PgConnection};

/// A place of its own for each test here, which the next one that it opens gets again.
fn fixture(word: &str) -> Fixture<SqlxPostgres> {
    Fixture::new()
        .label("put back")
        .apart(word)
        .sql(
            "setup",
            "CREATE TABLE parent (id serial PRIMARY KEY);
             CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY, parent int);
             CREATE SEQUENCE used;
             SELECT setval('used', 41);
             CREATE FUNCTION adds(t regclass) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
               EXECUTE format('INSERT INTO %s DEFAULT VALUES', t);
               RAISE EXCEPTION 'no';
             EXCEPTION WHEN raise_exception THEN NULL;
             END $$;
             CREATE FUNCTION refers() RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
               EXECUTE 'ALTER TABLE child ADD CONSTRAINT late FOREIGN KEY (parent) REFERENCES parent
                 DEFERRABLE INITIALLY DEFERRED';
             END $$;",
        )
        .require(Strategy::Rollback)
}

async fn open_committing(word: &str) -> TestDb<SqlxPostgres> {
    fixture(word).require(Strategy::Truncate).open().await.expect("a database")
}

async fn open(word: &str) -> TestDb<SqlxPostgres> {
    fixture(word).open().await.expect("a database")
}

/// The next values of all sequences, and what is in the tables.
async fn state(db: &TestDb<SqlxPostgres>) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT nextval('parent_id_seq'), nextval('child_id_seq'), nextval('used'), \
         (SELECT count(*) FROM parent) + (SELECT count(*) FROM child)",
    )
    .fetch_one(db.handle())
    .await
    .expect("a row")
}

const BASELINE: (i64, i64, i64, i64) = (1, 1, 42, 0);

/// Whatever the statements do, and whether or not they fail, the next test finds the baseline.
async fn leaves_nothing(word: &str, statements: &[&'static str]) {
    // The second time everything is warm.
    for _ in 0..2 {
        let db = open(word).await;
        for statement in statements {
            let _ = db.handle().execute(*statement).await;
        }
        db.close().await.expect("closed");
        let db = open(word).await;
        assert_eq!(state(&db).await, BASELINE, "after {statements:?}");
        db.close().await.expect("closed");
    }
}

#[tokio::test]
async fn sequences_that_moved_are_put_back() {
    leaves_nothing(
        "sequences_that_moved",
        &["INSERT INTO parent DEFAULT VALUES", "INSERT INTO child DEFAULT VALUES", "SELECT nextval('used')"],
    )
    .await;
}

#[tokio::test]
async fn sequences_that_moved_in_what_failed_are_put_back() {
    leaves_nothing(
        "sequences_that_failed",
        &[
            "INSERT INTO parent VALUES (DEFAULT), (1), (1)",
            "SELECT adds('child')",
            "SELECT nextval('used') / 0",
            "BEGIN; SELECT setval('parent_id_seq', 9); ROLLBACK",
            "BEGIN; SAVEPOINT s; SELECT setval('used', 9); ROLLBACK TO s; COMMIT",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_sequence_that_is_set_but_not_called_is_put_back() {
    leaves_nothing(
        "sequences_not_called",
        &["SELECT setval('parent_id_seq', 9, false)", "SELECT setval('used', 9, false)"],
    )
    .await;
}

#[tokio::test]
async fn sequences_of_a_test_that_commits_are_put_back() {
    for statement in [
        "SELECT nextval('used')",
        "SELECT setval('used', 9, false)",
        "SELECT setval('parent_id_seq', 9, false)",
        "INSERT INTO parent VALUES (DEFAULT), (1), (1)",
        "TRUNCATE child RESTART IDENTITY",
        "SELECT pg_stat_reset()",
    ] {
        let db = open_committing("sequences_committed").await;
        let _ = db.handle().execute(statement).await;
        db.close().await.expect("closed");
        let db = open_committing("sequences_committed").await;
        assert_eq!(state(&db).await, BASELINE, "after {statement}");
        db.close().await.expect("closed");
        // In the same place, after a test that committed.
        let db = open("sequences_committed").await;
        assert_eq!(state(&db).await, BASELINE, "after {statement}, and a test");
        db.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_sequence_that_was_changed_or_dropped_as_well_is_put_back() {
    leaves_nothing(
        "sequences_restarted",
        &[
            "SELECT nextval('used')",
            "ALTER SEQUENCE used RESTART WITH 7",
            "INSERT INTO parent DEFAULT VALUES",
            "TRUNCATE parent RESTART IDENTITY",
            "INSERT INTO child DEFAULT VALUES",
            "DROP TABLE child",
        ],
    )
    .await;
    leaves_nothing(
        "sequences_changed",
        &["SELECT setval('used', 60)", "ALTER SEQUENCE used MAXVALUE 100", "SET track_counts = off"],
    )
    .await;
}

#[tokio::test]
async fn what_is_committed_past_the_sandbox_is_put_back() {
    for warm in [false, true] {
        let db = open("past_the_sandbox").await;
        if warm {
            db.handle().execute("INSERT INTO parent DEFAULT VALUES").await.expect("a row");
        }
        let mut past = PgConnection::connect(&db.database_url()).await.expect("a connection");
        past.execute("INSERT INTO child DEFAULT VALUES").await.expect("a row");
        past.execute("SELECT nextval('used')").await.expect("a number");
        if warm {
            // The connection itself stays.
            db.close().await.expect("closed");
            assert!(past.execute("SELECT 1").await.is_err(), "it was not ended");
        } else {
            past.close().await.expect("closed");
            db.close().await.expect("closed");
        }
        let db = open("past_the_sandbox").await;
        assert_eq!(state(&db).await, BASELINE, "{warm}");
        db.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_deferred_constraint_that_a_function_made_is_checked_at_the_end() {
    for _ in 0..2 {
        let db = open("late_constraint").await;
        db.handle().execute("INSERT INTO parent DEFAULT VALUES").await.expect("a row");
        db.handle().execute("SELECT refers()").await.expect("a constraint");
        db.handle().execute("INSERT INTO child (parent) VALUES (99)").await.ok();
        let error = db.close().await.expect_err("the constraint does not hold").to_string();
        assert!(error.contains("late"), "{error}");
        let db = open("late_constraint").await;
        assert_eq!(state(&db).await, BASELINE);
        db.close().await.expect("closed");
    }
}
