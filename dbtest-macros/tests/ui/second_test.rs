struct SqlitePool;

#[dbtest_macros::test_sqlx]
#[test]
async fn runs_twice(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
#[tokio::test]
async fn has_two_runtimes(pool: SqlitePool) {}

fn main() {}
