//! Beside rstest: its fixtures, cases and values, and a database for each.

use rstest::fixture;

/// A fixture of rstest's, which is no fixture of dbtest's.
#[fixture]
fn copies() -> usize {
    1
}

macro_rules! engine {
    ($engine:ident, $backend:ident) => {
        mod $engine {
            use dbtest_seaorm::{Db, TestDb, $backend};
            use rstest::rstest;

            use super::copies;
            use crate::app::{Migrator, add, titles};

            #[rstest]
            #[case::once("Dune")]
            #[case::the_same_again("Dune")]
            #[dbtest_seaorm::test(migrator = Migrator)]
            async fn each_case_has_a_clean_database(
                copies: usize,
                #[case] title: &str,
                #[ignore] db: Db<$backend>,
            ) {
                add(&db.0, title).await.expect("a new book");
                assert_eq!(titles(&db.0).await.expect("the titles").len(), copies);
            }

            #[rstest]
            #[dbtest_seaorm::test(migrator = Migrator, require = "rollback")]
            async fn each_value_has_one(
                #[values("Dune", "Emma")] title: &str,
                #[values(1, 2)] times: usize,
                #[ignore] db: &TestDb<$backend>,
            ) {
                add(db.handle(), &title.repeat(times)).await.expect("a new book");
                assert_eq!(titles(db.handle()).await.expect("the titles"), [title.repeat(times)]);
            }
        }
    };
}

engine!(sqlite, SeaOrmSqlite);
engine!(postgres, SeaOrmPostgres);
engine!(mysql, SeaOrmMySql);
