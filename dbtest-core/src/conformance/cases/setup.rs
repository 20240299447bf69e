//! Setups: built once, rebuilt when they change, blamed when they fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::conformance::case::{Case, Checked, ensure};
use crate::conformance::probe::{Op, Probe};
use crate::conformance::schema;
use crate::engine::Engine;
use crate::error::{ErrorKind, Result};
use crate::fixture::Fixture;
use crate::slot::Kept;
use crate::strategy::{Context, IsolationStrategy, Lease, Outcome, Promises, Strategy};

const TABLE: &str = "CREATE TABLE seeded (word varchar(100) NOT NULL)";

/// A word that no other run has.
fn nonce() -> String {
    crate::name::unique()
}

async fn words<B: Probe>(case: &Case<B>, fixture: Fixture<B>) -> Checked<Vec<String>> {
    case.test_of(fixture, async |db| db.list(&schema::select(B::ENGINE, "word", "FROM seeded")).await).await
}

/// A fixture whose closure counts how often it ran.
fn counted<B: Probe>(
    case: &Case<B>,
    place: &str,
    version: &str,
    word: &'static str,
    runs: &Arc<AtomicUsize>,
) -> Fixture<B> {
    let runs = Arc::clone(runs);
    case.bare(place).sql("the table", TABLE).version(version).seed(move |mut handle| {
        runs.fetch_add(1, Ordering::SeqCst);
        async move {
            let insert = format!("INSERT INTO seeded VALUES ('{word}')");
            B::run(&mut handle, &[Op::execute(insert)]).await.map(drop)
        }
    })
}

pub(crate) async fn a_setup_runs_once<B: Probe>(case: &Case<B>) -> Checked {
    let runs = Arc::new(AtomicUsize::new(0));
    let version = nonce();
    for _ in 0..3 {
        let found = words(case, counted(case, "once", &version, "seed", &runs)).await?;
        ensure!(found == ["seed"], "the closure's rows are {found:?}");
    }
    let ran = runs.load(Ordering::SeqCst);
    ensure!(ran == 1, "three tests in a row have one setup, which ran {ran} times");
    Ok(())
}

pub(crate) async fn a_changed_closure_builds_a_new_template<B: Probe>(case: &Case<B>) -> Checked {
    let runs = Arc::new(AtomicUsize::new(0));
    let (old, new) = (nonce(), nonce());
    let found = words(case, counted(case, "closure", &old, "old", &runs)).await?;
    ensure!(found == ["old"], "the closure's rows are {found:?}");
    let found = words(case, counted(case, "closure", &new, "new", &runs)).await?;
    ensure!(
        found == ["new"],
        "the closure has a new version, and the rows of the old one are there: {found:?}"
    );
    let ran = runs.load(Ordering::SeqCst);
    ensure!(ran == 2, "two versions of a closure ran {ran} times");
    Ok(())
}

pub(crate) async fn a_changed_migration_or_seed_builds_a_new_template<B: Probe>(case: &Case<B>) -> Checked {
    let with = |table: &str, word: &str| {
        case.bare("changed")
            .sql("the migration", table)
            .seed_sql("words", format!("INSERT INTO seeded (word) VALUES ('{word}')"))
    };
    for word in ["one", "two", "one"] {
        let found = words(case, with(TABLE, word)).await?;
        ensure!(found == [word], "the seed says {word}, and the test finds {found:?}");
    }
    let wider = "CREATE TABLE seeded (word varchar(100) NOT NULL, more int)";
    case.test_of(with(wider, "one"), async |db| {
        db.execute("INSERT INTO seeded (word, more) VALUES ('wide', 1)").await
    })
    .await?;
    let found = words(case, with(wider, "one")).await?;
    ensure!(found == ["one"], "of a changed migration the test finds {found:?}");
    Ok(())
}

pub(crate) async fn a_setup_that_fails_is_shown_once<B: Probe>(case: &Case<B>) -> Checked {
    let broken = || {
        case.bare(&format!("failing {}", nonce()))
            .sql("0001_good.sql", TABLE)
            .sql("0002_bad.sql", "INSERT INTO seeded VALUES ('fine'); INSERT INTO missing_table VALUES (1)")
    };
    // The same setup for both: only the first says what is wrong.
    let fixture = broken();
    let Err(first) = fixture.clone().open_for("the_first_test").await else {
        return Err("a setup that fails was taken for one that worked".to_owned().into());
    };
    ensure!(first.kind() == ErrorKind::Setup, "a setup failed; the error is another: {first}");
    for part in ["0002_bad.sql", "INSERT INTO missing_table VALUES (1)", "missing_table"] {
        ensure!(first.to_string().contains(part), "the error does not show {part:?}: {first}");
    }
    let Err(second) = fixture.open_for("the_second_test").await else {
        return Err("a setup that fails was taken for one that worked".to_owned().into());
    };
    ensure!(second.kind() == ErrorKind::Setup, "a setup failed; the error is another: {second}");
    ensure!(
        second.to_string().contains("the_first_test") && !second.to_string().contains("0002_bad.sql"),
        "the second error should point at the first test and repeat nothing: {second}"
    );
    // Nothing of it stands in the way of others.
    let found = words(case, case.bare("failing").sql("0001_good.sql", TABLE)).await?;
    ensure!(found.is_empty(), "a setup without seeds has the rows {found:?}");
    Ok(())
}

