//! What goes wrong with Diesel where a test runs in one transaction, and what happens here.

use std::time::{Duration, Instant};

use dbtest_diesel::{Backend, ErrorKind, Fixture, SANDBOX_LOST, SANDBOX_WAIT, Strategy, TestDb};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::{add, titles};

fn fixture<B: Backend>(folder: &str, strategy: Strategy) -> Fixture<B> {
    Fixture::new().manifest_dir(env!("CARGO_MANIFEST_DIR")).migrations_dir(folder).require(strategy)
}

/// The test is blamed for what it did to its transaction.
fn blamed<B: Backend>(db: TestDb<B>, words: &str) {
    let error = db.close_blocking().expect_err("this test broke out of its transaction");
    assert_eq!(error.kind(), ErrorKind::Boundary, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

macro_rules! sandboxed {
    ($backend:ident, $connection:ident, $folder:literal) => {
        use dbtest_diesel::$backend;
        use diesel::$connection;

        use super::*;

        fn open() -> TestDb<$backend> {
            fixture($folder, Strategy::Rollback).open_blocking().expect("a database")
        }

        fn next_is_clean() {
            let db = open();
            assert!(titles!(&mut db.handle().get().expect("a connection")).is_empty());
            db.close_blocking().expect("closed");
        }

        /// With a plain test pool r2d2 would replace the connection, and the rows were gone.
        #[test]
        fn a_failed_statement_outside_a_transaction_loses_nothing() {
            let db = open();
            let mut connection = db.handle().get().expect("a connection");
            add!(&mut connection, "Dune").expect("a new book");
            assert!(add!(&mut connection, "Dune").is_err(), "the title is unique");
            drop(connection);
            let mut connection = db.handle().get().expect("the connection again");
            assert_eq!(titles!(&mut connection), ["Dune"]);
            drop(connection);
            db.close_blocking().expect("closed");
            next_is_clean();
        }

        #[test]
        fn a_panic_inside_a_transaction_in_another_thread_is_told_to_whoever_asks_next() {
            let db = open();
            add!(&mut db.handle().get().expect("a connection"), "Dune").expect("a new book");
            let pool = db.handle().clone();
            let panicked = std::thread::spawn(move || {
                let mut connection = pool.get().expect("a connection");
                connection.transaction(|connection| {
                    add!(connection, "Hellstrom")?;
                    assert_eq!(titles!(connection), ["Hellstrom"], "on purpose");
                    QueryResult::Ok(())
                })
            });
            assert!(panicked.join().is_err());
            // Diesel closes a connection that a panic left behind: the rows are gone, and that is said.
            let begun = Instant::now();
            let lost = db.handle().get().err().expect("there is no other connection").to_string();
            assert!(lost.contains(SANDBOX_LOST), "{lost}");
            assert!(begun.elapsed() < 2 * SANDBOX_WAIT, "{:?}", begun.elapsed());
            db.close_blocking().expect("nothing was committed");
            next_is_clean();
        }

        #[test]
        fn a_second_user_of_the_pool_is_told_within_seconds() {
            let db = open();
            let mut connection = db.handle().get().expect("a connection");
            let begun = Instant::now();
            connection
                .transaction(|connection| {
                    add!(connection, "Dune")?;
                    let second = db.handle().get().err().expect("there is one connection").to_string();
                    assert!($backend::POOL_TIMEOUT.iter().any(|words| second.contains(words)), "{second}");
                    QueryResult::Ok(())
                })
                .expect("the transaction goes on");
            assert!(begun.elapsed() < 2 * SANDBOX_WAIT, "{:?}", begun.elapsed());
            assert_eq!(titles!(&mut connection), ["Dune"]);
            drop(connection);
            db.close_blocking().expect("closed");
            next_is_clean();
        }

        #[test]
        fn a_transaction_that_is_left_open_ends_with_its_test() {
            use diesel::connection::{AnsiTransactionManager, TransactionManager};
            let db = open();
            let mut connection = db.handle().get().expect("a connection");
            AnsiTransactionManager::begin_transaction(&mut *connection).expect("begun");
            add!(&mut connection, "Dune").expect("a new book");
            drop(connection);
            assert_eq!(titles!(&mut db.handle().get().expect("the connection again")), ["Dune"]);
            db.close_blocking().expect("closed");
            next_is_clean();
        }

        #[dbtest_diesel::test(migrations = $folder, require = "rollback")]
        fn a_connection_of_its_own_is_in_the_sandbox_too(connection: &mut $connection) {
            add!(connection, "Dune").expect("a new book");
            connection.transaction(|connection| add!(connection, "Hellstrom")).expect("a savepoint");
            connection
                .transaction(|connection| {
                    add!(connection, "Dosadi")?;
                    QueryResult::<()>::Err(diesel::result::Error::RollbackTransaction)
                })
                .expect_err("rolled back");
            assert_eq!(titles!(connection), ["Dune", "Hellstrom"]);
        }

        #[dbtest_diesel::test(migrations = $folder, require = "rollback")]
        fn and_leaves_nothing(connection: &mut $connection) {
            assert!(titles!(connection).is_empty());
            add!(connection, "Dune").expect("a new book");
        }
    };
}

/// r2d2 can't close a pool, so a clone lives on.
macro_rules! over {
    ($folder:literal, $strategy:expr) => {
        #[test]
        fn a_pool_that_outlives_its_test_gets_no_connection() {
            let db = fixture::<Here>($folder, $strategy).open_blocking().expect("a database");
            add!(&mut db.handle().get().expect("a connection"), "Dune").expect("a new book");
            let left = db.handle().clone();
            db.close_blocking().expect("closed");
            assert_eq!(left.state().connections, 0, "the end of the test closed them");
            let refused = left.get_timeout(Duration::from_secs(1)).err().expect("refused").to_string();
            assert!(refused.contains("is over"), "{refused}");
        }
    };
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::process::ExitCode;

    use dbtest_diesel::FromTestDb;
    use dbtest_diesel::runner::{self, Test};

    sandboxed!(DieselSqlite, SqliteConnection, "tests/it/migrations/sqlite");

    type Here = DieselSqlite;
    over!("tests/it/migrations/sqlite", Strategy::Truncate);

    /// Diesel refuses it inside a transaction, and so says what this test can't have.
    #[test]
    fn an_immediate_transaction_is_refused_in_a_sandbox_and_works_elsewhere() {
        let db = open();
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        let refused = connection.immediate_transaction(|connection| add!(connection, "Hellstrom"));
        assert_eq!(refused, Err(diesel::result::Error::AlreadyInTransaction));
        assert_eq!(titles!(&mut connection), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");

        let db = fixture::<DieselSqlite>("tests/it/migrations/sqlite", Strategy::Truncate);
        let db = db.open_blocking().expect("a database");
        let mut connection = db.handle().get().expect("a connection");
        connection.immediate_transaction(|connection| add!(connection, "Dune")).expect("committed");
        assert_eq!(titles!(&mut connection), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");
        next_is_clean();
    }

    /// There is no hook that refuses it, so it is found afterwards.
    #[test]
    fn a_raw_commit_is_blamed_on_its_test() {
        let db = open();
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        connection.batch_execute("COMMIT").expect("SQLite commits");
        drop(connection);
        blamed(db, "COMMIT or ROLLBACK that was not the ORM's own");
        next_is_clean();
    }

    #[test]
    fn a_raw_begin_is_refused() {
        let db = open();
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        assert!(connection.batch_execute("BEGIN").is_err());
        assert_eq!(titles!(&mut connection), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");
    }

    /// Nobody can ask a connection that the test closed; the file tells.
    #[test]
    fn a_raw_commit_on_a_connection_of_its_own_is_blamed_too() {
        let run = |commit: bool| {
            runner::run_blocking(
                Test::new("a_test_with_a_connection_of_its_own"),
                (fixture::<DieselSqlite>("tests/it/migrations/sqlite", Strategy::Rollback),),
                async |(db,)| Ok((SqliteConnection::from_test_db(db).await?,)),
                |(mut connection,): (SqliteConnection,)| -> QueryResult<()> {
                    add!(&mut connection, "Dune")?;
                    if commit { connection.batch_execute("COMMIT") } else { Ok(()) }
                },
            )
        };
        assert_eq!(run(false), ExitCode::SUCCESS);
        assert_eq!(run(true), ExitCode::FAILURE);
        next_is_clean();
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    sandboxed!(DieselMySql, MysqlConnection, "tests/it/migrations/mysql");

    type Here = DieselMySql;
    over!("tests/it/migrations/mysql", Strategy::Truncate);

    /// Outside XA each of them would commit what came before.
    #[test]
    fn raw_transactions_and_ddl_are_refused_and_lose_nothing() {
        let db = open();
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        for sql in ["BEGIN", "COMMIT", "ROLLBACK", "CREATE TABLE mine (x INT)", "LOCK TABLES books WRITE"] {
            let refused = connection.batch_execute(sql).expect_err(sql);
            assert!(refused.to_string().contains("XAER_RMFAIL"), "{sql}: {refused}");
        }
        assert_eq!(titles!(&mut connection), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");
        next_is_clean();
    }

    /// What only this transaction's own end could do, it can't do unseen.
    #[test]
    fn an_xa_statement_that_ends_the_sandbox_is_blamed_on_its_test() {
        let db = open();
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        connection
            .batch_execute("ROLLBACK TO SAVEPOINT _dbtest; RELEASE SAVEPOINT _dbtest")
            .expect("MySQL does it");
        drop(connection);
        blamed(db, "ROLLBACK or COMMIT that was not the ORM's own");
        next_is_clean();
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_diesel::DieselPostgres;

    use super::*;

    type Here = DieselPostgres;
    over!("tests/it/migrations/postgres", Strategy::Truncate);

    fn open(strategy: Strategy) -> TestDb<DieselPostgres> {
        fixture("tests/it/migrations/postgres", strategy).open_blocking().expect("a database")
    }

    #[test]
    fn a_failed_statement_outside_a_transaction_loses_nothing() {
        let db = open(Strategy::Truncate);
        let mut connection = db.handle().get().expect("a connection");
        add!(&mut connection, "Dune").expect("a new book");
        assert!(add!(&mut connection, "Dune").is_err(), "the title is unique");
        drop(connection);
        assert_eq!(titles!(&mut db.handle().get().expect("a connection")), ["Dune"]);
        db.close_blocking().expect("closed");
    }

    #[test]
    fn a_serializable_transaction_commits() {
        let db = open(Strategy::Truncate);
        let mut connection = db.handle().get().expect("a connection");
        connection
            .build_transaction()
            .serializable()
            .run(|connection| add!(connection, "Dune"))
            .expect("committed");
        assert_eq!(titles!(&mut connection), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");
    }

    #[test]
    fn a_panic_inside_a_transaction_in_another_thread_leaves_the_rest_usable() {
        let db = open(Strategy::Truncate);
        add!(&mut db.handle().get().expect("a connection"), "Dune").expect("a new book");
        let pool = db.handle().clone();
        let panicked = std::thread::spawn(move || {
            let mut connection = pool.get().expect("a connection");
            connection.transaction(|connection| {
                add!(connection, "Hellstrom")?;
                assert_eq!(titles!(connection), ["Hellstrom"], "on purpose");
                QueryResult::Ok(())
            })
        });
        assert!(panicked.join().is_err());
        assert_eq!(titles!(&mut db.handle().get().expect("another connection")), ["Dune"]);
        db.close_blocking().expect("closed");
    }

    #[test]
    fn raw_transactions_are_the_tests_own() {
        let db = open(Strategy::Truncate);
        let mut connection = db.handle().get().expect("a connection");
        connection.batch_execute("BEGIN").expect("begun");
        add!(&mut connection, "Dune").expect("a new book");
        connection.batch_execute("COMMIT").expect("committed");
        assert_eq!(titles!(&mut db.handle().get().expect("another connection")), ["Dune"]);
        drop(connection);
        db.close_blocking().expect("closed");
    }
}
