//! The attribute, as users write it.

macro_rules! engine {
    ($feature:literal, $engine:ident, $backend:ident, $connection:ty, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            use std::process::ExitCode;
            use std::time::Duration;

            use dbtest_diesel::asynchronous::{Deadpool, Fixture, Strategy, TestDb, test, $backend};
            use diesel::QueryResult;
            use diesel_async::pooled_connection::{bb8, deadpool};
            use diesel_async::{AsyncConnection, SimpleAsyncConnection};
            use diesel_migrations::{EmbeddedMigrations, embed_migrations};

            type Connection = $connection;
            type Pool = bb8::Pool<Connection>;

            const MIGRATIONS: EmbeddedMigrations = embed_migrations!($folder);

            async fn titles(connection: &mut Connection) -> Vec<String> {
                crate::words(connection, "SELECT title AS word FROM books ORDER BY title")
                    .await
                    .expect("the titles")
            }

            async fn add(connection: &mut Connection, title: &str) {
                let insert = format!("INSERT INTO books (author_id, title) VALUES (1, '{title}')");
                connection.batch_execute(&insert).await.expect("a new book");
            }

            /// The title is unique: only one test could add it if tests shared a database.
            async fn alone(connection: &mut Connection) {
                assert!(titles(connection).await.is_empty());
                add(connection, "Dune").await;
                assert_eq!(titles(connection).await, ["Dune"]);
            }

            #[test(migrations = $folder)]
            async fn a_pool_is_clean(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder)]
            async fn and_clean_for_the_next_test(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder)]
            async fn a_pool_of_deadpool(pool: deadpool::Pool<Connection>) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder)]
            async fn a_pooled_connection(connection: &mut bb8::PooledConnection<'static, Connection>) {
                alone(connection).await;
            }

            #[test(migrations = $folder)]
            async fn a_connection_of_deadpool(mut connection: deadpool::Object<Connection>) {
                alone(&mut connection).await;
            }

            #[test(migrations = $folder)]
            async fn a_connection_of_the_tests_own(connection: &mut Connection) {
                alone(connection).await;
            }

            #[test(migrations = $folder, require = "truncate")]
            async fn its_transactions_are_real(connection: &mut Connection, db: TestDb<$backend>) {
                let committed = connection.transaction(async |connection| {
                    add(connection, "Dune").await;
                    QueryResult::Ok(())
                });
                committed.await.expect("committed");
                let mut other = db.handle().get().await.expect("a connection to another database");
                assert!(titles(&mut other).await.is_empty(), "two arguments are two databases");
            }

            #[test(migrations = $folder, strategy = "truncate")]
            async fn under_truncate(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder, strategy = "template")]
            async fn under_template(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder, strategy = "schema")]
            async fn under_schema(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder, strategy = Strategy::Template)]
            async fn a_strategy_is_an_expression_too(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "template");
            }

            #[test(migrations = $folder, start_paused = true, require = "truncate")]
            async fn a_paused_clock_stands_while_readers_connect_and_read(db: TestDb<$backend>) {
                let begun = tokio::time::Instant::now();
                let replica = db.read_only().await.expect("a second pool");
                assert!(titles(&mut replica.get().await.expect("a connection")).await.is_empty());
                assert_eq!(begun.elapsed(), Duration::ZERO);
            }

            #[test(migrations = MIGRATIONS)]
            async fn embedded_migrations(pool: Pool) {
                alone(&mut pool.get().await.expect("a connection")).await;
            }

            #[test(migrations = $folder, seeds("seeds/dune.sql", "seeds/dosadi.sql"))]
            async fn seeds_are_there(connection: &mut Connection) {
                assert_eq!(titles(connection).await, ["Dune", "The Dosadi Experiment"]);
            }

            // As `#[sqlx::test]` has it.
            #[test(migrator = "MIGRATIONS", fixtures("dosadi", "./seeds/dune.sql"))]
            async fn scripts_by_name_and_by_path(connection: &mut Connection) {
                assert_eq!(titles(connection).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[test(migrations = $folder, fixtures(path = "seeds", scripts("dune", "dosadi.sql")))]
            async fn scripts_of_a_folder(connection: &mut Connection) {
                assert_eq!(titles(connection).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[test(migrations = false)]
            async fn an_empty_database(connection: &mut Connection) {
                connection.batch_execute("CREATE TABLE mine (x INT)").await.expect("a table");
                let books = connection.batch_execute("SELECT * FROM books").await;
                assert!(books.is_err(), "nobody made such a table");
            }

            fn with_dune<P>() -> Fixture<$backend<P>>
            where
                $backend<P>: dbtest_diesel::Backend,
                EmbeddedMigrations: dbtest_diesel::Migrations<$backend<P>>,
            {
                Fixture::new().migrations(MIGRATIONS).seed_sql("dune.sql", include_str!("seeds/dune.sql"))
            }

            #[test(fixture = with_dune)]
            async fn one_fixture_for_bb8(pool: Pool) {
                assert_eq!(titles(&mut pool.get().await.expect("a connection")).await, ["Dune"]);
            }

            #[test(fixture = with_dune)]
            async fn and_for_deadpool(db: TestDb<$backend<Deadpool>>) {
                assert_eq!(titles(&mut db.handle().get().await.expect("a connection")).await, ["Dune"]);
            }

            fn with_code() -> Fixture<$backend> {
                Fixture::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
                    .version("1")
                    .seed(|pool: Pool| async move {
                        let mut connection = pool.get().await.map_err(|error| error.to_string())?;
                        add(&mut connection, "Dune").await;
                        Ok::<_, String>(())
                    })
            }

            #[test(fixture = with_code)]
            async fn a_fixture_with_a_closure(connection: &mut Connection) {
                assert_eq!(titles(connection).await, ["Dune"]);
            }

            #[test(migrations = $folder)]
            async fn the_url_opens_the_database(db: TestDb<$backend>) {
                add(&mut db.handle().get().await.expect("a connection"), "Dune").await;
                assert!(db.url().contains(db.name()), "the URL names the database");
                // As an application does that reads it from its settings.
                let mut own = Connection::establish(db.url()).await.expect("a connection");
                assert_eq!(titles(&mut own).await, ["Dune"]);
            }

            #[test(migrations = $folder)]
            async fn a_test_may_close_its_database(db: TestDb<$backend>) {
                db.close().await.expect("closed");
            }

            #[test(migrations = $folder)]
            async fn a_result(pool: Pool) -> Result<(), diesel_async::pooled_connection::bb8::RunError> {
                pool.get().await.map(drop)
            }

            #[test(migrations = $folder)]
            async fn an_exit_code(connection: &mut Connection) -> ExitCode {
                add(connection, "Dune").await;
                ExitCode::SUCCESS
            }

            #[test(migrations = $folder)]
            #[should_panic(expected = "as it should")]
            async fn a_panic_that_is_expected(connection: &mut Connection) {
                add(connection, "Dune").await;
                panic!("as it should");
            }

            #[test(migrations = $folder, flavor = "multi_thread", worker_threads = 2)]
            async fn on_two_threads(pool: Pool) {
                let other = pool.clone();
                let task = async move { add(&mut other.get().await.expect("a connection"), "Dune").await };
                tokio::spawn(task).await.expect("the task");
                assert_eq!(titles(&mut pool.get().await.expect("a connection")).await, ["Dune"]);
            }

            async fn add_and_remove(connection: &mut Connection) {
                let removed = connection.transaction(async |connection| {
                    add(connection, "Dune").await;
                    Err::<(), _>(diesel::result::Error::RollbackTransaction)
                });
                removed.await.expect_err("rolled back");
            }

            #[test(migrations = $folder, start_paused = true)]
            async fn a_paused_clock_stands_while_a_query_runs(pool: Pool) {
                let begun = tokio::time::Instant::now();
                for _ in 0..20 {
                    add_and_remove(&mut pool.get().await.expect("a connection")).await;
                }
                // Also while a second connection is made.
                let (one, two) = (pool.get().await.expect("one"), pool.get().await.expect("another"));
                drop((one, two));
                assert_eq!(begun.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_secs(3600)).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
                add_and_remove(&mut pool.get().await.expect("a connection")).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            }

            #[test(migrations = $folder, start_paused = true)]
            async fn a_paused_clock_with_deadpool(pool: deadpool::Pool<Connection>) {
                let begun = tokio::time::Instant::now();
                let (mut one, two) = (pool.get().await.expect("one"), pool.get().await.expect("another"));
                add_and_remove(&mut one).await;
                drop((one, two));
                assert_eq!(begun.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_secs(3600)).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            }
        }
    };
}

macro_rules! rollback {
    ($feature:literal, $engine:ident, $backend:ident, $connection:ty, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            use dbtest_diesel::asynchronous::{TestDb, test, $backend};
            use diesel_async::SimpleAsyncConnection;
            use diesel_async::pooled_connection::{bb8, deadpool};

            const ADD: &str = "INSERT INTO books (author_id, title) VALUES (1, 'Dune')";

            #[test(migrations = $folder, strategy = "rollback")]
            async fn a_pool(pool: bb8::Pool<$connection>) {
                pool.get().await.expect("a connection").batch_execute(ADD).await.expect("a new book");
            }

            #[test(migrations = $folder, strategy = "rollback")]
            async fn a_pool_of_deadpool(pool: deadpool::Pool<$connection>) {
                pool.get().await.expect("a connection").batch_execute(ADD).await.expect("a new book");
            }

            #[test(migrations = $folder, strategy = "rollback")]
            async fn a_connection_of_the_tests_own(connection: &mut $connection) {
                connection.batch_execute(ADD).await.expect("a new book");
            }

            #[test(migrations = $folder, require = "rollback")]
            async fn a_required_strategy(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "rollback");
            }

            #[test(migrations = $folder, start_paused = true, strategy = "rollback")]
            async fn a_paused_clock(pool: bb8::Pool<$connection>) {
                use std::time::Duration;

                let begun = tokio::time::Instant::now();
                pool.get().await.expect("a connection").batch_execute(ADD).await.expect("a new book");
                // Longer than any pool keeps a connection that nobody uses.
                tokio::time::sleep(Duration::from_secs(3600)).await;
                let mut connection = pool.get().await.expect("the same connection");
                let titles = crate::words(&mut *connection, "SELECT title AS word FROM books").await;
                assert_eq!(titles.expect("the titles"), ["Dune"]);
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            }
        }
    };
}

engine!(
    "async-sqlite",
    sqlite,
    DieselAsyncSqlite,
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
    "tests/async_it/migrations/sqlite"
);
engine!(
    "async-postgres",
    postgres,
    DieselAsyncPostgres,
    diesel_async::AsyncPgConnection,
    "tests/async_it/migrations/postgres"
);
engine!(
    "async-mysql",
    mysql,
    DieselAsyncMySql,
    diesel_async::AsyncMysqlConnection,
    "tests/async_it/migrations/mysql"
);

mod rollback {
    rollback!(
        "async-sqlite",
        sqlite,
        DieselAsyncSqlite,
        diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
        "tests/async_it/migrations/sqlite"
    );
    rollback!(
        "async-mysql",
        mysql,
        DieselAsyncMySql,
        diesel_async::AsyncMysqlConnection,
        "tests/async_it/migrations/mysql"
    );
}
