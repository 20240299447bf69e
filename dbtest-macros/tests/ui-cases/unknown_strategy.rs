use sqlx::SqlitePool;

#[dbtest_sqlx::test(strategy = "rolback")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_sqlx::test(strategy = "transaction", require = "truncate")]
async fn has_another_word(pool: SqlitePool) {}

fn main() {}
