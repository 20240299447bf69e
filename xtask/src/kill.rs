//! A nextest run is killed at random moments, all of it and what it has started, without asking. The
//! next run is green each time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::args::Options;
use crate::counts::Runner;
use crate::leg::{Leg, Verdict};
use crate::report::Outcome;
use crate::{LEG_LIMIT, Workspace, process, set_environment};

/// What is run: the suite of the first adapter, under every strategy.
const TESTS: &str = "binary(it) and test(/^conformance::/)";

/// Whether every run after a kill was green.
pub(crate) fn kill(times: u32, options: &Options) -> Result<bool, String> {
    let workspace = Workspace::read()?;
    let mut legs = workspace.legs(options)?;
    legs.retain(|leg| leg.on().is_some() && leg.runner() == Runner::Nextest);
    if legs.is_empty() {
        return Err("--only leaves no leg of nextest; `cargo xtask test --list` shows them".to_owned());
    }
    let verdicts = workspace.prepare(&legs, options);
    let mut green = true;
    let mut some = false;
    for (leg, verdict) in legs.into_iter().zip(verdicts) {
        if let Verdict::NotRun { why, .. } = verdict {
            eprintln!("not run  {}: {why}", leg.name);
            continue;
        }
        some = true;
        green &= kill_leg(&workspace, only_the_suite(leg), times)?;
    }
    Ok(green && some)
}

/// Of the leg's tests the first adapter's, so that nothing else has to be built.
fn only_the_suite(mut leg: Leg) -> Leg {
    let first = leg.command.iter().position(|word| word == "--test").map_or(leg.command.len(), |at| at + 2);
    let rest = leg.command.split_off(first);
    let rest = rest.into_iter().skip_while(|word| word != "--profile");
    leg.command.extend(rest);
    if let Some(filter) = leg.command.last_mut() {
        *filter = format!("{TESTS} and ({filter})");
    }
    leg
}

fn kill_leg(workspace: &Workspace, leg: Leg, times: u32) -> Result<bool, String> {
    let name = leg.name.clone();
    let run = || -> Result<(bool, Duration), String> {
        let rows = workspace.run_all(vec![leg.clone()], &[Verdict::Run], true, None, "kill-")?;
        let took = rows.iter().map(|row| row.took).sum();
        Ok((rows.iter().all(|row| row.outcome == Outcome::Passed), took))
    };
    // The first builds what it runs, which is no part of how long a run takes.
    if !run()?.0 {
        eprintln!("FAILED   {name}: it is not green before anything was killed");
        return Ok(false);
    }
    let (green, takes) = run()?;
    if !green {
        eprintln!("FAILED   {name}: it is not green twice before anything was killed");
        return Ok(false);
    }
    let log = workspace.logs.join("kill.log");
    let (mut failed, mut killed, mut missed) = (0, 0, 0);
    while killed < times {
        let after = takes.mul_f64(random());
        let mut command = process::cargo(&workspace.root);
        command.args(&leg.command);
        set_environment(&mut command, &leg);
        let runs = process::kill_after(&mut command, &log, after.min(LEG_LIMIT))?;
        let after = after.as_secs_f64();
        if !runs {
            // It took less time than the one before. Another moment, then.
            missed += 1;
            if missed > 5 * times {
                return Err(format!("{name} ends before it can be killed, {missed} times"));
            }
            continue;
        }
        killed += 1;
        eprintln!("killed   {name} {killed} of {times}, {after:.2} s after it began");
        if !run()?.0 {
            failed += 1;
        }
    }
    eprintln!("{name}: killed {times} times, and the run after it failed {failed} times");
    Ok(failed == 0)
}

/// From 0 to 1, another at each call: std seeds its hashers from the system.
fn random() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::{Members, legs};

    #[test]
    fn only_the_first_adapter_is_run() {
        let leg = legs(&Members::default(), &[], &["sqlite/nextest".to_owned()]).remove(0);
        assert!(leg.line().contains("--test seaorm"));
        let line = only_the_suite(leg).line();
        assert!(line.contains("--all-features --test it --profile ci") && !line.contains("seaorm"), "{line}");
        assert!(line.ends_with(")'") && line.contains(&format!("-E '{TESTS} and (test(sqlite::)")), "{line}");
    }

    #[test]
    fn moments_are_anywhere_in_a_run() {
        let moments: Vec<f64> = (0..1000).map(|_| random()).collect();
        assert!(moments.iter().all(|moment| (0.0..=1.0).contains(moment)));
        for part in [0.0..0.25, 0.25..0.5, 0.5..0.75, 0.75..1.0] {
            assert!(moments.iter().any(|moment| part.contains(moment)), "none in {part:?}");
        }
    }
}
