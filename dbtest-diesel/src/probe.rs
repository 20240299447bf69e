//! Diesel for the conformance suite: what the suite does, done with the application's own pool.

use dbtest_core::blocking;
use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use diesel::result::Error;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl};

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Nullable<Text>)]
    v: Option<String>,
}

/// Why a transaction's closure ends in an error: it was told to, or something failed.
enum Stop {
    Told,
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What an application loads; all else it executes.
fn returns_rows(sql: &str) -> bool {
    ["SELECT", "SHOW", "WITH", "EXECUTE", "PRAGMA"].iter().any(|word| sql.starts_with(word))
        || sql.contains("RETURNING")
}

macro_rules! probe {
    ($feature:literal, $backend:ident, $connection:ty, |$strict:ident, $body:ident| $begin:expr) => {
        #[cfg(feature = $feature)]
        const _: () = {
            use diesel::connection::SimpleConnection;

            fn run(connection: &mut $connection, ops: &[Op], answers: &mut Vec<Column>) -> Result<(), Stop> {
                for op in ops {
                    match op {
                        Op::Execute(sql) => connection.batch_execute(sql)?,
                        Op::Query(sql) if !returns_rows(sql) => {
                            // Prepared as well; MySQL describes no rows, and Diesel insists.
                            diesel::sql_query(sql.as_str()).execute(connection)?;
                            answers.push(Column::new());
                        }
                        Op::Query(sql) => {
                            let rows: Vec<Value> = diesel::sql_query(sql.as_str()).load(connection)?;
                            answers.push(rows.into_iter().map(|row| row.v).collect());
                        }
                        Op::Fails(sql) => match connection.batch_execute(sql) {
                            Ok(()) => {
                                return Err(Stop::Failed(format!("it should fail, and did not: {sql}")));
                            }
                            Err(error) => answers.push(vec![Some(error.to_string())]),
                        },
                        Op::Transaction(begin, ops, finish) => {
                            let $body = |connection: &mut $connection| {
                                run(connection, ops, answers)?;
                                if *finish == Finish::Commit { Ok(()) } else { Err(Stop::Told) }
                            };
                            let ended = match begin {
                                Begin::Plain => connection.transaction($body),
                                Begin::Strict => {
                                    let $strict = &mut *connection;
                                    $begin
                                }
                            };
                            match ended {
                                Ok(()) | Err(Stop::Told) => {}
                                Err(failed) => return Err(failed),
                            }
                        }
                        other => return Err(Stop::Failed(format!("unknown: {other:?}"))),
                    }
                }
                Ok(())
            }

            fn answer(
                connection: &mut $connection,
                ops: &[Op],
                answers: &mut Vec<Column>,
            ) -> Result<(), String> {
                run(connection, ops, answers).map_err(|stop| match stop {
                    Stop::Failed(words) => words,
                    Stop::Told => "a transaction was rolled back".to_owned(),
                })
            }

            impl Probe for crate::$backend {
                const POOLED: bool = true;
                const BLOCKING: bool = true;

                async fn run(pool: &mut Self::Handle, ops: &[Op]) -> Result<Vec<Column>, String> {
                    let (pool, ops) = (pool.clone(), ops.to_vec());
                    blocking(move || {
                        let mut answers = Vec::new();
                        let mut connection = pool.get().map_err(|error| error.to_string())?;
                        answer(&mut connection, &ops, &mut answers)?;
                        Ok(answers)
                    })
                    .await
                }

                async fn run_two(
                    pool: &mut Self::Handle,
                    first: &[Op],
                    second: &[Op],
                ) -> Result<Vec<Column>, String> {
                    let (pool, first, second) = (pool.clone(), first.to_vec(), second.to_vec());
                    blocking(move || {
                        let mut answers = Vec::new();
                        let mut one = pool.get().map_err(|error| error.to_string())?;
                        let mut two = pool.get().map_err(|error| error.to_string())?;
                        answer(&mut one, &first, &mut answers)?;
                        answer(&mut two, &second, &mut answers)?;
                        Ok(answers)
                    })
                    .await
                }

                async fn leak(pool: &mut Self::Handle, ops: &[Op]) -> Result<(), String> {
                    let (pool, ops) = (pool.clone(), ops.to_vec());
                    blocking(move || {
                        let mut connection = pool.get().map_err(|error| error.to_string())?;
                        answer(&mut connection, &ops, &mut Vec::new())?;
                        std::mem::forget(connection);
                        Ok(())
                    })
                    .await
                }
            }
        };
    };
}

probe!("postgres", DieselPostgres, diesel::PgConnection, |connection, body| {
    connection.build_transaction().serializable().run(body)
});
// Diesel has no words of its own for it here.
probe!("mysql", DieselMySql, diesel::MysqlConnection, |connection, body| {
    connection
        .batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        .map_err(Stop::from)
        .and_then(|()| connection.transaction(body))
});
probe!("sqlite", DieselSqlite, diesel::SqliteConnection, |connection, body| {
    connection.immediate_transaction(body)
});
