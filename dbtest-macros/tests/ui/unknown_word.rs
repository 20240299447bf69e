struct SqlitePool;

#[dbtest_macros::test_sqlx(migration = "./migrations")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
async fn has_a_typo_in_an_argument(#[db(seed("users.sql"))] pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
async fn speaks_of_the_test_in_an_argument(#[db(flavor = "multi_thread")] pool: SqlitePool) {}

fn main() {}
