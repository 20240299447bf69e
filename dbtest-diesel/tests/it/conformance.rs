//! The conformance suite: one line per backend and strategy.

#[cfg(feature = "sqlite")]
mod sqlite {
    use dbtest_diesel::{DieselSqlite, Strategy};

    dbtest_diesel::conformance!(rollback, DieselSqlite, Strategy::Rollback);
    dbtest_diesel::conformance!(truncate, DieselSqlite, Strategy::Truncate);
    dbtest_diesel::conformance!(template, DieselSqlite, Strategy::Template);
    dbtest_diesel::conformance!(schema, DieselSqlite, Strategy::Schema);
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_diesel::{DieselPostgres, Strategy};

    dbtest_diesel::conformance!(rollback, DieselPostgres, Strategy::Rollback);
    dbtest_diesel::conformance!(truncate, DieselPostgres, Strategy::Truncate);
    dbtest_diesel::conformance!(template, DieselPostgres, Strategy::Template);
    dbtest_diesel::conformance!(schema, DieselPostgres, Strategy::Schema);
}

#[cfg(feature = "mysql")]
mod mysql {
    use dbtest_diesel::{DieselMySql, Strategy};

    dbtest_diesel::conformance!(rollback, DieselMySql, Strategy::Rollback);
    dbtest_diesel::conformance!(truncate, DieselMySql, Strategy::Truncate);
    dbtest_diesel::conformance!(template, DieselMySql, Strategy::Template);
    dbtest_diesel::conformance!(schema, DieselMySql, Strategy::Schema);
}
