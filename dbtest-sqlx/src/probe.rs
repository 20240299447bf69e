//! sqlx for the conformance suite: what the suite does, done with the application's own pool.

use dbtest_core::BoxFuture;
use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use sqlx::{AssertSqlSafe, Connection, Row};

macro_rules! probe {
    ($feature:literal, $backend:ident, $database:ty, $strict:expr) => {
        #[cfg(feature = $feature)]
        const _: () = {
            type Conn = <$database as sqlx::Database>::Connection;

            fn run<'a>(
                connection: &'a mut Conn,
                ops: &'a [Op],
                answers: &'a mut Vec<Column>,
            ) -> BoxFuture<'a, sqlx::Result<()>> {
                Box::pin(async move {
                    for op in ops {
                        match op {
                            Op::Execute(sql) => {
                                sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *connection).await?;
                            }
                            Op::Query(sql) => {
                                let query = sqlx::query::<$database>(AssertSqlSafe(sql.as_str()));
                                let rows = query.fetch_all(&mut *connection).await?;
                                let column: sqlx::Result<Column> =
                                    rows.iter().map(|row| row.try_get("v")).collect();
                                answers.push(column?);
                            }
                            Op::Fails(sql) => {
                                let ran =
                                    sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *connection);
                                match ran.await {
                                    Ok(_) => {
                                        let what = format!("it should fail, and did not: {sql}");
                                        return Err(sqlx::Error::Protocol(what));
                                    }
                                    Err(error) => answers.push(vec![Some(error.to_string())]),
                                }
                            }
                            Op::Transaction(begin, ops, finish) => {
                                let mut transaction = match begin {
                                    Begin::Plain => connection.begin().await?,
                                    Begin::Strict => connection.begin_with($strict).await?,
                                };
                                run(&mut transaction, ops, answers).await?;
                                match finish {
                                    Finish::Commit => transaction.commit().await?,
                                    Finish::Rollback => transaction.rollback().await?,
                                    Finish::Drop => drop(transaction),
                                }
                            }
                            other => return Err(sqlx::Error::Protocol(format!("unknown: {other:?}"))),
                        }
                    }
                    Ok(())
                })
            }

            impl Probe for crate::$backend {
                const POOLED: bool = true;

                async fn run(pool: &mut sqlx::Pool<$database>, ops: &[Op]) -> Result<Vec<Column>, String> {
                    let mut answers = Vec::new();
                    let mut connection = pool.acquire().await.map_err(words)?;
                    run(&mut connection, ops, &mut answers).await.map_err(words)?;
                    Ok(answers)
                }

                async fn run_two(
                    pool: &mut sqlx::Pool<$database>,
                    first: &[Op],
                    second: &[Op],
                ) -> Result<Vec<Column>, String> {
                    let mut answers = Vec::new();
                    let mut one = pool.acquire().await.map_err(words)?;
                    let mut two = pool.acquire().await.map_err(words)?;
                    run(&mut one, first, &mut answers).await.map_err(words)?;
                    run(&mut two, second, &mut answers).await.map_err(words)?;
                    Ok(answers)
                }

                async fn leak(pool: &mut sqlx::Pool<$database>, ops: &[Op]) -> Result<(), String> {
                    let mut connection = pool.acquire().await.map_err(words)?;
                    run(&mut connection, ops, &mut Vec::new()).await.map_err(words)?;
                    std::mem::forget(connection);
                    Ok(())
                }
            }
        };
    };
}

probe!("postgres", SqlxPostgres, sqlx::Postgres, "BEGIN ISOLATION LEVEL SERIALIZABLE");
probe!("mysql", SqlxMySql, sqlx::MySql, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION");
probe!("sqlite", SqlxSqlite, sqlx::Sqlite, "BEGIN IMMEDIATE");

fn words(error: sqlx::Error) -> String {
    error.to_string()
}
