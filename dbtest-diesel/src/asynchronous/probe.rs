//! diesel-async for the conformance suite: what the suite does, done with the application's own
//! pool.

use dbtest_core::BoxFuture;
use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use diesel::result::Error;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

use super::backend::DieselAsync;
use super::pool::Pooling;

#[derive(diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = Nullable<Text>)]
    v: Option<String>,
}

/// Why a transaction is rolled back.
#[derive(Debug)]
enum Stop {
    /// The suite wants it.
    Wanted,
    Failed(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Stop> for String {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Wanted => "the transaction was rolled back".to_owned(),
            Stop::Failed(words) => words,
        }
    }
}

macro_rules! probe {
    ($feature:literal, $connection:ty, $blocking:literal, $strict:ident) => {
        #[cfg(feature = $feature)]
        const _: () = {
            fn run<'a>(
                connection: &'a mut $connection,
                ops: &'a [Op],
                answers: &'a mut Vec<Column>,
            ) -> BoxFuture<'a, Result<(), Stop>> {
                Box::pin(async move {
                    for op in ops {
                        match op {
                            Op::Execute(sql) => connection.batch_execute(sql).await?,
                            Op::Query(sql) => {
                                let rows: Vec<Answer> = diesel::sql_query(sql).load(connection).await?;
                                answers.push(rows.into_iter().map(|row| row.v).collect());
                            }
                            Op::Fails(sql) => match connection.batch_execute(sql).await {
                                Ok(()) => {
                                    return Err(Stop::Failed(format!("it should fail, and did not: {sql}")));
                                }
                                Err(error) => answers.push(vec![Some(error.to_string())]),
                            },
                            Op::Transaction(begin, ops, finish) => {
                                let body = async |connection: &mut $connection| {
                                    run(connection, ops, answers).await?;
                                    match finish {
                                        Finish::Commit => Ok(()),
                                        // There is no guard to drop: the closure fails.
                                        Finish::Rollback | Finish::Drop => Err(Stop::Wanted),
                                    }
                                };
                                let ended = match begin {
                                    Begin::Plain => connection.transaction(body).await,
                                    Begin::Strict => $strict!(connection, body),
                                };
                                match ended {
                                    Err(Stop::Wanted) if *finish != Finish::Commit => {}
                                    other => other?,
                                }
                            }
                            other => return Err(Stop::Failed(format!("unknown: {other:?}"))),
                        }
                    }
                    Ok(())
                })
            }

            impl<P: Pooling<$connection>> Probe for DieselAsync<$connection, P> {
                const POOLED: bool = true;
                const BLOCKING: bool = $blocking;

                async fn run(pool: &mut P::Pool, ops: &[Op]) -> Result<Vec<Column>, String> {
                    let mut answers = Vec::new();
                    run(&mut *P::take(pool).await?, ops, &mut answers).await?;
                    Ok(answers)
                }

                async fn run_two(
                    pool: &mut P::Pool,
                    first: &[Op],
                    second: &[Op],
                ) -> Result<Vec<Column>, String> {
                    let mut answers = Vec::new();
                    let mut one = P::take(pool).await?;
                    let mut two = P::take(pool).await?;
                    run(&mut one, first, &mut answers).await?;
                    run(&mut two, second, &mut answers).await?;
                    Ok(answers)
                }

                async fn leak(pool: &mut P::Pool, ops: &[Op]) -> Result<(), String> {
                    let mut lent = P::take(pool).await?;
                    run(&mut lent, ops, &mut Vec::new()).await?;
                    std::mem::forget(lent);
                    Ok(())
                }
            }
        };
    };
}

#[cfg(feature = "async-postgres")]
macro_rules! serializable {
    ($connection:ident, $body:ident) => {
        $connection.build_transaction().serializable().run($body).await
    };
}

/// diesel-async has no builder for MySQL; this is what such a builder would stand on.
#[cfg(feature = "async-mysql")]
macro_rules! serializable_as_text {
    ($connection:ident, $body:ident) => {{
        use diesel_async::{AnsiTransactionManager as Manager, TransactionManager};
        let begin = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION";
        Manager::begin_transaction_sql($connection, begin).await?;
        let mut body = $body;
        let ended = body($connection).await;
        match ended {
            Ok(()) => Manager::commit_transaction($connection).await?,
            Err(_) => Manager::rollback_transaction($connection).await?,
        }
        ended
    }};
}

#[cfg(feature = "async-sqlite")]
macro_rules! immediate {
    ($connection:ident, $body:ident) => {
        $connection.immediate_transaction($body).await
    };
}

probe!("async-postgres", diesel_async::AsyncPgConnection, false, serializable);
probe!("async-mysql", diesel_async::AsyncMysqlConnection, false, serializable_as_text);
// Whoever drops a future of the wrapper is blocked until the statement has ended.
probe!("async-sqlite", super::sqlite::Connection, true, immediate);
