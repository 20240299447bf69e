//! Nothing grows from run to run: places that tests left are used again, and kept ones are bounded.

use std::time::{Duration, Instant};

macro_rules! engine {
    ($engine:ident, $backend:ident, $folder:literal) => {
        mod $engine {
            use dbtest_sqlx::{Fixture, Strategy, TestDb, $backend};

            use super::*;

            fn fixture(strategy: Strategy) -> Fixture<$backend> {
                Fixture::new()
                    .label("growth")
                    .apart("growth")
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
                    .require(strategy)
            }

            async fn dirty(db: &TestDb<$backend>) {
                sqlx::query("INSERT INTO books (author_id, title) VALUES (1, 'Dune')")
                    .execute(db.handle())
                    .await
                    .expect("a row");
            }

            /// Four tests at once under each strategy; one of them changes the schema, one fails.
            async fn suite() {
                for strategy in [Strategy::Truncate, Strategy::Template, Strategy::Schema, Strategy::Rollback]
                {
                    let mut open = Vec::new();
                    for _ in 0..4 {
                        open.push(fixture(strategy.clone()).open().await.expect("a database"));
                    }
                    for db in &open {
                        dirty(db).await;
                    }
                    let failed = open.pop().expect("the fourth");
                    let changed = open.pop().expect("the third");
                    if changed.strategy() != "rollback" {
                        sqlx::query("CREATE TABLE another (x INT)")
                            .execute(changed.handle())
                            .await
                            .expect("a table");
                    }
                    failed.close_failed().await.expect("kept");
                    changed.close().await.expect("closed");
                    for db in open {
                        db.close().await.expect("closed");
                    }
                }
            }

            /// How many places of this setup there are, asked through one of them.
            async fn places() -> usize {
                let db = fixture(Strategy::Truncate).open().await.expect("a database");
                let all = crate::crash::$engine::places(db.database_url()).await;
                let fingerprint = db.name().split('_').nth(2).expect("a fingerprint").to_owned();
                db.close().await.expect("closed");
                all.iter().filter(|place| place.contains(&fingerprint)).count()
            }

            #[tokio::test]
            async fn the_third_run_leaves_what_the_first_left() {
                suite().await;
                let first = places().await;
                assert!(first > 0, "the places are not found");
                suite().await;
                suite().await;
                // What must go is dropped in the background. One more is the kept failure, which other
                // tests' failures may have pushed out of the first count; two runs that grow add two.
                let deadline = Instant::now() + Duration::from_secs(20);
                loop {
                    let third = places().await;
                    if third <= first + 1 {
                        break;
                    }
                    assert!(Instant::now() < deadline, "{first} places grew to {third}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
}

engine!(sqlite, SqlxSqlite, "tests/it/migrations/sqlite");
engine!(postgres, SqlxPostgres, "tests/it/migrations/postgres");
engine!(mysql, SqlxMySql, "tests/it/migrations/mysql");
