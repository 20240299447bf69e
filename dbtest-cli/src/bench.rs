//! `cargo dbtest bench`: the user's own tests under each strategy, in turn and repeatedly.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dbtest_sqlx::Report;
use serde_json::{Value, json};

use crate::args::StrategyWord;
use crate::outcome::Outcome;
use crate::show;

/// What one strategy came to, over all rounds.
#[derive(Debug, Default)]
struct Measured {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// What each test database cost: lease, handle, reset.
    costs: Vec<Duration>,
    /// Of the whole command, in each round.
    walls: Vec<Duration>,
}

impl Measured {
    fn cost(&self, percent: usize) -> Option<Duration> {
        let mut costs = self.costs.clone();
        costs.sort_unstable();
        costs.get((costs.len() * percent / 100).min(costs.len().saturating_sub(1))).copied()
    }

    /// All tests that ran, however they ended.
    fn ran(&self) -> BTreeSet<&String> {
        self.passed.union(&self.failed).collect()
    }

    fn wall(&self) -> Option<Duration> {
        let mut walls = self.walls.clone();
        walls.sort_unstable();
        walls.get(walls.len() / 2).copied()
    }
}

/// Without the last word cargo ends the run at the first test executable that has a failure, and each
/// strategy would have run other tests.
const COMMAND: [&str; 3] = ["cargo", "test", "--no-fail-fast"];

pub(crate) fn run(
    rounds: u32,
    strategies: &[StrategyWord],
    command: &[String],
    json: bool,
) -> dbtest_sqlx::Result<Outcome> {
    let command = if command.is_empty() { COMMAND.map(str::to_owned).to_vec() } else { command.to_vec() };
    let strategies = if strategies.is_empty() { StrategyWord::ALL } else { strategies };
    let mut measured: BTreeMap<StrategyWord, Measured> = BTreeMap::new();
    // The first compiles, starts the server and builds the template, so it does not count.
    for round in 0..=rounds {
        for strategy in strategies {
            if round == 0 && *strategy != strategies[0] {
                continue;
            }
            let what =
                if round == 0 { "warming up".to_owned() } else { format!("round {round} of {rounds}") };
            eprintln!("{what}: DBTEST_STRATEGY={} {}", strategy.word(), command.join(" "));
            let Some(ran) = once(&command, *strategy, round)? else { return Ok(Outcome::Failed) };
            if round > 0 {
                add(measured.entry(*strategy).or_default(), ran);
            }
        }
    }
    if json {
        show::json(&value(&measured));
    } else {
        print!("{}", text(&measured, &command));
    }
    Ok(Outcome::Good)
}

struct Ran {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    costs: Vec<Duration>,
    wall: Duration,
}

fn add(measured: &mut Measured, ran: Ran) {
    measured.passed.extend(ran.passed);
    measured.failed.extend(ran.failed);
    measured.costs.extend(ran.costs);
    measured.walls.push(ran.wall);
}

/// `None` if the command can't be run, or none of its tests had a database.
fn once(command: &[String], strategy: StrategyWord, round: u32) -> dbtest_sqlx::Result<Option<Ran>> {
    let before = Report::latest()?;
    let begun = Instant::now();
    let output = Command::new(&command[0])
        .args(&command[1..])
        .env("DBTEST_STRATEGY", strategy.word())
        // A run of its own, whatever starts the tests.
        .env("DBTEST_REPORT", format!("bench{}x{round}{}", std::process::id(), strategy.word()))
        .stdin(Stdio::null())
        .output();
    let wall = begun.elapsed();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", command[0]);
            return Ok(None);
        }
    };
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (passed, failed) = outcomes(&said);
    let report = Report::latest()?.filter(|report| before.as_ref() != Some(report));
    let Some(report) = report else {
        eprint!("{said}");
        eprintln!(
            "error: no test of {:?} had a database; next step: see what it said above",
            command.join(" ")
        );
        return Ok(None);
    };
    Ok(Some(Ran { passed, failed, costs: report.costs, wall }))
}

