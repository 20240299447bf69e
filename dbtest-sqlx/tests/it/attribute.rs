//! The attribute, as users write it.

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ident, $database:ident, $folder:literal) => {
        mod $engine {
            use std::process::ExitCode;
            use std::time::Duration;

            use dbtest_sqlx::{Fixture, Strategy, TestDb, $backend};
            use sqlx::pool::PoolConnection;
            use sqlx::{$database, $pool};

            static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!($folder);

            async fn titles(pool: &$pool) -> Vec<String> {
                sqlx::query_scalar("SELECT title FROM books ORDER BY title")
                    .fetch_all(pool)
                    .await
                    .expect("the titles")
            }

            async fn add(pool: &$pool, title: &'static str) {
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "INSERT INTO books (author_id, title) VALUES (1, '{title}')"
                )))
                .execute(pool)
                .await
                .expect("a new book");
            }

            /// The title is unique: only one test could add it if tests shared a database.
            async fn alone(pool: $pool) {
                assert!(titles(&pool).await.is_empty());
                add(&pool, "Dune").await;
                assert_eq!(titles(&pool).await, ["Dune"]);
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_pool_is_clean(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn and_clean_for_the_next_test(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, strategy = "rollback")]
            async fn under_rollback(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, strategy = "truncate")]
            async fn under_truncate(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, strategy = "template")]
            async fn under_template(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, strategy = "schema")]
            async fn under_schema(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, strategy = Strategy::Template)]
            async fn a_strategy_is_an_expression_too(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "template");
            }

            #[dbtest_sqlx::test(migrations = $folder, require = "rollback")]
            async fn a_required_strategy(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "rollback");
            }

            #[dbtest_sqlx::test(migrations = MIGRATOR)]
            async fn an_embedded_migrator(pool: $pool) {
                alone(pool).await;
            }

            #[dbtest_sqlx::test(migrations = $folder, seeds("seeds/dune.sql", "seeds/dosadi.sql"))]
            async fn seeds_are_there(pool: $pool) {
                assert_eq!(titles(&pool).await, ["Dune", "The Dosadi Experiment"]);
            }

            // As `#[sqlx::test]` has it.
            #[dbtest_sqlx::test(migrator = "MIGRATOR", fixtures("dosadi", "./seeds/dune.sql"))]
            async fn scripts_by_name_and_by_path(pool: $pool) {
                assert_eq!(titles(&pool).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_sqlx::test(migrations = $folder, fixtures(path = "seeds", scripts("dune", "dosadi.sql")))]
            async fn scripts_of_a_folder(pool: $pool) {
                assert_eq!(titles(&pool).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_sqlx::test(migrations = false)]
            async fn an_empty_database(pool: $pool) {
                sqlx::query("CREATE TABLE mine (x INT)").execute(&pool).await.expect("a table");
                assert!(sqlx::query("SELECT * FROM books").execute(&pool).await.is_err());
            }

            fn with_dune() -> Fixture<$backend> {
                Fixture::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
                    .version("1")
                    .seed(|pool: $pool| async move {
                        sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dune')")
                            .execute(&pool)
                            .await
                            .map(drop)
                    })
            }

            #[dbtest_sqlx::test(fixture = with_dune)]
            async fn a_fixture_with_a_closure(pool: $pool) {
                assert_eq!(titles(&pool).await, ["Dune"]);
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_connection(mut connection: PoolConnection<$database>) {
                sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dune')")
                    .execute(&mut *connection)
                    .await
                    .expect("a new book");
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_borrowed_pool(pool: &$pool) {
                assert!(titles(pool).await.is_empty());
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn the_whole_test_db(db: TestDb<$backend>) {
                add(db.handle(), "Dune").await;
                assert!(db.name().starts_with("dbtest_"), "{}", db.name());
                assert!(db.url().contains(db.name()), "the URL names the database");
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_test_may_close_its_database(db: TestDb<$backend>) {
                db.close().await.expect("closed");
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn two_databases_in_one_test(
                one: $pool,
                #[db(strategy = "template", seeds("seeds/dune.sql"))] other: $pool,
            ) {
                add(&one, "Hellstrom's Hive".trim_end_matches("'s Hive")).await;
                assert_eq!(titles(&one).await, ["Hellstrom"]);
                assert_eq!(titles(&other).await, ["Dune"]);
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_result(pool: $pool) -> Result<(), sqlx::Error> {
                sqlx::query("SELECT title FROM books").fetch_all(&pool).await?;
                Ok(())
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            async fn an_exit_code(pool: $pool) -> ExitCode {
                add(&pool, "Dune").await;
                ExitCode::SUCCESS
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            #[should_panic(expected = "as it should")]
            async fn a_panic_that_is_expected(pool: $pool) {
                add(&pool, "Dune").await;
                panic!("as it should");
            }

            #[dbtest_sqlx::test(migrations = $folder, flavor = "multi_thread", worker_threads = 2)]
            async fn on_two_threads(pool: $pool) {
                let other = pool.clone();
                tokio::spawn(async move { add(&other, "Dune").await }).await.expect("the task");
                assert_eq!(titles(&pool).await, ["Dune"]);
            }

            #[dbtest_sqlx::test(migrations = $folder)]
            fn without_async(db: TestDb<$backend>) {
                // The body may block, since no runtime is on this thread.
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                assert!(runtime.block_on(titles(db.handle())).is_empty());
            }

            #[dbtest_sqlx::test(migrations = $folder, start_paused = true)]
            async fn a_paused_clock_stands_while_a_query_runs(pool: $pool) {
                let begun = tokio::time::Instant::now();
                for _ in 0..20 {
                    add_and_remove(&pool).await;
                }
                assert_eq!(begun.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_secs(60)).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(60));
                tokio::time::advance(Duration::from_secs(5)).await;
                add_and_remove(&pool).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(65));
            }

            #[dbtest_sqlx::test(migrations = $folder, start_paused = true, strategy = "rollback")]
            async fn a_paused_clock_under_rollback(pool: $pool) {
                let begun = tokio::time::Instant::now();
                add_and_remove(&pool).await;
                tokio::time::sleep(Duration::from_secs(3600)).await;
                add_and_remove(&pool).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            }

            #[dbtest_sqlx::test(migrations = $folder, start_paused = true, require = "truncate")]
            async fn a_paused_clock_stands_while_readers_read(db: TestDb<$backend>) {
                let begun = tokio::time::Instant::now();
                for _ in 0..20 {
                    let pool = db.read_only().await.expect("a second pool");
                    assert!(titles(pool).await.is_empty());
                }
                assert_eq!(begun.elapsed(), Duration::ZERO);
            }

            async fn add_and_remove(pool: &$pool) {
                let mut transaction = pool.begin().await.expect("a transaction");
                sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dune')")
                    .execute(&mut *transaction)
                    .await
                    .expect("a new book");
                transaction.rollback().await.expect("rolled back");
            }
        }
    };
}

engine!(sqlite, SqlxSqlite, SqlitePool, Sqlite, "tests/it/migrations/sqlite");
engine!(postgres, SqlxPostgres, PgPool, Postgres, "tests/it/migrations/postgres");
engine!(mysql, SqlxMySql, MySqlPool, MySql, "tests/it/migrations/mysql");
