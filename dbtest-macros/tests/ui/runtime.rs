struct SqlitePool;

#[dbtest_macros::test_sqlx(worker_threads = 4)]
async fn has_one_thread(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(flavor = "multi_thread", start_paused = true)]
async fn pauses_the_clock_of_many(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(flavor = "multithread")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(flavor = "multi_thread", worker_threads = 0)]
async fn has_no_thread(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx(start_paused = true)]
fn has_no_runtime(pool: SqlitePool) {}

fn main() {}
