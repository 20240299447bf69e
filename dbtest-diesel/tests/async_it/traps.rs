//! What diesel-async does that a sandbox must withstand, or say in words.

/// Both pools of a backend under `rollback`. Postgres has its sandbox on the wire, and the suite
/// for it.
macro_rules! sandbox {
    ($feature:literal, $engine:ident, $backend:ident, $connection:ty, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            mod bb8 {
                use dbtest_diesel::asynchronous::{$backend, Bb8};

                type Backend = $backend<Bb8>;
                type Pool = diesel_async::pooled_connection::bb8::Pool<$connection>;

                /// It drops a connection that a panic goes through.
                const SURVIVES_A_PANIC: bool = false;

                sandbox!(@tests $connection, $folder);
            }

            mod deadpool {
                use dbtest_diesel::asynchronous::{$backend, Deadpool};

                type Backend = $backend<Deadpool>;
                type Pool = diesel_async::pooled_connection::deadpool::Pool<$connection>;

                /// It takes the connection back, and looks at it before its next use.
                const SURVIVES_A_PANIC: bool = true;

                sandbox!(@tests $connection, $folder);
            }
        }
    };
    (@tests $connection:ty, $folder:literal) => {
        use std::time::{Duration, Instant};

        use dbtest_diesel::asynchronous::{Fixture, SANDBOX_WAIT, Strategy, TestDb, test};
        use diesel_async::{AsyncConnection, SimpleAsyncConnection};

        async fn open() -> TestDb<Backend> {
            Fixture::new()
                .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                .migrations_dir($folder)
                .require(Strategy::Rollback)
                .open()
                .await
                .expect("a database")
        }

        async fn add(connection: &mut $connection, title: &str) {
            let insert = format!("INSERT INTO books (author_id, title) VALUES (1, '{title}')");
            connection.batch_execute(&insert).await.expect("a new book");
        }

        async fn titles(pool: &Pool) -> Vec<String> {
            let mut connection = pool.get().await.expect("a connection");
            let titles = crate::words(&mut *connection, "SELECT title AS word FROM books ORDER BY title");
            titles.await.expect("the titles")
        }

        #[test(migrations = $folder, require = "rollback", flavor = "multi_thread")]
        async fn a_cancelled_transaction_leaves_nothing(pool: Pool) {
            add(&mut *pool.get().await.expect("a connection"), "before").await;
            for _ in 0..2 {
                let mut connection = pool.get().await.expect("a connection");
                let (written, seen) = tokio::sync::oneshot::channel();
                let transaction = connection.transaction(async |connection| {
                    add(connection, "outer").await;
                    let inner = connection.transaction(async |connection| {
                        add(connection, "inner").await;
                        written.send(()).expect("somebody waits for it");
                        std::future::pending::<diesel::QueryResult<()>>().await
                    });
                    inner.await
                });
                tokio::select! {
                    ended = transaction => panic!("it waits for ever, and ended: {ended:?}"),
                    seen = seen => seen.expect("written"),
                }
                drop(connection);
                assert_eq!(titles(&pool).await, ["before"]);
            }
            // And transactions are whole again.
            let mut connection = pool.get().await.expect("a connection");
            let committed = connection.transaction(async |connection| {
                add(connection, "behind").await;
                diesel::QueryResult::Ok(())
            });
            committed.await.expect("committed");
            drop(connection);
            assert_eq!(titles(&pool).await, ["before", "behind"]);
        }

        #[test(migrations = $folder, require = "rollback")]
        async fn a_failed_statement_outside_a_transaction_loses_nothing(pool: Pool) {
            let mut connection = pool.get().await.expect("a connection");
            add(&mut *connection, "before").await;
            let again = "INSERT INTO books (author_id, title) VALUES (1, 'before')";
            connection.batch_execute(again).await.expect_err("it is unique");
            drop(connection);
            assert_eq!(titles(&pool).await, ["before"], "the pool has the same connection");
        }

        #[test(migrations = $folder, require = "rollback")]
        async fn a_panic_in_another_task_leaves_nothing_and_is_no_riddle(pool: Pool) {
            add(&mut *pool.get().await.expect("a connection"), "before").await;
            let other = pool.clone();
            let task = tokio::spawn(async move {
                let mut connection = other.get().await.expect("a connection");
                let transaction = connection.transaction(async |connection| {
                    add(connection, "lost").await;
                    if connection.batch_execute("SELECT 1").await.is_ok() {
                        panic!("on purpose");
                    }
                    diesel::QueryResult::Ok(())
                });
                transaction.await
            });
            task.await.expect_err("it panicked");
            if SURVIVES_A_PANIC {
                assert_eq!(titles(&pool).await, ["before"]);
            } else {
                // The connection is closed, and the transaction with it: no other stands in.
                let began = Instant::now();
                pool.get().await.err().expect("nothing that would look like an empty database");
                assert!(began.elapsed() < 3 * SANDBOX_WAIT, "{:?}", began.elapsed());
            }
        }

        #[test(migrations = $folder, require = "rollback")]
        async fn a_second_user_is_told_within_seconds(pool: Pool) {
            let mut connection = pool.get().await.expect("a connection");
            let began = Instant::now();
            let refused = connection
                .transaction(async |connection| {
                    add(connection, "inside").await;
                    diesel::QueryResult::Ok(pool.get().await.err().map(|error| error.to_string()))
                })
                .await
                .expect("the transaction itself is fine")
                .expect("there is one connection");
            let waits = <Backend as dbtest_diesel::Backend>::POOL_TIMEOUT;
            assert!(waits.iter().any(|words| refused.contains(words)), "{refused}");
            assert!(began.elapsed() < 3 * SANDBOX_WAIT, "{:?}", began.elapsed());
            drop(connection);
            assert_eq!(titles(&pool).await, ["inside"]);
        }

        #[tokio::test]
        async fn a_clone_of_the_pool_that_outlives_the_test_gets_nothing() {
            let db = open().await;
            let pool = db.handle().clone();
            db.close().await.expect("closed");
            let late = tokio::time::timeout(Duration::from_millis(200), pool.get()).await;
            assert!(!matches!(late, Ok(Ok(_))), "a connection to a place that is somebody else's by now");
        }
    };
}

