use sqlx::SqlitePool;

#[dbtest_sqlx::test(worker_threads = 4)]
async fn has_one_thread(pool: SqlitePool) {}

#[dbtest_sqlx::test(flavor = "multi_thread", start_paused = true)]
async fn pauses_the_clock_of_many(pool: SqlitePool) {}

#[dbtest_sqlx::test(flavor = "multithread")]
async fn has_a_typo(pool: SqlitePool) {}

#[dbtest_sqlx::test(flavor = "multi_thread", worker_threads = 0)]
async fn has_no_thread(pool: SqlitePool) {}

#[dbtest_sqlx::test(start_paused = true)]
fn has_no_runtime(pool: SqlitePool) {}

fn main() {}
