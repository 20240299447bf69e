//! Runs a fuzz target: `README.md` says how.

#![allow(dead_code, reason = "the tests use more of the client and of its ground")]

#[path = "../../tests/it/arena.rs"]
mod arena;
#[path = "../../tests/it/fuzz/mod.rs"]
mod fuzz;
#[path = "../../tests/it/raw.rs"]
mod raw;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::Plan;

const USAGE: &str =
    "usage: dbtest-sandbox-fuzz statements|client|twin [--seed N] [--from N] [--most N] [--seconds N]";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let target = match args.next().as_deref() {
        Some("statements") => fuzz::statements,
        Some("client") => fuzz::client,
        Some("twin") => fuzz::twin,
        _ => return usage(),
    };
    let mut plan = Plan { seed: 1, from: 0, most: u64::MAX, time: Duration::from_secs(60) };
    while let Some(name) = args.next() {
        let Some(number) = args.next().and_then(|value| value.parse().ok()) else { return usage() };
        match name.as_str() {
            "--seed" => plan.seed = number,
            "--from" => plan.from = number,
            "--most" => plan.most = number,
            "--seconds" => plan.time = Duration::from_secs(number),
            _ => return usage(),
        }
    }
    let since = Instant::now();
    let ran = target(plan);
    for (number, words) in &ran.findings {
        println!("--seed {} --from {number} --most 1: {words}", plan.seed);
    }
    println!("{} inputs in {:?}, {} findings", ran.inputs, since.elapsed(), ran.findings.len());
    if ran.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::FAILURE
}
