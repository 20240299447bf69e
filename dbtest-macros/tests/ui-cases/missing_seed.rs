use sqlx::SqlitePool;

#[dbtest_sqlx::test(seeds("no_such_file.sql"))]
async fn has_no_such_file(_pool: SqlitePool) {}

fn main() {}
