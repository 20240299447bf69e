use sqlx::SqlitePool;

#[dbtest_sqlx::test]
async fn errors_point_at_the_line(_pool: SqlitePool) {
    let number: u32 = "text";
}

fn main() {}
