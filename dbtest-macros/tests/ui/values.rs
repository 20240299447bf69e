struct SqlitePool;

#[dbtest_macros::test_sqlx(migrations = true)]
async fn says_true(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(migrations("./migrations"))]
async fn has_a_list(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(seeds = "users.sql")]
async fn has_no_list(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(fixture = "users.sql")]
async fn takes_a_fixture_for_a_seed(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx("./migrations")]
async fn has_no_word(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(migrations = "./a", migrations = "./b")]
async fn says_it_twice(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(strategy = "truncate", require = "truncate")]
async fn says_it_in_two_words(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(max_connections = 0)]
async fn has_no_connection(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(fixtures(scripts("users")))]
async fn has_scripts_of_no_folder(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
async fn has_two_lists(#[db(migrations = false)] #[db(strategy = "truncate")] pool: SqlitePool) {}

fn main() {}
