//! The guide's page and the tests are the same list.

use std::collections::BTreeSet;
use std::process::Command;

/// The tests of this executable, with a star for the engine; but not those that are no fault.
fn tests() -> BTreeSet<String> {
    let output = Command::new(std::env::current_exe().expect("this executable")).arg("--list").output();
    let listed = String::from_utf8(output.expect("a list").stdout).expect("text");
    let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let faults = tests.filter(|name| !name.starts_with("page::") && !name.starts_with("child::"));
    let starred = |name: &str| {
        ["::postgres::", "::mysql::", "::sqlite::"]
            .iter()
            .fold(name.to_owned(), |name, part| name.replace(part, "::*::"))
    };
    faults.map(starred).collect()
}

#[test]
fn every_fault_is_in_the_guide_with_its_test() {
    let page = include_str!("../../../docs/src/faults.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && line.contains("::")).collect();
    assert!(rows.len() >= 30, "{} faults", rows.len());
    let named: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let crash = include_str!("../it/crash.rs");
    let (elsewhere, here): (Vec<&str>, Vec<&str>) = named.iter().partition(|name| name.starts_with("it: "));
    for name in elsewhere {
        let test = name.strip_prefix("it: crash::").expect("a test of crash.rs");
        assert!(crash.contains(&format!("async fn {test}()")), "{name} is no test");
    }
    let here: BTreeSet<String> = here.into_iter().map(str::to_owned).collect();
    assert_eq!(here, tests(), "docs/src/faults.md has other tests than there are");
}
