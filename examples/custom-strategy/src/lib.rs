//! An isolation strategy of one's own: [`Retiring`], in two screens, on dbtest's public API.
//!
//! It uses a slot for so many tests and then throws it away, for those who want the speed of a
//! reset and do not want to trust it for ever. With `Retiring::after(1)` no test ever gets what
//! another one had.
//!
//! ```
//! use custom_strategy::Retiring;
//! use dbtest_core::Strategy;
//! use std::sync::LazyLock;
//!
//! // One value for all tests, since it counts them.
//! static RETIRING: LazyLock<Strategy> = LazyLock::new(|| Strategy::custom(Retiring::after(20)));
//!
//! // #[dbtest_sqlx::test(strategy = RETIRING.clone())]
//! ```
//!
//! ```text
//! cargo test -p custom-strategy
//! ```
//!
//! Its tests are in `tests/it`: a few of its own, and dbtest's conformance suite, which proves
//! that what it promises is so.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use dbtest_core::{Context, Engine, IsolationStrategy, Kept, Lease, Outcome, Promises, Result, async_trait};

/// Resets a slot and reuses it, as `truncate` does, but only for so many tests.
#[derive(Debug)]
pub struct Retiring {
    after: NonZeroU32,
    /// How many tests each slot has had. A slot's name is its own: a new one in its place is
    /// called otherwise.
    used: Mutex<HashMap<String, u32>>,
}

impl Retiring {
    /// A strategy whose slots retire after this many tests; 0 is taken for 1.
    pub fn after(tests: u32) -> Self {
        Self { after: NonZeroU32::new(tests).unwrap_or(NonZeroU32::MIN), used: Mutex::default() }
    }

    /// Counts one more test of the slot and says whether that was its last.
    fn is_used_up(&self, slot: &str) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let tests = used.entry(slot.to_owned()).or_default();
        *tests += 1;
        let last = *tests >= self.after.get();
        if last {
            used.remove(slot);
        }
        last
    }
}

#[async_trait]
impl IsolationStrategy for Retiring {
    fn name(&self) -> &str {
        "retiring"
    }

    fn promises(&self, engine: Engine) -> Promises {
        // A slot that is reset on MySQL goes on counting its identity values.
        Promises { identity: engine != Engine::MySql, ..Promises::ALL }
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let claim = context.slot().await?;
        Ok(Lease { place: claim.place(), claim })
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        let Lease { place, claim } = lease;
        let used_up = self.is_used_up(&place.name);
        if outcome.keep {
            return claim.keep(context.test(), self.name()).await.map(Some);
        }
        if used_up {
            return claim.discard().await.map(|()| None);
        }
        claim.recycle(outcome.finished.leaked, false).await.map(|()| None)
    }
}
