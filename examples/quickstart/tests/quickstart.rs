//! Runs the quickstart as its reader does.

use std::process::{Command, Output};

fn quickstart(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quickstart")).args(args).output().expect("the quickstart starts")
}

#[test]
fn on_sqlite_every_test_is_isolated_under_all_four_strategies() {
    let output = quickstart(&["--tests", "7"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");

    let last = text.lines().last().expect("a last line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(summary["engine"], "sqlite");
    assert_eq!(summary["server"], "in process");
    assert_eq!(summary["failures"], 0, "{said}");
    assert_eq!(summary["isolated"], true);
    let strategies = summary["strategies"].as_object().expect("an object");
    let names: Vec<_> = strategies.keys().map(String::as_str).collect();
    assert_eq!(names, ["rollback", "schema", "template", "truncate"]);
    for (name, strategy) in strategies {
        assert_eq!(strategy["tests"], 7 + 8, "{name}");
        assert_ne!(strategy["median_us"]["all"], 0, "{name}");
        assert!(text.contains(name), "the table names {name}");
    }
    // The proof has teeth: without dbtest the same tests meet.
    assert_ne!(summary["without_dbtest"]["failures"], 0);
}

#[test]
fn what_it_does_not_know_is_refused_with_the_next_step() {
    let output = quickstart(&["--engine", "oracle"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("oracle") && said.contains("next step"), "{said}");
}

#[test]
fn a_server_that_is_not_there_ends_it_with_the_next_step() {
    let output = Command::new(env!("CARGO_BIN_EXE_quickstart"))
        .args(["--engine", "postgres", "--tests", "1"])
        // Nobody listens there.
        .env("DBTEST_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/none")
        .output()
        .expect("the quickstart starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:1") && said.contains("next step"), "{said}");
}
