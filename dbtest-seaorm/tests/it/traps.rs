//! Where tests on SeaORM have been bitten: each of these works as it does in production, or is
//! refused in words, and never reaches the next test.

use std::process::{Command, Output};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use dbtest_seaorm::{Engine, ErrorKind, Fixture, SeaOrmBackend, Strategy, migrator};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DbErr, IsolationLevel, TransactionError,
    TransactionTrait,
};

use crate::app::{Migrator, add, titles};

/// What this process was told to do, if a test started it.
const TOLD: &str = "DBTEST_TEST_TRAPS";

fn told(what: &str) -> bool {
    std::env::var(TOLD).is_ok_and(|told| told == what)
}

/// Runs one test of this executable in a process of its own.
fn run(test: &str, what: &str) -> Output {
    Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", test, "--test-threads=1"])
        .env(TOLD, what)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("a child process")
}

fn fixture<B: SeaOrmBackend>(strategy: Strategy) -> Fixture<B> {
    Fixture::new().migrations(migrator(Migrator).version("1")).require(strategy)
}

const ALL: [fn() -> Strategy; 3] = [|| Strategy::Rollback, || Strategy::Truncate, || Strategy::Template];

/// A test that does what every strategy bears.
async fn works<B: SeaOrmBackend>(name: &str, body: impl AsyncFn(&DatabaseConnection) -> Result<(), DbErr>) {
    for strategy in ALL {
        let db = fixture::<B>(strategy()).open_for(name).await.expect("a database");
        assert_eq!(titles(db.handle()).await.expect("titles"), Vec::<String>::new(), "{:?}", strategy());
        body(db.handle()).await.unwrap_or_else(|error| panic!("under {:?}: {error}", strategy()));
        db.close().await.unwrap_or_else(|error| panic!("under {:?}: {error}", strategy()));
    }
}

/// How it ended that a test under `rollback` did what the transaction around it may not bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It worked, as on a connection of its own.
    Accepted,
    /// The test got an error, and the rest of it works.
    Refused,
    /// The test lost its transaction, and its end says so.
    Blamed,
}

use Outcome::{Accepted, Blamed, Refused};

/// A test under `rollback`. The body returns the titles that are there if everything it did was
/// accepted, or the refusal. In any case nothing is lost in silence, and the next test sees
/// nothing. What Postgres accepts is its sandbox's to say, and that nobody loses a row is ours.
async fn under_rollback<B: SeaOrmBackend>(
    name: &str,
    sqlite: Outcome,
    mysql: Outcome,
    body: impl AsyncFnOnce(&DatabaseConnection) -> Result<Vec<&'static str>, DbErr>,
) {
    let db = fixture::<B>(Strategy::Rollback).open_for(name).await.expect("a database");
    add(db.handle(), "before").await.expect("a book");
    let accepted = body(db.handle()).await;
    let found = titles(db.handle()).await;
    let outcome = match (&accepted, &found, db.close().await) {
        (Ok(expected), Ok(found), Ok(())) => {
            assert_eq!(found, expected);
            Accepted
        }
        (Err(refusal), Ok(found), Ok(())) => {
            assert!(found.iter().any(|title| title == "before"), "{refusal} lost a row: {found:?}");
            Refused
        }
        (_, _, Err(blame)) => {
            assert_eq!(blame.kind(), ErrorKind::Boundary, "{blame}");
            assert!(blame.to_string().contains(name), "the test is not named: {blame}");
            Blamed
        }
        (_, Err(lost), Ok(())) => panic!("the rows are lost, and nobody said so: {lost} ({accepted:?})"),
    };
    match B::ENGINE {
        Engine::Sqlite => assert_eq!(outcome, sqlite, "{accepted:?}, {found:?}"),
        Engine::MySql => assert_eq!(outcome, mysql, "{accepted:?}, {found:?}"),
        _ => {}
    }
    let db = fixture::<B>(Strategy::Rollback).open_for(name).await.expect("the next database");
    assert_eq!(titles(db.handle()).await.expect("titles"), Vec::<String>::new());
    db.close().await.expect("closed");
}

