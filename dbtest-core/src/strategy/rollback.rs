//! TransactionRollback: the whole test runs in one transaction that is rolled back.

use async_trait::async_trait;

use super::{Context, IsolationStrategy, Lease, Outcome, Promises};
use crate::backend::Boundary;
use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;

/// The handle has one connection, inside a transaction that is never committed; the
/// application's own transactions are savepoints.
///
/// Fastest, and the narrowest: one connection at a time, no COMMIT and no DDL in raw SQL, and on
/// Postgres a statement that fails outside a transaction of the application's own ends the test.
/// Whatever breaks the boundary fails the test that did it, with the cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionRollback;

#[async_trait]
impl IsolationStrategy for TransactionRollback {
    fn name(&self) -> &str {
        "rollback"
    }

    fn promises(&self, engine: Engine) -> Promises {
        Promises {
            many_connections: false,
            errors_outside_transactions: engine != Engine::Postgres,
            raw_commit: false,
            // Identity values move in a transaction that is rolled back, too.
            identity: engine != Engine::MySql,
            keeps: false,
        }
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let claim = context.slot().await?;
        Ok(Lease { place: claim.sandboxed()?, claim })
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        let mut claim = lease.claim;
        if outcome.committed {
            return claim.keep(context.test(), self.name()).await.map(Some);
        }
        let boundary = context.boundary(&mut claim, outcome).await;
        // Whatever happened, the slot is checked and put back before anybody else has it.
        let intact = outcome.finished.boundary == Boundary::Intact;
        let recycled = claim.recycle(outcome.finished.leaked, intact).await;
        boundary?;
        recycled.map(|()| None)
    }
}
