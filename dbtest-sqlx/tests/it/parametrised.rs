//! Beside rstest: its fixtures, cases and values, and a database for each.

use rstest::fixture;

/// A fixture of rstest's, which is no fixture of dbtest's.
#[fixture]
fn author() -> i32 {
    1
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ident, $folder:literal, $insert:literal) => {
        mod $engine {
            use dbtest_sqlx::{TestDb, $backend};
            use rstest::rstest;
            use sqlx::$pool;

            use super::author;

            async fn add(pool: &$pool, author: i32, title: &str) -> sqlx::Result<i64> {
                sqlx::query($insert).bind(author).bind(title).execute(pool).await?;
                sqlx::query_scalar("SELECT COUNT(*) FROM books").fetch_one(pool).await
            }

            #[rstest]
            #[case::once("Dune", 1)]
            #[case::the_same_again("Dune", 1)]
            #[dbtest_sqlx::test(migrations = $folder)]
            async fn each_case_has_a_clean_database(
                author: i32,
                #[case] title: &str,
                #[case] expected: i64,
                #[ignore] pool: $pool,
            ) -> sqlx::Result<()> {
                assert_eq!(add(&pool, author, title).await?, expected);
                Ok(())
            }

            #[rstest]
            #[dbtest_sqlx::test(migrations = $folder, require = "rollback", max_connections = 2)]
            async fn values_and_what_the_argument_says(
                #[values("Dune", "Emma")] title: &str,
                #[values(1, 2)] copies: usize,
                #[ignore] db: &TestDb<$backend>,
            ) {
                let added = add(db.handle(), 1, title).await.expect("a book");
                assert_eq!((added, db.strategy()), (1, "rollback"));
                assert!(title.len() * copies >= 4);
            }

            #[rstest]
            #[case(2)]
            #[should_panic(expected = "a case that fails")]
            #[dbtest_sqlx::test(migrations = $folder)]
            async fn a_case_may_panic(#[case] number: i32, #[ignore] pool: $pool) {
                let added = add(&pool, 1, "Dune").await.expect("a book");
                assert_eq!(added, i64::from(number), "a case that fails");
            }
        }
    };
}

engine!(
    sqlite,
    SqlxSqlite,
    SqlitePool,
    "tests/it/migrations/sqlite",
    "INSERT INTO books (author_id, title) VALUES (?, ?)"
);
engine!(
    postgres,
    SqlxPostgres,
    PgPool,
    "tests/it/migrations/postgres",
    "INSERT INTO books (author_id, title) VALUES ($1, $2)"
);
engine!(
    mysql,
    SqlxMySql,
    MySqlPool,
    "tests/it/migrations/mysql",
    "INSERT INTO books (author_id, title) VALUES (?, ?)"
);
