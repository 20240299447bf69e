//! What the suite needs of the application's own handle.

use std::future::Future;

use crate::backend::Backend;

/// The rows of one query: its only column, as text. `None` is SQL's NULL.
pub type Column = Vec<Option<String>>;

/// What the suite has the application do. A tree and not a closure, so that an ORM whose
/// transactions are closures can do it too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// One statement, sent as text; it must succeed, and its rows do not matter.
    Execute(String),
    /// One query, the way the ORM runs queries (prepared, where it does that). Its answer is one
    /// column of text that is called `v`.
    Query(String),
    /// One statement, sent as text, that must fail. Its answer is the error's message.
    Fails(String),
    /// A transaction of the ORM's own. Inside another one it is the ORM's nested transaction.
    Transaction(Begin, Vec<Op>, Finish),
}

/// How the ORM begins a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As it does by default.
    Plain,
    /// With an isolation level: SERIALIZABLE, on SQLite BEGIN IMMEDIATE.
    Strict,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With the ORM's commit.
    Commit,
    /// With the ORM's rollback.
    Rollback,
    /// Its guard is dropped, or its closure fails.
    Drop,
}

impl Op {
    /// [`Op::Execute`].
    pub fn execute(sql: impl Into<String>) -> Self {
        Self::Execute(sql.into())
    }

    /// [`Op::Query`].
    pub fn query(sql: impl Into<String>) -> Self {
        Self::Query(sql.into())
    }

    /// [`Op::Fails`].
    pub fn fails(sql: impl Into<String>) -> Self {
        Self::Fails(sql.into())
    }

    /// A transaction that begins as the ORM begins one by default.
    pub fn transaction(ops: impl Into<Vec<Self>>, finish: Finish) -> Self {
        Self::Transaction(Begin::Plain, ops.into(), finish)
    }
}

/// What the suite needs of the *application's* handle. Every case works through it and never
/// through a maintenance session, or it would prove nothing about the application's path.
///
/// An adapter implements it beside [`Backend`], behind its feature `conformance`.
///
/// # Contract
/// The ORM's own API does all of it: its pool, its transactions, its nesting. A shortcut that
/// the application does not take, such as BEGIN as text, proves something about the shortcut.
pub trait Probe: Backend {
    /// The handle is a pool: it gives out several connections at a time.
    const POOLED: bool;

    /// The ORM blocks the thread, so that a statement can't be abandoned half-way.
    const BLOCKING: bool = false;

    /// Runs the operations in order over one connection that is taken from the handle, and given
    /// back afterwards. Returns the answers of queries and expected errors, in order.
    ///
    /// Dropped half-way, the future abandons the statement like the application does when its
    /// request is cancelled.
    ///
    /// # Errors
    /// The message of the first thing that did not go as the operation says, with all its
    /// causes. Transactions that were open then are dropped.
    fn run(handle: &mut Self::Handle, ops: &[Op])
    -> impl Future<Output = Result<Vec<Column>, String>> + Send;

    /// Takes two connections, runs `first` on the one and then `second` on the other, and gives
    /// both back at the end. Returns the answers of both.
    ///
    /// # Errors
    /// As [`run`](Probe::run); also where no second connection is to be had, in the ORM's words.
    fn run_two(
        handle: &mut Self::Handle,
        first: &[Op],
        second: &[Op],
    ) -> impl Future<Output = Result<Vec<Column>, String>> + Send;

    /// Takes a connection, runs the operations on it and loses it: it stays open, and never goes
    /// back to the handle. Only asked of pools.
    ///
    /// # Errors
    /// As [`run`](Probe::run).
    fn leak(handle: &mut Self::Handle, ops: &[Op]) -> impl Future<Output = Result<(), String>> + Send;
}
