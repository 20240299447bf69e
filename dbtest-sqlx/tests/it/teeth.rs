//! The suite's teeth: strategies and backends that are broken on purpose, each caught by the case
//! that should. The healthy one passes the same case.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use dbtest_sqlx::conformance::{CASES, Column, Finish, Op, Probe, run_case};
use dbtest_sqlx::{
    Backend, Boundary, Claim, Context, DbError, End, Engine, Error, ErrorKind, Finished, IsolationStrategy,
    Kept, Lease, Migrations, Outcome, Place, Promises, Result, Rows, Session, Strategy, TransactionRollback,
    Truncate,
};

/// The case must pass what is healthy, catch what is broken, and say its rule.
fn catches<Bad: Probe, Good: Probe>(case: &str, broken: Strategy, healthy: Strategy) {
    let rule = CASES.iter().find(|info| info.name == case).expect("a case of the list").rule;
    if let Err(fault) = run_case::<Good>(healthy, case) {
        panic!("{case} fails what is healthy: {fault}");
    }
    match run_case::<Bad>(broken, case) {
        Ok(()) => panic!("{case} passes what is broken on purpose"),
        Err(caught) => {
            println!("{caught}");
            assert!(caught.to_string().contains(rule), "the rule is not said: {caught}");
        }
    }
}

/// A strategy in which one thing is wrong; the rest it leaves to a healthy one.
#[async_trait]
trait Wrong: fmt::Debug + Send + Sync + 'static {
    fn healthy(&self) -> &dyn IsolationStrategy {
        &Truncate
    }

    fn promises(&self, engine: Engine) -> Promises {
        self.healthy().promises(engine)
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        self.healthy().acquire(context).await
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        self.healthy().release(context, lease, outcome).await
    }
}

#[derive(Debug)]
struct Wrongly<W>(W);

#[async_trait]
impl<W: Wrong> IsolationStrategy for Wrongly<W> {
    fn name(&self) -> &str {
        std::any::type_name::<W>()
    }

    fn promises(&self, engine: Engine) -> Promises {
        self.0.promises(engine)
    }

    async fn acquire(&self, context: &Context) -> Result<Lease> {
        self.0.acquire(context).await
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        self.0.release(context, lease, outcome).await
    }
}

fn wrong(strategy: impl Wrong) -> Strategy {
    Strategy::custom(Wrongly(strategy))
}

/// Gives a place to the next test as the last one left it.
#[derive(Debug, Default)]
struct NeverResets(Mutex<Vec<Claim>>);

#[async_trait]
impl Wrong for NeverResets {
    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let dirty = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match dirty {
            Some(claim) => Ok(Lease { place: claim.place(), claim }),
            None => Truncate.acquire(context).await,
        }
    }

    async fn release(&self, _: &Context, lease: Lease, _: &Outcome) -> Result<Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lease.claim);
        Ok(None)
    }
}

/// Gives one place to everybody.
#[derive(Debug, Default)]
struct SharesOnePlace(Mutex<Option<Place>>);

#[async_trait]
impl Wrong for SharesOnePlace {
    async fn acquire(&self, context: &Context) -> Result<Lease> {
        let lease = Truncate.acquire(context).await?;
        let place = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| lease.place.clone())
            .clone();
        Ok(Lease { place, ..lease })
    }
}

/// Forgets places instead of resetting or dropping them.
#[derive(Debug)]
struct Hoards;

#[async_trait]
impl Wrong for Hoards {
    async fn release(&self, _: &Context, lease: Lease, _: &Outcome) -> Result<Option<Kept>> {
        std::mem::forget(lease.claim);
        Ok(None)
    }
}

/// Cleans up behind a failed test too.
#[derive(Debug)]
struct KeepsNothing;

#[async_trait]
impl Wrong for KeepsNothing {
    async fn release(&self, _: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        lease.claim.recycle(outcome.finished.leaked, false).await.map(|()| None)
    }
}

/// Keeps the place of a failed test, and clears it before anybody can look.
#[derive(Debug)]
struct KeepsTheWrongPlace;

#[async_trait]
impl Wrong for KeepsTheWrongPlace {
    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        if !outcome.keep {
            return Truncate.release(context, lease, outcome).await;
        }
        let other = context.slot().await?;
        lease.claim.discard().await?;
        other.keep(context.test(), "truncate").await.map(Some)
    }
}

