#[dbtest_sqlx::test]
async fn needs_no_database() {}

fn main() {}
