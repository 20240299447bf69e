//! The conformance suite: one line per backend and strategy.

#[cfg(feature = "sqlite")]
mod sqlite {
    use dbtest_sqlx::{SqlxSqlite, Strategy};

    dbtest_sqlx::conformance!(rollback, SqlxSqlite, Strategy::Rollback);
    dbtest_sqlx::conformance!(truncate, SqlxSqlite, Strategy::Truncate);
    dbtest_sqlx::conformance!(template, SqlxSqlite, Strategy::Template);
    dbtest_sqlx::conformance!(schema, SqlxSqlite, Strategy::Schema);
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_sqlx::{SqlxPostgres, Strategy};

    dbtest_sqlx::conformance!(rollback, SqlxPostgres, Strategy::Rollback);
    dbtest_sqlx::conformance!(truncate, SqlxPostgres, Strategy::Truncate);
    dbtest_sqlx::conformance!(template, SqlxPostgres, Strategy::Template);
    dbtest_sqlx::conformance!(schema, SqlxPostgres, Strategy::Schema);
}

#[cfg(feature = "mysql")]
mod mysql {
    use dbtest_sqlx::{SqlxMySql, Strategy};

    dbtest_sqlx::conformance!(rollback, SqlxMySql, Strategy::Rollback);
    dbtest_sqlx::conformance!(truncate, SqlxMySql, Strategy::Truncate);
    dbtest_sqlx::conformance!(template, SqlxMySql, Strategy::Template);
    dbtest_sqlx::conformance!(schema, SqlxMySql, Strategy::Schema);
}
