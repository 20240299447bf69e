//! What the project promises about itself.

use std::collections::BTreeSet;
use std::path::Path;
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
        // The messages of Postgres as bytes, for the sandbox: it connects to nothing.
        if name == "postgres-protocol" {
            continue;
        }
        let driver = DRIVERS.iter().find(|driver| is_of(&name, driver));
        assert_eq!(driver, None, "dbtest-core depends on {name}");
    }
}

#[test]
fn a_user_of_one_adapter_gets_no_other_orm() {
    // SeaORM stands on sqlx, so its adapter may.
    let others: [(&str, &[&str]); 3] = [
        ("dbtest-sqlx", &["sea-orm", "diesel"]),
        ("dbtest-seaorm", &["diesel"]),
        ("dbtest-diesel", &["sea-orm", "sqlx"]),
    ];
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

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names that the file of a module exports, whatever the features; `dbtest_core::*` is one.
fn exports(path: &str) -> BTreeSet<String> {
    let text = file(path);
    let mut names = BTreeSet::new();
    for item in text.split("\npub ").skip(1) {
        if let Some(module) = item.strip_prefix("mod ") {
            names.insert(module.split([';', ' ']).next().expect("a name").to_owned());
            continue;
        }
        let used = item.strip_prefix("use ").unwrap_or_else(|| panic!("{path} exports by `pub use`: {item}"));
        let used = used.split_once(';').expect("the end of a `use`").0;
        let (path, list) = used.rsplit_once("::").expect("a path");
        for name in list.trim_matches(['{', '}']).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match (name, name.split_once(" as ")) {
                ("*", _) => names.insert(format!("{path}::*")),
                (_, Some((_, name))) => names.insert(name.to_owned()),
                (name, None) => names.insert(name.to_owned()),
            };
        }
    }
    names
}

#[test]
fn all_adapters_export_the_same_names() {
    // Where a module is, what its backends' names begin with, and what no other adapter has.
    let adapters: [(&str, &str, &[&str]); 4] = [
        ("dbtest-sqlx/src/lib.rs", "Sqlx", &[]),
        // SeaORM's connection is one type on every engine, so `Db` says which, and its migrators
        // are of any type, so a function makes them dbtest's.
        ("dbtest-seaorm/src/lib.rs", "SeaOrm", &["Db", "SeaOrmBackend", "SeaOrmMigrator", "migrator"]),
        ("dbtest-diesel/src/lib.rs", "Diesel", &["asynchronous"]),
        // diesel-async has two kinds of pool, so the backends are aliases over the kind.
        ("dbtest-diesel/src/asynchronous/mod.rs", "DieselAsync", &["Bb8", "Deadpool", "DieselAsync"]),
    ];
    for (path, backend, own) in adapters {
        let shared = ["dbtest_core::*", "FromTestDb", "test"].map(str::to_owned);
        let backends = ["Sqlite", "Postgres", "MySql"].map(|engine| format!("{backend}{engine}"));
        let expected: BTreeSet<_> =
            shared.into_iter().chain(backends).chain(own.iter().map(|name| (*name).to_owned())).collect();
        assert_eq!(exports(path), expected, "{path}");
    }
}

/// The code blocks of a page in this language.
fn blocks<'t>(page: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("```{language}\n");
    page.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

/// The text without these lines, each taken out once and in their order.
fn without(text: &str, lines: &[&str], name: &str) -> Vec<String> {
    let mut lines = lines.iter().peekable();
    let left = text.lines().filter(|line| lines.next_if(|next| *next == line).is_none());
    let left = left.map(str::to_owned).collect();
    assert_eq!(lines.next(), None, "{name} has another line there");
    left
}

#[test]
fn what_the_guide_shows_of_the_examples_is_in_the_examples() {
    let page = file("docs/src/swapping.md");
    let tests = blocks(&page, "rust");
    assert_eq!(tests.len(), 4, "one for each ORM");
    for test in tests {
        let (name, test) = test.split_once('\n').expect("more than a name");
        let name = name.strip_prefix("// ").expect("a block begins with its file's name");
        assert!(file(name).contains(test), "{name} has not\n{test}");
    }
    let page_of_queries = file("docs/src/checked-queries.md");
    for language in ["rust,no_run", "rust,ignore"] {
        let named =
            blocks(&page_of_queries, language).into_iter().filter_map(|block| block.strip_prefix("// "));
        let shown: Vec<_> = named.map(|block| block.split_once('\n').expect("more than a name")).collect();
        assert_eq!(shown.len(), 1, "one of {language} is of the example");
        assert!(file(shown[0].0).contains(shown[0].1), "{} has not\n{}", shown[0].0, shown[0].1);
    }
    let diffs = blocks(&page, "diff");
    assert_eq!(diffs.len(), 3, "from sqlx to each other ORM");
    for diff in diffs {
        let of = |sign: char| -> Vec<_> { diff.lines().filter_map(|line| line.strip_prefix(sign)).collect() };
        let (old, new) = (of('-'), of('+'));
        let name = |lines: &[&str], sign| lines[0].strip_prefix(sign).expect("a file's name").to_owned();
        let (before, after) = (name(&old, "-- "), name(&new, "++ "));
        let left = without(&file(&before), &old[1..], &before);
        assert_eq!(left, without(&file(&after), &new[1..], &after), "more differs than is shown");
        for shown in of(' ') {
            assert!(left.iter().any(|line| line == shown), "{before} has not\n{shown}");
        }
    }
}

#[test]
fn the_summary_leads_to_every_page() {
    let summary = file("docs/src/SUMMARY.md");
    let pages: Vec<_> = summary.split("](").skip(1).filter_map(|link| link.split(')').next()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
    let mut found = Vec::new();
    for folder in [folder.clone(), folder.join("migrating"), folder.join("benchmarks")] {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            found.push(entry.expect("an entry").path());
        }
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "md") && !path.ends_with("SUMMARY.md"));
    for path in &found {
        let page = path.strip_prefix(&folder).expect("inside").to_string_lossy().replace('\\', "/");
        assert!(pages.contains(&page.as_str()), "{page} is missing in docs/src/SUMMARY.md");
    }
    assert_eq!(pages.len(), found.len(), "a page too many in docs/src/SUMMARY.md");
}
