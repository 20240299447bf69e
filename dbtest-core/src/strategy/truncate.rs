//! Truncate: a real database with any number of connections; what the test wrote is deleted.

use async_trait::async_trait;

use super::{Context, IsolationStrategy, Lease, Outcome, Promises};
use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;

/// The test commits for real, in a slot that is put back to its baseline afterwards: rows that
/// the test wrote go, rows of the setup come back, also after UPDATE and DELETE.
///
/// The default: nothing about it can be told from production. A test that changes the schema is
/// noticed, and its slot is made anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truncate;

#[async_trait]
impl IsolationStrategy for Truncate {
    fn name(&self) -> &str {
        "truncate"
    }

    fn promises(&self, engine: Engine) -> Promises {
        // Restarting identity values is DDL on MySQL, and offered by the builder.
        Promises { identity: engine != Engine::MySql, ..Promises::ALL }
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let claim = context.slot().await?;
        Ok(Lease { place: claim.place(), claim })
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        lease.keep_or_recycle(context, self.name(), outcome).await
    }
}
