//! SeaORM for the conformance suite: what the suite does, done with the application's own
//! connection.

use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use dbtest_core::{Backend, BoxFuture, Engine};
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
                Op::Execute(sql) => drop(connection.execute_unprepared(sql).await?),
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

impl<B: SeaOrmBackend> Probe for B {
}
