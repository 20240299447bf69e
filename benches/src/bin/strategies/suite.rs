//! Whole suites: the attributes, the test harness, and nextest with a process for each test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::result::Suite;
use crate::site::Engine;
use crate::{Result, external};

const TABLES: usize = 150;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("suite")
}

/// The test executable of `suite/tests/suite.rs`.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "--no-run", "--quiet", "--test", "suite", "--message-format", "json"]);
    let output = cargo.current_dir(folder()).stderr(Stdio::inherit()).output()?;
    let messages = String::from_utf8(output.stdout)?;
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = messages.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    found.ok_or_else(|| "suite/tests/suite.rs did not build".into())
}

/// How many tests ran, and for how long: what the runner itself says in its last line.
fn told(text: &str, tests: (&str, &str), seconds: (&str, &str)) -> Option<(usize, f64)> {
    let between = |(before, after): (&str, &str)| {
        let end = text.rfind(after)?;
        let start = text[..end].rfind(before)? + before.len();
        Some(text[start..end].trim().to_owned())
    };
    Some((between(tests)?.parse().ok()?, between(seconds)?.parse().ok()?))
}

fn run(mut command: Command, url: &str, nextest: bool) -> Result<(usize, f64)> {
    let output = command.env("DATABASE_URL", url).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let told = if nextest {
        told(&text, ("]", " tests run"), ("Summary [", "s]"))
    } else {
        told(&text, ("ok. ", " passed"), ("finished in ", "s\n"))
    };
    let told = told.filter(|(tests, _)| output.status.success() && *tests > 0);
    told.ok_or_else(|| {
        format!("{}: {}", output.status, text.lines().rev().take(12).collect::<Vec<_>>().join("\n")).into()
    })
}

/// Measures the suites of one engine.
pub fn measure(engine: Engine, version: &str, url: &str) -> Result<Vec<Suite>> {
    let built = build()?;
    let module = match engine {
        Engine::Postgres => "postgres",
        Engine::MariaDb | Engine::MySql => "mysql",
        Engine::Sqlite => "sqlite",
    };
    let mut suites = Vec::new();
    let mut add = |runner: &str, name: &str, told: Result<(usize, f64)>| match told {
        Ok((tests, seconds)) => {
            let per_test = seconds * 1e3 / tests as f64;
            eprintln!("{} {name}, {runner}: {tests} tests in {seconds:.2} s", engine.name());
            let (runner, name, version) = (runner.to_owned(), name.to_owned(), version.to_owned());
            suites.push(Suite { engine, version, runner, name, tests, seconds, per_test });
        }
        Err(error) => eprintln!("{} {name}, {runner}: left out: {error}", engine.name()),
    };
    let of = |attribute: &str| format!("{module}::{attribute}");
    let all = [
        ("dbtest, its first run", of("dbtest::"), "truncate"),
        ("dbtest truncate", of("dbtest::"), "truncate"),
        ("dbtest rollback", of("dbtest::"), "rollback"),
        ("dbtest template", of("dbtest::"), "template"),
        ("sqlx::test 0.9", of("sqlx_test::"), ""),
    ];
    for (name, filter, strategy) in &all {
        let mut command = Command::new(&built);
        command.args(["--ignored", filter]).env("DBTEST_STRATEGY", strategy);
        add("cargo test", name, run(command, url, false));
    }
    if engine != Engine::Sqlite {
        add("threads", "db-pool 0.7", external::db_pool_suite(engine, url, TABLES));
    }
    for (name, filter, strategy) in &all[1..] {
        let mut command = Command::new("cargo");
        command.args(["nextest", "run", "--release", "--test", "suite", "--run-ignored", "only"]);
        command.args(["--color", "never", "--status-level", "none", "-E", &format!("test(/^{filter}/)")]);
        command.current_dir(folder()).env("DBTEST_STRATEGY", strategy);
        add("nextest", name, run(command, url, true));
    }
    Ok(suites)
}
