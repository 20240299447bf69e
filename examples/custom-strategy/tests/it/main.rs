//! What this strategy adds to the others, and that it keeps what they keep.

use std::collections::HashSet;
use std::sync::LazyLock;

use custom_strategy::Retiring;
use dbtest_sqlx::{Fixture, SqlxSqlite, Strategy, TestDb};
use sqlx::SqlitePool;

// dbtest's own suite, in one line: a module with a test per case, which proves what the strategy
// promises.
dbtest_sqlx::conformance!(conformance, SqlxSqlite, Strategy::custom(Retiring::after(2)));

const SCHEMA: &str = "CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL);";

/// A fixture whose slots no other test has: these tests look at the slots themselves.
fn notes(apart: &str, after: u32) -> Fixture<SqlxSqlite> {
    Fixture::new()
        .sql("notes", SCHEMA)
        .seed_sql("one", "INSERT INTO note (text) VALUES ('from the setup')")
        .apart(apart)
        .require(Strategy::custom(Retiring::after(after)))
}

/// Runs so many tests one after the other, each of which reads, and returns their places. (What
/// only reads leaves a slot clean, and nothing but the strategy makes a new one.)
async fn places(fixture: &Fixture<SqlxSqlite>, tests: usize) -> Vec<String> {
    let mut places = Vec::new();
    for _ in 0..tests {
        let db = fixture.clone().open().await.expect("opened");
        assert_eq!(count(db.handle()).await, 1, "only the setup's");
        places.push(db.name().to_owned());
        db.close().await.expect("closed");
    }
    places
}

async fn count(pool: &SqlitePool) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM note").fetch_one(pool).await.expect("counted")
}

#[tokio::test]
async fn after_one_no_test_gets_what_another_had() {
    let places = places(&notes("after one", 1), 5).await;
    assert_eq!(places.iter().collect::<HashSet<_>>().len(), 5, "{places:?}");
}

#[tokio::test]
async fn a_slot_never_has_more_tests_than_it_may() {
    let [first, second, third, fourth] = &places(&notes("after two", 2), 4).await[..] else { panic!("four") };
    assert_eq!(first, second, "it is reused");
    assert_ne!(second, third, "and then it is not");
    assert_eq!(third, fourth);
}

#[tokio::test]
async fn what_a_test_wrote_is_gone_also_while_its_slot_lives() {
    let fixture = notes("writes", 100);
    for _ in 0..3 {
        let db = fixture.clone().open().await.expect("opened");
        assert_eq!(count(db.handle()).await, 1, "only the setup's");
        sqlx::query("INSERT INTO note (text) VALUES ('mine')").execute(db.handle()).await.expect("written");
        db.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_slot_that_retired_is_dropped() {
    let db = notes("dropped", 1).open().await.expect("opened");
    let file = db.url().trim_start_matches("sqlite://").to_owned();
    assert!(std::fs::exists(&file).expect("asked"), "{file}");
    db.close().await.expect("closed");
    assert!(!std::fs::exists(&file).expect("asked"), "{file}");
}

/// One value for all tests, since it counts them.
static RETIRING: LazyLock<Strategy> = LazyLock::new(|| Strategy::custom(Retiring::after(20)));

/// In the attribute it stands where the name of one of dbtest's own would.
#[dbtest_sqlx::test(fixture = schema, require = RETIRING.clone())]
async fn the_attribute_takes_it_as_any_other(db: TestDb<SqlxSqlite>) {
    assert_eq!(db.strategy(), "retiring");
    assert_eq!(count(db.handle()).await, 0);
}

fn schema() -> Fixture<SqlxSqlite> {
    Fixture::new().sql("notes", SCHEMA)
}
