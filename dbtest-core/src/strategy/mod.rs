//! Isolation strategies: how a test gets a clean place, and what is done with it afterwards.

mod rollback;
mod schema;
mod template;
mod truncate;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

pub use rollback::TransactionRollback;
pub use schema::SchemaPerWorker;
pub use template::TemplateClone;
pub use truncate::Truncate;

use crate::backend::{Boundary, Finished, Place};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::server::spread::Load;
use crate::slot::{Claim, Kept, Wanted};

/// How a test is kept apart from all others.
///
/// The runner stands between the two methods: the strategy leases a place, the backend opens
/// the handle, the body runs, the backend finishes the handle, the strategy releases the place.
/// So a strategy never touches the application's connections, and knows no ORM.
///
/// # Contract
/// - The place of a lease is at the setup's baseline, and no other living lease has it.
/// - After [`release`](IsolationStrategy::release) nothing of the test is seen by the next one.
/// - A test that broke what the strategy rests on fails, with the cause; it is never passed over.
///
/// The conformance suite (feature `conformance`) proves it for a strategy of any crate.
#[async_trait]
pub trait IsolationStrategy: fmt::Debug + Send + Sync + 'static {
    /// The word in settings and messages: `"rollback"`.
    fn name(&self) -> &str;

    /// How many connections of the server a test has through a handle that may open `pool` of
    /// them: what it counts in the budget that all tests share (`DBTEST_CONNECTIONS`).
    fn connections(&self, engine: Engine, pool: u32) -> u32 {
        let _ = engine;
        pool
    }

    /// What the strategy keeps apart, for the suite to hold it to.
    fn promises(&self, engine: Engine) -> Promises;

    /// Places are schemas in one database and not databases.
    fn schemas(&self) -> bool {
        false
    }

    /// Leases a clean place.
    ///
    /// # Errors
    /// No place could be had, or the engine or the database user can't do what the strategy
    /// needs ([`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), with the reason).
    async fn acquire(&self, context: &Context) -> Result<Lease>;

    /// Ends a lease: makes the place clean, keeps it, or drops it.
    ///
    /// # Errors
    /// The test broke the strategy's boundary, or the place could not be made clean.
    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>>;
}

/// What a strategy promises on an engine. The conformance suite checks that what is promised
/// holds, and that what is not is refused in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// Several connections of one test may write at the same time.
    pub many_connections: bool,
    /// A statement may fail outside a transaction, and the rest of the test goes on.
    pub errors_outside_transactions: bool,
    /// COMMIT and DDL in raw SQL are the test's to use.
    pub raw_commit: bool,
    /// Identity values and sequences start where the setup left them.
    pub identity: bool,
    /// A failed test's rows can be looked at afterwards.
    pub keeps: bool,
}

impl Promises {
    /// All of it.
    pub const ALL: Self = Self {
        many_connections: true,
        errors_outside_transactions: true,
        raw_commit: true,
        identity: true,
        keeps: true,
    };
}

/// A leased place, and the claim on it.
#[derive(Debug)]
pub struct Lease {
    /// Which place, and how to open it.
    pub place: Place,
    /// The claim: reset it, keep it or drop it in [`IsolationStrategy::release`].
    pub claim: Claim,
}

impl Lease {
    /// Keeps the place if the outcome says so, else makes it clean for the next test: how every
    /// strategy ends whose tests commit for real.
    async fn keep_or_recycle(
        self,
        context: &Context,
        strategy: &str,
        outcome: &Outcome,
    ) -> Result<Option<Kept>> {
        if outcome.keep {
            return self.claim.keep(context.test(), strategy).await.map(Some);
        }
        self.claim.recycle(outcome.finished.leaked, false).await.map(|()| None)
    }
}

/// How a test ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The body returned, and returned success.
    pub passed: bool,
    /// The place is to be kept: the test failed, or `DBTEST_KEEP=1` is set.
    pub keep: bool,
    /// What the sandbox's transaction did was committed, so that a person can look at it.
    pub committed: bool,
    /// How the backend ended the handle.
    pub finished: Finished,
}

impl Outcome {
    /// Nobody opened the place.
    pub(crate) fn untouched() -> Self {
        Self { passed: true, keep: false, committed: false, finished: Finished::default() }
    }
}

/// What a strategy works with: one test's view of its server and its setup.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) ground: Arc<Ground>,
    pub(crate) engine: Engine,
    pub(crate) test: String,
    pub(crate) wanted: Wanted,
    /// Where the server came from: `DATABASE_URL`, `container postgres:18`.
    pub(crate) origin: String,
    /// When the test asked for its database.
    pub(crate) begun: Instant,
    /// The test counts as one of its server's.
    pub(crate) _load: Arc<Load>,
}

impl Context {
    /// The engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The test's name.
    pub fn test(&self) -> &str {
        &self.test
    }

    /// Leases a slot: a numbered place that is reset and reused, clean.
    ///
    /// # Errors
    /// The setup failed, or the server did.
    pub async fn slot(&self) -> Result<Claim> {
        self.ground.slot(self.wanted, &self.test).await
    }

