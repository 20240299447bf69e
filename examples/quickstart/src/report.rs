//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dbtest_sqlx::Engine;
use serde::Serialize;

use crate::bodies::Failure;
use crate::phases::{Measured, seconds};
use crate::shop::BASELINE;

/// Of as many failures the text is shown.
const SHOWN: usize = 3;

/// A run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) engine: Engine,
    pub(crate) server: String,
    pub(crate) version: String,
    /// The first database: finding or starting the server, and building the template if it was
    /// not there.
    pub(crate) setup: Duration,
    pub(crate) jobs: usize,
    pub(crate) under: Vec<Under>,
    pub(crate) without: Without,
    pub(crate) took: Duration,
}

/// The tests under one strategy.
#[derive(Debug)]
pub(crate) struct Under {
    name: &'static str,
    tests: usize,
    together: usize,
    failures: Vec<Failure>,
    open: Cost,
    body: Cost,
    close: Cost,
    all: Cost,
    took: Duration,
}

/// The same tests without dbtest.
#[derive(Debug)]
pub(crate) struct Without {
    pub(crate) tests: usize,
    pub(crate) failures: Vec<Failure>,
}

/// Median and 95th percentile in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    median: u64,
    p95: u64,
}

impl Cost {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<u64> =
            durations.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)).collect();
        all.sort_unstable();
        // The nearest rank: a figure that was measured, and none that was computed.
        let rank = |percent: usize| {
            let rank = (all.len() * percent).div_ceil(100).max(1);
            all.get(rank - 1).copied().unwrap_or_default()
        };
        Self { median: rank(50), p95: rank(95) }
    }
}

impl Under {
    pub(crate) fn new(
        name: &'static str,
        measured: Vec<Measured>,
        (together, proof): (usize, Vec<Failure>),
        took: Duration,
    ) -> Self {
        let passed = || measured.iter().filter(|test| test.failure.is_none());
        let (open, body) =
            (Cost::of(passed().map(|test| test.open)), Cost::of(passed().map(|test| test.body)));
        let close = Cost::of(passed().map(|test| test.close));
        let all = Cost::of(passed().map(|test| test.open + test.body + test.close));
        let tests = measured.len();
        let failures = measured.into_iter().filter_map(|test| test.failure).chain(proof).collect();
        Self { name, tests, together, failures, open, body, close, all, took }
    }

    /// One line of progress, and the first failures.
    pub(crate) fn line(&self) -> String {
        let Self { name, tests, together, failures, took, .. } = self;
        let mut line =
            format!("{name}: {tests} tests in {}, then {together} on the same keys", seconds(*took));
        if failures.is_empty() {
            line.push_str(", all alone");
        } else {
            let _ = write!(line, ": {} FAILED", failures.len());
            for failure in failures.iter().take(SHOWN) {
                let _ = write!(line, "\n    {failure}");
            }
        }
        line
    }
}

impl Without {
    pub(crate) fn line(&self) -> String {
        let Self { tests, failures } = self;
        let example = failures.first().map_or_else(String::new, |failure| format!(" ({failure})"));
        format!("without dbtest, {tests} on one database: {} fail{example}", failures.len())
    }
}

impl Report {
    fn failures(&self) -> usize {
        self.under.iter().map(|under| under.failures.len()).sum()
    }

    /// No test saw another, and the same tests do see each other where nothing keeps them apart:
    /// else the proof proves nothing.
    pub(crate) fn isolated(&self) -> bool {
        self.failures() == 0 && !self.without.failures.is_empty()
    }

    /// The cost of a test, in milliseconds.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\nMilliseconds per test (median / p95) on {} {}, {} tables, {} tests at a time:\n\n",
            self.engine,
            self.version,
            BASELINE.len(),
            self.jobs
        );
        let _ = writeln!(
            text,
            "{:<10}{:>17}{:>17}{:>17}{:>17}{:>9}",
            "strategy", "open", "body", "close", "all", "tests/s"
        );
        for under in &self.under {
            let cost = |cost: Cost| format!("{:.2} / {:.2}", cost.median as f64 / 1e3, cost.p95 as f64 / 1e3);
            let rate = under.tests as f64 / under.took.as_secs_f64().max(1e-6);
            let _ = writeln!(
                text,
                "{:<10}{:>17}{:>17}{:>17}{:>17}{rate:>9.0}",
                under.name,
                cost(under.open),
                cost(under.body),
                cost(under.close),
                cost(under.all),
            );
        }
        // Else rollback's body would look better than it is, and its open worse.
        text.push_str("A pool connects when it is first used: under rollback in open, else in body.\n");
        let tests: usize = self.under.iter().map(|under| under.tests + under.together).sum();
        let _ = writeln!(
            text,
            "\n{tests} tests, {} failed, {}. Without dbtest {} of {} fail.\n",
            self.failures(),
            seconds(self.took),
            self.without.failures.len(),
            self.without.tests
        );
        text
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let micros = |pick: fn(Cost) -> u64, under: &Under| Micros {
            open: pick(under.open),
            body: pick(under.body),
            close: pick(under.close),
            all: pick(under.all),
        };
        let strategies = self.under.iter().map(|under| {
            let strategy = Strategy {
                tests: under.tests + under.together,
                failures: under.failures.len(),
                median_us: micros(|cost| cost.median, under),
                p95_us: micros(|cost| cost.p95, under),
            };
            (under.name, strategy)
        });
        let summary = Summary {
            quickstart: 1,
            engine: self.engine.word(),
            server: &self.server,
            version: &self.version,
            tables: BASELINE.len(),
            tests: self.under.iter().map(|under| under.tests + under.together).sum(),
            failures: self.failures(),
            isolated: self.isolated(),
            without_dbtest: WithoutSummary {
                tests: self.without.tests,
                failures: self.without.failures.len(),
            },
            setup_ms: self.setup.as_millis(),
            wall_ms: self.took.as_millis(),
            strategies: strategies.collect(),
        };
        // Text and numbers only: this can't fail.
        serde_json::to_string(&summary).unwrap_or_default()
    }
}

/// The last line of the output.
#[derive(Serialize)]
struct Summary<'a> {
    /// The version of this line's form.
    quickstart: u32,
    engine: &'a str,
    server: &'a str,
    version: &'a str,
    tables: usize,
    tests: usize,
    failures: usize,
    isolated: bool,
    without_dbtest: WithoutSummary,
    setup_ms: u128,
    wall_ms: u128,
    strategies: BTreeMap<&'static str, Strategy>,
}

#[derive(Serialize)]
struct WithoutSummary {
    tests: usize,
    failures: usize,
}

#[derive(Serialize)]
struct Strategy {
    tests: usize,
    failures: usize,
    median_us: Micros,
    p95_us: Micros,
}

#[derive(Serialize)]
struct Micros {
    open: u64,
    body: u64,
    close: u64,
    all: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p95_are_figures_that_were_measured() {
        let cost = |all: &[u64]| Cost::of(all.iter().map(|micros| Duration::from_micros(*micros)));
        assert_eq!(cost(&[]), Cost { median: 0, p95: 0 });
        assert_eq!(cost(&[7]), Cost { median: 7, p95: 7 });
        assert_eq!(cost(&[9, 1, 5, 3]), Cost { median: 3, p95: 9 });
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(cost(&hundred), Cost { median: 50, p95: 95 });
    }
}
