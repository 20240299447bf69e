//! How much of a run was spent in dbtest, by phase, and what it had to heal. Kept only where
//! `DBTEST_REPORT` asks for it: each process of a run writes a file of its own, and whoever wants
//! to know adds them up.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::config::{Config, config};
use crate::error::{Error, Result};
use crate::server::private;

/// A part of what a test pays for its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// Finding a server, or starting one.
    Server,
    /// Building the template, or waiting for another process that does.
    Template,
    /// Looking for what is on the server, and sweeping what was abandoned.
    Survey,
    /// Making a slot.
    Slot,
    /// Leasing a slot, with the reset that comes with it.
    Lease,
    /// Waiting for a clone.
    Clone,
    /// Opening the handle.
    Connect,
    /// Ending the handle.
    Close,
    /// Putting a slot back to its baseline.
    Reset,
    /// Dropping a clone, or a slot that can't be put back.
    Drop,
}

impl Phase {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Template => "template",
            Self::Survey => "survey",
            Self::Slot => "slot",
            Self::Lease => "lease",
            Self::Clone => "clone",
            Self::Connect => "connect",
            Self::Close => "close",
            Self::Reset => "reset",
            Self::Drop => "drop",
        }
    }
}

/// What one phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spent {
    /// How often.
    pub times: u64,
    /// In all.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
}

/// What the tests of one process spent in dbtest, or of all processes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// How many processes.
    pub processes: u64,
    /// How many test databases were opened and ended.
    pub tests: u64,
    /// From the first thing that dbtest did in a process to the end of its last test, of all
    /// processes: tests that ran side by side in one process count once.
    pub elapsed: Duration,
    /// What each test database cost its test: opening it and ending it. Under nextest also what the
    /// first test of a run paid for the server and the template.
    pub costs: Vec<Duration>,
    /// By phase.
    pub phases: BTreeMap<Phase, Spent>,
    /// Why a slot was made anew, and how often.
    pub healed: BTreeMap<String, u64>,
}

impl Report {
    /// The report of the latest run of this user that asked for one with `DBTEST_REPORT=1`: one
    /// nextest run, or all test executables of one `cargo test`. `None` if there is none.
    ///
    /// # Errors
    /// `DBTEST_DIR` can't be read.
    pub fn latest() -> Result<Option<Self>> {
        let folder = config()?.dir.join("reports");
        let read = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
            std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
        };
        let runs = match read(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            runs => {
                runs.map_err(|error| Error::system(format!("read the folder {}", folder.display()), error))?
            }
        };
        let Some(latest) = runs.into_iter().max_by_key(|run| changed(run)) else { return Ok(None) };
        let files = read(&latest)
            .map_err(|error| Error::system(format!("read the folder {}", latest.display()), error))?;
        let reports = files.iter().filter_map(|file| serde_json::from_slice(&std::fs::read(file).ok()?).ok());
        Ok(reports.reduce(Self::and))
    }

    fn add(&mut self, phase: Phase, took: Duration) {
        let spent = self.phases.entry(phase).or_default();
        spent.times += 1;
        spent.total += took;
        spent.longest = spent.longest.max(took);
    }

    fn and(mut self, other: Self) -> Self {
        self.processes += other.processes;
        self.tests += other.tests;
        self.elapsed += other.elapsed;
        self.costs.extend(other.costs);
        for (phase, more) in other.phases {
            let spent = self.phases.entry(phase).or_default();
            spent.times += more.times;
            spent.total += more.total;
            spent.longest = spent.longest.max(more.longest);
        }
        for (why, times) in other.healed {
            *self.healed.entry(why).or_default() += times;
        }
        self
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// This process's own, since it did something first.
static OWN: Mutex<Option<(Instant, Report)>> = Mutex::new(None);

fn note(change: impl FnOnce(&mut Report)) {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, report) =
        own.get_or_insert_with(|| (Instant::now(), Report { processes: 1, ..Report::default() }));
    change(report);
}

fn is_wanted() -> bool {
    config().is_ok_and(|config| config.report.is_some())
}

/// Does the work, and counts it to the phase.
pub(crate) async fn timed<T>(phase: Phase, work: impl Future<Output = T>) -> T {
    if !is_wanted() {
        return work.await;
    }
    // Before the work, so that the elapsed time begins with it.
    note(|_| ());
    let begun = Instant::now();
    let done = work.await;
    let took = begun.elapsed();
    note(|report| report.add(phase, took));
    done
}

/// A slot was made anew, for this reason.
pub(crate) fn healed(why: &str) {
    if is_wanted() {
        note(|report| *report.healed.entry(why.to_owned()).or_default() += 1);
    }
}

/// A test has ended: writes what there is now, since nobody tells a process that it ends.
pub(crate) fn test_ended(config: &Config, cost: Duration) {
    let Some(run) = &config.report else { return };
    note(|report| {
        report.tests += 1;
        report.costs.push(cost);
    });
    let folder = config.dir.join("reports").join(run);
    // Under the lock, or an older one could come last.
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((begun, report)) = &mut *own else { return };
    report.elapsed = begun.elapsed();
    // A report is a help: a test does not fail for want of it.
    if let Err(error) = write(report, &folder) {
        crate::progress::say(&format!("DBTEST_REPORT: {} can't be written: {error}", folder.display()));
    }
}

fn write(report: &Report, folder: &Path) -> std::io::Result<()> {
    if !folder.is_dir() {
        folder.parent().into_iter().for_each(crate::run::forget_old);
    }
    private(folder).map_err(std::io::Error::other)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), serde_json::to_vec(report)?)?;
    file.persist(folder.join(format!("{}.json", std::process::id())))?;
    Ok(())
}

/// Which run `DBTEST_REPORT` means, if one: its own word, nextest's, or the process that started
/// this one, which `cargo test` is for all of its test executables.
pub(crate) fn run(set: &str) -> Option<String> {
    let word = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    match set {
        "" | "0" => None,
        "1" => Some(match std::env::var("NEXTEST_RUN_ID") {
            Ok(run) => word(&run),
            Err(_) => format!("cargo-{}", parent()),
        }),
        own => Some(word(own)),
    }
}

fn parent() -> u32 {
    #[cfg(unix)]
    return std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_added_up() {
        let mut one = Report { processes: 1, tests: 2, ..Report::default() };
        one.add(Phase::Reset, Duration::from_millis(3));
        one.add(Phase::Reset, Duration::from_millis(1));
        one.healed.insert("the test changed the schema".to_owned(), 1);
        let mut other = Report { processes: 1, tests: 1, ..Report::default() };
        other.add(Phase::Reset, Duration::from_millis(5));
        other.add(Phase::Lease, Duration::from_millis(7));
        other.healed.insert("the test changed the schema".to_owned(), 2);
        let both = one.and(other);
        assert_eq!((both.processes, both.tests), (2, 3));
        let reset = both.phases[&Phase::Reset];
        assert_eq!(
            (reset.times, reset.total, reset.longest),
            (3, Duration::from_millis(9), Duration::from_millis(5))
        );
        assert_eq!(both.phases[&Phase::Lease].times, 1);
        assert_eq!(both.healed["the test changed the schema"], 3);
    }

    #[test]
    fn a_report_reads_back() {
        let mut report = Report { processes: 1, tests: 1, ..Report::default() };
        report.add(Phase::Clone, Duration::from_micros(17));
        let text = serde_json::to_string(&report).expect("text");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("a report"), report);
    }
}
