//! The fuzz targets, for some seconds, with the same inputs each time. `fuzz/README.md` says how to
//! run them for longer.

use std::time::Duration;

use crate::fuzz::{Plan, Ran, client, statements, twin};

/// Few enough for every run of the tests.
fn few(most: u64) -> Plan {
    Plan { seed: 1, from: 0, most, time: Duration::from_secs(120) }
}

fn found_nothing(ran: &Ran) {
    assert!(ran.findings.is_empty(), "{:#?}", ran.findings);
    assert!(ran.inputs > 0);
}

#[test]
fn any_text_is_cut_into_statements_that_stand_alone() {
    found_nothing(&statements(few(20_000)));
}

#[test]
fn a_sandbox_answers_as_the_server_does() {
    found_nothing(&twin(few(200)));
}

#[test]
fn any_client_leaves_the_others_and_the_database_alone() {
    found_nothing(&client(few(200)));
}
