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

#[test]
fn core_depends_on_no_orm_and_no_driver() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "dbtest-core",
            "--all-features",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--edges", "normal,build,dev"])
        .output()
        .expect("cargo tree");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("text");
    assert!(tree.contains("dbtest-core"), "the tree is read wrongly: {tree}");
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let driver =
            DRIVERS.iter().find(|driver| name == **driver || name.starts_with(&format!("{driver}-")));
        assert_eq!(driver, None, "dbtest-core depends on {line}");
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
