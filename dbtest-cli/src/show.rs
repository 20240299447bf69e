//! Tables for people, JSON for programs. Pure.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use dbtest_sqlx::{Error, Inventory, KeptNote, Listed, PlaceForm, PlaceKind};
use serde_json::{Value, json};

use crate::servers::Seen;

/// Prints one JSON document.
pub(crate) fn json(value: &Value) {
    println!("{value:#}");
}

pub(crate) fn status_json(seen: &[Result<Seen, Error>]) -> Value {
    let servers: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.as_ref().ok())
        .map(|seen| {
            let mut server = server_json(&seen.server);
            server["places"] = seen.places.iter().map(place_json).collect();
            server
        })
        .collect();
    let problems: Vec<_> = seen.iter().filter_map(|seen| Some(seen.as_ref().err()?.to_string())).collect();
    json!({ "servers": servers, "problems": problems })
}

pub(crate) fn server_json(server: &Inventory) -> Value {
    json!({
        "engine": server.engine().word(),
        "place": server.place(),
        "origin": server.origin(),
        "started_by_dbtest": server.started(),
    })
}

pub(crate) fn place_json(place: &Listed) -> Value {
    json!({
        "name": place.name,
        "kind": kind(place),
        "form": match place.form {
            PlaceForm::Schema => "schema",
            PlaceForm::File => "file",
            _ => "database",
        },
        "setup": place.setup,
        "label": place.label,
        "made": place.made.and_then(seconds),
        "held": place.held,
        "holder": place.holder.as_ref().map(|holder| json!({
            "process": holder.process,
            "connection": holder.connection,
            "application": holder.application,
        })),
        "size": place.size,
        "kept": place.kept.as_ref().map(|kept| json!({
            "test": kept.test,
            "passed": kept.passed,
            "strategy": kept.strategy,
            "pinned": kept.pinned,
            "at": seconds(kept.at),
        })),
    })
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

pub(crate) fn kind(place: &Listed) -> &'static str {
    match place.kind {
        PlaceKind::Template => "template",
        PlaceKind::Slot => "slot",
        PlaceKind::Stable => "stable",
        _ => "clone",
    }
}

pub(crate) fn status(seen: &[Result<Seen, Error>], all: bool) -> String {
    let mut text = String::new();
    for seen in seen {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string can't fail.
        let _ = match seen {
            Ok(Seen { server, places }) => write!(text, "{}{}", heading(server), table(places, all)),
            Err(error) => writeln!(text, "{error}"),
        };
    }
    if seen.is_empty() {
        text.push_str(
            "no server is there: none is named by a URL, and dbtest has started none that still runs\n",
        );
        text.push_str(
            "  next step: run your tests, or `cargo dbtest doctor` to see which server they would have\n",
        );
    }
    text
}

/// The server on one line.
pub(crate) fn heading(server: &Inventory) -> String {
    format!("{} {} ({})\n", server.engine(), server.place(), server.origin())
}

/// The places in columns, or a line that there is none. Without `all`, slots and clones that are free, of
/// which a busy server has hundreds, are a number.
fn table(places: &[Listed], all: bool) -> String {
    if places.is_empty() {
        return "  nothing of dbtest's is on it\n".to_owned();
    }
    let now = SystemTime::now();
    let (shown, free): (Vec<_>, Vec<_>) = places.iter().partition(|place| all || !is_free(place));
    let rows = shown.into_iter().map(|place| {
        [
            place.name.clone(),
            if place.kept.is_some() { "kept".to_owned() } else { kind(place).to_owned() },
            place.label.clone().unwrap_or_else(|| "half-made".to_owned()),
            place.made.map(|made| age(now, made)).unwrap_or_default(),
            place.size.map(size).unwrap_or_default(),
            state(place, now),
        ]
    });
    let heading = ["name", "kind", "setup of", "age", "size", "state"].map(str::to_owned);
    let mut text = columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    if !free.is_empty() {
        // Writing to a string can't fail.
        let free = counted(free.len() as u64, "slot that is free", "slots that are free");
        let _ = writeln!(text, "  and {free}; --all lists them");
    }
    text
}

/// Whether the next test may have it, and a person has no reason to look at it.
fn is_free(place: &Listed) -> bool {
    let reused = !matches!(place.kind, PlaceKind::Template | PlaceKind::Stable);
    reused && place.kept.is_none() && !place.held && place.label.is_some()
}

/// How many, with the word for one or for several.
pub(crate) fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// How the test of a kept place ended.
pub(crate) fn outcome(kept: &KeptNote) -> &'static str {
    if kept.passed { "passed" } else { "failed" }
}

/// Who has it, or why it is there.
fn state(place: &Listed, now: SystemTime) -> String {
    if let Some(kept) = &place.kept {
        let pinned = if kept.pinned { ", stays until dropped" } else { "" };
        let (test, outcome, age) = (&kept.test, outcome(kept), age(now, kept.at));
        return format!("{test} {outcome} {age} ago ({}){pinned}", kept.strategy);
    }
    if !place.held {
        return "free".to_owned();
    }
    let holder = place.holder.clone().unwrap_or_default();
    match (holder.process, holder.connection, holder.application) {
        (Some(process), ..) => format!("held by process {process}"),
        (None, Some(connection), Some(application)) => {
            format!("held by connection {connection} ({application})")
        }
        (None, Some(connection), None) => format!("held by connection {connection}"),
        _ => "held".to_owned(),
    }
}

/// Left-aligned columns, two spaces apart.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:width$}"));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// In the largest unit that leaves a whole number.
pub(crate) fn age(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).map_or(0, |age| age.as_secs());
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} kB", bytes / 1_024),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

/// With a unit that leaves few digits.
pub(crate) fn time(time: Duration) -> String {
    match time.as_micros() {
        us @ 0..10_000 => format!("{us} µs"),
        us @ 10_000..10_000_000 => format!("{} ms", us / 1_000),
        us => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_few_digits() {
        for (micros, text) in [(17, "17 µs"), (12_345, "12 ms"), (12_345_678, "12 s")] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let now = SystemTime::now();
        let ages = [0, 59, 60, 7_199, 90_000].map(|seconds| age(now, now - Duration::from_secs(seconds)));
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h", "1 d"]);
        // A clock that was set back is no reason to fail.
        assert_eq!(age(now, now + Duration::from_secs(9)), "0 s");
        assert_eq!([17, 2_048, 3_145_728].map(size), ["17 B", "2 kB", "3.0 MB"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "b"], ["ccc", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "  a    b\n  ccc  d\n");
    }
}