sandbox!(
    "async-sqlite",
    sqlite,
    DieselAsyncSqlite,
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
    "tests/async_it/migrations/sqlite"
);
sandbox!(
    "async-mysql",
    mysql,
    DieselAsyncMySql,
    diesel_async::AsyncMysqlConnection,
    "tests/async_it/migrations/mysql"
);

#[cfg(feature = "async-sqlite")]
mod sqlite_alone {
    use std::time::Duration;

    use dbtest_diesel::asynchronous::test;
    use diesel::SqliteConnection;
    use diesel_async::SimpleAsyncConnection;
    use diesel_async::pooled_connection::bb8::Pool;
    use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

    type Connection = SyncConnectionWrapper<SqliteConnection>;

    #[test(migrations = "tests/async_it/migrations/sqlite", require = "rollback")]
    async fn an_immediate_transaction_is_refused_and_harms_nothing(connection: &mut Connection) {
        connection
            .batch_execute("INSERT INTO books (author_id, title) VALUES (1, 'before')")
            .await
            .expect("a book");
        let refused = connection.immediate_transaction(async |_| diesel::QueryResult::Ok(())).await;
        assert_eq!(refused, Err(diesel::result::Error::AlreadyInTransaction));
        let titles = crate::words(connection, "SELECT title AS word FROM books").await;
        assert_eq!(titles.expect("the titles"), ["before"]);
    }

    /// Whoever drops the future is blocked until the statement has ended.
    #[test(migrations = "tests/async_it/migrations/sqlite", require = "rollback", flavor = "multi_thread")]
    async fn a_cancelled_statement_ends_before_the_next_one_begins(pool: Pool<Connection>) {
        let slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) \
                    INSERT INTO books (author_id, title) SELECT 1, 'book ' || x FROM n";
        let mut connection = pool.get().await.expect("a connection");
        let cancelled = tokio::time::timeout(Duration::from_millis(1), connection.batch_execute(slow)).await;
        drop(connection);
        let mut connection = pool.get().await.expect("the same connection");
        let count = crate::words(&mut *connection, "SELECT CAST(count(*) AS TEXT) AS word FROM books").await;
        assert!(cancelled.is_err(), "it was too quick to be cancelled");
        assert_eq!(count.expect("a count"), ["300000"]);
    }
}

#[cfg(feature = "async-mysql")]
mod mysql_alone {
    use std::time::{Duration, Instant};

    use dbtest_diesel::asynchronous::{SANDBOX_LOST, SANDBOX_WAIT, test};
    use diesel_async::pooled_connection::{bb8, deadpool};
    use diesel_async::{
        AnsiTransactionManager, AsyncConnection, AsyncMysqlConnection, SimpleAsyncConnection,
    };

    const ADD: &str = "INSERT INTO books (author_id, title) VALUES (1, 'before')";

