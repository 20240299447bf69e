//! SeaORM for the conformance suite: what the suite does, done with the application's own
//! connection.

use dbtest_core::BoxFuture;
use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, QueryStream,
    SqliteTransactionMode, Statement, StreamTrait, TransactionOptions, TransactionTrait,
};

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

/// How many connections of a pool are in use or on their way back.
type Busy<'a> = &'a (dyn Fn() -> usize + Send + Sync);

/// Outside a transaction, SeaORM takes a connection for each statement, and sqlx gives it back
/// in a task of its own. Waiting until it is back makes the next statement meet the same one.
async fn run_on_one(
    handle: &DatabaseConnection,
    ops: &[Op],
    answers: &mut Vec<Column>,
    busy: Busy<'_>,
) -> Result<(), DbErr> {
    let before = busy();
    run(handle, ops, answers, &|| busy() <= before).await
}

/// Takes a connection and keeps it. Nothing is sent: a stream begins when it is read.
async fn keep(handle: &DatabaseConnection) -> Result<QueryStream, DbErr> {
    handle.stream_raw(Statement::from_string(handle.get_database_backend(), "SELECT 1")).await
}

/// While one of two connections is kept, statements meet the other.
async fn run_two(
    handle: &DatabaseConnection,
    first: &[Op],
    second: &[Op],
    busy: Busy<'_>,
) -> Result<Vec<Column>, DbErr> {
    let mut answers = Vec::new();
    let two = keep(handle).await?;
    run_on_one(handle, first, &mut answers, busy).await?;
    let one = keep(handle).await?;
    drop(two);
    while busy() > 1 {
        tokio::task::yield_now().await;
    }
    run_on_one(handle, second, &mut answers, busy).await?;
    drop(one);
    Ok(answers)
}

macro_rules! probe {
    ($feature:literal, $module:ident, $backend:ident) => {
        #[cfg(feature = $feature)]
        const _: () = {
            fn busy(handle: &DatabaseConnection) -> impl Fn() -> usize + Send + Sync + use<> {
                let pool = crate::$module::pool(handle).cloned();
                move || pool.as_ref().map_or(0, |pool| (pool.size() as usize).saturating_sub(pool.num_idle()))
            }

            impl Probe for crate::$backend {
                const POOLED: bool = true;

                async fn run(handle: &mut DatabaseConnection, ops: &[Op]) -> Result<Vec<Column>, String> {
                    let mut answers = Vec::new();
                    run_on_one(handle, ops, &mut answers, &busy(handle)).await.map_err(words)?;
                    Ok(answers)
                }

                async fn run_two(
                    handle: &mut DatabaseConnection,
                    first: &[Op],
                    second: &[Op],
                ) -> Result<Vec<Column>, String> {
                    run_two(handle, first, second, &busy(handle)).await.map_err(words)
                }

                async fn leak(handle: &mut DatabaseConnection, ops: &[Op]) -> Result<(), String> {
                    run_on_one(handle, ops, &mut Vec::new(), &busy(handle)).await.map_err(words)?;
                    std::mem::forget(keep(handle).await.map_err(words)?);
                    Ok(())
                }
            }
        };
    };
}

probe!("postgres", postgres, SeaOrmPostgres);
probe!("mysql", mysql, SeaOrmMySql);
probe!("sqlite", sqlite, SeaOrmSqlite);

fn words(error: DbErr) -> String {
    error.to_string()
}
