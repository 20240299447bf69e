//! What was measured, as it is written to a file.

use serde::{Deserialize, Serialize};

use crate::contender::Took;
use crate::site::Engine;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub cells: Vec<Cell>,
    pub suites: Vec<Suite>,
}

impl Report {
    pub fn add(&mut self, more: Self) {
        self.cells.extend(more.cells);
        self.suites.extend(more.suites);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub system: String,
    pub rust: String,
}

/// Contenders that were measured in turn, in one session on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub engine: Engine,
    pub version: String,
    pub server: String,
    pub tables: usize,
    pub workers: usize,
    pub lines: Vec<Line>,
}

/// One contender; all times in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub samples: usize,
    pub lease: Quantiles,
    pub connect: Quantiles,
    pub body: Quantiles,
    pub end: Quantiles,
    pub whole: Quantiles,
    /// What it costs besides the body and the handle.
    pub isolation: Quantiles,
    /// From the start of all workers to the end of the last, divided by their tests.
    pub wall: Quantiles,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub p10: f64,
    pub median: f64,
    pub p95: f64,
}

impl Quantiles {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at =
            |share: f64| values.get(((values.len().max(1) - 1) as f64 * share).round() as usize).copied();
        let at = |share| at(share).unwrap_or_default();
        Self { p10: at(0.1), median: at(0.5), p95: at(0.95) }
    }
}

impl Line {
    /// `handle` is what the handle costs anybody, and is taken away from what is not told apart.
    pub fn of(name: &str, tests: &[Took], walls: Vec<f64>, handle: Took) -> Self {
        let micros = |of: &dyn Fn(&Took) -> std::time::Duration| {
            Quantiles::of(tests.iter().map(|took| of(took).as_secs_f64() * 1e6).collect())
        };
        let spared = handle.connect + handle.end;
        Self {
            name: name.to_owned(),
            samples: tests.len(),
            lease: micros(&|took| took.lease),
            connect: micros(&|took| took.connect),
            body: micros(&|took| took.body),
            end: micros(&|took| took.end),
            whole: micros(&|took| took.whole()),
            isolation: micros(&|took| (took.lease + took.end).saturating_sub(spared)),
            wall: Quantiles::of(walls),
        }
    }
}

/// A whole suite of small tests: the attribute, the test harness, the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suite {
    pub engine: Engine,
    pub version: String,
    pub runner: String,
    pub name: String,
    pub tests: usize,
    pub seconds: f64,
    /// Milliseconds.
    pub per_test: f64,
}
