//! Small tests on a schema of 150 tables and 300 migrations, with dbtest's attribute and with sqlx's, for
//! `strategies` to run and to measure: each is named `engine::attribute::…::d0::a_test`. `DATABASE_URL`
//! says where.
//!
//! They are ignored, since there is nothing to learn from them but how long they take.

use std::sync::LazyLock;

use dbtest_benches::schema::{self, Dialect};
use dbtest_sqlx::{Fixture, SqlxMySql, SqlxPostgres, SqlxSqlite};
use sqlx::migrate::Migrator;

const TABLES: usize = 150;

macro_rules! ten {
    ($($tests:tt)*) => {
        mod d0 { use super::*; $($tests)* }
        mod d1 { use super::*; $($tests)* }
        mod d2 { use super::*; $($tests)* }
        mod d3 { use super::*; $($tests)* }
        mod d4 { use super::*; $($tests)* }
        mod d5 { use super::*; $($tests)* }
        mod d6 { use super::*; $($tests)* }
        mod d7 { use super::*; $($tests)* }
        mod d8 { use super::*; $($tests)* }
        mod d9 { use super::*; $($tests)* }
    };
}

macro_rules! six_hundred {
    ($($tests:tt)*) => {
        mod h0 { use super::*; ten! { ten! { $($tests)* } } }
        mod h1 { use super::*; ten! { ten! { $($tests)* } } }
        mod h2 { use super::*; ten! { ten! { $($tests)* } } }
        mod h3 { use super::*; ten! { ten! { $($tests)* } } }
        mod h4 { use super::*; ten! { ten! { $($tests)* } } }
        mod h5 { use super::*; ten! { ten! { $($tests)* } } }
    };
}

macro_rules! hundred {
    ($($tests:tt)*) => { ten! { ten! { $($tests)* } } };
}

macro_rules! suite {
    ($engine:ident, $dialect:ident, $pool:ty, $backend:ty, $many:ident) => {
        mod $engine {
            use super::*;

            pub static MIGRATOR: LazyLock<Migrator> =
                LazyLock::new(|| schema::migrator(Dialect::$dialect, TABLES));

            pub static BODY: LazyLock<[&'static str; 3]> =
                LazyLock::new(|| schema::body(TABLES).map(|sql| &*sql.leak()));

            pub async fn body(pool: $pool) {
                let mut connection = pool.acquire().await.expect("a connection");
                for sql in *BODY {
                    let done = sqlx::query(sql).execute(&mut *connection).await.expect("rows");
                    assert_eq!(done.rows_affected(), 5);
                }
            }

            mod dbtest {
                use super::*;

                fn fixture() -> Fixture<$backend> {
                    Fixture::new().migrations(&*MIGRATOR)
                }

                $many! {
                    #[dbtest_sqlx::test(fixture = fixture)]
                    #[ignore = "for strategies to measure"]
                    async fn a_test(pool: $pool) {
                        body(pool).await;
                    }
                }
            }

            // Fewer: what is compared is the time per test.
            mod sqlx_test {
                use super::*;

                ten! {
                    #[sqlx::test(migrator = "MIGRATOR")]
                    #[ignore = "for strategies to measure"]
                    async fn a_test(pool: $pool) {
                        body(pool).await;
                    }

                    #[sqlx::test(migrator = "MIGRATOR")]
                    #[ignore = "for strategies to measure"]
                    async fn another_test(pool: $pool) {
                        body(pool).await;
                    }
                }
            }
        }
    };
}

suite!(postgres, Postgres, sqlx::PgPool, SqlxPostgres, six_hundred);
suite!(mysql, MySql, sqlx::MySqlPool, SqlxMySql, hundred);
suite!(sqlite, Sqlite, sqlx::SqlitePool, SqlxSqlite, hundred);
