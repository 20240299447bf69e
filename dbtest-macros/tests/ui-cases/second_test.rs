use sqlx::SqlitePool;

#[dbtest_sqlx::test]
#[test]
async fn runs_twice(pool: SqlitePool) {}

#[dbtest_sqlx::test]
#[tokio::test]
async fn has_two_runtimes(pool: SqlitePool) {}

fn main() {}
