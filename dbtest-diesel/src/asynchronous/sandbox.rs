//! One connection, and the transaction around it that is never committed.

use dbtest_core::{Boundary, Check, DbError, End, Place, Sandbox};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{AsyncConnection, TransactionManager};

use super::backend::Driver;

/// A new connection, ready to be used.
pub(super) async fn fresh<C: Driver>(url: &str, place: &Place) -> ConnectionResult<C> {
    let mut connection = C::establish(url).await?;
    for sql in [C::PREPARE, &place.on_connect] {
        run(&mut connection, sql).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    Ok(connection)
}

/// A connection to the place, inside its sandbox where it has one: the transaction is begun
/// through diesel-async's own manager, so that the application's are savepoints in it.
pub(super) async fn connect<C: Driver>(url: &str, place: &Place) -> Result<C, DbError> {
    let mut connection: C =
        fresh(url, place).await.map_err(|error| DbError::connection(None, error.to_string()))?;
    let Some(sandbox) = &place.sandbox else { return Ok(connection) };
    let begun = async {
        run(&mut connection, &sandbox.before).await?;
        connection.begin(&sandbox.begin).await?;
        // Else a pool takes a connection in a transaction for a broken one, and replaces it.
        status(&mut connection).set_test_transaction_flag();
        run(&mut connection, &sandbox.after).await
    };
    begun.await.map_err(|error: diesel::result::Error| C::db_error(&error))?;
    Ok(connection)
}

/// Rolls back what an earlier user of the connection left open: a transaction whose future was
/// dropped ends in production with its connection, and here with this.
pub(super) async fn settle<C: Driver>(connection: &mut C) -> QueryResult<()> {
    connection.in_step().await?;
    while status(connection).transaction_depth()?.is_some_and(|depth| depth.get() > 1) {
        <C as AsyncConnection>::TransactionManager::rollback_transaction(connection).await?;
    }
    Ok(())
}

/// Checks that the transaction is there and ours, and ends it.
pub(super) async fn end<C: Driver>(connection: &mut C, sandbox: &Sandbox, end: End) -> Boundary {
    for check in &sandbox.checks {
        match check {
            Check::Succeeds(sql) => {
                if let Err(error) = run(connection, sql).await {
                    return Boundary::Broken(C::db_error(&error));
                }
            }
            Check::Empty(sql) => match connection.first_row(sql).await {
                Ok(None) => {}
                Ok(Some(row)) => return Boundary::Violated(row),
                Err(error) => return Boundary::Broken(C::db_error(&error)),
            },
        }
    }
    let last = match end {
        End::Discard => &sandbox.rollback,
        End::Commit => &sandbox.commit,
    };
    match run(connection, last).await {
        Ok(()) => Boundary::Intact,
        Err(error) => Boundary::Broken(C::db_error(&error)),
    }
}

async fn run<C: Driver>(connection: &mut C, sql: &str) -> QueryResult<()> {
    if sql.is_empty() { Ok(()) } else { connection.batch_execute(sql).await }
}

/// What diesel-async knows of the connection's transactions.
pub(super) fn status<C: Driver>(connection: &mut C) -> &mut diesel::connection::TransactionManagerStatus {
    <C as AsyncConnection>::TransactionManager::transaction_manager_status_mut(connection)
}