/// The names of tests that passed and that failed, as libtest and nextest print them.
fn outcomes(said: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut passed, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for line in said.lines().map(str::trim) {
        if let Some((name, how)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            match how {
                "ok" => passed.insert(name.to_owned()),
                "FAILED" => failed.insert(name.to_owned()),
                _ => false,
            };
        } else if let Some((how, rest)) = line.split_once(" [") {
            // PASS [   0.012s] (1/2) app::tests name
            let name = rest.rsplit(' ').next().unwrap_or_default().to_owned();
            match how.split(' ').next() {
                Some("PASS") => passed.insert(name),
                Some("FAIL" | "SIGABRT" | "SIGSEGV" | "TIMEOUT") => failed.insert(name),
                _ => false,
            };
        }
    }
    // One that passed in some rounds only has failed.
    passed.retain(|name| !failed.contains(name));
    (passed, failed)
}

/// Whether every strategy ran the same tests. Else what they cost and how many failed can't be compared.
fn ran_the_same(measured: &BTreeMap<StrategyWord, Measured>) -> bool {
    let mut all = measured.values().map(Measured::ran);
    all.next().is_none_or(|first| all.all(|other| other == first))
}

/// The cheapest of those under which the fewest tests fail; none where they ran different tests.
fn recommended(measured: &BTreeMap<StrategyWord, Measured>) -> Option<StrategyWord> {
    if !ran_the_same(measured) {
        return None;
    }
    let cheapest = measured.iter().min_by_key(|(_, one)| (one.failed.len(), one.cost(50)));
    cheapest.map(|(strategy, _)| *strategy)
}

/// Tests that pass under some strategies only: each with those under which it fails.
fn particular(measured: &BTreeMap<StrategyWord, Measured>) -> BTreeMap<&str, Vec<&'static str>> {
    let passes =
        |name: &String| measured.values().any(|one| one.passed.contains(name) && !one.failed.contains(name));
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (strategy, one) in measured {
        for name in one.failed.iter().filter(|name| passes(name)) {
            found.entry(name).or_default().push(strategy.word());
        }
    }
    found
}

fn micros(time: Option<Duration>) -> Option<u64> {
    time.and_then(|time| u64::try_from(time.as_micros()).ok())
}

fn value(measured: &BTreeMap<StrategyWord, Measured>) -> Value {
    let strategies: Vec<_> = measured
        .iter()
        .map(|(strategy, one)| {
            json!({
                "strategy": strategy.word(),
                "passed": one.passed.len(),
                "failed": one.failed,
                "databases": one.costs.len(),
                "median_us": micros(one.cost(50)),
                "p95_us": micros(one.cost(95)),
                "command_us": micros(one.wall()),
            })
        })
        .collect();
    json!({
        "strategies": strategies,
        "ran_the_same": ran_the_same(measured),
        "recommended": recommended(measured).map(StrategyWord::word),
        "fails_under": particular(measured),
    })
}

/// What to do where the strategies did not run the same tests.
fn next_step(command: &[String]) -> &'static str {
    if command.iter().any(|word| word == "--no-fail-fast") {
        "run the command under the strategy that ran fewest, and see which test executable ends early"
    } else {
        "add --no-fail-fast to the command, so that a test that fails does not end the run"
    }
}

