//! What ran, on what, and how it went: the table and the lines below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use crate::counts::Counts;
use crate::leg::{Engine, Kind, Leg, Server};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    NotRun { why: String, fatal: bool },
}

/// The server as the library reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    engine: String,
    version: String,
    server: String,
}

impl Seen {
    /// Reads `Postgres 18.1 | container postgres:18`.
    pub(crate) fn parse(line: &str) -> Option<Seen> {
        let (what, server) = line.trim().split_once(" | ")?;
        let (engine, version) = what.trim().split_once(' ')?;
        Some(Seen {
            engine: engine.to_owned(),
            version: version.trim().to_owned(),
            server: server.trim().to_owned(),
        })
    }

    /// Why this is not the server that the leg was to run on.
    pub(crate) fn is_not(&self, server: Server) -> Option<String> {
        let fits = match server {
            Server::Container(image) => self.server.starts_with("container") && self.server.contains(image),
            Server::Installed => self.server.starts_with("installed"),
            Server::InProcess | Server::Url => true,
        };
        (!fits).then(|| format!("it was to run on {server}, and the library reports {}", self.server))
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) leg: Leg,
    pub(crate) outcome: Outcome,
    pub(crate) counts: Counts,
    pub(crate) seen: Option<Seen>,
    pub(crate) took: Duration,
    /// What its failed tests said.
    pub(crate) said: Vec<String>,
}

