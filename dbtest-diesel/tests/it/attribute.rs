//! The attribute, as users write it.

macro_rules! engine {
    ($engine:ident, $feature:literal, $backend:ident, $connection:ident, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            use std::process::ExitCode;
            use std::time::Duration;

            use dbtest_diesel::{Fixture, Strategy, TestDb, $backend};
            use diesel::prelude::*;
            use diesel::r2d2::{ConnectionManager, PooledConnection};
            use diesel::$connection;
            use diesel_migrations::{EmbeddedMigrations, FileBasedMigrations, embed_migrations};

            use crate::{add, titles};

            type Pool = diesel::r2d2::Pool<ConnectionManager<$connection>>;

            const MIGRATIONS: EmbeddedMigrations = embed_migrations!($folder);

            /// The title is unique: only one test could add it if tests shared a database.
            fn alone(connection: &mut $connection) {
                assert!(titles!(connection).is_empty());
                add!(connection, "Dune").expect("a new book");
                assert_eq!(titles!(connection), ["Dune"]);
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_pool_is_clean(pool: Pool) {
                alone(&mut pool.get().expect("a connection"));
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn and_clean_for_the_next_test(pool: Pool) {
                alone(&mut pool.get().expect("a connection"));
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_pooled_connection(mut connection: PooledConnection<ConnectionManager<$connection>>) {
                alone(&mut connection);
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_connection_of_its_own(mut connection: $connection) {
                alone(&mut connection);
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_borrowed_connection(connection: &mut $connection) {
                alone(connection);
            }

            #[dbtest_diesel::test(migrations = $folder, strategy = "truncate")]
            fn under_truncate(connection: &mut $connection) {
                alone(connection);
            }

            #[dbtest_diesel::test(migrations = $folder, strategy = "template")]
            fn under_template(connection: &mut $connection) {
                alone(connection);
            }

            #[dbtest_diesel::test(migrations = $folder, strategy = "schema")]
            fn under_schema(connection: &mut $connection) {
                alone(connection);
            }

            #[dbtest_diesel::test(migrations = $folder, strategy = Strategy::Template)]
            fn a_strategy_is_an_expression_too(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "template");
            }

            #[dbtest_diesel::test(migrations = $folder, require = "truncate")]
            fn a_required_strategy(db: TestDb<$backend>) {
                assert_eq!(db.strategy(), "truncate");
            }

            #[dbtest_diesel::test(migrations = $folder, require = "truncate")]
            fn readers_see_it_and_do_not_write(db: TestDb<$backend>) {
                add!(&mut db.handle().get().expect("a connection"), "Dune").expect("a new book");
                let replica = db.read_only_blocking().expect("a second pool");
                let mut reader = replica.get().expect("a connection of it");
                assert_eq!(titles!(&mut reader), ["Dune"]);
                add!(&mut reader, "Emma").expect_err("it may not write");
                let again = db.read_only_blocking().expect("the same");
                assert_eq!(again.state().connections, 1);
            }

            #[dbtest_diesel::test(migrations = MIGRATIONS)]
            fn embedded_migrations(connection: &mut $connection) {
                alone(connection);
            }

            fn from_files() -> Fixture<$backend> {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder);
                Fixture::new().migrations(FileBasedMigrations::from_path(folder).expect("the folder"))
            }

            #[dbtest_diesel::test(fixture = from_files)]
            fn migrations_in_files(connection: &mut $connection) {
                alone(connection);
                // Diesel's own book of them is kept, so an application that migrates finds nothing to do.
                use diesel_migrations::MigrationHarness;
                assert!(!connection.has_pending_migration(MIGRATIONS).expect("an answer"));
            }

            #[dbtest_diesel::test(migrations = $folder, seeds("seeds/dune.sql", "seeds/dosadi.sql"))]
            fn seeds_are_there(connection: &mut $connection) {
                assert_eq!(titles!(connection), ["Dune", "The Dosadi Experiment"]);
            }

            // As `#[sqlx::test]` has it.
            #[dbtest_diesel::test(migrator = "MIGRATIONS", fixtures("dosadi", "./seeds/dune.sql"))]
            fn scripts_by_name_and_by_path(connection: &mut $connection) {
                assert_eq!(titles!(connection), ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_diesel::test(migrations = $folder, fixtures(path = "seeds", scripts("dune", "dosadi.sql")))]
            fn scripts_of_a_folder(connection: &mut $connection) {
                assert_eq!(titles!(connection), ["Dune", "The Dosadi Experiment"]);
            }

            #[dbtest_diesel::test(migrations = false)]
            fn an_empty_database(connection: &mut $connection) {
                diesel::sql_query("CREATE TABLE mine (x INT)").execute(connection).expect("a table");
                assert!(diesel::sql_query("SELECT * FROM books").execute(connection).is_err());
            }

            fn with_dune() -> Fixture<$backend> {
                Fixture::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
                    .version("1")
                    .seed_blocking(|pool: Pool| {
                        add!(&mut pool.get().expect("a connection"), "Dune").map(drop)
                    })
            }

            #[dbtest_diesel::test(fixture = with_dune)]
            fn a_fixture_with_a_closure(connection: &mut $connection) {
                assert_eq!(titles!(connection), ["Dune"]);
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_borrowed_pool(pool: &Pool) {
                assert!(titles!(&mut pool.get().expect("a connection")).is_empty());
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn the_whole_test_db(db: TestDb<$backend>) {
                alone(&mut db.handle().get().expect("a connection"));
                assert!(db.name().starts_with("dbtest_"), "{}", db.name());
                // The URL is one that Diesel understands.
                let mut other = $connection::establish(db.url()).expect("a second connection");
                if db.strategy() != "rollback" {
                    assert_eq!(titles!(&mut other), ["Dune"]);
                }
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_test_may_close_its_database(db: TestDb<$backend>) {
                db.close_blocking().expect("closed");
            }

            #[test]
            fn without_the_attribute() {
                let db = with_dune().open_blocking().expect("a database");
                assert_eq!(titles!(&mut db.handle().get().expect("a connection")), ["Dune"]);
                db.close_blocking().expect("closed");
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn two_databases_in_one_test(
                one: &mut $connection,
                #[db(strategy = "template", seeds("seeds/dune.sql"))] other: Pool,
            ) {
                add!(one, "Hellstrom").expect("a new book");
                assert_eq!(titles!(one), ["Hellstrom"]);
                assert_eq!(titles!(&mut other.get().expect("a connection")), ["Dune"]);
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn a_result(connection: &mut $connection) -> QueryResult<()> {
                add!(connection, "Dune").map(drop)
            }

            #[dbtest_diesel::test(migrations = $folder)]
            fn an_exit_code(connection: &mut $connection) -> ExitCode {
                add!(connection, "Dune").expect("a new book");
                ExitCode::SUCCESS
            }

            #[dbtest_diesel::test(migrations = $folder)]
            #[should_panic(expected = "as it should")]
            fn a_panic_that_is_expected(connection: &mut $connection) {
                add!(connection, "Dune").expect("a new book");
                panic!("as it should");
            }

            #[dbtest_diesel::test(migrations = $folder, require = "truncate", max_connections = 2)]
            fn from_two_threads(pool: Pool) {
                let other = pool.clone();
                std::thread::spawn(move || add!(&mut other.get().expect("a connection"), "Dune"))
                    .join()
                    .expect("the thread")
                    .expect("a new book");
                assert_eq!(titles!(&mut pool.get().expect("a connection")), ["Dune"]);
            }

            /// As a web framework calls Diesel: where it may block.
            async fn add_and_count(pool: &Pool) -> usize {
                let pool = pool.clone();
                let work = move || {
                    let mut connection = pool.get().expect("a connection");
                    add!(&mut connection, "Dune").expect("a new book");
                    let count = titles!(&mut connection).len();
                    diesel::delete(crate::schema::books::table).execute(&mut connection).expect("deleted");
                    count
                };
                tokio::task::spawn_blocking(work).await.expect("the thread")
            }

            #[dbtest_diesel::test(migrations = $folder)]
            async fn with_async(pool: Pool) {
                assert_eq!(add_and_count(&pool).await, 1);
            }

            #[dbtest_diesel::test(migrations = $folder, start_paused = true)]
            async fn a_paused_clock_stands_while_a_query_runs(pool: Pool) {
                let begun = tokio::time::Instant::now();
                for _ in 0..5 {
                    add_and_count(&pool).await;
                }
                assert_eq!(begun.elapsed(), Duration::ZERO);
                tokio::time::sleep(Duration::from_secs(60)).await;
                assert_eq!(begun.elapsed(), Duration::from_secs(60));
            }
        }
    };
}

engine!(sqlite, "sqlite", DieselSqlite, SqliteConnection, "tests/it/migrations/sqlite");
engine!(postgres, "postgres", DieselPostgres, PgConnection, "tests/it/migrations/postgres");
engine!(mysql, "mysql", DieselMySql, MysqlConnection, "tests/it/migrations/mysql");
