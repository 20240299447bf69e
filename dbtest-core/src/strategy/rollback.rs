//! TransactionRollback: the whole test runs in one transaction that is rolled back.

use async_trait::async_trait;

use super::{Context, IsolationStrategy, Lease, Outcome, Promises};
use crate::backend::Boundary;
use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;

/// The whole test runs inside one transaction that is never committed; the application's own
/// transactions are savepoints.
///
/// On Postgres a server of our own stands between the handle and the database: any number of
/// connections, COMMIT and DDL included; what differs from a database of the test's own is a table in
/// the guide. On MySQL and SQLite the handle has one connection, and there is no COMMIT and no
/// DDL in raw SQL. Whatever breaks the boundary fails the test that did it, with the cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionRollback;

#[async_trait]
impl IsolationStrategy for TransactionRollback {
    fn name(&self) -> &str {
        "rollback"
    }

    fn promises(&self, engine: Engine) -> Promises {
        if engine == Engine::Postgres {
            return Promises::ALL;
        }
        Promises {
            many_connections: false,
            errors_outside_transactions: true,
            raw_commit: false,
            // Identity values move in a transaction that is rolled back, too.
            identity: engine != Engine::MySql,
            keeps: false,
        }
    }

    /// On Postgres the sandbox's own, which dbtest counts as its own.
    fn connections(&self, engine: Engine, _pool: u32) -> u32 {
        u32::from(engine != Engine::Postgres)
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let mut claim = context.slot().await?;
        match claim.sandboxed().await {
            Ok(place) => Ok(Lease { place, claim }),
            Err(error) => {
                claim.recycle(0, true).await?;
                Err(error)
            }
        }
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        let mut claim = lease.claim;
        let mut outcome = outcome.clone();
        if let Some(boundary) = claim.end_sandbox(outcome.keep).await {
            outcome.committed = outcome.keep && boundary == Boundary::Intact;
            outcome.finished.boundary = boundary;
        }
        if outcome.committed {
            return claim.keep(context.test(), self.name()).await.map(Some);
        }
        let boundary = context.boundary(&mut claim, &outcome).await;
        // Whatever happened, the slot is checked and put back before anybody else has it.
        let intact = outcome.finished.boundary == Boundary::Intact;
        let recycled = claim.recycle(outcome.finished.leaked, intact).await;
        boundary?;
        recycled.map(|()| None)
    }
}