/// Does not say that the transaction was lost.
#[derive(Debug)]
struct IgnoresTheBoundary;

#[async_trait]
impl Wrong for IgnoresTheBoundary {
    fn healthy(&self) -> &dyn IsolationStrategy {
        &TransactionRollback
    }

    async fn release(&self, _: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        lease.claim.recycle(outcome.finished.leaked, false).await.map(|()| None)
    }
}

/// Says it of another test.
#[derive(Debug)]
struct BlamesAnother;

#[async_trait]
impl Wrong for BlamesAnother {
    fn healthy(&self) -> &dyn IsolationStrategy {
        &TransactionRollback
    }

    async fn release(&self, context: &Context, lease: Lease, outcome: &Outcome) -> Result<Option<Kept>> {
        TransactionRollback.release(context, lease, outcome).await.map_err(|_| {
            Error::new(ErrorKind::Boundary, "some other test left its transaction", "look elsewhere")
        })
    }
}

/// Promises of a rollback what only a database of its own can hold.
#[derive(Debug)]
struct PromisesTooMuch;

impl Wrong for PromisesTooMuch {
    fn healthy(&self) -> &dyn IsolationStrategy {
        &TransactionRollback
    }

    fn promises(&self, _: Engine) -> Promises {
        Promises::ALL
    }
}

/// A backend over a healthy one in which `How` is wrong.
struct Broken<B, How>(PhantomData<fn() -> (B, How)>);

impl<B, How> fmt::Debug for Broken<B, How> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broken")
    }
}

trait Breaks<B: Probe>: 'static {
    fn session(url: &str) -> impl Future<Output = Result<Box<dyn Session>, DbError>> + Send {
        B::session(url)
    }

    fn open(place: &Place) -> impl Future<Output = Result<B::Handle, DbError>> + Send {
        B::open(place)
    }

    fn finish(handle: B::Handle, place: &Place, end: End) -> impl Future<Output = Finished> + Send {
        B::finish(handle, place, end)
    }

    fn run(handle: &mut B::Handle, ops: &[Op]) -> impl Future<Output = Result<Vec<Column>, String>> + Send {
        B::run(handle, ops)
    }
}

impl<B: Probe, How: Breaks<B>> Backend for Broken<B, How> {
    type Handle = B::Handle;

    const ENGINE: Engine = B::ENGINE;
    const NAME: &'static str = B::NAME;
    const POOL_TIMEOUT: &'static [&'static str] = B::POOL_TIMEOUT;

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        How::session(url).await
    }

    async fn open(place: &Place) -> Result<B::Handle, DbError> {
        How::open(place).await
    }

    async fn finish(handle: B::Handle, place: &Place, end: End) -> Finished {
        How::finish(handle, place, end).await
    }

    fn migrations(_: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Err("the suite has none".to_owned())
    }
}

impl<B: Probe, How: Breaks<B>> Probe for Broken<B, How> {
    const POOLED: bool = B::POOLED;

    async fn run(handle: &mut B::Handle, ops: &[Op]) -> Result<Vec<Column>, String> {
        How::run(handle, ops).await
    }

    async fn run_two(handle: &mut B::Handle, first: &[Op], second: &[Op]) -> Result<Vec<Column>, String> {
        B::run_two(handle, first, second).await
    }

    async fn leak(handle: &mut B::Handle, ops: &[Op]) -> Result<(), String> {
        B::leak(handle, ops).await
    }
}

/// Gives out a plain handle where a sandbox was asked for.
struct IgnoresTheSandbox;

impl<B: Probe> Breaks<B> for IgnoresTheSandbox {
    async fn open(place: &Place) -> Result<B::Handle, DbError> {
        B::open(&Place { sandbox: None, ..place.clone() }).await
    }
}

/// Never finds that the sandbox is broken.
struct AlwaysIntact;

impl<B: Probe> Breaks<B> for AlwaysIntact {
    async fn finish(handle: B::Handle, place: &Place, end: End) -> Finished {
        Finished { boundary: Boundary::Intact, ..B::finish(handle, place, end).await }
    }
}

/// Ends the sandbox with a COMMIT.
#[cfg(feature = "mysql")]
struct CommitsAtTheEnd;

