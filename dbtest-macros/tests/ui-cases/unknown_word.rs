use sqlx::SqlitePool;

#[dbtest_sqlx::test(migration = "./migrations")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_sqlx::test]
async fn has_a_typo_in_an_argument(#[db(seed("users.sql"))] pool: SqlitePool) {}

#[dbtest_sqlx::test]
async fn speaks_of_the_test_in_an_argument(#[db(flavor = "multi_thread")] pool: SqlitePool) {}

fn main() {}
