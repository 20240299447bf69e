#[dbtest_macros::test_sqlx]
async fn needs_no_database() {}

fn main() {}
