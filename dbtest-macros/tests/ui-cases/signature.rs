use sqlx::SqlitePool;

#[dbtest_sqlx::test]
async fn is_generic<T>(pool: T) {}

#[dbtest_sqlx::test]
async fn is_generic_in_disguise(pool: impl Clone) {}

#[dbtest_sqlx::test]
async unsafe fn is_unsafe(pool: SqlitePool) {}

#[dbtest_sqlx::test]
extern "C" fn is_extern(pool: SqlitePool) {}

#[dbtest_sqlx::test]
async fn has_five(a: SqlitePool, b: SqlitePool, c: SqlitePool, d: SqlitePool, e: SqlitePool) {}

struct Suite;

impl Suite {
    #[dbtest_sqlx::test]
    async fn is_a_method(&self, pool: SqlitePool) {}
}

fn main() {}
