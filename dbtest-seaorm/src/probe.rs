//! SeaORM for the conformance suite: what the suite does, done with the application's own
//! connection.

use dbtest_core::BoxFuture;
use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    SqliteTransactionMode, Statement, StreamTrait, TransactionOptions, TransactionTrait,
};

use crate::SeaOrmBackend;

/// Runs the operations on a connection or in a transaction; after each, waits for `settled`.
fn run<'a, C>(
    connection: &'a C,
    ops: &'a [Op],
    answers: &'a mut Vec<Column>,
    settled: &'a (dyn Fn() -> bool + Send + Sync),
) -> BoxFuture<'a, Result<(), DbErr>>
where
    C: ConnectionTrait + TransactionTrait<Transaction = DatabaseTransaction>,
{
    Box::pin(async move {
        for op in ops {
            match op {
                Op::Execute(sql) => {
                    connection.execute_unprepared(sql).await?;
                }
                Op::Query(sql) => {
                    let statement = Statement::from_string(connection.get_database_backend(), sql);
                    let rows = connection.query_all_raw(statement).await?;
                    let column: Result<Column, DbErr> = rows.iter().map(|row| row.try_get("", "v")).collect();
                    answers.push(column?);
                }
                Op::Fails(sql) => match connection.execute_unprepared(sql).await {
                    Ok(_) => return Err(DbErr::Custom(format!("it should fail, and did not: {sql}"))),
                    Err(error) => answers.push(vec![Some(error.to_string())]),
                },
                Op::Transaction(begin, ops, finish) => {
                    let transaction = match begin {
                        Begin::Plain => connection.begin().await?,
                        Begin::Strict => {
                            connection.begin_with_options(strict(connection.get_database_backend())).await?
                        }
                    };
                    run(&transaction, ops, answers, &|| true).await?;
                    match finish {
                        Finish::Commit => transaction.commit().await?,
                        Finish::Rollback => transaction.rollback().await?,
                        Finish::Drop => drop(transaction),
                    }
                }
                other => return Err(DbErr::Custom(format!("unknown: {other:?}"))),
            }
            while !settled() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    })
}

/// SQLite knows no isolation levels, and SeaORM passes over them there; it knows lock modes.
fn strict(backend: DbBackend) -> TransactionOptions {
    match backend {
        DbBackend::Sqlite => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        },
        _ => TransactionOptions {
            isolation_level: Some(IsolationLevel::Serializable),
            ..TransactionOptions::default()
        },
    }
}

/// Outside a transaction, SeaORM takes a connection for each statement, and sqlx gives it back
/// in a task of its own. Waiting until it is back makes the next statement meet the same one.
async fn run_on_one<B: SeaOrmBackend>(
    handle: &DatabaseConnection,
    ops: &[Op],
    answers: &mut Vec<Column>,
) -> Result<(), DbErr> {
    let busy = B::watch(handle).ok_or_else(|| DbErr::Custom("no pool".to_owned()))?;
    run(handle, ops, answers, &|| !busy()).await
}

macro_rules! probe {
    ($feature:literal, $backend:ident) => {
        #[cfg(feature = $feature)]
        impl Probe for crate::$backend {
            const POOLED: bool = true;

            async fn run(handle: &mut DatabaseConnection, ops: &[Op]) -> Result<Vec<Column>, String> {
                let mut answers = Vec::new();
                run_on_one::<Self>(handle, ops, &mut answers).await.map_err(words)?;
                Ok(answers)
            }

            async fn run_two(
                handle: &mut DatabaseConnection,
                first: &[Op],
                second: &[Op],
            ) -> Result<Vec<Column>, String> {
                run_two(handle, first, second).await.map_err(words)
            }

            async fn leak(handle: &mut DatabaseConnection, ops: &[Op]) -> Result<(), String> {
                run_on_one::<Self>(handle, ops, &mut Vec::new()).await.map_err(words)?;
                let statement = Statement::from_string(handle.get_database_backend(), "SELECT 1");
                // Nothing of it is read, and nobody gives its connection back.
                std::mem::forget(handle.stream_raw(statement).await.map_err(words)?);
                Ok(())
            }
        }
    };
}

probe!("postgres", SeaOrmPostgres);
probe!("mysql", SeaOrmMySql);
probe!("sqlite", SeaOrmSqlite);

/// Only a transaction keeps a connection, so two of them are open at the same time.
async fn run_two(handle: &DatabaseConnection, first: &[Op], second: &[Op]) -> Result<Vec<Column>, DbErr> {
    let mut answers = Vec::new();
    let (one, two) = (handle.begin().await?, handle.begin().await?);
    run(&one, first, &mut answers, &|| true).await?;
    one.commit().await?;
    run(&two, second, &mut answers, &|| true).await?;
    two.commit().await?;
    Ok(answers)
}

fn words(error: DbErr) -> String {
    error.to_string()
}
