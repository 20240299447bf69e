//! TemplateClone: a database of the test's own, cloned from the template.

use async_trait::async_trait;

use super::{Context, IsolationStrategy, Lease, Outcome, Promises};
use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;

/// Every test has a database that nobody had before and nobody has after. On MySQL, where
/// nothing clones a database, it has one that is proved to be at its baseline.
///
/// For tests that change the schema, or do what no reset can undo.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateClone;

#[async_trait]
impl IsolationStrategy for TemplateClone {
    fn name(&self) -> &str {
        "template"
    }

    fn promises(&self, _engine: Engine) -> Promises {
        Promises::ALL
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let claim = context.clone_template().await?;
        Ok(Lease { place: claim.place(), claim })
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        // Drops a clone; a recycled place is put back and proved.
        lease.keep_or_recycle(context, self.name(), outcome).await
    }
}
