//! The conformance suite: one list of cases that every backend and every isolation strategy must
//! hold to, ours and yours.
//!
//! A case says one rule, prints it when it is broken, and works through the application's own
//! handle. The strategy's [`Promises`](crate::Promises) decide what must work and what must be
//! refused in words; a case that does not apply asserts the refusal, and none is passed over.
//!
//! ```text
//! # Cargo.toml
//! [dev-dependencies]
//! dbtest-core = { version = "0.1", features = ["conformance"] }
//! ```
//!
//! A backend implements [`Probe`](crate::Probe); then one line makes a module with one named
//! `#[test]` per case:
//!
//! ```text
//! dbtest_core::conformance!(truncate, MyBackend, dbtest_core::Strategy::Truncate);
//! dbtest_core::conformance!(my_strategy, MyBackend, dbtest_core::Strategy::custom(MyStrategy));
//! ```

mod case;
mod cases;
mod probe;
mod schema;
mod watching;

use std::fmt;
use std::sync::{Mutex, PoisonError};

pub use probe::{Begin, Column, Finish, Op, Probe};

use crate::strategy::Strategy;
use case::Case;

/// One case of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseInfo {
    /// The name of its test.
    pub name: &'static str,
    /// The rule that it guards, as a sentence.
    pub rule: &'static str,
}

/// A rule that is broken. Its text says the rule, by whom it is broken, and how.
#[derive(Clone)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// Makes a module with one `#[test]` per case of the suite, for one backend under one strategy.
///
/// `conformance!(module, Backend, strategy)`: the strategy is an expression of type
/// [`Strategy`](crate::Strategy). The server is found as for any other test.
#[macro_export]
macro_rules! conformance {
    ($module:ident, $backend:ty, $strategy:expr) => {
        $crate::__dbtest_cases! { @tests [$module, $backend, $strategy] }
    };
}

