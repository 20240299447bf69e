#[dbtest_sqlx::test]
async fn wants_a_number(_count: u32) {}

#[dbtest_sqlx::test]
async fn wants_a_reference_to_text(#[db(strategy = "rollback")] _text: &mut String) {}

fn main() {}