fn text(measured: &BTreeMap<StrategyWord, Measured>, command: &[String]) -> String {
    let shown = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), show::time);
    let mut rows = vec![["strategy", "passed", "failed", "median", "p95", "command"].map(str::to_owned)];
    for (strategy, one) in measured {
        rows.push([
            strategy.word().to_owned(),
            one.passed.len().to_string(),
            one.failed.len().to_string(),
            shown(one.cost(50)),
            shown(one.cost(95)),
            shown(one.wall()),
        ]);
    }
    let mut text = show::columns(&rows);
    text.push_str(
        "median and p95: what dbtest cost a test; command: the whole of it, median of the rounds\n",
    );
    for (name, strategies) in particular(measured) {
        text.push_str(&format!("{name} fails under {}\n", strategies.join(", ")));
    }
    if let Some(strategy) = recommended(measured) {
        text.push_str(&format!(
            "recommended: {word}, as strategy = \"{word}\" in the attribute or DBTEST_STRATEGY={word}; \
             what fails under it may require another one for itself\n",
            word = strategy.word()
        ));
    }
    if !ran_the_same(measured) {
        let ran = measured.iter().map(|(strategy, one)| format!("{} {}", strategy.word(), one.ran().len()));
        text.push_str(&format!(
            "no recommendation: the strategies did not run the same tests ({})\n  next step: {}\n",
            ran.collect::<Vec<_>>().join(", "),
            next_step(command)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(failed: &[&str], passed: &[&str], micros: &[u64]) -> Measured {
        Measured {
            passed: passed.iter().map(|&name| name.to_owned()).collect(),
            failed: failed.iter().map(|&name| name.to_owned()).collect(),
            costs: micros.iter().copied().map(Duration::from_micros).collect(),
            walls: Vec::new(),
        }
    }

    #[test]
    fn what_libtest_and_nextest_say_is_read() {
        let said = "test a::b ... ok\ntest c ... FAILED\ntest d ... ignored\n\
                    \x20       PASS [   0.012s] (1/2) app::it e\n        FAIL [   0.012s] (2/2) app::it f\n";
        let (passed, failed) = outcomes(said);
        assert_eq!(passed.into_iter().collect::<Vec<_>>(), ["a::b", "e"]);
        assert_eq!(failed.into_iter().collect::<Vec<_>>(), ["c", "f"]);
    }

    #[test]
    fn the_cheapest_under_which_the_fewest_fail_is_recommended() {
        let all = BTreeMap::from([
            (StrategyWord::Rollback, measured(&["notify"], &["a"], &[10, 20, 30])),
            (StrategyWord::Truncate, measured(&[], &["a", "notify"], &[50, 60, 70])),
            (StrategyWord::Template, measured(&[], &["a", "notify"], &[500, 600, 700])),
        ]);
        assert_eq!(recommended(&all), Some(StrategyWord::Truncate));
        assert_eq!(particular(&all), BTreeMap::from([("notify", vec!["rollback"])]));
        assert_eq!(all[&StrategyWord::Truncate].cost(50), Some(Duration::from_micros(60)));
        assert_eq!(all[&StrategyWord::Truncate].cost(95), Some(Duration::from_micros(70)));
    }

    #[test]
    fn none_is_recommended_where_they_did_not_run_the_same_tests() {
        // The command stopped at the first failure, which came sooner under rollback.
        let all = BTreeMap::from([
            (StrategyWord::Rollback, measured(&["notify"], &["a"], &[10])),
            (StrategyWord::Truncate, measured(&["b", "c"], &["a", "d", "notify"], &[50])),
        ]);
        assert_eq!(recommended(&all), None);
        assert_eq!(value(&all)["ran_the_same"], false);
        let said =
            |command: &[&str]| text(&all, &command.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let text = said(&["cargo", "test"]);
        assert!(text.contains("did not run the same tests (rollback 2, truncate 5)"), "{text}");
        assert!(text.contains("next step: add --no-fail-fast") && !text.contains("recommended: "), "{text}");
        let text = said(&COMMAND);
        assert!(text.contains("which test executable ends early") && !text.contains("add "), "{text}");
        // As many are not yet the same.
        let all = BTreeMap::from([
            (StrategyWord::Rollback, measured(&["a"], &[], &[10])),
            (StrategyWord::Truncate, measured(&["b"], &[], &[50])),
        ]);
        assert_eq!(recommended(&all), None);
    }

    #[test]
    fn a_test_that_fails_everywhere_is_no_strategys_fault() {
        let all = BTreeMap::from([
            (StrategyWord::Rollback, measured(&["broken"], &[], &[10])),
            (StrategyWord::Truncate, measured(&["broken"], &[], &[50])),
        ]);
        assert_eq!(recommended(&all), Some(StrategyWord::Rollback));
        assert!(particular(&all).is_empty());
    }
}