#[cfg(feature = "mysql")]
impl<B: Probe> Breaks<B> for CommitsAtTheEnd {
    async fn finish(handle: B::Handle, place: &Place, _: End) -> Finished {
        B::finish(handle, place, End::Commit).await
    }
}

/// Rolls back what a test asked to keep.
struct NeverCommits;

impl<B: Probe> Breaks<B> for NeverCommits {
    async fn finish(handle: B::Handle, place: &Place, _: End) -> Finished {
        B::finish(handle, place, End::Discard).await
    }
}

/// Does not count what was leaked.
struct HidesLeaks;

impl<B: Probe> Breaks<B> for HidesLeaks {
    async fn finish(handle: B::Handle, place: &Place, end: End) -> Finished {
        Finished { leaked: 0, ..B::finish(handle, place, end).await }
    }
}

/// Leaves the handle's connections open.
struct LeavesConnectionsOpen;

impl<B: Probe> Breaks<B> for LeavesConnectionsOpen {
    async fn finish(handle: B::Handle, _: &Place, _: End) -> Finished {
        std::mem::forget(handle);
        Finished::default()
    }
}

/// Takes a failed statement for one that worked.
struct SwallowsErrors;

struct Swallowing(Box<dyn Session>);

#[async_trait]
impl Session for Swallowing {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        let _ = self.0.execute(sql).await;
        Ok(())
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        self.0.query(sql).await
    }

    async fn close(self: Box<Self>) {
        self.0.close().await;
    }
}

impl<B: Probe> Breaks<B> for SwallowsErrors {
    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        Ok(Box::new(Swallowing(B::session(url).await?)))
    }
}

/// Commits what the application rolls back.
struct CommitsInsteadOfRollingBack;

fn committed(ops: &[Op]) -> Vec<Op> {
    ops.iter()
        .map(|op| match op {
            Op::Transaction(begin, inner, _) => Op::Transaction(*begin, committed(inner), Finish::Commit),
            other => other.clone(),
        })
        .collect()
}

impl<B: Probe> Breaks<B> for CommitsInsteadOfRollingBack {
    async fn run(handle: &mut B::Handle, ops: &[Op]) -> Result<Vec<Column>, String> {
        B::run(handle, &committed(ops)).await
    }
}

/// Opens a handle for readers like any other.
struct ForgetsWhatComesFirst;

