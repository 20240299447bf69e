//! Beside rstest: its fixtures, cases and values, and a database for each.

use rstest::fixture;

/// A fixture of rstest's, which is no fixture of dbtest's.
#[fixture]
fn copies() -> usize {
    1
}

macro_rules! engine {
    ($engine:ident, $feature:literal, $connection:ident, $folder:literal) => {
        #[cfg(feature = $feature)]
        mod $engine {
            use diesel::prelude::*;
            use diesel::$connection;
            use rstest::rstest;

            use super::copies;
            use crate::{add, titles};

            #[rstest]
            #[case::once("Dune")]
            #[case::the_same_again("Dune")]
            #[dbtest_diesel::test(migrations = $folder)]
            fn each_case_has_a_clean_database(
                copies: usize,
                #[case] title: &str,
                #[ignore] connection: &mut $connection,
            ) {
                add!(connection, title).expect("a new book");
                assert_eq!(titles!(connection).len(), copies);
            }

            #[rstest]
            #[dbtest_diesel::test(migrations = $folder, require = "rollback")]
            fn each_value_has_one(
                #[values("Dune", "Emma")] title: &str,
                #[values(1, 2)] times: usize,
                #[ignore] connection: &mut $connection,
            ) -> QueryResult<()> {
                add!(connection, title.repeat(times))?;
                assert_eq!(titles!(connection), [title.repeat(times)]);
                Ok(())
            }
        }
    };
}

engine!(sqlite, "sqlite", SqliteConnection, "tests/it/migrations/sqlite");
engine!(postgres, "postgres", PgConnection, "tests/it/migrations/postgres");
engine!(mysql, "mysql", MysqlConnection, "tests/it/migrations/mysql");
