//! The conformance suite: one line per backend and strategy.

#[cfg(feature = "sqlite")]
mod sqlite {
    use dbtest_seaorm::{SeaOrmSqlite, Strategy};

    dbtest_seaorm::conformance!(rollback, SeaOrmSqlite, Strategy::Rollback);
    dbtest_seaorm::conformance!(truncate, SeaOrmSqlite, Strategy::Truncate);
    dbtest_seaorm::conformance!(template, SeaOrmSqlite, Strategy::Template);
    dbtest_seaorm::conformance!(schema, SeaOrmSqlite, Strategy::Schema);
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_seaorm::{SeaOrmPostgres, Strategy};

    dbtest_seaorm::conformance!(rollback, SeaOrmPostgres, Strategy::Rollback);
    dbtest_seaorm::conformance!(truncate, SeaOrmPostgres, Strategy::Truncate);
    dbtest_seaorm::conformance!(template, SeaOrmPostgres, Strategy::Template);
    dbtest_seaorm::conformance!(schema, SeaOrmPostgres, Strategy::Schema);
}

#[cfg(feature = "mysql")]
mod mysql {
    use dbtest_seaorm::{SeaOrmMySql, Strategy};

    dbtest_seaorm::conformance!(rollback, SeaOrmMySql, Strategy::Rollback);
    dbtest_seaorm::conformance!(truncate, SeaOrmMySql, Strategy::Truncate);
    dbtest_seaorm::conformance!(template, SeaOrmMySql, Strategy::Template);
    dbtest_seaorm::conformance!(schema, SeaOrmMySql, Strategy::Schema);
}
