//! `cargo dbtest report`: how much of the latest run was spent in dbtest.

use std::time::Duration;

use dbtest_sqlx::Report;
use serde_json::json;

use crate::outcome::Outcome;
use crate::show;

pub(crate) fn run(json: bool) -> dbtest_sqlx::Result<Outcome> {
    let Some(report) = Report::latest()? else {
        eprintln!("there is no report; next step: run the tests with DBTEST_REPORT=1");
        return Ok(Outcome::NotFound);
    };
    if json {
        show::json(&value(&report));
    } else {
        print!("{}", text(&report));
    }
    Ok(Outcome::Good)
}

fn value(report: &Report) -> serde_json::Value {
    let phases: Vec<_> = report
        .phases
        .iter()
        .map(|(phase, spent)| {
            json!({
                "phase": phase.word(),
                "times": spent.times,
                "total_us": micros(spent.total),
                "longest_us": micros(spent.longest),
            })
        })
        .collect();
    json!({
        "processes": report.processes,
        "tests": report.tests,
        "elapsed_us": micros(report.elapsed),
        "phases": phases,
        "healed": report.healed,
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{} in {}, {} in all\n",
        show::counted(report.tests, "test", "tests"),
        show::counted(report.processes, "process", "processes"),
        show::time(report.elapsed)
    );
    let mut rows = vec![["phase", "times", "total", "mean", "longest"].map(str::to_owned)];
    for (phase, spent) in &report.phases {
        let mean = spent.total / u32::try_from(spent.times.max(1)).unwrap_or(u32::MAX);
        rows.push([
            phase.word().to_owned(),
            spent.times.to_string(),
            show::time(spent.total),
            show::time(mean),
            show::time(spent.longest),
        ]);
    }
    text.push_str(&show::columns(&rows));
    for (why, times) in &report.healed {
        text.push_str(&format!("slots made anew: {times}, because {why}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_two_are_two() {
        let mut report = Report::default();
        (report.tests, report.processes) = (2, 1);
        report.elapsed = Duration::from_millis(70);
        assert!(text(&report).starts_with("2 tests in 1 process, 70 ms in all\n"), "{}", text(&report));
        (report.tests, report.processes) = (1, 2);
        assert!(text(&report).starts_with("1 test in 2 processes, "), "{}", text(&report));
    }
}
