//! What a person sees when a test fails: read from real processes, which a test starts and tells
//! to fail.

use std::process::{Command, Output};

/// What this process was told to do, if a test started it.
const TOLD: &str = "DBTEST_TEST_MANNERS";

fn told(what: &str) -> bool {
    std::env::var(TOLD).is_ok_and(|told| told == what)
}

/// Runs one test of this executable in a process of its own.
fn run(test: &str, what: &str, settings: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", test, "--test-threads=1"])
        .env(TOLD, what)
        .env("RUST_BACKTRACE", "0")
        .envs(settings.iter().copied())
        .output()
        .expect("a child process")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The lines that hold the words.
fn lines<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(words)).collect()
}

fn user_and_password(url: &str) -> Option<(&str, &str)> {
    let (user, _) = url.split_once("://")?.1.rsplit_once('@')?;
    user.split_once(':')
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ident, $folder:literal, $command:literal) => {
        mod $engine {
            use dbtest_sqlx::{Fixture, TestDb, $backend};
            use sqlx::$pool;

            use super::*;

            fn name(test: &str) -> String {
                format!("manners::{}::{test}", stringify!($engine))
            }

            async fn add(pool: &$pool) {
                sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dune')")
                    .execute(pool)
                    .await
                    .expect("a new book");
            }

            async fn count(pool: &$pool) -> i64 {
                sqlx::query_scalar("SELECT COUNT(*) FROM books").fetch_one(pool).await.expect("a count")
            }

            #[dbtest_sqlx::test(migrations = $folder, require = "truncate")]
            async fn told_under_truncate(pool: $pool) {
                add(&pool).await;
                assert_eq!(count(&pool).await, 1);
                assert!(!told("fail"), "as told");
                if told("leak") {
                    std::mem::forget(pool.acquire().await.expect("a connection"));
                }
            }

            #[dbtest_sqlx::test(migrations = $folder, require = "rollback")]
            async fn told_under_rollback(pool: $pool) {
                add(&pool).await;
                assert_eq!(count(&pool).await, 1);
                assert!(!told("fail"), "as told");
                if told("begin") {
                    sqlx::raw_sql("BEGIN").execute(&pool).await.expect("BEGIN in raw SQL");
                }
                if told("starve") {
                    let mut first = pool.begin().await.expect("a transaction");
                    let sql = "UPDATE books SET title = 'Emma'";
                    sqlx::query(sql).execute(&mut *first).await.expect("an update");
                    add(&pool).await;
                }
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn told_with_a_result(pool: $pool) -> Result<(), String> {
                add(&pool).await;
                if told("fail") { Err("as told".to_owned()) } else { Ok(()) }
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn says_its_strategy(db: TestDb<$backend>) {
                assert_eq!(count(db.handle()).await, 0);
                assert!(!told("fail"), "it is {}", db.strategy());
            }

            /// Counts how often the setup ran, by lines in a file.
            #[tokio::test]
            async fn says_when_it_is_built() {
                let fixture =
                    Fixture::<$backend>::new().label("built").version("1").seed(|pool: $pool| async move {
                        sqlx::query("CREATE TABLE built (x INT)")
                            .execute(&pool)
                            .await
                            .map_err(|error| error.to_string())?;
                        eprintln!("built once");
                        Ok::<_, String>(())
                    });
                let db = fixture.open().await.expect("a database");
                sqlx::query("INSERT INTO built VALUES (1)").execute(db.handle()).await.expect("a row");
                db.close().await.expect("closed");
            }

            #[test]
            fn a_failed_test_says_how_to_open_its_database() {
                for test in [name("told_under_truncate"), name("told_with_a_result")] {
                    let output = run(&test, "fail", &[]);
                    let text = text(&output);
                    assert!(!output.status.success(), "{text}");
                    assert!(text.contains("as told"), "the test's own failure is hidden: {text}");
                    let commands = lines(&text, $command);
                    assert_eq!(commands.len(), 1, "once: {text}");
                    assert!(commands[0].contains("dbtest_"), "{text}");
                    assert_eq!(lines(&text, "left its database for you").len(), 1, "{text}");
                    assert!(text.contains("strategy truncate, setup "), "{text}");
                }
            }

            #[tokio::test]
            async fn where_a_password_is_asked_for_the_way_without_it_is_said_too() {
                let db = Fixture::<$backend>::new().empty().open().await.expect("a database");
                let url = db.database_url();
                db.close().await.expect("closed");
                let said = text(&run(&name("told_under_truncate"), "fail", &[]));
                let shells = lines(&said, "cargo dbtest shell dbtest_").len();
                let Some((user, password)) = user_and_password(&url) else {
                    assert_eq!(shells, 0, "{said}");
                    return;
                };
                assert_eq!(shells, 1, "{said}");
                // One like the user's name can't be told from it.
                assert!(password == user || !said.contains(password), "the password is shown");
            }

            #[test]
            fn a_passed_test_says_nothing() {
                let output = run(&name("told_under_truncate"), "nothing", &[]);
                assert!(output.status.success());
                assert_eq!(lines(&text(&output), "dbtest:"), Vec::<&str>::new());
            }

            #[test]
            fn under_rollback_it_says_how_to_see_the_rows() {
                let output = run(&name("told_under_rollback"), "fail", &[]);
                let said = text(&output);
                assert!(!output.status.success(), "{said}");
                if stringify!($engine) == "postgres" {
                    // The sandbox still has them when the failure is known.
                    assert_eq!(lines(&said, $command).len(), 1, "{said}");
                    return;
                }
                assert_eq!(lines(&said, "DBTEST_KEEP=1 cargo test told_under_rollback").len(), 1, "{said}");
                assert_eq!(lines(&said, $command).len(), 0, "there is nothing to see: {said}");

                let output = run(&name("told_under_rollback"), "fail", &[("DBTEST_KEEP", "1")]);
                let said = text(&output);
                assert_eq!(lines(&said, $command).len(), 1, "now there is: {said}");
            }

            #[test]
            fn a_second_connection_under_rollback_is_explained() {
                let output = run(&name("told_under_rollback"), "starve", &[]);
                let said = text(&output);
                assert!(!output.status.success(), "{said}");
                if stringify!($engine) == "postgres" {
                    for words in [
                        "deadlock in the test's sandbox: connection",
                        "wants to run: INSERT INTO books",
                        "ran last: UPDATE books SET title = 'Emma'",
                        "use the strategy",
                    ] {
                        assert!(said.contains(words), "{words}: {said}");
                    }
                    return;
                }
                assert_eq!(
                    lines(&said, "a second was asked for while the first was in use").len(),
                    1,
                    "{said}"
                );
                assert!(said.contains("use the strategy \"truncate\""), "{said}");
            }

            #[test]
            fn begin_in_raw_sql_under_rollback_is_explained() {
                let output = run(&name("told_under_rollback"), "begin", &[]);
                let said = text(&output);
                if stringify!($engine) == "postgres" {
                    assert!(output.status.success(), "the sandbox has it: {said}");
                    return;
                }
                assert!(!output.status.success(), "{said}");
                let told = lines(&said, "in SQL of its own, which the strategy rollback refuses");
                assert_eq!(told.len(), 1, "{said}");
                assert!(
                    told[0].contains("sent BEGIN") && told[0].contains("the strategy \"truncate\""),
                    "{said}"
                );
                // Another failure is not taken for it.
                let said = text(&run(&name("told_under_rollback"), "fail", &[]));
                assert_eq!(lines(&said, "in SQL of its own").len(), 0, "{said}");
            }

            #[test]
            fn a_leak_is_reported_with_the_tests_name() {
                let output = run(&name("told_under_truncate"), "leak", &[("DBTEST_LEAKS", "warn")]);
                assert!(output.status.success(), "{}", text(&output));
                let output = run(&name("told_under_truncate"), "leak", &[("DBTEST_LEAKS", "fail")]);
                let said = text(&output);
                assert!(!output.status.success(), "{said}");
                assert_eq!(
                    lines(&said, "told_under_truncate leaked 1 connection of dbtest_").len(),
                    1,
                    "{said}"
                );
            }

            #[test]
            fn the_environment_chooses_the_strategy() {
                for word in ["rollback", "truncate", "template", "schema"] {
                    let output = run(&name("says_its_strategy"), "fail", &[("DBTEST_STRATEGY", word)]);
                    assert!(text(&output).contains(&format!("it is {word}")), "{}", text(&output));
                }
                let output = run(&name("says_its_strategy"), "fail", &[("DBTEST_STRATEGY", "magic")]);
                assert!(
                    text(&output).contains("rollback, truncate, template, schema or auto"),
                    "{}",
                    text(&output)
                );
                // What a test requires it gets, and that is shown.
                let output = run(&name("told_under_rollback"), "nothing", &[("DBTEST_STRATEGY", "template")]);
                assert!(output.status.success());
                assert_eq!(lines(&text(&output), "requires the strategy \"rollback\"").len(), 1);
            }

            #[test]
            fn a_dotenv_file_is_read_where_the_environment_is_silent() {
                let (app, test) = (tempfile::tempdir().expect("a folder"), name("says_its_strategy"));
                let below = app.path().join("member");
                std::fs::create_dir(&below).expect("a folder");
                // The migrations' folder is looked for in the crate's, wherever the test runs.
                let run = |settings: &[(&str, &str)]| {
                    let output = Command::new(std::env::current_exe().expect("this executable"))
                        .args(["--exact", &test])
                        .current_dir(&below)
                        .env(TOLD, "fail")
                        .env("RUST_BACKTRACE", "0")
                        .env_remove("DBTEST_DOTENV")
                        .env_remove("DBTEST_STRATEGY")
                        .envs(settings.iter().copied())
                        .output()
                        .expect("a child process");
                    text(&output)
                };
                let write = |text: &str| std::fs::write(app.path().join(".env"), text).expect("a file");
                write("# ours\nDBTEST_STRATEGY=\"template\"\n");
                let said = run(&[]);
                assert!(said.contains("it is template"), "{said}");
                let said = run(&[("DBTEST_STRATEGY", "schema")]);
                assert!(said.contains("it is schema"), "the environment wins: {said}");
                let said = run(&[("DBTEST_DOTENV", "0")]);
                assert!(said.contains("it is truncate"), "it is left unread: {said}");
                write("\nPASSWORD is secret\n");
                let said = run(&[]);
                assert!(said.contains(".env, line 2: it is no line"), "{said}");
                assert!(!said.contains("secret"), "{said}");
            }

            #[test]
            fn a_fresh_run_builds_the_template_again() {
                let test = name("says_when_it_is_built");
                let built = |settings: &[(&str, &str)]| {
                    let output = Command::new(std::env::current_exe().expect("this executable"))
                        .args(["--exact", "--nocapture", &test])
                        .envs(settings.iter().copied())
                        .output()
                        .expect("a child process");
                    assert!(output.status.success(), "{}", text(&output));
                    lines(&text(&output), "built once").len()
                };
                built(&[]);
                assert_eq!(built(&[]), 0, "it was there");
                assert_eq!(built(&[("DBTEST_FRESH", "1")]), 1, "it was wanted anew");
                assert_eq!(built(&[]), 0, "the old one is still right");
            }
        }
    };
}

engine!(sqlite, SqlxSqlite, SqlitePool, "tests/it/migrations/sqlite", "sqlite3 ");
engine!(postgres, SqlxPostgres, PgPool, "tests/it/migrations/postgres", "psql ");
engine!(mysql, SqlxMySql, MySqlPool, "tests/it/migrations/mysql", "mysql -");

/// No server can be had here: the environment names none, and only a URL may be tried.
const NONE: &[(&str, &str)] =
    &[("DBTEST_SERVER", "url"), ("DBTEST_POSTGRES_URL", ""), ("DBTEST_MYSQL_URL", ""), ("DATABASE_URL", "")];

#[dbtest_sqlx::test(migrations = false)]
async fn needs_a_server(pool: sqlx::PgPool) {
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await.expect("one");
    assert_eq!(one, 1);
}

#[test]
fn a_url_in_a_dotenv_file_is_used_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "DATABASE_URL=postgres://me:secret@localhost:1/app\n")
        .expect("a file");
    let output = Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", "manners::needs_a_server"])
        .current_dir(folder.path())
        .env("DBTEST_SERVER", "url")
        .env_remove("DBTEST_POSTGRES_URL")
        .env_remove("DATABASE_URL")
        .env_remove("DBTEST_DOTENV")
        .output()
        .expect("a child process");
    let said = text(&output);
    assert!(!output.status.success() && !said.contains("secret"), "{said}");
    assert!(said.contains("app at localhost:1, DATABASE_URL in ") && said.contains(".env)"), "{said}");
}

#[test]
fn a_missing_server_fails_its_tests_and_skipping_is_asked_for_and_shown() {
    let test = "manners::needs_a_server";
    let output = run(test, "nothing", NONE);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("no Postgres server could be found or started. Tried:"), "{said}");
    assert!(said.contains("next step: start Docker, or install Postgres"), "{said}");

    let skipping: Vec<_> = NONE.iter().copied().chain([("DBTEST_SKIP_MISSING", "1")]).collect();
    let output = run(test, "nothing", &skipping);
    assert!(output.status.success(), "{}", text(&output));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(lines(&stderr, "dbtest: skipped manners::needs_a_server").len(), 1, "{stderr}");
}
