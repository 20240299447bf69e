struct SqlitePool;

#[dbtest_macros::test_sqlx]
async fn is_generic<T>(pool: T) {}

#[dbtest_macros::test_sqlx]
async fn is_generic_in_disguise(pool: impl Clone) {}

#[dbtest_macros::test_sqlx]
async unsafe fn is_unsafe(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
extern "C" fn is_extern(pool: SqlitePool) {}

#[dbtest_macros::test_sqlx]
async fn has_five(a: SqlitePool, b: SqlitePool, c: SqlitePool, d: SqlitePool, e: SqlitePool) {}

struct Suite;

impl Suite {
    #[dbtest_macros::test_sqlx]
    async fn is_a_method(&self, pool: SqlitePool) {}
}

fn main() {}