pub(crate) async fn a_test_without_a_setup_is_refused<B: Probe>(case: &Case<B>) -> Checked {
    let Err(error) = case.bare("nothing").open_for("a_test_without_a_setup").await else {
        return Err("a fixture without a setup was opened".to_owned().into());
    };
    ensure!(error.kind() == ErrorKind::Config, "a fixture names no setup; the error is another: {error}");
    ensure!(
        error.to_string().contains("a_test_without_a_setup"),
        "the error does not name the test: {error}"
    );
    // An empty database is had by asking for one.
    case.test_of(case.bare("nothing").empty(), async |db| {
        db.run([Op::query(schema::select(B::ENGINE, "1", ""))]).await.map(drop)
    })
    .await
}

pub(crate) async fn a_setup_that_names_a_schema_works_or_is_refused<B: Probe>(case: &Case<B>) -> Checked {
    let qualified = match B::ENGINE {
        Engine::Postgres => "CREATE TABLE public.seeded (word varchar(100) NOT NULL)",
        Engine::Sqlite => "CREATE TABLE main.seeded (word varchar(100) NOT NULL)",
        // Its schemas are databases, and the name of the test's own is not known before.
        Engine::MySql => TABLE,
    };
    let fixture = case.bare("qualified").sql("0001_qualified.sql", qualified);
    if case.strategy.schemas() && case.is(Engine::Postgres) {
        let Err(error) = fixture.open_for("a_test_with_a_qualified_setup").await else {
            return Err("public.seeded would be shared by all tests, and was accepted".to_owned().into());
        };
        ensure!(error.kind() == ErrorKind::Unsupported, "it is refused, but not as unsupported: {error}");
        for part in ["0001_qualified.sql", "public.seeded"] {
            ensure!(error.to_string().contains(part), "the refusal does not show {part:?}: {error}");
        }
        return Ok(());
    }
    for _ in 0..2 {
        let fixture = fixture.clone();
        case.test_of(fixture, async |db| {
            let found = db.list(&schema::select(B::ENGINE, "word", "FROM seeded")).await?;
            ensure!(found.is_empty(), "an earlier test's rows are in the qualified table: {found:?}");
            db.execute("INSERT INTO seeded VALUES ('mine')").await
        })
        .await?;
    }
    Ok(())
}

/// What no engine with schemas can have: a transaction that is rolled back, in a schema.
#[derive(Debug)]
struct RollbackInSchemas;

#[async_trait]
impl IsolationStrategy for RollbackInSchemas {
    fn name(&self) -> &str {
        "rollback in schemas"
    }

    fn promises(&self, engine: Engine) -> Promises {
        crate::strategy::TransactionRollback.promises(engine)
    }

    fn schemas(&self) -> bool {
        true
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

    async fn release(&self, _: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        lease.claim.recycle(outcome.finished.leaked, false).await.map(|()| None)
    }
}

pub(crate) async fn a_strategy_that_an_engine_cannot_have_is_refused<B: Probe>(case: &Case<B>) -> Checked {
    let fixture = || {
        Fixture::<B>::new()
            .apart(format!("{} refused", case.salt))
            .sql("the table", TABLE)
            .require(Strategy::custom(RollbackInSchemas))
    };
    if case.is(Engine::Postgres) {
        let Err(error) = fixture().open_for("a_test_that_cannot_be").await else {
            return Err("a sandbox in a schema was promised, where its guards cannot be".to_owned().into());
        };
        ensure!(error.kind() == ErrorKind::Unsupported, "it is refused, but not as unsupported: {error}");
        ensure!(error.to_string().contains("next step"), "the refusal has no next step: {error}");
        return Ok(());
    }
    // Elsewhere a schema is a database or a file, and this is a strategy like any other.
    for _ in 0..2 {
        let found = words(case, fixture()).await?;
        ensure!(found.is_empty(), "the rows of an earlier test are there: {found:?}");
        let fixture = fixture();
        case.test_of(fixture, async |db| db.execute("INSERT INTO seeded VALUES ('mine')").await).await?;
    }
    Ok(())
}
