//! The conformance suite: one line per backend, kind of pool and strategy.

#[cfg(feature = "async-sqlite")]
mod sqlite {
    mod bb8 {
        use dbtest_diesel::asynchronous::{Bb8, DieselAsyncSqlite, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncSqlite<Bb8>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncSqlite<Bb8>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncSqlite<Bb8>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncSqlite<Bb8>, Strategy::Schema);
    }

    mod deadpool {
        use dbtest_diesel::asynchronous::{Deadpool, DieselAsyncSqlite, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncSqlite<Deadpool>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncSqlite<Deadpool>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncSqlite<Deadpool>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncSqlite<Deadpool>, Strategy::Schema);
    }
}

#[cfg(feature = "async-postgres")]
mod postgres {
    mod bb8 {
        use dbtest_diesel::asynchronous::{Bb8, DieselAsyncPostgres, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncPostgres<Bb8>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncPostgres<Bb8>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncPostgres<Bb8>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncPostgres<Bb8>, Strategy::Schema);
    }

    mod deadpool {
        use dbtest_diesel::asynchronous::{Deadpool, DieselAsyncPostgres, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncPostgres<Deadpool>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncPostgres<Deadpool>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncPostgres<Deadpool>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncPostgres<Deadpool>, Strategy::Schema);
    }
}

#[cfg(feature = "async-mysql")]
mod mysql {
    mod bb8 {
        use dbtest_diesel::asynchronous::{Bb8, DieselAsyncMySql, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncMySql<Bb8>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncMySql<Bb8>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncMySql<Bb8>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncMySql<Bb8>, Strategy::Schema);
    }

    mod deadpool {
        use dbtest_diesel::asynchronous::{Deadpool, DieselAsyncMySql, Strategy};

        dbtest_diesel::conformance!(rollback, DieselAsyncMySql<Deadpool>, Strategy::Rollback);
        dbtest_diesel::conformance!(truncate, DieselAsyncMySql<Deadpool>, Strategy::Truncate);
        dbtest_diesel::conformance!(template, DieselAsyncMySql<Deadpool>, Strategy::Template);
        dbtest_diesel::conformance!(schema, DieselAsyncMySql<Deadpool>, Strategy::Schema);
    }
}