impl<B: Probe> Breaks<B> for ForgetsWhatComesFirst {
    async fn open(place: &Place) -> Result<B::Handle, DbError> {
        B::open(&Place { on_connect: String::new(), ..place.clone() }).await
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::{Mutex, PoisonError};

    use dbtest_sqlx::{DbError, End, Finished, Place, SqlxSqlite, Strategy};
    use sqlx::SqlitePool;
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;

    type Bad<How> = Broken<SqlxSqlite, How>;

    #[test]
    fn a_strategy_that_never_resets() {
        for case in [
            "inserted_rows_do_not_leak_to_the_next_test",
            "updated_seed_rows_come_back",
            "rows_that_a_cascade_deleted_come_back",
            "a_new_table_does_not_leak",
            "a_new_index_does_not_leak",
            "identity_values_start_where_the_setup_left_them",
        ] {
            catches::<SqlxSqlite, SqlxSqlite>(case, wrong(NeverResets::default()), Strategy::Truncate);
        }
    }

    #[test]
    fn a_strategy_that_gives_one_place_to_everybody() {
        for case in ["two_open_databases_do_not_see_each_other", "parallel_tests_do_not_see_each_other"] {
            catches::<SqlxSqlite, SqlxSqlite>(case, wrong(SharesOnePlace::default()), Strategy::Truncate);
        }
    }

    #[test]
    fn a_strategy_that_drops_nothing() {
        catches::<SqlxSqlite, SqlxSqlite>("a_place_is_reused_or_dropped", wrong(Hoards), Strategy::Truncate);
    }

    #[test]
    fn a_strategy_that_keeps_nothing() {
        for case in ["a_failed_test_keeps_its_place", "a_test_may_keep_its_place"] {
            catches::<SqlxSqlite, SqlxSqlite>(case, wrong(KeepsNothing), Strategy::Truncate);
        }
    }

    #[test]
    fn a_strategy_that_keeps_another_place() {
        catches::<SqlxSqlite, SqlxSqlite>(
            "a_failed_test_keeps_its_place",
            wrong(KeepsTheWrongPlace),
            Strategy::Truncate,
        );
    }

    #[test]
    fn a_strategy_that_ignores_the_boundary() {
        for case in [
            "a_raw_commit_is_the_tests_own_or_is_blamed_on_it",
            "a_raw_rollback_is_the_tests_own_or_is_blamed_on_it",
            "a_constraint_that_is_checked_at_commit_is_checked",
        ] {
            catches::<SqlxSqlite, SqlxSqlite>(case, wrong(IgnoresTheBoundary), Strategy::Rollback);
        }
    }

    #[test]
    fn a_strategy_that_blames_another_test() {
        catches::<SqlxSqlite, SqlxSqlite>(
            "a_raw_commit_is_the_tests_own_or_is_blamed_on_it",
            wrong(BlamesAnother),
            Strategy::Rollback,
        );
    }

    #[test]
    fn a_strategy_that_promises_too_much() {
        for case in [
            "two_connections_of_a_test_see_each_others_rows",
            "raw_transactions_are_the_tests_own_or_are_blamed_on_it",
            "a_failed_test_keeps_its_place",
        ] {
            catches::<SqlxSqlite, SqlxSqlite>(case, wrong(PromisesTooMuch), Strategy::Rollback);
        }
    }

    #[test]
    fn a_backend_that_ignores_the_sandbox() {
        for case in
            ["a_raw_rollback_is_the_tests_own_or_is_blamed_on_it", "the_url_leads_to_the_tests_own_database"]
        {
            catches::<Bad<IgnoresTheSandbox>, SqlxSqlite>(case, Strategy::Rollback, Strategy::Rollback);
        }
    }

    #[test]
    fn a_backend_that_always_finds_the_boundary_intact() {
        catches::<Bad<AlwaysIntact>, SqlxSqlite>(
            "a_raw_commit_is_the_tests_own_or_is_blamed_on_it",
            Strategy::Rollback,
            Strategy::Rollback,
        );
    }

    #[test]
    fn a_backend_that_rolls_back_what_is_to_be_kept() {
        catches::<Bad<NeverCommits>, SqlxSqlite>(
            "a_test_may_keep_its_place",
            Strategy::Rollback,
            Strategy::Rollback,
        );
    }

    #[test]
    fn a_backend_that_hides_leaks() {
        catches::<Bad<HidesLeaks>, SqlxSqlite>(
            "a_leaked_connection_is_reported_and_does_not_reach_the_next_test",
            Strategy::Truncate,
            Strategy::Truncate,
        );
    }

    #[test]
    fn a_backend_that_leaves_connections_open() {
        catches::<Bad<LeavesConnectionsOpen>, SqlxSqlite>(
            "an_open_transaction_of_a_test_does_not_reach_the_next",
            Strategy::Truncate,
            Strategy::Truncate,
        );
    }

    #[test]
    fn a_backend_whose_session_swallows_errors() {
        catches::<Bad<SwallowsErrors>, SqlxSqlite>(
            "a_setup_that_fails_is_shown_once",
            Strategy::Truncate,
            Strategy::Truncate,
        );
    }

    #[test]
    fn a_backend_that_lets_readers_write() {
        catches::<Bad<ForgetsWhatComesFirst>, SqlxSqlite>(
            "a_read_only_handle_sees_the_tests_rows_and_cannot_write_or_is_refused",
            Strategy::Truncate,
            Strategy::Truncate,
        );
    }

    #[test]
    fn a_backend_that_commits_what_is_rolled_back() {
        for case in [
            "a_rolled_back_transaction_leaves_nothing",
            "a_dropped_transaction_rolls_back",
            "an_inner_rollback_keeps_the_outer_transaction",
            "an_outer_rollback_takes_the_inner_commit_along",
        ] {
            catches::<Bad<CommitsInsteadOfRollingBack>, SqlxSqlite>(
                case,
                Strategy::Truncate,
                Strategy::Truncate,
            );
        }
    }

    /// Gives the last test's pool to the next one.
    struct KeepsThePoolWarm;

    static WARM: Mutex<Vec<(String, SqlitePool)>> = Mutex::new(Vec::new());

    impl Breaks<SqlxSqlite> for KeepsThePoolWarm {
        async fn open(place: &Place) -> Result<SqlitePool, DbError> {
            let warm = {
                let mut all = WARM.lock().unwrap_or_else(PoisonError::into_inner);
                all.iter().position(|(name, _)| *name == place.name).map(|at| all.remove(at))
            };
            match warm {
                Some((_, pool)) => Ok(pool),
                None => SqlxSqlite::open(place).await,
            }
        }

        async fn finish(pool: SqlitePool, place: &Place, _: End) -> Finished {
            // Connections go back to a pool in the background; the next test shall meet this one.
            while pool.num_idle() < pool.size() as usize {
                tokio::task::yield_now().await;
            }
            WARM.lock().unwrap_or_else(PoisonError::into_inner).push((place.name.clone(), pool));
            Finished::default()
        }
    }

    #[test]
    fn a_backend_that_gives_a_used_pool_to_the_next_test() {
        for case in ["session_settings_do_not_leak", "temporary_tables_do_not_leak"] {
            catches::<Bad<KeepsThePoolWarm>, SqlxSqlite>(case, Strategy::Truncate, Strategy::Truncate);
        }
    }

    /// Begins the sandbox in a way that the ORM's transaction manager does not know of.
    struct BeginsBehindTheOrm;

    impl Breaks<SqlxSqlite> for BeginsBehindTheOrm {
        async fn open(place: &Place) -> Result<SqlitePool, DbError> {
            let options: SqliteConnectOptions = place.url.parse().expect("a URL");
            let sandbox = place.sandbox.clone().expect("a sandbox");
            let begin = format!("{}; {}", sandbox.begin, sandbox.after);
            SqlitePoolOptions::new()
                .max_connections(1)
                .after_connect(move |connection, _| {
                    let begin = begin.clone();
                    Box::pin(async move {
                        sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(connection).await.map(drop)
                    })
                })
                .connect_with(options)
                .await
                .map_err(|error| DbError::connection(None, error.to_string()))
        }
    }

    #[test]
    fn a_backend_that_begins_the_sandbox_behind_the_orm() {
        for case in [
            "a_committed_transaction_is_seen_by_the_rest_of_its_test",
            "a_rolled_back_transaction_leaves_nothing",
        ] {
            catches::<Bad<BeginsBehindTheOrm>, SqlxSqlite>(case, Strategy::Rollback, Strategy::Rollback);
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_sqlx::{SqlxPostgres, Strategy};

    use super::*;

    type Bad<How> = Broken<SqlxPostgres, How>;

    #[test]
    fn a_strategy_that_never_resets() {
        for case in [
            "inserted_rows_do_not_leak_to_the_next_test",
            "a_dropped_table_comes_back",
            "sequences_start_where_the_setup_left_them",
            "a_cancelled_write_changes_nothing_for_the_next_test",
        ] {
            catches::<SqlxPostgres, SqlxPostgres>(case, wrong(NeverResets::default()), Strategy::Truncate);
        }
    }

    #[test]
    fn a_strategy_that_ignores_the_boundary() {
        catches::<SqlxPostgres, SqlxPostgres>(
            "a_lost_server_connection_is_blamed_on_its_test_or_replaced",
            wrong(IgnoresTheBoundary),
            Strategy::Rollback,
        );
    }

    #[test]
    fn a_backend_that_hides_leaks() {
        catches::<Bad<HidesLeaks>, SqlxPostgres>(
            "a_leaked_connection_is_reported_and_does_not_reach_the_next_test",
            Strategy::Truncate,
            Strategy::Truncate,
        );
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use dbtest_sqlx::{SqlxMySql, Strategy};

    use super::*;

    type Bad<How> = Broken<SqlxMySql, How>;

    #[test]
    fn a_strategy_that_never_resets() {
        for case in [
            "inserted_rows_do_not_leak_to_the_next_test",
            "rows_of_tables_with_other_storage_do_not_leak",
            "identity_values_restart_where_the_fixture_says_so",
        ] {
            catches::<SqlxMySql, SqlxMySql>(case, wrong(NeverResets::default()), Strategy::Truncate);
        }
    }

    #[test]
    fn a_backend_that_commits_the_sandbox() {
        catches::<Bad<CommitsAtTheEnd>, SqlxMySql>(
            "inserted_rows_do_not_leak_to_the_next_test",
            Strategy::Rollback,
            Strategy::Rollback,
        );
    }
}
