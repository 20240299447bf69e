//! The result as Markdown: what was wanted and what is, and every figure.

use std::fmt::Write;

use crate::contender::Kind;
use crate::result::{Cell, Line, Report};
use crate::site::Engine;

const ENGINES: [Engine; 4] = [Engine::Postgres, Engine::MariaDb, Engine::MySql, Engine::Sqlite];

/// The size of the schema on which strategies are judged.
const TABLES: usize = 150;

/// Microseconds as a person reads them.
pub fn shown(micros: f64) -> String {
    match micros {
        micros if micros < 1_000.0 => format!("{micros:.0} µs"),
        micros if micros < 10_000.0 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

fn find(cell: &Cell, kind: Kind) -> Option<&Line> {
    cell.lines.iter().find(|line| line.name == kind.name())
}

fn cell(report: &Report, engine: Engine, tables: usize) -> Option<&Cell> {
    report.cells.iter().find(|cell| cell.engine == engine && cell.tables == tables && cell.workers == 1)
}

/// One figure against what was wanted.
fn target(text: &mut String, name: &str, wanted: f64, most: bool, is: f64, how: &str) {
    let reached = if most { is <= wanted } else { is >= wanted };
    let sign = if most { "≤" } else { "≥" };
    let word = if reached { "reached" } else { "**missed**" };
    let _ = writeln!(text, "| {name} | {sign} {wanted} × | {is:.1} × | {word} | {how} |");
}

fn targets(report: &Report) -> String {
    let mut text = String::from("| figure | wanted | is | | medians |\n| --- | ---: | ---: | --- | --- |\n");
    for engine in ENGINES {
        let Some(at) = cell(report, engine, TABLES) else { continue };
        let (name, Some(floor)) = (engine.name(), find(at, Kind::Floor)) else { continue };
        for (kind, wanted) in [(Kind::Rollback, 3.0), (Kind::Truncate, 5.0)] {
            let Some(line) = find(at, kind) else { continue };
            let (is, floor) = (line.isolation.median, floor.isolation.median);
            let how = format!("{} to {}", shown(is), shown(floor));
            target(
                &mut text,
                &format!("{name}: {} to BEGIN … ROLLBACK", kind.name()),
                wanted,
                true,
                is / floor,
                &how,
            );
            let mut sizes: Vec<(usize, f64)> = report
                .cells
                .iter()
                .filter(|cell| cell.engine == engine && cell.workers == 1)
                .filter_map(|cell| Some((cell.tables, find(cell, kind)?.isolation.median)))
                .collect();
            sizes.sort_by_key(|size| size.0);
            if let [(least, small), .., (most, large)] = sizes[..] {
                let how = format!("{} to {}", shown(large), shown(small));
                let figure = format!("{name}: {} on {most} tables to {least}", kind.name());
                target(&mut text, &figure, 1.5, true, large / small, &how);
            }
        }
        let opening = |line: &Line| line.lease.median + line.connect.median;
        let clones: &[_] = match engine {
            Engine::Postgres => &[
                (Kind::TemplateAlone, Kind::RawClone, 1.2, "raw CREATE DATABASE and connect"),
                (Kind::Template, Kind::Handle, 2.0, "opening a handle"),
            ],
            Engine::Sqlite => &[(Kind::Template, Kind::Handle, 1.3, "opening an existing file")],
            _ => &[],
        };
        for (kind, raw, wanted, word) in clones {
            let Some((raw, line)) = find(at, *raw).zip(find(at, *kind)) else { continue };
            let how = format!("{} to {}", shown(opening(line)), shown(opening(raw)));
            let figure = format!("{name}: {}, until it is open, to {word}", kind.name());
            target(&mut text, &figure, *wanted, true, opening(line) / opening(raw), &how);
        }
        for (runner, peer, wanted) in [
            ("cargo test", "sqlx::test 0.9", if engine == Engine::Sqlite { 10.0 } else { 20.0 }),
            ("threads", "db-pool 0.7", 10.0),
            ("nextest", "sqlx::test 0.9", 5.0),
        ] {
            let wanted = if runner == "cargo test" && matches!(engine, Engine::MySql | Engine::MariaDb) {
                50.0
            } else {
                wanted
            };
            let of = |name: &str, runner: &str| {
                let found = report
                    .suites
                    .iter()
                    .find(|suite| suite.engine == engine && suite.runner == runner && suite.name == name);
                found.map(|suite| suite.per_test)
            };
            let ours = of("dbtest truncate", if runner == "threads" { "cargo test" } else { runner });
            if let Some((ours, theirs)) = ours.zip(of(peer, runner)) {
                let how = format!("{} to {}", shown(theirs * 1e3), shown(ours * 1e3));
                let runner = if runner == "nextest" { "nextest" } else { "one process" };
                let figure = format!("{name}, a suite in {runner}: {peer} to dbtest truncate");
                target(&mut text, &figure, wanted, false, theirs / ours, &how);
            }
        }
    }
    text
}

fn suites(report: &Report) -> String {
    let mut text = String::from("| | runner | | tests | per test |\n| --- | --- | --- | ---: | ---: |\n");
    for suite in &report.suites {
        let _ = writeln!(
            text,
            "| {} {} | {} | {} | {} | {} |",
            suite.engine.name(),
            suite.version,
            suite.runner,
            suite.name,
            suite.tests,
            shown(suite.per_test * 1e3)
        );
    }
    text
}

fn table(cell: &Cell) -> String {
    let mut text = String::from(
        "| | isolation | p95 | × floor | lease | opening the handle | body | end | a whole test | p95 | per test, of all | n |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let floor = find(cell, Kind::Floor).map_or(f64::NAN, |line| line.isolation.median);
    for line in &cell.lines {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} |",
            line.name,
            shown(line.isolation.median),
            shown(line.isolation.p95),
            line.isolation.median / floor,
            shown(line.lease.median),
            shown(line.connect.median),
            shown(line.body.median),
            shown(line.end.median),
            shown(line.whole.median),
            shown(line.whole.p95),
            shown(line.wall.median),
            line.samples,
        );
    }
    text
}

pub fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} cores, {} GiB; {}; {}\n\n## Targets\n\n{}\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.system,
        machine.rust,
        targets(report)
    );
    if !report.suites.is_empty() {
        let _ = writeln!(text, "## Suites\n\n{}", suites(report));
    }
    for cell in &report.cells {
        let many = if cell.workers == 1 {
            "one test at a time".to_owned()
        } else {
            format!("{} at once", cell.workers)
        };
        let _ = writeln!(
            text,
            "## {} {}, {} tables, {many}\n\n{}",
            cell.engine.name(),
            cell.version,
            cell.tables,
            table(cell)
        );
    }
    text
}
