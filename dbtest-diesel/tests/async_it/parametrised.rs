//! Beside rstest: its fixtures, cases and values, and a database for each.

use rstest::fixture;

/// A fixture of rstest's, which is no fixture of dbtest's.
#[fixture]
fn copies() -> usize {
    1
}

macro_rules! engine {
    ($feature:literal, $engine:ident, $connection:ty, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            use diesel::QueryResult;
            use diesel_async::SimpleAsyncConnection;
            use diesel_async::pooled_connection::{bb8, deadpool};
            use rstest::rstest;

            use super::copies;
            use crate::words;

            type Connection = $connection;

            async fn add(connection: &mut Connection, title: &str) -> QueryResult<Vec<String>> {
                let insert = format!("INSERT INTO books (author_id, title) VALUES (1, '{title}')");
                connection.batch_execute(&insert).await?;
                words(connection, "SELECT title AS word FROM books").await
            }

            #[rstest]
            #[case::once("Dune")]
            #[case::the_same_again("Dune")]
            #[dbtest_diesel::asynchronous::test(migrations = $folder)]
            async fn each_case_has_a_clean_database(
                copies: usize,
                #[case] title: &str,
                #[ignore] pool: bb8::Pool<Connection>,
            ) {
                let mut connection = pool.get().await.expect("a connection");
                assert_eq!(add(&mut connection, title).await.expect("a new book").len(), copies);
            }

            #[rstest]
            #[dbtest_diesel::asynchronous::test(migrations = $folder, require = "rollback")]
            async fn each_value_has_one(
                #[values("Dune", "Emma")] title: &str,
                #[values(1, 2)] times: usize,
                #[ignore] pool: deadpool::Pool<Connection>,
            ) -> QueryResult<()> {
                let mut connection = pool.get().await.expect("a connection");
                assert_eq!(add(&mut connection, &title.repeat(times)).await?, [title.repeat(times)]);
                Ok(())
            }
        }
    };
}

engine!(
    "async-sqlite",
    sqlite,
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
    "tests/async_it/migrations/sqlite"
);
engine!("async-postgres", postgres, diesel_async::AsyncPgConnection, "tests/async_it/migrations/postgres");
engine!("async-mysql", mysql, diesel_async::AsyncMysqlConnection, "tests/async_it/migrations/mysql");