/// The list of cases: the only place where their names stand.
#[doc(hidden)]
#[macro_export]
macro_rules! __dbtest_cases {
    (@$what:ident $arguments:tt) => {
        $crate::__dbtest_expand! { @$what $arguments
            rows inserted_rows_do_not_leak_to_the_next_test
                "What a test inserts, the next test does not see.";
            rows updated_seed_rows_come_back
                "Rows of the setup that a test changes are as they were for the next.";
            rows deleted_seed_rows_come_back
                "Rows of the setup that a test deletes are there again for the next.";
            rows rows_that_a_cascade_deleted_come_back
                "Rows that a foreign key deleted along are there again for the next test.";
            rows an_emptied_table_comes_back
                "A table that a test truncates has its rows again for the next.";
            rows triggers_of_the_application_do_not_fire_during_a_reset
                "Putting a place back fires no trigger of the application.";
            rows rows_of_a_table_without_a_key_do_not_leak
                "Rows of a table without a key do not reach the next test.";
            rows rows_of_partitions_do_not_leak
                "Rows of a partitioned table do not reach the next test, however they were written.";
            rows rows_of_inherited_tables_do_not_leak
                "Rows of a table that inherits do not reach the next test, however they were written.";
            rows rows_of_tables_with_other_storage_do_not_leak
                "Rows of a table that knows no transactions or is stored in another way do not reach the next test.";
            rows generated_columns_and_identities_are_restored
                "Restored rows have their identity and computed columns.";
            rows quoted_names_are_restored
                "Tables and columns whose names need quotes are put back like others.";
            rows many_rows_do_not_leak
                "Ten thousand rows are put back like ten.";
            rows rows_that_refer_to_each_other_come_back
                "Rows whose foreign keys form a cycle are put back.";
            rows rows_of_upserts_and_selects_do_not_leak
                "Rows that were written by an upsert, a query or a SELECT do not reach the next test.";
            rows a_place_is_reused_or_dropped
                "A place that is not used again is dropped, so that nothing grows.";
            identity identity_values_start_where_the_setup_left_them
                "Identity values start where the setup left them, where that is promised; else they never repeat the setup's.";
            identity identity_values_restart_where_the_fixture_says_so
                "A fixture that asks for it has identity values restart under every strategy.";
            identity sequences_start_where_the_setup_left_them
                "Sequences and counters that a test moved are where the setup left them.";
            schema_changes an_added_column_does_not_leak
                "A column that a test adds is not there for the next.";
            schema_changes a_new_table_does_not_leak
                "A table that a test creates is not there for the next.";
            schema_changes a_dropped_table_comes_back
                "A table or view that a test drops is there again for the next.";
            schema_changes a_renamed_table_comes_back
                "A table that a test renames has its name again for the next.";
            schema_changes a_new_index_does_not_leak
                "An index that a test creates does not bind the next.";
            schema_changes new_views_and_routines_do_not_leak
                "Views and routines that a test creates are not there for the next.";
            schema_changes new_and_dropped_triggers_do_not_leak
                "Triggers are those of the setup for every test.";
            schema_changes a_changed_enum_does_not_leak
                "A value that a test adds to an enum is refused in the next.";
            schema_changes a_changed_default_or_constraint_does_not_leak
                "Defaults, constraints and indexes are those of the setup for every test.";
            session session_settings_do_not_leak
                "Settings of a test's session do not reach the next test.";
            session temporary_tables_do_not_leak
                "Temporary tables of a test do not reach the next, and hide nothing from it.";
            session locks_of_the_application_do_not_leak
                "A lock that the application takes on its session is free for the next test.";
            session prepared_statements_do_not_leak
                "What a test prepares or attaches on its session is gone for the next.";
            parallel two_open_databases_do_not_see_each_other
                "Two databases that are open at the same time share nothing.";
            parallel parallel_tests_do_not_see_each_other
                "Eight tests on threads of their own do not see each other's rows.";
            transactions a_committed_transaction_is_seen_by_the_rest_of_its_test
                "What the application commits, the rest of its test sees.";
            transactions a_rolled_back_transaction_leaves_nothing
                "What the application rolls back is gone, and what came before is not.";
            transactions a_dropped_transaction_rolls_back
                "A transaction whose guard is dropped is rolled back.";
            transactions an_inner_rollback_keeps_the_outer_transaction
                "A nested transaction that is rolled back leaves the outer one whole.";
            transactions an_outer_rollback_takes_the_inner_commit_along
                "What a nested transaction commits goes when the outer one is rolled back.";
            transactions an_error_inside_a_transaction_leaves_the_rest_usable
                "After an error in a transaction that is rolled back, the rest of the test works.";
            transactions a_transaction_with_an_isolation_level_works_or_is_refused
                "A transaction that asks for an isolation level works, or the test is told that it can't.";
            transactions a_constraint_that_is_checked_at_commit_is_checked
                "A deferred constraint that does not hold is reported, also where nothing is committed.";
            transactions two_connections_of_a_test_see_each_others_rows
                "Several connections of a test see each other's committed rows; where there is only one, a second is refused soon and in words.";
            handle a_read_only_handle_sees_the_tests_rows_and_cannot_write_or_is_refused
                "A second, read-only handle sees what the test committed and writes nothing; where there is only one connection, it is refused in words.";
            boundary an_expected_error_leaves_the_rest_of_the_test_usable_or_is_refused
                "After an expected error the rest of the test works, where that is promised; else it is refused and the test told why.";
            boundary a_raw_commit_is_the_tests_own_or_is_blamed_on_it
                "COMMIT as text works where that is promised; else it is refused or blamed on that very test.";
            boundary raw_transactions_are_the_tests_own_or_are_blamed_on_it
                "BEGIN and COMMIT as text work where that is promised; else they are refused or blamed on that very test.";
            boundary a_raw_rollback_is_the_tests_own_or_is_blamed_on_it
                "ROLLBACK as text works where that is promised; else it is refused or blamed on that very test.";
            boundary a_raw_commit_inside_a_transaction_is_caught
                "COMMIT as text inside a transaction of the ORM leaves nothing to the next test.";
            boundary schema_changes_are_transactional_or_refused
                "A schema change in a sandbox is rolled back with it, or refused.";
            boundary an_open_transaction_of_a_test_does_not_reach_the_next
                "A transaction that a test leaves open neither reaches nor blocks the next test.";
            boundary a_lost_server_connection_is_blamed_on_its_test_or_replaced
                "A test that ends its own server connection gets another, or is blamed where its rows were on it.";
            crash a_panic_cleans_up
                "A panic comes out of the runner as it was, and the next test is clean.";
            crash an_early_return_cleans_up
                "A test that returns an error in the middle of a transaction leaves nothing to the next.";
            crash a_cancelled_body_cleans_up
                "A test whose future is dropped leaves nothing to the next.";
            crash a_leaked_connection_is_reported_and_does_not_reach_the_next_test
                "A connection that a test does not give back is counted, and neither blocks the next test nor writes to it.";
            crash a_cancelled_write_changes_nothing_for_the_next_test
                "A statement that is cancelled while the server runs it is over before the next test begins.";
            crash a_cancelled_transaction_changes_nothing_for_the_next_test
                "A transaction that is cancelled while the server runs its statement is over before the next test begins.";
            crash a_client_killed_in_a_slow_write_changes_nothing_for_the_next_test
                "The write of a process that was killed is over before its place is leased again.";
            keep a_failed_test_keeps_its_place
                "A failed test's place is kept with its rows, where that is promised, and the next test gets another.";
            keep only_the_latest_failure_of_a_test_is_kept
                "Of each test only the latest kept place stays.";
            keep a_test_may_keep_its_place
                "A test that asks for it finds its rows in the place afterwards, under every strategy.";
            keep the_url_leads_to_the_tests_own_database
                "The URL of a test's database opens that database.";
            setup a_setup_runs_once
                "A setup runs once, however many tests need it.";
            setup a_changed_closure_builds_a_new_template
                "A closure with another version is run again.";
            setup a_changed_migration_or_seed_builds_a_new_template
                "A changed migration or seed is seen by the next test.";
            setup a_setup_that_fails_is_shown_once
                "A setup that fails names its step and statement in the first test, and points there in the others.";
            setup a_test_without_a_setup_is_refused
                "A test that names no setup is told to, and an empty database is had by asking.";
            setup a_setup_that_names_a_schema_works_or_is_refused
                "A setup that names a schema is refused where tests are kept apart by schemas, and works elsewhere.";
            setup a_strategy_that_an_engine_cannot_have_is_refused
                "What an engine can't do for a strategy is refused with its reason.";
        }
    };
}

