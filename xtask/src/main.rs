//! `cargo xtask test`: the one command that tests all of this workspace, on every kind of server
//! that the machine has, and says at the end what ran on what.

mod args;
mod counts;
mod kill;
mod leg;
mod machine;
mod process;
mod report;
mod soak;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use args::{Options, Task};
use counts::{Counts, said, worth_printing};
use leg::{Kind, Leg, Members, Verdict, decide, legs};
use process::End;
use report::{Outcome, Row, Seen, Sum, Tallies, judge};

/// How long one leg may take; nextest and the tests themselves give up long before.
const LEG_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long a run with `--all` may take: CI ends it without a word somewhere above.
const RUN_LIMIT: Duration = Duration::from_secs(55 * 60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let done = args::parse(&args, ci).and_then(|task| match task {
        Task::Help => {
            print!("{}", args::HELP);
            Ok(true)
        }
        Task::Test(options) => test(&options),
        Task::Flake(rounds, options) => flake(rounds, &options),
        Task::Kill(times, options) => kill::kill(times, &options),
        Task::Soak(soak) => soak::soak(&soak),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// Everything that was asked for, once. Whether it passed.
fn test(options: &Options) -> Result<bool, String> {
    let workspace = Workspace::read()?;
    let legs = workspace.legs(options)?;
    if options.list {
        for leg in &legs {
            println!(
                "{:<28}{}",
                leg.name,
                if leg.command.is_empty() { "nothing yet".into() } else { leg.line() }
            );
        }
        return Ok(true);
    }
    let deadline = options.all.then(|| Instant::now() + RUN_LIMIT);
    let verdicts = workspace.prepare(&legs, options);
    let rows = workspace.run_all(legs, &verdicts, options.keep_going, deadline, "")?;
    print!("{}", report::report(&rows));
    let sum = Sum::of(&rows);
    Ok(sum.failed == 0 && rows.iter().any(|row| row.outcome == Outcome::Passed))
}

/// The server legs, again and again. Whether all passed.
fn flake(rounds: u32, options: &Options) -> Result<bool, String> {
    let workspace = Workspace::read()?;
    let mut legs = workspace.legs(options)?;
    legs.retain(|leg| leg.on().is_some());
    if legs.is_empty() {
        return Err("--only leaves no server leg; `cargo xtask test --list` shows them".to_owned());
    }
    let verdicts = workspace.prepare(&legs, options);
    // Compiling is not part of a round.
    let build = Options { only: vec!["build".to_owned()], ..Options::default() };
    let build = workspace.run_all(workspace.legs(&build)?, &[Verdict::Run], false, None, "")?;
    if Sum::of(&build).failed > 0 {
        print!("{}", report::report(&build));
        return Ok(false);
    }
    let mut tallies = Tallies::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let rows = workspace.run_all(legs.clone(), &verdicts, true, None, &format!("flake-{round}-"))?;
        tallies.add(&rows);
    }
    print!("{}", tallies.report());
    Ok(tallies.sum().failed == 0 && tallies.sum().passed > 0)
}

/// Where we are and what is here.
struct Workspace {
    root: PathBuf,
    logs: PathBuf,
    members: Members,
    /// The program that says which server the library takes; none until it was built.
    which_server: PathBuf,
}

impl Workspace {
    fn read() -> Result<Workspace, String> {
        let next = "run `cargo metadata` to see why";
        let root = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .and_then(|ours| ours.parent().map(Path::to_path_buf))
            .ok_or("cargo did not say where the workspace is; run it as `cargo xtask test`")?;
        let mut command = process::cargo(&root);
        let output = command
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(|error| format!("could not start cargo: {error}; is it on the PATH?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`cargo metadata` failed: {}; {next}", said.trim()));
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`cargo metadata` wrote what is not JSON: {error}; {next}"))?;
        let target = metadata["target_directory"]
            .as_str()
            .ok_or_else(|| format!("`cargo metadata` names no target directory; {next}"))?;
        let target = Path::new(target);
        let which_server = format!("which_server{}", std::env::consts::EXE_SUFFIX);
        Ok(Workspace {
            logs: target.join("xtask"),
            members: Members { examples: examples(&metadata, &root) },
            which_server: target.join("debug/examples").join(which_server),
            root,
        })
    }

    fn legs(&self, options: &Options) -> Result<Vec<Leg>, String> {
        let urls = report::urls(|name| std::env::var(name).ok());
        let chosen = legs(&self.members, &urls, &options.only);
        if chosen.is_empty() {
            let named = options.only.join("`, `");
            return Err(format!(
                "no leg has `{named}` in its name; `cargo xtask test --list` shows them all"
            ));
        }
        Ok(chosen)
    }

    fn prepare(&self, legs: &[Leg], options: &Options) -> Vec<Verdict> {
        let available = machine::prepare(&self.root, &self.logs, legs, options);
        decide(legs, &available, options.all)
    }

    fn run_all(
        &self,
        legs: Vec<Leg>,
        verdicts: &[Verdict],
        keep_going: bool,
        deadline: Option<Instant>,
        log_prefix: &str,
    ) -> Result<Vec<Row>, String> {
        let mut rows: Vec<Row> = Vec::new();
        let mut stopped = false;
        for (leg, verdict) in legs.into_iter().zip(verdicts) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let not_run = match verdict {
                Verdict::NotRun { why, fatal } => Some((why.clone(), *fatal)),
                Verdict::Run if stopped => {
                    Some(("an earlier leg failed; --keep-going runs it".to_owned(), false))
                }
                Verdict::Run if left == Some(Duration::ZERO) => {
                    let minutes = RUN_LIMIT.as_secs() / 60;
                    Some((
                        format!("the {minutes} minutes of the run are over; --only {} runs it", leg.name),
                        true,
                    ))
                }
                Verdict::Run => None,
            };
            let row = match not_run {
                Some((why, fatal)) => Row {
                    leg,
                    outcome: Outcome::NotRun { why, fatal },
                    counts: Counts::default(),
                    seen: None,
                    took: Duration::ZERO,
                    said: Vec::new(),
                },
                None => self.run(leg, left.map_or(LEG_LIMIT, |left| left.min(LEG_LIMIT)), log_prefix)?,
            };
            let failed = match &row.outcome {
                Outcome::Failed(why) => {
                    eprintln!("FAILED   {}: {why}", row.leg.name);
                    true
                }
                Outcome::NotRun { why, fatal } => {
                    eprintln!("{}  {}: {why}", if *fatal { "FAILED " } else { "not run" }, row.leg.name);
                    *fatal
                }
                Outcome::Passed => false,
            };
            stopped |= failed && !keep_going;
            rows.push(row);
        }
        Ok(rows)
    }

    fn run(&self, leg: Leg, limit: Duration, log_prefix: &str) -> Result<Row, String> {
        let log = self.logs.join(format!("{log_prefix}{}.log", leg.name.replace(['/', ':'], "-")));
        let mut command = process::cargo(&self.root);
        command.args(&leg.command);
        if leg.runner() == counts::Runner::Nextest && std::env::var_os("DBTEST_SKIP_MISSING").is_some() {
            // Else nextest keeps to itself what a test that passed says, and so what was skipped.
            command.args(["--success-output", "immediate"]);
        }
        set_environment(&mut command, &leg);
        let filter = leg.filter();
        let mut counts = Counts::default();
        let mut output = Vec::new();
        let started = Instant::now();
        let mut progress = Progress::start(&leg.name);
        let end = process::run(&mut command, &log, limit, |lines| {
            for line in lines {
                if leg.kind != Kind::Check {
                    counts.line(leg.runner(), &filter, line);
                }
                output.push(line.clone());
            }
            progress.tick(&counts, output.last().map_or("", String::as_str));
        })?;
        let took = started.elapsed();
        progress.clear();
        let ended_well = matches!(&end, End::Exited(status) if status.success());
        let seen = if leg.on().is_some() && ended_well { self.which_server(&leg) } else { None };
        let outcome = match (end, judge(&leg, &counts, ended_well, seen.as_ref())) {
            (End::TimedOut(limit), _) => Outcome::Failed(format!("it was ended after {} s", limit.as_secs())),
            (_, outcome) => outcome,
        };
        match &outcome {
            Outcome::Passed => {
                if !log_prefix.is_empty() {
                    // One of many rounds: only what failed is worth its room. A log that stays does no harm.
                    let _ = std::fs::remove_file(&log);
                }
                let tests = if leg.kind == Kind::Check {
                    String::new()
                } else {
                    format!("   {} passed", counts.passed())
                };
                eprintln!("ok       {:<28}{:>7.1} s{tests}", leg.name, took.as_secs_f64());
            }
            _ => {
                eprintln!("──────── {}: {}", leg.name, leg.line());
                output.iter().filter(|line| worth_printing(line)).for_each(|line| eprintln!("{line}"));
                eprintln!("──────── all of it: {}", log.display());
            }
        }
        let said = if matches!(outcome, Outcome::Failed(_)) { said(&output) } else { Vec::new() };
        Ok(Row { leg, outcome, counts, seen, took, said })
    }

    /// Asks the library which server it takes in this leg's environment.
    fn which_server(&self, leg: &Leg) -> Option<Seen> {
        let on = leg.on()?;
        let log = self.logs.join("which_server.log");
        let mut build = process::cargo(&self.root);
        build.args(["build", "--quiet", "--workspace"]);
        build.args(self.members.examples.iter().flat_map(|name| ["--exclude", name]));
        build.args(["--exclude", leg::CLIENTS, "--all-features", "--example", "which_server"]);
        process::answer(&mut build, &log, LEG_LIMIT).ok()?;
        let mut ask = process::command(&self.which_server.to_string_lossy(), &self.root);
        set_environment(ask.arg(on.engine.word()), leg);
        let said = process::answer(&mut ask, &log, Duration::from_secs(120)).ok()?;
        said.lines().rev().find_map(Seen::parse)
    }
}

fn set_environment(command: &mut std::process::Command, leg: &Leg) {
    for (name, value) in &leg.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// The members that live in examples/.
fn examples(metadata: &serde_json::Value, root: &Path) -> Vec<String> {
    let folder = root.join("examples");
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = packages
        .iter()
        .filter(|package| {
            package["manifest_path"].as_str().is_some_and(|path| Path::new(path).starts_with(&folder))
        })
        .filter_map(|package| package["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// A line that says how far a leg is: renewed in place on a terminal, now and then elsewhere.
struct Progress {
    name: String,
    started: Instant,
    said: Instant,
    every: Duration,
    on_terminal: bool,
}

impl Progress {
    fn start(name: &str) -> Progress {
        let on_terminal = std::io::stderr().is_terminal();
        let every = if on_terminal { Duration::from_millis(200) } else { Duration::from_secs(20) };
        let now = Instant::now();
        Progress { name: name.to_owned(), started: now, said: now, every, on_terminal }
    }

    fn tick(&mut self, counts: &Counts, line: &str) {
        if self.said.elapsed() < self.every {
            return;
        }
        self.said = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        let now = match counts.so_far {
            0 => line.trim().chars().take(50).collect(),
            tests => format!("{tests} tests, {} failed", counts.failures.len()),
        };
        let text = format!("…        {:<28}{seconds:>5} s     {now}", self.name);
        if self.on_terminal {
            eprint!("\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    fn clear(&self) {
        if self.on_terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_the_members_in_their_folder() {
        let package = |name: &str, path: &str| serde_json::json!({ "name": name, "manifest_path": path });
        let metadata = serde_json::json!({ "packages": [
            package("todo-sqlx", "/r/examples/todo-sqlx/Cargo.toml"),
            package("dbtest-core", "/r/dbtest-core/Cargo.toml"),
            package("custom", "/r/examples/custom/Cargo.toml"),
        ]});
        assert_eq!(examples(&metadata, Path::new("/r")), ["custom", "todo-sqlx"]);
        assert!(examples(&serde_json::Value::Null, Path::new("/r")).is_empty());
    }
}