    async fn titles(connection: &mut AsyncMysqlConnection) -> Vec<String> {
        crate::words(connection, "SELECT title AS word FROM books").await.expect("the titles")
    }

    /// Each would commit, and none does: the test sees the refusal, and its rows are still there.
    #[test(migrations = "tests/async_it/migrations/mysql", require = "rollback")]
    async fn what_would_commit_is_refused(connection: &mut AsyncMysqlConnection) {
        connection.batch_execute(ADD).await.expect("a book");
        for sql in
            ["BEGIN", "COMMIT", "CREATE TABLE extra (x INT)", "LOCK TABLES books WRITE", "DROP TABLE books"]
        {
            let error = connection.batch_execute(sql).await.expect_err(sql);
            assert!(error.to_string().contains("XAER_RMFAIL"), "{sql}: {error}");
        }
        assert_eq!(titles(connection).await, ["before"]);
    }

    #[test(migrations = "tests/async_it/migrations/mysql", require = "rollback")]
    async fn an_isolation_level_is_refused_and_harms_nothing(connection: &mut AsyncMysqlConnection) {
        connection.batch_execute(ADD).await.expect("a book");
        let begin = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION";
        let refused = AnsiTransactionManager::begin_transaction_sql(connection, begin).await;
        assert_eq!(refused, Err(diesel::result::Error::AlreadyInTransaction));
        assert_eq!(titles(connection).await, ["before"]);
    }

    /// The statement's answer is still to come. mysql_async gives it to whoever asks next, so
    /// nobody gets to ask.
    macro_rules! cancelled_in_a_statement {
        ($name:ident, $pool:ty, $words:expr) => {
            #[test(migrations = "tests/async_it/migrations/mysql", require = "rollback")]
            async fn $name(pool: $pool) {
                let mut connection = pool.get().await.expect("a connection");
                let slow = connection.transaction(async |connection| {
                    connection.batch_execute(ADD).await?;
                    connection.batch_execute("DO SLEEP(0.3)").await
                });
                let cancelled = tokio::time::timeout(Duration::from_millis(100), slow).await;
                assert!(cancelled.is_err(), "it was too quick to be cancelled: {cancelled:?}");
                drop(connection);
                let began = Instant::now();
                let refused = pool.get().await.err().map(|error| error.to_string());
                let refused = refused.expect("a connection that answers the wrong question");
                assert!(refused.contains($words), "{refused}");
                assert!(began.elapsed() < 3 * SANDBOX_WAIT, "{:?}", began.elapsed());
            }
        };
    }

    cancelled_in_a_statement!(a_statement_cancelled_on_bb8, bb8::Pool<AsyncMysqlConnection>, "Timed out");
    cancelled_in_a_statement!(
        a_statement_cancelled_on_deadpool,
        deadpool::Pool<AsyncMysqlConnection>,
        SANDBOX_LOST
    );
}

#[cfg(feature = "async-postgres")]
mod postgres_alone {
    use dbtest_diesel::asynchronous::test;
    use diesel_async::pooled_connection::bb8::Pool;
    use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

    const ADD: &str = "INSERT INTO books (author_id, title) VALUES (1, 'Dune')";

    /// As in production: the pool throws the connection away, and the server rolls back.
    #[test(migrations = "tests/async_it/migrations/postgres", require = "truncate")]
    async fn a_cancelled_transaction_leaves_nothing(pool: Pool<AsyncPgConnection>) {
        let mut connection = pool.get().await.expect("a connection");
        let (written, seen) = tokio::sync::oneshot::channel();
        let transaction = connection.transaction(async |connection| {
            connection.batch_execute(ADD).await?;
            written.send(()).expect("somebody waits for it");
            std::future::pending::<diesel::QueryResult<()>>().await
        });
        tokio::select! {
            ended = transaction => panic!("it waits for ever, and ended: {ended:?}"),
            seen = seen => seen.expect("written"),
        }
        drop(connection);
        let mut connection = pool.get().await.expect("another connection");
        let titles = crate::words(&mut *connection, "SELECT title AS word FROM books").await;
        assert!(titles.expect("the titles").is_empty());
    }

    #[test(migrations = "tests/async_it/migrations/postgres", require = "truncate")]
    async fn an_isolation_level_is_the_applications_own(connection: &mut AsyncPgConnection) {
        let level = connection
            .build_transaction()
            .serializable()
            .run(async |connection| {
                crate::words(connection, "SELECT current_setting('transaction_isolation') AS word").await
            })
            .await;
        assert_eq!(level.expect("the level"), ["serializable"]);
    }
}