/// What is made of the list.
#[doc(hidden)]
#[macro_export]
macro_rules! __dbtest_expand {
    (@tests [$module:ident, $backend:ty, $strategy:expr] $($theme:ident $name:ident $rule:literal;)+) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $name() {
                    $crate::conformance::test::<$backend>(
                        $strategy,
                        stringify!($name),
                        concat!(module_path!(), "::", stringify!($name)),
                    );
                }
            )+
        }
    };
    (@table [] $($theme:ident $name:ident $rule:literal;)+) => {
        /// All cases, in the order of the list.
        pub const CASES: &[CaseInfo] = &[$(CaseInfo { name: stringify!($name), rule: $rule }),+];
    };
    (@dispatch [$case:ident, $name:ident] $($theme:ident $function:ident $rule:literal;)+) => {
        match $name {
            $(stringify!($function) => cases::$theme::$function(&$case).await,)+
            other => Err(case::Fault(format!("there is no case of the name {other}"))),
        }
    };
}

__dbtest_cases! { @table [] }

/// How many cases of one pairing run at the same time in one process. A place that a case gave
/// back must be the next one that it gets, or a leak would go unseen; so cases that run at the
/// same time have different places.
const LANES: usize = 2;

static RUNNING: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ENDED: std::sync::Condvar = std::sync::Condvar::new();

/// One lane of one pairing.
struct Lane(String);

impl Lane {
    fn take(salt: &str) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while running.iter().any(|other| other == salt) {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.push(salt.to_owned());
        Self(salt.to_owned())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != self.0);
        ENDED.notify_all();
    }
}

/// Runs one case as a test: what [`conformance!`](crate::conformance!) calls.
///
/// # Panics
/// If the rule is broken.
#[doc(hidden)]
pub fn test<B: Probe>(strategy: Strategy, name: &str, path: &str) {
    // The harness knows tests without the crate's name.
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    if let Err(broken) = run::<B>(strategy, name, path) {
        panic!("{broken}");
    }
}

/// Runs one case. For tests that a broken strategy or backend is caught.
///
/// # Errors
/// The rule is broken, or there is no case of that name.
pub fn run_case<B: Probe>(strategy: Strategy, name: &str) -> Result<(), Broken> {
    let thread = std::thread::current();
    run::<B>(strategy, name, thread.name().unwrap_or(name))
}

fn run<B: Probe>(strategy: Strategy, name: &str, path: &str) -> Result<(), Broken> {
    let place = CASES.iter().position(|case| case.name == name);
    let rule = place.map_or("A case has a name of the list.", |place| CASES[place].rule);
    let case = Case::<B>::new(strategy.get(), path, place.unwrap_or(0) % LANES);
    let _lane = Lane::take(&case.salt);
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(&case, name));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    result.map_err(|fault| {
        Broken(format!(
            "a rule is broken: {rule}\n  by: {} on {}, strategy {:?}\n  how: {fault}",
            B::NAME,
            B::ENGINE,
            case.strategy.name(),
        ))
    })
}

async fn dispatch<B: Probe>(case: &Case<B>, name: &str) -> case::Checked {
    __dbtest_cases! { @dispatch [case, name] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_a_rule_that_is_a_sentence() {
        let names: std::collections::HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!(case.rule.ends_with('.') && case.rule.contains(' '), "{}: {}", case.name, case.rule);
        }
    }

    #[test]
    fn every_function_of_the_cases_is_on_the_list() {
        for text in cases::SOURCES {
            for line in text.lines() {
                let Some(rest) = line.strip_prefix("pub(crate) async fn ") else { continue };
                let name = rest.split('<').next().unwrap_or_default();
                assert!(CASES.iter().any(|case| case.name == name), "{name} is not on the list");
            }
        }
    }
}