    /// A place of the test's own, cloned from the template.
    ///
    /// # Errors
    /// The setup failed, or the server did.
    pub async fn clone_template(&self) -> Result<Claim> {
        self.ground.own_place(self.wanted, &self.test).await
    }

    /// Whether the test kept within its sandbox. Ask before the claim's place is put back.
    ///
    /// # Errors
    /// It did not: why the boundary's check failed, and the next step, as this engine says it.
    pub async fn boundary(&self, claim: &mut Claim, outcome: &Outcome) -> Result<()> {
        let name = claim.place().name;
        let broken = |why: &str, next: &str| Err(Error::boundary(&self.test, &name, why, next));
        match &outcome.finished.boundary {
            Boundary::Intact => Ok(()),
            // A failed test may well have failed because of it: news only for one that passed.
            Boundary::Unknown if !outcome.passed => Ok(()),
            Boundary::Unknown => broken(
                "its only connection was not given back, so nobody could ask whether the transaction is intact",
                "give every connection back before the test ends, or use the strategy \"truncate\"",
            ),
            Boundary::Closed if claim.left_nothing().await? => Ok(()),
            Boundary::Closed => broken(
                "its connection was closed, but something had been committed by a COMMIT that was not the ORM's own",
                "use the ORM's own transactions, or the strategy \"truncate\" or \"template\" for this test",
            ),
            Boundary::Violated(row) => broken(
                &format!("a constraint that is checked at COMMIT does not hold: {row}"),
                "correct what the application writes; in production its COMMIT would fail like this",
            ),
            Boundary::Broken(error) => {
                let (why, next) = self.ground.places.explain(error);
                broken(&why, next)
            }
        }
    }
}

/// A choice of strategy, as builder, attribute and `DBTEST_STRATEGY` make it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Strategy {
    /// [`TransactionRollback`]: `"rollback"`.
    Rollback,
    /// [`Truncate`]: `"truncate"`, the default.
    Truncate,
    /// [`TemplateClone`]: `"template"`.
    Template,
    /// [`SchemaPerWorker`]: `"schema"`.
    Schema,
    /// What the database user may have: [`Truncate`](Self::Truncate), or on Postgres
    /// [`Schema`](Self::Schema) for one who may create no database: `"auto"`.
    Auto,
    /// One of another crate.
    Custom(Arc<dyn IsolationStrategy>),
}

impl Strategy {
    /// A strategy of another crate.
    pub fn custom(strategy: impl IsolationStrategy) -> Self {
        Self::Custom(Arc::new(strategy))
    }

    pub(crate) fn get(&self) -> Arc<dyn IsolationStrategy> {
        match self {
            Self::Rollback => Arc::new(TransactionRollback),
            Self::Truncate | Self::Auto => Arc::new(Truncate),
            Self::Template => Arc::new(TemplateClone),
            Self::Schema => Arc::new(SchemaPerWorker),
            Self::Custom(strategy) => Arc::clone(strategy),
        }
    }

    fn from_word(word: &str) -> Result<Self> {
        match word {
            "rollback" => Ok(Self::Rollback),
            "truncate" => Ok(Self::Truncate),
            "template" => Ok(Self::Template),
            "schema" => Ok(Self::Schema),
            "auto" => Ok(Self::Auto),
            other => {
                Err(Error::setting("DBTEST_STRATEGY", other, "rollback, truncate, template, schema or auto"))
            }
        }
    }

    /// `DBTEST_STRATEGY`, then what the test says, then the default; but what a test requires
    /// it gets. Also says whether the environment was overruled.
    pub(crate) fn choose(
        environment: Option<&str>,
        said: Option<&Self>,
        required: Option<&Self>,
    ) -> Result<(Self, bool)> {
        let environment = environment.map(Self::from_word).transpose()?;
        if let Some(required) = required {
            let overruled = environment.is_some_and(|word| word.get().name() != required.get().name());
            return Ok((required.clone(), overruled));
        }
        Ok((environment.or_else(|| said.cloned()).unwrap_or(Self::Truncate), false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        environment: Option<&str>,
        said: Option<Strategy>,
        required: Option<Strategy>,
    ) -> (String, bool) {
        let (strategy, overruled) =
            Strategy::choose(environment, said.as_ref(), required.as_ref()).expect("a strategy");
        (strategy.get().name().to_owned(), overruled)
    }

    #[test]
    fn the_environment_overrides_what_a_test_says_but_not_what_it_requires() {
        assert_eq!(chosen(None, None, None), ("truncate".into(), false));
        assert_eq!(chosen(None, Some(Strategy::Rollback), None), ("rollback".into(), false));
        assert_eq!(chosen(Some("schema"), Some(Strategy::Rollback), None), ("schema".into(), false));
        assert_eq!(chosen(Some("schema"), None, Some(Strategy::Template)), ("template".into(), true));
        assert_eq!(chosen(Some("template"), None, Some(Strategy::Template)), ("template".into(), false));
    }

    #[test]
    fn an_unknown_word_is_refused_with_those_that_there_are() {
        let error = Strategy::choose(Some("rolback"), None, None).expect_err("refused");
        assert!(error.to_string().contains("rollback, truncate, template, schema or auto"), "{error}");
    }
}