/// The sums over all legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Sum {
    /// A leg that failed without a failed test (it did not compile, no server, nothing ran) counts as one, so
    /// that `0 failed` means that all is well.
    pub(crate) fn of(rows: &[Row]) -> Sum {
        let mut sum = Sum::default();
        for row in rows {
            sum.passed += row.counts.passed();
            sum.skipped += row.counts.skipped();
            sum.failed += match row.outcome {
                Outcome::Failed(_) | Outcome::NotRun { fatal: true, .. } => row.counts.failed().max(1),
                _ => row.counts.failed(),
            };
        }
        sum
    }

    /// The last line of the output, read by programs.
    pub(crate) fn line(self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Why a leg that ran did not pass.
pub(crate) fn judge(leg: &Leg, counts: &Counts, ended_well: bool, seen: Option<&Seen>) -> Outcome {
    let wrong_server = || seen.zip(leg.on()).and_then(|(seen, on)| seen.is_not(on.server));
    if counts.failed() > 0 {
        let names: Vec<_> = counts.failures.iter().take(5).map(String::as_str).collect();
        let more = if counts.failures.len() > names.len() { ", …" } else { "" };
        Outcome::Failed(format!("{} failed: {}{more}", counts.failed(), names.join(", ")))
    } else if !ended_well {
        Outcome::Failed("its command failed".to_owned())
    } else if leg.kind != Kind::Check && counts.ran() == 0 {
        Outcome::Failed("no test ran".to_owned())
    } else if let Some(why) = wrong_server() {
        Outcome::Failed(why)
    } else {
        Outcome::Passed
    }
}

/// The table and the lines below it, down to the one for programs.
pub(crate) fn report(rows: &[Row]) -> String {
    let mut lines = vec![
        ["leg", "engine", "version", "server", "runner", "passed", "skipped", "seconds", ""]
            .map(str::to_owned),
    ];
    lines.extend(rows.iter().map(cells));
    let mut text = format!("\n{}", table(&lines, 5));
    let sum = Sum::of(rows);
    text.push('\n');
    if sum.skipped == 0 {
        text.push_str("zero skipped\n");
    } else {
        let names: BTreeSet<_> =
            rows.iter().flat_map(|row| &row.counts.ignored_names).map(String::as_str).collect();
        let names: Vec<_> = names.into_iter().collect();
        let names = if names.is_empty() { "the logs say which".to_owned() } else { names.join(", ") };
        let _ = writeln!(text, "{} skipped: {names}", sum.skipped);
    }
    for row in rows {
        match &row.outcome {
            Outcome::Failed(why) => {
                let _ = writeln!(
                    text,
                    "FAILED {}: {why}\n    again: cargo xtask test --only {}\n    alone: {}",
                    row.leg.name,
                    row.leg.name,
                    row.leg.line()
                );
                for line in &row.said {
                    let _ = writeln!(text, "    | {line}");
                }
            }
            Outcome::NotRun { why, fatal: true } => {
                let _ = writeln!(text, "FAILED {} could not run: {why}", row.leg.name);
            }
            _ => {}
        }
    }
    text.push_str(&sum.line());
    text.push('\n');
    text
}

fn cells(row: &Row) -> [String; 9] {
    let counts =
        |number: u64| if row.leg.kind == Kind::Check { "–".to_owned() } else { number.to_string() };
    let on = row.leg.on();
    let unknown = if on.is_some() { "?" } else { "" };
    let seen = row.seen.clone().unwrap_or_else(|| Seen {
        engine: on.map_or("", |on| on.engine.name()).to_owned(),
        version: unknown.to_owned(),
        server: on.map(|on| on.server.to_string()).unwrap_or_default(),
    });
    let runner = match row.leg.kind {
        Kind::Check => "",
        _ => row.leg.runner().name(),
    };
    let start = [row.leg.name.clone(), seen.engine, seen.version, seen.server, runner.to_owned()];
    let [leg, engine, version, server, runner] = start;
    let seconds = format!("{:.1}", row.took.as_secs_f64());
    let (passed, skipped) = (counts(row.counts.passed()), counts(row.counts.skipped()));
    match &row.outcome {
        Outcome::Passed => [leg, engine, version, server, runner, passed, skipped, seconds, "ok".to_owned()],
        Outcome::Failed(_) => {
            [leg, engine, version, server, runner, passed, skipped, seconds, "FAILED".to_owned()]
        }
        Outcome::NotRun { why, fatal } => {
            let none = || "–".to_owned();
            // Why it fails the command stands below the table, with the next step.
            let note = if *fatal { "FAILED: not run".to_owned() } else { format!("not run: {why}") };
            [leg, engine, none(), server, runner, none(), none(), none(), note]
        }
    }
}

/// Columns as wide as they must be; from column `numbers` on to the right, the last one free.
fn table<const N: usize>(lines: &[[String; N]], numbers: usize) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut out = String::new();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = match at {
                _ if at + 1 == N => write!(out, "{cell}"),
                _ if at >= numbers => write!(out, "{cell:>width$}  "),
                _ => write!(out, "{cell:<width$}  "),
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

/// How often each leg ran and failed, over many rounds.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    legs: Vec<(String, Tally)>,
    sum: Sum,
}

#[derive(Debug, Default)]
struct Tally {
    ran: u32,
    failed: u32,
    not_run: u32,
    tests: Option<(u64, u64)>,
    took: Duration,
    failures: BTreeMap<String, u32>,
}

impl Tallies {
    /// Takes in one round.
    pub(crate) fn add(&mut self, rows: &[Row]) {
        let round = Sum::of(rows);
        self.sum.passed += round.passed;
        self.sum.failed += round.failed;
        self.sum.skipped += round.skipped;
        for row in rows {
            let at = self.legs.iter().position(|(name, _)| *name == row.leg.name).unwrap_or_else(|| {
                self.legs.push((row.leg.name.clone(), Tally::default()));
                self.legs.len() - 1
            });
            let tally = &mut self.legs[at].1;
            if matches!(row.outcome, Outcome::NotRun { .. }) {
                tally.not_run += 1;
                continue;
            }
            tally.ran += 1;
            tally.took += row.took;
            let tests = row.counts.ran();
            let (least, most) = tally.tests.unwrap_or((tests, tests));
            tally.tests = Some((least.min(tests), most.max(tests)));
            if let Outcome::Failed(why) = &row.outcome {
                tally.failed += 1;
                let names = row.counts.failures.iter().cloned();
                let names: Vec<_> =
                    if row.counts.failures.is_empty() { vec![why.clone()] } else { names.collect() };
                for name in names {
                    *tally.failures.entry(name).or_default() += 1;
                }
            }
        }
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    /// The table, what failed and how often, and the line for programs.
    pub(crate) fn report(&self) -> String {
        let mut lines = vec![["leg", "ran", "failed", "tests each", "seconds each", ""].map(str::to_owned)];
        let mut below = String::new();
        for (name, tally) in &self.legs {
            let each = tally.took.as_secs_f64() / f64::from(tally.ran.max(1));
            let tests = match tally.tests {
                None => "–".to_owned(),
                Some((least, most)) if least == most => most.to_string(),
                Some((least, most)) => format!("{least}–{most}"),
            };
            let note =
                if tally.not_run > 0 { format!("not run {} times", tally.not_run) } else { String::new() };
            lines.push([
                name.clone(),
                tally.ran.to_string(),
                tally.failed.to_string(),
                tests,
                format!("{each:.1}"),
                note,
            ]);
            for (test, times) in &tally.failures {
                let _ = writeln!(below, "{name}: {times} of {}: {test}", tally.ran);
            }
        }
        format!("\n{}\n{below}{}\n", table(&lines, 1), self.sum.line())
    }
}

/// The engines for which the environment names a server.
pub(crate) fn urls(get: impl Fn(&str) -> Option<String>) -> Vec<Engine> {
    [("DBTEST_POSTGRES_URL", Engine::Postgres), ("DBTEST_MYSQL_URL", Engine::MySql)]
        .into_iter()
        .filter(|(name, _)| get(name).is_some_and(|url| !url.is_empty()))
        .map(|(_, engine)| engine)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Runner;
    use crate::leg::{Members, legs};

    fn row(name: &str, output: &str, ended_well: bool) -> Row {
        let leg =
            legs(&Members::default(), &[], &[]).into_iter().find(|leg| leg.name == name).expect("a leg");
        let mut counts = Counts::default();
        for line in output.lines() {
            counts.line(Runner::CargoTest, "", line);
        }
        let seen = leg.on().and_then(|_| Seen::parse("Postgres 15.14 | container postgres:15"));
        let outcome = judge(&leg, &counts, ended_well, seen.as_ref());
        Row { leg, outcome, counts, seen, took: Duration::from_millis(1250), said: Vec::new() }
    }

    const GOOD: &str = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
    const BAD: &str = "test a::b ... FAILED\ntest result: FAILED. 4 passed; 1 failed; 1 ignored; 0 measured;";

    #[test]
    fn the_last_line_is_the_sum_and_nothing_else() {
        let rows = [row("fmt", "", true), row("unit", GOOD, true), row("postgres:15", GOOD, true)];
        let text = report(&rows);
        assert_eq!(text.lines().last(), Some("10 passed, 0 failed, 0 skipped"));
        assert!(text.contains("\nzero skipped\n"), "{text}");
        let line = text.lines().find(|line| line.starts_with("postgres:15")).expect("its line");
        let words: Vec<_> = line.split_whitespace().collect();
        let cells =
            ["postgres:15", "Postgres", "15.14", "container", "postgres:15", "cargo", "test", "5", "0"];
        assert_eq!(words[..9], cells);
        assert!(line.ends_with("1.2  ok"), "{line}");
    }

    #[test]
    fn a_failed_leg_says_how_to_run_it_again() {
        let text = report(&[row("postgres:15", BAD, false)]);
        assert!(text.contains("1 failed: a::b"), "{text}");
        assert!(text.contains("cargo xtask test --only postgres:15"), "{text}");
        assert!(!text.contains("zero skipped"), "{text}");
        assert_eq!(text.lines().last(), Some("4 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn a_leg_that_ran_nothing_fails() {
        let nothing = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        assert_eq!(row("unit", nothing, true).outcome, Outcome::Failed("no test ran".to_owned()));
        assert_eq!(
            row("unit", "dbtest: skipped a\ntest result: ok. 1 passed; 0 failed", true).outcome,
            Outcome::Failed("no test ran".to_owned())
        );
        assert_eq!(row("fmt", "", true).outcome, Outcome::Passed);
    }

    #[test]
    fn a_leg_that_failed_without_a_failed_test_still_counts() {
        let missing = Row {
            outcome: Outcome::NotRun { why: "no server".to_owned(), fatal: true },
            ..row("unit", "", true)
        };
        let absent = Row {
            outcome: Outcome::NotRun { why: "no docker".to_owned(), fatal: false },
            ..row("unit", "", true)
        };
        let rows = [row("clippy", "", false), missing, absent];
        assert_eq!(Sum::of(&rows).failed, 2);
        assert!(report(&rows).contains("not run: no docker"));
    }

    #[test]
    fn a_leg_on_another_server_than_its_own_fails() {
        let Outcome::Failed(why) = row("postgres:18", GOOD, true).outcome else { panic!("the wrong server") };
        assert!(why.contains("postgres:15") && why.contains("postgres:18"), "{why}");
        assert_eq!(row("postgres:15", GOOD, true).outcome, Outcome::Passed);
    }

    #[test]
    fn flakes_are_told_with_how_often() {
        let mut tallies = Tallies::default();
        tallies.add(&[row("postgres:15", GOOD, true)]);
        tallies.add(&[row("postgres:15", BAD, false)]);
        tallies.add(&[row("postgres:15", GOOD, true)]);
        let text = tallies.report();
        assert!(text.contains("postgres:15: 1 of 3: a::b"), "{text}");
        assert_eq!(text.lines().last(), Some("14 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn a_url_that_is_set_is_one_more_server() {
        let env = |name: &str| (name == "DBTEST_MYSQL_URL").then(|| "mysql://localhost".to_owned());
        assert_eq!(urls(env), [Engine::MySql]);
        assert_eq!(urls(|_| Some(String::new())), []);
    }
}
