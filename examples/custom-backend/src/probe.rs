//! rusqlite for the conformance suite: what the suite does, done with the application's own
//! connection.

use dbtest_core::conformance::{Begin, Column, Finish, Op, Probe};
use rusqlite::{Connection, Savepoint, TransactionBehavior};

use crate::Rusqlite;

impl Probe for Rusqlite {
    const POOLED: bool = false;
    const BLOCKING: bool = true;

    async fn run(handle: &mut Connection, ops: &[Op]) -> Result<Vec<Column>, String> {
        let mut answers = Vec::new();
        for op in ops {
            match op {
                Op::Transaction(Begin::Plain, ops, finish) => {
                    let savepoint = handle.savepoint().map_err(words)?;
                    inside(savepoint, ops, *finish, &mut answers)?;
                }
                Op::Transaction(Begin::Strict, ops, finish) => {
                    let behavior = TransactionBehavior::Immediate;
                    let mut transaction = handle.transaction_with_behavior(behavior).map_err(words)?;
                    let savepoint = transaction.savepoint().map_err(words)?;
                    inside(savepoint, ops, Finish::Commit, &mut answers)?;
                    match finish {
                        Finish::Commit => transaction.commit().map_err(words)?,
                        Finish::Rollback => transaction.rollback().map_err(words)?,
                        Finish::Drop => drop(transaction),
                    }
                }
                other => statement(handle, other, &mut answers)?,
            }
        }
        Ok(answers)
    }

    async fn run_two(_: &mut Connection, _: &[Op], _: &[Op]) -> Result<Vec<Column>, String> {
        Err("a rusqlite::Connection is one connection".to_owned())
    }

    async fn leak(_: &mut Connection, _: &[Op]) -> Result<(), String> {
        Err("a rusqlite::Connection is no pool".to_owned())
    }
}

/// Runs the operations in a savepoint and ends it.
fn inside(
    mut savepoint: Savepoint<'_>,
    ops: &[Op],
    finish: Finish,
    answers: &mut Vec<Column>,
) -> Result<(), String> {
    for op in ops {
        match op {
            Op::Transaction(Begin::Plain, ops, finish) => {
                inside(savepoint.savepoint().map_err(words)?, ops, *finish, answers)?;
            }
            other => statement(&savepoint, other, answers)?,
        }
    }
    match finish {
        Finish::Commit => savepoint.commit().map_err(words),
        // rusqlite's own way to roll back all of a savepoint is to drop it.
        Finish::Rollback | Finish::Drop => savepoint.finish().map_err(words),
    }
}

fn statement(connection: &Connection, op: &Op, answers: &mut Vec<Column>) -> Result<(), String> {
    match op {
        Op::Execute(sql) => connection.execute_batch(sql).map_err(words),
        Op::Query(sql) => {
            let mut query = connection.prepare(sql).map_err(words)?;
            let rows = query.query_map([], |row| row.get("v")).map_err(words)?;
            answers.push(rows.collect::<Result<_, _>>().map_err(words)?);
            Ok(())
        }
        Op::Fails(sql) => match connection.execute_batch(sql) {
            Ok(()) => Err(format!("it should fail, and did not: {sql}")),
            Err(error) => {
                answers.push(vec![Some(words(error))]);
                Ok(())
            }
        },
        other => Err(format!("rusqlite cannot do this here: {other:?}")),
    }
}

fn words(error: rusqlite::Error) -> String {
    error.to_string()
}
