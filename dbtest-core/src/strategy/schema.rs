//! SchemaPerWorker: for database users who may not create databases.

use async_trait::async_trait;

use super::{Context, IsolationStrategy, Lease, Outcome, Promises};
use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;

/// One schema per slot in one database, filled by the setup and reset like [`Truncate`]. MySQL
/// has databases for schemas, SQLite a file.
///
/// The setup must not name a schema of its own: `public.users` would be shared by all tests. It
/// is refused with the statement.
///
/// [`Truncate`]: super::Truncate
#[derive(Clone, Copy, Debug, Default)]
pub struct SchemaPerWorker;

#[async_trait]
impl IsolationStrategy for SchemaPerWorker {
    fn name(&self) -> &str {
        "schema"
    }

    fn promises(&self, engine: Engine) -> Promises {
        Promises { identity: engine != Engine::MySql, ..Promises::ALL }
    }

    fn schemas(&self) -> bool {
        true
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let claim = context.slot().await?;
        Ok(Lease { place: claim.place(), claim })
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        lease.keep_or_recycle(context, self.name(), outcome).await
    }
}
