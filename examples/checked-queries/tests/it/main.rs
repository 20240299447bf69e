//! The same migrations, in a database for each test.

use checked_queries::{Book, add, find};
use sqlx::SqlitePool;

#[dbtest_sqlx::test]
async fn a_book_is_found_by_its_title(pool: SqlitePool) -> sqlx::Result<()> {
    let id = add(&pool, "Dune", Some(612)).await?;
    let dune = Book { id, title: "Dune".to_owned(), pages: Some(612) };
    assert_eq!(find(&pool, "Dune").await?, Some(dune));
    assert_eq!(find(&pool, "Emma").await?, None);
    Ok(())
}

#[dbtest_sqlx::test]
async fn no_title_twice(pool: SqlitePool) -> sqlx::Result<()> {
    add(&pool, "Dune", None).await?;
    add(&pool, "Dune", None).await.expect_err("the title is there");
    Ok(())
}

/// What the build asked is no test's: rows of tests never get there.
#[dbtest_sqlx::test]
async fn the_builds_database_is_another(pool: SqlitePool) -> sqlx::Result<()> {
    add(&pool, "Dune", None).await?;
    let built = SqlitePool::connect(env!("DATABASE_URL")).await?;
    assert_eq!(find(&built, "Dune").await?, None);
    built.close().await;
    Ok(())
}
