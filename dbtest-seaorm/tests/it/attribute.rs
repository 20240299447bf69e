//! The attribute, as users write it.

macro_rules! engine {
    ($engine:ident, $backend:ident, $folder:literal) => {
        mod $engine {
            use std::process::ExitCode;
            use std::time::Duration;

            use dbtest_seaorm::{Db, Fixture, Strategy, TestDb, migrator, $backend};
            use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};

            use crate::app::{self, Migrator, add};

            async fn titles(db: &DatabaseConnection) -> Vec<String> {
                app::titles(db).await.expect("the titles")
            }

            /// The title is unique: only one test could add it if tests shared a database.
            async fn alone(db: DatabaseConnection) {
                assert!(titles(&db).await.is_empty());
                add(&db, "Dune").await.expect("a new book");
                assert_eq!(titles(&db).await, ["Dune"]);
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn a_connection_is_clean(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn and_clean_for_the_next_test(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
            async fn under_rollback(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = Migrator, strategy = "truncate")]
            async fn under_truncate(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = Migrator, strategy = "template")]
            async fn under_template(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = Migrator, strategy = "schema")]
            async fn under_schema(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = $folder, strategy = Strategy::Template)]
            async fn a_strategy_is_an_expression_too(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "template");
            }

            #[dbtest_seaorm::test(migrations = $folder, require = "rollback")]
            async fn a_required_strategy(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "rollback");
            }

            #[dbtest_seaorm::test(migrator = Migrator)]
            async fn the_migrator_of_the_application(Db(db): Db<$backend>) {
                alone(db).await;
            }

            #[dbtest_seaorm::test(migrations = $folder, seeds("seeds/dune.sql", "seeds/dosadi.sql"))]
            async fn seeds_are_there(Db(db): Db<$backend>) {
                assert_eq!(titles(&db).await, ["Dune", "The Dosadi Experiment"]);
            }

            // As `#[sqlx::test]` has it.
            #[dbtest_seaorm::test(migrator = "Migrator", fixtures("dosadi", "./seeds/dune.sql"))]
            async fn scripts_by_name_and_by_path(Db(db): Db<$backend>) {
                assert_eq!(titles(&db).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_seaorm::test(migrations = $folder, fixtures(path = "seeds", scripts("dune", "dosadi.sql")))]
            async fn scripts_of_a_folder(Db(db): Db<$backend>) {
                assert_eq!(titles(&db).await, ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_seaorm::test(migrations = false)]
            async fn an_empty_database(Db(db): Db<$backend>) {
                use sea_orm::ConnectionTrait;
                db.execute_unprepared("CREATE TABLE mine (x INT)").await.expect("a table");
                app::titles(&db).await.expect_err("there are no books");
            }

            fn with_dune() -> Fixture<$backend> {
                Fixture::new()
                    .migrations(migrator(Migrator).version("1"))
                    .version("1")
                    .seed(|db: DatabaseConnection| async move { add(&db, "Dune").await.map(drop) })
            }

            // SeaORM's own type does not say the engine; the fixture does.
            #[dbtest_seaorm::test(fixture = with_dune)]
            async fn a_fixture_says_the_backend(db: DatabaseConnection) {
                assert_eq!(titles(&db).await, ["Dune"]);
            }

            #[dbtest_seaorm::test(fixture = with_dune)]
            async fn a_borrowed_connection(db: &DatabaseConnection) {
                assert_eq!(titles(db).await, ["Dune"]);
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn a_borrowed_argument(db: &Db<$backend>) {
                assert!(titles(db).await.is_empty());
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn the_whole_test_db(db: TestDb<$backend>) {
                add(db.handle(), "Dune").await.expect("a new book");
                assert!(db.name().starts_with("dbtest_"), "{}", db.name());
                assert!(db.url().contains(db.name()), "the URL names the database");
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn a_test_may_close_its_database(db: TestDb<$backend>) {
                db.close().await.expect("closed");
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn a_test_may_close_its_connection(mut db: TestDb<$backend>) {
                std::mem::take(db.handle_mut()).close().await.expect("closed");
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn two_databases_in_one_test(
                Db(one): Db<$backend>,
                #[db(fixture = with_dune, strategy = "template")] other: DatabaseConnection,
            ) {
                add(&one, "Hellstrom").await.expect("a new book");
                assert_eq!(titles(&one).await, ["Hellstrom"]);
                assert_eq!(titles(&other).await, ["Dune"]);
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn a_result(Db(db): Db<$backend>) -> Result<(), DbErr> {
                app::titles(&db).await.map(drop)
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            async fn an_exit_code(Db(db): Db<$backend>) -> ExitCode {
                alone(db).await;
                ExitCode::SUCCESS
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            #[should_panic(expected = "as it should")]
            async fn a_panic_that_is_expected(Db(db): Db<$backend>) {
                alone(db).await;
                panic!("as it should");
            }

            #[dbtest_seaorm::test(migrations = $folder, flavor = "multi_thread", worker_threads = 2)]
            async fn on_two_threads(Db(db): Db<$backend>) {
                let other = db.clone();
                tokio::spawn(async move { add(&other, "Dune").await })
                    .await
                    .expect("the task")
                    .expect("a new book");
                assert_eq!(titles(&db).await, ["Dune"]);
            }

            #[dbtest_seaorm::test(migrations = $folder)]
            fn without_async(db: TestDb<$backend>) {
                // The body may block, since no runtime is on this thread.
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                assert!(runtime.block_on(titles(db.handle())).is_empty());
            }

            #[dbtest_seaorm::test(migrations = $folder, start_paused = true)]
            async fn a_paused_clock_stands_while_a_query_runs(Db(db): Db<$backend>) {
                let begun = tokio::time::Instant::now();
                for _ in 0..20 {
                    add_and_remove(&db).await;
                }
                assert_eq!(begun.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_secs(60)).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(60));
                tokio::time::advance(Duration::from_secs(5)).await;
                add_and_remove(&db).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(65));
            }

            #[dbtest_seaorm::test(migrations = $folder, start_paused = true, strategy = "rollback")]
            async fn a_paused_clock_under_rollback(Db(db): Db<$backend>) {
                let begun = tokio::time::Instant::now();
                add_and_remove(&db).await;
                tokio::time::sleep(Duration::from_secs(3600)).await;
                add_and_remove(&db).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            }

            async fn add_and_remove(db: &DatabaseConnection) {
                let transaction = db.begin().await.expect("a transaction");
                add(&transaction, "Dune").await.expect("a new book");
                transaction.rollback().await.expect("rolled back");
            }
        }
    };
}

#[cfg(feature = "sqlite")]
engine!(sqlite, SeaOrmSqlite, "tests/it/migrations/sqlite");
#[cfg(feature = "postgres")]
engine!(postgres, SeaOrmPostgres, "tests/it/migrations/postgres");
#[cfg(feature = "mysql")]
engine!(mysql, SeaOrmMySql, "tests/it/migrations/mysql");

/// rustc knows the only backend that there is.
#[cfg(all(feature = "sqlite", not(any(feature = "postgres", feature = "mysql"))))]
mod one_engine {
    use sea_orm::DatabaseConnection;

    use crate::app::{Migrator, titles};

    #[dbtest_seaorm::test(migrations = Migrator)]
    async fn a_plain_connection(db: &DatabaseConnection) {
        assert!(titles(db).await.expect("titles").is_empty());
    }
}