/// Closures and guards inside each other: what is undone is what its own transaction did.
async fn nested(db: &DatabaseConnection) -> Result<(), DbErr> {
    let outcome: Result<(), TransactionError<DbErr>> = db
        .transaction(|outer| {
            Box::pin(async move {
                add(outer, "outer").await?;
                let inner: Result<(), TransactionError<DbErr>> = outer
                    .transaction(|inner| {
                        Box::pin(async move {
                            add(inner, "inner").await?;
                            Err(DbErr::Custom("on second thoughts".to_owned()))
                        })
                    })
                    .await;
                assert!(matches!(inner, Err(TransactionError::Transaction(_))), "{inner:?}");
                let innermost = outer.begin().await?.begin().await?;
                add(&innermost, "innermost").await?;
                // Its parent is dropped already, and it with that.
                drop(innermost);
                let kept = outer.begin().await?;
                add(&kept, "kept").await?;
                kept.commit().await?;
                // A statement that failed is undone alone, where it had a transaction of its own.
                let twice = outer.begin().await?;
                add(&twice, "kept").await.expect_err("the title is taken");
                twice.rollback().await?;
                add(outer, "last").await.map(drop)
            })
        })
        .await;
    outcome.map_err(|error| DbErr::Custom(error.to_string()))?;
    assert_eq!(titles(db).await?, ["kept", "last", "outer"]);
    Ok(())
}

/// The closure has written, and is dropped while it waits for something else.
async fn cancelled(db: &DatabaseConnection) -> Result<(), DbErr> {
    let written = Arc::new(tokio::sync::Notify::new());
    let transaction = db.transaction::<_, (), DbErr>(|transaction| {
        let written = Arc::clone(&written);
        Box::pin(async move {
            add(transaction, "cancelled").await?;
            written.notify_one();
            std::future::pending().await
        })
    });
    tokio::select! {
        ended = transaction => panic!("it never ends: {ended:?}"),
        () = written.notified() => {}
    }
    assert_eq!(titles(db).await?, Vec::<String>::new());
    add(db, "after").await?;
    assert_eq!(titles(db).await?, ["after"]);
    Ok(())
}

/// A panic in a task of the application, in the middle of a transaction.
async fn panicked(db: &DatabaseConnection) -> Result<(), DbErr> {
    let other = db.clone();
    let task = tokio::spawn(async move {
        let transaction = other.begin().await.expect("a transaction");
        add(&transaction, "panicked").await.expect("a book");
        // As `panic!`, without its message among the test's output.
        std::panic::resume_unwind(Box::new("as it should"));
    });
    assert!(task.await.expect_err("it panics").is_panic());
    assert_eq!(titles(db).await?, Vec::<String>::new());
    add(db, "after").await.map(drop)
}

