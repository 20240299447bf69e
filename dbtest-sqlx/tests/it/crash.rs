//! Real processes are killed in the middle; the next one finds everything as it should be.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells a process started by a test what to do, and where to say that it is in the middle of it.
const CHILD: &str = "DBTEST_TEST_CRASH";

/// What the child was told, in the child: what to do, where to say so, and the setup's version.
fn told() -> Option<(String, PathBuf, String)> {
    let told = std::env::var(CHILD).ok()?;
    let mut words = told.splitn(3, ':').map(str::to_owned);
    let (version, what, file) = (words.next()?, words.next()?, words.next()?);
    Some((what, PathBuf::from(file), version))
}

/// Another in each run, so that each run builds the template, and is killed while it does.
fn version() -> String {
    told().map_or_else(|| std::process::id().to_string(), |(_, _, version)| version)
}

/// Says that the child is in the middle.
fn ready(file: &Path) {
    std::fs::write(file, "ready").expect("the parent's file");
}

/// Starts this same test in a process of its own and waits until it is in the middle.
fn start(test: &str, what: &str, folder: &Path) -> Child {
    let file = folder.join(what);
    let mut child = Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", "--nocapture", test])
        .env(CHILD, format!("{}:{what}:{}", version(), file.display()))
        // Each is a run of its own: of one, only the first looks for what was abandoned.
        .env_remove("NEXTEST_RUN_ID")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("said")).expect("a file"))
        .spawn()
        .expect("a child process");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !file.exists() {
        if child.try_wait().expect("the child").is_some() {
            let said = std::fs::read_to_string(folder.join("said")).expect("what it said");
            panic!("the child ended early ({what}): {said}");
        }
        assert!(Instant::now() < deadline, "the child does not get there ({what})");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// SIGKILL, at once.
fn kill(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("gone");
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ident, $folder:literal, $places:expr) => {
        pub(crate) mod $engine {
            use dbtest_sqlx::{Fixture, Strategy, TestDb, $backend};
            use sqlx::$pool;

            use super::*;

            /// A setup of this test's own, so that nobody else builds its template. In a child
            /// that was told to hang in it, it hangs.
            fn fixture(apart: &str, strategy: Strategy) -> Fixture<$backend> {
                Fixture::new()
                    .label("crash")
                    .apart(apart)
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
                    .version(version())
                    .seed(|pool: $pool| async move {
                        sqlx::query("INSERT INTO books (id, author_id, title) VALUES (100, 1, 'Dune')")
                            .execute(&pool)
                            .await?;
                        match told() {
                            Some((what, file, _)) if what == "build" => {
                                ready(&file);
                                std::future::pending().await
                            }
                            _ => Ok::<_, sqlx::Error>(()),
                        }
                    })
                    .strategy(strategy)
            }

            pub(crate) async fn places(url: String) -> Vec<String> {
                $places(url).await
            }

            async fn dirty(db: &TestDb<$backend>) {
                sqlx::query("UPDATE authors SET name = 'nobody'")
                    .execute(db.handle())
                    .await
                    .expect("an update");
                sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dirty')")
                    .execute(db.handle())
                    .await
                    .expect("a row");
            }

            async fn assert_clean(db: &TestDb<$backend>) {
                let names: Vec<String> = sqlx::query_scalar("SELECT name FROM authors")
                    .fetch_all(db.handle())
                    .await
                    .expect("authors");
                assert_eq!(names, ["Frank Herbert"]);
                let titles: Vec<String> = sqlx::query_scalar("SELECT title FROM books")
                    .fetch_all(db.handle())
                    .await
                    .expect("books");
                assert_eq!(titles, ["Dune"]);
            }

            /// In the child: does what it was told until it is killed.
            async fn act(what: &str, file: &Path, apart: &str, strategy: Strategy) {
                if what == "body" || what == "build" {
                    let db = fixture(apart, strategy.clone()).open().await.expect("a database");
                    dirty(&db).await;
                    ready(file);
                    std::future::pending::<()>().await;
                }
                // Leasing, writing and resetting without a pause: the kill hits any of it.
                for round in 0.. {
                    let db = fixture(apart, strategy.clone()).open().await.expect("a database");
                    dirty(&db).await;
                    db.close().await.expect("closed");
                    if round == 1 {
                        ready(file);
                    }
                }
            }

            async fn killed_and_clean_again(test: &str, strategy: Strategy, moments: &[&str]) {
                let test = format!("crash::{}::{test}", stringify!($engine));
                let apart = format!("{test}-{}", strategy_word(&strategy));
                if let Some((what, file, _)) = told() {
                    return act(&what, &file, &apart, strategy).await;
                }
                let folder = tempfile::tempdir().expect("a folder");
                for (round, what) in moments.iter().enumerate() {
                    let child = start(&test, what, folder.path());
                    // Any moment will do, and each round takes another.
                    std::thread::sleep(Duration::from_micros(700 * round as u64));
                    kill(child);
                    std::fs::remove_file(folder.path().join(what)).expect("the child's file");
                    for _ in 0..3 {
                        let db = fixture(&apart, strategy.clone()).open().await.expect("a database");
                        assert_clean(&db).await;
                        dirty(&db).await;
                        db.close().await.expect("closed");
                    }
                }
                // What the killed left behind was swept, or is a slot that is used again. A new
                // process sweeps first, so one is started and ended.
                let child = start(&test, "body", folder.path());
                let db = fixture(&apart, strategy).open().await.expect("a database");
                let places = places(db.database_url()).await;
                let fingerprint = db.name().split('_').nth(2).expect("a fingerprint").to_owned();
                let ours: Vec<_> = places.iter().filter(|name| name.contains(&fingerprint)).collect();
                db.close().await.expect("closed");
                kill(child);
                assert!(ours.len() <= 6, "what was left behind: {ours:?}");
            }

            fn strategy_word(strategy: &Strategy) -> String {
                format!("{strategy:?}").to_lowercase()
            }

            const MOMENTS: &[&str] = &["build", "body", "work", "work2", "work3", "work4", "work5"];

            #[tokio::test]
            async fn killed_under_rollback() {
                killed_and_clean_again("killed_under_rollback", Strategy::Rollback, MOMENTS).await;
            }

            #[tokio::test]
            async fn killed_under_truncate() {
                killed_and_clean_again("killed_under_truncate", Strategy::Truncate, MOMENTS).await;
            }

            #[tokio::test]
            async fn killed_under_template() {
                killed_and_clean_again("killed_under_template", Strategy::Template, MOMENTS).await;
            }

            #[tokio::test]
            async fn killed_under_schema() {
                killed_and_clean_again("killed_under_schema", Strategy::Schema, MOMENTS).await;
            }
        }
    };
}

async fn sqlite_places(url: String) -> Vec<String> {
    let file = PathBuf::from(url.trim_start_matches("sqlite://"));
    let folder = file.parent().expect("a folder");
    let entries = std::fs::read_dir(folder).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".db")).collect()
}

async fn postgres_places(url: String) -> Vec<String> {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("a connection");
    sqlx::query_scalar(
        "SELECT datname::text FROM pg_database UNION ALL SELECT nspname::text FROM pg_namespace \
         WHERE nspname LIKE 'dbtest\\_s%'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the databases")
}

async fn mysql_places(url: String) -> Vec<String> {
    use sqlx::Connection;
    let mut connection = sqlx::MySqlConnection::connect(&url).await.expect("a connection");
    sqlx::query_scalar("SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata")
        .fetch_all(&mut connection)
        .await
        .expect("the databases")
}

engine!(sqlite, SqlxSqlite, SqlitePool, "tests/it/migrations/sqlite", sqlite_places);
engine!(postgres, SqlxPostgres, PgPool, "tests/it/migrations/postgres", postgres_places);
engine!(mysql, SqlxMySql, MySqlPool, "tests/it/migrations/mysql", mysql_places);
