struct SqlitePool;

#[dbtest_macros::test_sqlx(strategy = "rolback")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(strategy = "transaction", require = "truncate")]
async fn has_another_word(pool: SqlitePool) {}

fn main() {}
