//! The strategy under test, watched: what it was told, and how each release ended.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::Engine;
use crate::error::Result;
use crate::slot::Kept;
use crate::strategy::{Context, IsolationStrategy, Lease, Outcome, Promises};

/// One release.
#[derive(Clone, Debug)]
pub(super) struct Released {
    pub(super) test: String,
    pub(super) place: String,
    pub(super) leaked: usize,
    pub(super) passed: bool,
    pub(super) kept: Option<Kept>,
}

/// All releases of a case, in order.
pub(super) type Log = Arc<Mutex<Vec<Released>>>;

/// Does what the strategy under test does, and writes it down.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) inner: Arc<dyn IsolationStrategy>,
    pub(super) log: Log,
}

#[async_trait]
impl IsolationStrategy for Watching {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn promises(&self, engine: Engine) -> Promises {
        self.inner.promises(engine)
    }

    fn schemas(&self) -> bool {
        self.inner.schemas()
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        self.inner.acquire(context).await
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        let place = lease.place.name.clone();
        let result = self.inner.release(context, lease, outcome).await;
        let released = Released {
            test: context.test().to_owned(),
            place,
            leaked: outcome.finished.leaked,
            passed: outcome.passed,
            kept: result.as_ref().ok().cloned().flatten(),
        };
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(released);
        result
    }
}
