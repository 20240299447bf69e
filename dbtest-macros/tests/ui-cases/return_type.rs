use sqlx::SqlitePool;

#[dbtest_sqlx::test]
async fn returns_a_number(_pool: SqlitePool) -> i32 {
    1
}

fn main() {}
