#[dbtest_sqlx::test]
async fn forgot_the_import(_pool: SqlitePool) {}

fn main() {}
