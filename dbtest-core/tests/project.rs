//! What the project promises about itself.

use std::process::Command;

/// The words of the ORMs and drivers that core must not depend on.
const DRIVERS: &[&str] = &[
    "sqlx",
    "sea-orm",
    "diesel",
    "tokio-postgres",
    "postgres",
    "rusqlite",
    "libsqlite3-sys",
    "mysql",
    "mysql_async",
    "pq-sys",
    "mysqlclient-sys",
];

/// The names of all crates that a crate of ours needs, with what it is itself.
fn tree(package: &str, edges: &str) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", package, "--all-features", "--edges", edges])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo tree");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("text");
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.iter().any(|name| name == package), "the tree is read wrongly: {tree}");
    names
}

fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[test]
fn core_depends_on_no_orm_and_no_driver() {
    for name in tree("dbtest-core", "normal,build,dev") {
        let driver = DRIVERS.iter().find(|driver| is_of(&name, driver));
        assert_eq!(driver, None, "dbtest-core depends on {name}");
    }
}

#[test]
fn a_user_of_one_adapter_gets_no_other_orm() {
    // SeaORM stands on sqlx, so its adapter may.
    let others: [(&str, &[&str]); 2] =
        [("dbtest-sqlx", &["sea-orm", "diesel"]), ("dbtest-seaorm", &["diesel"])];
    for (adapter, others) in others {
        for name in tree(adapter, "normal,build") {
            let other = others.iter().find(|other| is_of(&name, other));
            assert_eq!(other, None, "{adapter} depends on {name}");
        }
    }
}

#[test]
fn the_guide_documents_every_setting_as_it_is() {
    let guide = include_str!("../../docs/src/settings.md");
    let rows: Vec<_> = guide.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = dbtest_core::SETTINGS
        .iter()
        .map(|(name, default, what)| format!("| `{name}` | {default} | {what} |"))
        .collect();
    assert_eq!(rows.len(), expected.len(), "a row too many or too few");
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected.as_str()), "the guide says\n{row}\nand the code\n{expected}");
    }
}

#[test]
fn the_guide_explains_every_kind_of_error() {
    let guide = include_str!("../../docs/src/errors.md");
    let source = include_str!("../src/error.rs");
    let kinds = source
        .split("pub enum ErrorKind {")
        .nth(1)
        .and_then(|rest| rest.split("\n}").next())
        .expect("the enum");
    let kinds: Vec<_> = kinds.lines().map(str::trim).filter(|line| line.ends_with(',')).collect();
    assert!(kinds.len() >= 12, "{kinds:?}");
    for kind in kinds {
        let row = format!("| `{}` |", kind.trim_end_matches(','));
        assert!(guide.contains(&row), "{row} is missing in docs/src/errors.md");
    }
}