macro_rules! engine {
    ($engine:ident, $backend:ident) => {
        mod $engine {
            use dbtest_seaorm::{Backend, Db, $backend};

            use super::*;

            fn name(test: &str) -> String {
                format!("traps::{}::{test}", stringify!($engine))
            }

            #[tokio::test]
            async fn nested_transactions_are_savepoints() {
                works::<$backend>("nested", nested).await;
            }

            #[tokio::test]
            async fn a_cancelled_transaction_leaves_nothing() {
                works::<$backend>("cancelled", cancelled).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_panic_in_a_transaction_of_another_task_leaves_nothing() {
                works::<$backend>("panicked", panicked).await;
            }

            #[tokio::test]
            async fn a_transaction_that_is_cancelled_while_it_begins() {
                under_rollback::<$backend>("cancelled_while_it_begins", Accepted, Accepted, async |db| {
                    let mut begin = db.begin();
                    let begun =
                        std::future::poll_fn(|context| Poll::Ready(begin.as_mut().poll(context).is_ready()));
                    assert!(!begun.await, "it begins without asking the server");
                    drop(begin);
                    add(db, "after").await?;
                    Ok(vec!["after", "before"])
                })
                .await;
            }

            #[tokio::test]
            async fn a_statement_that_fails_outside_a_transaction() {
                under_rollback::<$backend>("a_failed_statement", Accepted, Accepted, async |db| {
                    add(db, "before").await.expect_err("the title is taken");
                    // Accepted, it must be kept.
                    add(db, "later").await?;
                    Ok(vec!["before", "later"])
                })
                .await;
            }

            #[tokio::test]
            async fn begin_and_commit_as_text() {
                under_rollback::<$backend>("raw_transactions", Refused, Refused, async |db| {
                    // One text, so that it is one connection: SeaORM takes one per statement.
                    let insert = "INSERT INTO books (author_id, title) VALUES (1, 'inside')";
                    db.execute_unprepared(&format!("BEGIN; {insert}; COMMIT")).await?;
                    add(db, "later").await?;
                    Ok(vec!["before", "inside", "later"])
                })
                .await;
            }

            /// SeaORM passes over it on SQLite. On MySQL it must come before a transaction, and
            /// one that SeaORM can't begin it rolls back, the one around it too.
            #[tokio::test]
            async fn an_isolation_level_under_rollback() {
                for level in [IsolationLevel::Serializable, IsolationLevel::ReadCommitted] {
                    under_rollback::<$backend>("isolation_level", Accepted, Blamed, async |db| {
                        let transaction = db.begin_with_config(Some(level), None).await?;
                        add(&transaction, "strict").await?;
                        transaction.commit().await?;
                        Ok(vec!["before", "strict"])
                    })
                    .await;
                }
            }

            #[tokio::test]
            async fn an_access_mode_under_rollback() {
                under_rollback::<$backend>("access_mode", Accepted, Blamed, async |db| {
                    let mode = Some(AccessMode::ReadOnly);
                    let transaction = db.begin_with_config(None, mode).await?;
                    assert_eq!(titles(&transaction).await?, ["before"]);
                    transaction.commit().await?;
                    add(db, "later").await?;
                    Ok(vec!["before", "later"])
                })
                .await;
            }

            /// With connections of the test's own, they do what the engine says.
            #[tokio::test]
            async fn isolation_levels_and_access_modes_elsewhere() {
                let strategy = Strategy::Truncate;
                let db = fixture::<$backend>(strategy).open_for("levels").await.expect("a database");
                let strict = Some(IsolationLevel::Serializable);
                let transaction = db.handle().begin_with_config(strict, None).await.expect("begun");
                add(&transaction, "strict").await.expect("a book");
                transaction.commit().await.expect("committed");

                let read_only = Some(AccessMode::ReadOnly);
                let transaction = db.handle().begin_with_config(strict, read_only).await.expect("begun");
                let written = add(&transaction, "read only").await;
                // SQLite has no such thing, and SeaORM says so in its log only.
                assert_eq!(written.is_ok(), $backend::ENGINE == Engine::Sqlite, "{written:?}");
                transaction.rollback().await.expect("rolled back");
                assert_eq!(titles(db.handle()).await.expect("titles"), ["strict"]);
                db.close().await.expect("closed");
            }

            #[tokio::test]
            async fn a_schema_change_under_rollback() {
                under_rollback::<$backend>("a_schema_change", Accepted, Refused, async |db| {
                    db.execute_unprepared("CREATE TABLE extra (id INT)").await?;
                    add(db, "later").await?;
                    Ok(vec!["before", "later"])
                })
                .await;
                let db = fixture::<$backend>(Strategy::Rollback).open_for("next").await.expect("a database");
                let make = "CREATE TABLE extra (id INT)";
                let made = db.handle().execute_unprepared(make).await;
                let ended = db.close().await;
                match made {
                    Ok(_) => ended.expect("closed"),
                    // Not because it is there.
                    Err(error) => assert!(!error.to_string().contains("exists"), "{error}"),
                }
            }

            #[dbtest_seaorm::test(migrations = Migrator, require = "rollback")]
            async fn told_to_starve(Db(db): Db<$backend>) {
                assert!(titles(&db).await.expect("titles").is_empty());
                if told("starve") {
                    let transaction = db.begin().await.expect("a transaction");
                    add(&transaction, "Dune").await.expect("a book");
                    add(&db, "Dune").await.expect("a second user");
                    transaction.commit().await.expect("committed");
                }
            }

            #[test]
            fn a_second_user_while_a_transaction_is_open_is_told_so() {
                let began = Instant::now();
                let output = run(&name("told_to_starve"), "starve");
                let text = format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
                assert!(!output.status.success(), "{text}");
                assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
                assert!(text.contains("dbtest: ") && text.contains("connection"), "no diagnosis: {text}");
            }
        }
    };
}

#[cfg(feature = "sqlite")]
engine!(sqlite, SeaOrmSqlite);
#[cfg(feature = "postgres")]
engine!(postgres, SeaOrmPostgres);

/// What Postgres accepts of them, with the outcome pinned.
#[cfg(feature = "postgres")]
mod pinned {
    mod postgres {
        use dbtest_seaorm::SeaOrmPostgres;

        use super::super::*;

        /// SeaORM takes a connection for each statement. One that is busy meanwhile makes BEGIN and
        /// COMMIT land on two: the one has nothing to commit, the other's work is never committed. It
        /// is a bug of the application, and the same with and without a sandbox: what is written in the
        /// open transaction is its connection's alone.
        #[tokio::test]
        async fn begin_and_commit_as_text_on_two_connections() {
            for strategy in [Strategy::Truncate, Strategy::Template] {
                let db = fixture::<SeaOrmPostgres>(strategy).open_for("two").await.expect("a database");
                let pool = db.handle().get_postgres_connection_pool().clone();
                let settled = async || {
                    while pool.num_idle() < pool.size() as usize {
                        tokio::task::yield_now().await;
                    }
                };
                db.handle().execute_unprepared("BEGIN").await.expect("begun");
                settled().await;
                // Whoever has the connection with the transaction; the next statement opens another.
                let busy = pool.acquire().await.expect("the one with the transaction");
                add(db.handle(), "beside").await.expect("a book, committed at once");
                db.handle().execute_unprepared("COMMIT").await.expect("a COMMIT of nothing is a warning");
                drop(busy);
                settled().await;
                assert_eq!(titles(db.handle()).await.expect("titles"), ["beside"]);
                // The transaction is still open, on a connection of the pool; it holds up nobody.
                db.close().await.expect("closed");
                let next = fixture::<SeaOrmPostgres>(Strategy::Truncate).open_for("next").await;
                let next = next.expect("a database");
                assert_eq!(titles(next.handle()).await.expect("titles"), Vec::<String>::new());
                next.close().await.expect("closed");
            }
        }

        /// In one text it is one connection, and the sandbox takes it as the engine does.
        #[tokio::test]
        async fn under_rollback_the_sandbox_takes_them() {
            let name = "accepted";
            let db = fixture::<SeaOrmPostgres>(Strategy::Rollback).open_for(name).await.expect("a database");
            let insert = "INSERT INTO books (author_id, title) VALUES (1, 'inside')";
            let text = format!("BEGIN; {insert}; COMMIT");
            db.handle().execute_unprepared(&text).await.expect("it is taken");
            let strict = Some(IsolationLevel::Serializable);
            let transaction = db.handle().begin_with_config(strict, None).await.expect("begun");
            add(&transaction, "strict").await.expect("a book");
            transaction.commit().await.expect("committed");
            let read_only = Some(AccessMode::ReadOnly);
            let transaction = db.handle().begin_with_config(None, read_only).await.expect("begun");
            add(&transaction, "read only").await.expect_err("it may not write");
            transaction.rollback().await.expect("rolled back");
            db.handle().execute_unprepared("CREATE TABLE extra (id INT)").await.expect("a table");
            add(db.handle(), "inside").await.expect_err("the title is taken");
            add(db.handle(), "later").await.expect("a book");
            assert_eq!(titles(db.handle()).await.expect("titles"), ["inside", "later", "strict"]);
            db.close().await.expect("closed");
        }
    }
}
#[cfg(feature = "mysql")]
engine!(mysql, SeaOrmMySql);
