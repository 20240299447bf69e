//! What a person is told when a test fails: read from real processes that are told to fail.

use std::process::Command;

use dbtest_factory::{Factory, Seed};
use dbtest_sqlx::{Fixture, SqlxSqlite};
use sqlx::SqlitePool;

/// What this process was told to do, if a test started it.
const TOLD: &str = "DBTEST_TEST_TOLD";

#[derive(Factory)]
#[factory(table = "tag", sqlx(sqlite))]
struct Tag {
    id: i64,
    #[factory(sequence = "{unique}")]
    name: String,
}

fn library() -> Fixture<SqlxSqlite> {
    Fixture::new().sql("library", crate::schema::library("sqlite"))
}

#[dbtest_sqlx::test(fixture = library, require = "truncate", flavor = "multi_thread")]
async fn told_with_a_runner(db: SqlitePool) {
    Tag::factory().create(&db).await.expect("a tag");
    // A task is on another thread, and in the same test.
    let other = tokio::spawn(async { Seed::current().test().to_owned() }).await.expect("its seed");
    assert!(other.ends_with("told_with_a_runner"), "{other}");
    assert!(std::env::var_os(TOLD).is_none(), "as told");
}

#[test]
fn told_without_a_runner() {
    let tag = Tag::factory().build();
    assert!(std::env::var_os(TOLD).is_none(), "as told: {}", tag.name);
}

fn run(test: &str, settings: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", &format!("told::{test}"), "--nocapture", "--test-threads=2"])
        .env(TOLD, "fail")
        .env("RUST_BACKTRACE", "0")
        .envs(settings.iter().copied())
        .output()
        .expect("a child process");
    assert!(!output.status.success(), "it was told to fail");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The seed that is told, and the word that was drawn from it.
fn seed_and_word<'t>(text: &'t str, before: &str) -> (&'t str, &'t str) {
    let told = text.split("DBTEST_SEED=").nth(1).unwrap_or_else(|| panic!("no seed is told: {text}"));
    let word = text.split(before).nth(1).unwrap_or_else(|| panic!("no word is there: {text}"));
    let first = |text: &'t str| text.split_whitespace().next().expect("something");
    (first(told), first(word))
}

#[test]
fn a_failed_test_says_its_seed_and_what_it_changed() {
    let text = run("told_with_a_runner", &[("DBTEST_DIFF", "1")]);
    let (seed, word) = seed_and_word(&text, "+ id=1 name=");
    assert!(text.contains("tag\n  + id=1 name="), "{text}");
    assert_eq!(text.matches("DBTEST_SEED=").count(), 1, "it is told once: {text}");
    let again = run("told_with_a_runner", &[("DBTEST_DIFF", "1"), ("DBTEST_SEED", seed)]);
    assert_eq!(seed_and_word(&again, "+ id=1 name="), (seed, word));
    let other = run("told_with_a_runner", &[("DBTEST_DIFF", "1"), ("DBTEST_SEED", "7")]);
    let (seed, other) = seed_and_word(&other, "+ id=1 name=");
    assert!(seed == "7" && other != word, "{seed} {other}");
    assert!(!run("told_with_a_runner", &[]).contains("+ id=1"));
}

#[test]
fn a_failed_test_without_a_runner_says_its_seed_too() {
    let text = run("told_without_a_runner", &[]);
    let (seed, word) = seed_and_word(&text, "as told: ");
    assert_eq!(
        seed_and_word(&run("told_without_a_runner", &[("DBTEST_SEED", seed)]), "as told: "),
        (seed, word)
    );
    let wrong = run("told_without_a_runner", &[("DBTEST_SEED", "seven")]);
    assert!(wrong.contains("DBTEST_SEED") && wrong.contains("next step"), "{wrong}");
    let wrong = run("told_with_a_runner", &[("DBTEST_SEED", "seven")]);
    assert!(wrong.contains("DBTEST_SEED") && wrong.contains("next step"), "{wrong}");
}
