//! What the processes of one nextest run tell each other, so that not every test finds it out
//! again: small notes in a folder of the run. A note is a hint: whoever follows it checks what it
//! finds there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::server::private;

/// Runs older than this are over.
const DAY: Duration = Duration::from_secs(86_400);

/// Whether this process is one of many of a run.
pub(crate) fn is_shared() -> bool {
    std::env::var_os("NEXTEST_RUN_ID").is_some()
}

/// `None` without a run that spans processes: there is nobody to tell.
fn folder(config: &Config) -> Option<PathBuf> {
    let run = std::env::var("NEXTEST_RUN_ID").ok()?;
    let run: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(config.dir.join("runs").join(run))
}

/// What another process of this run wrote.
pub(crate) fn read(config: &Config, note: &str) -> Option<String> {
    std::fs::read_to_string(folder(config)?.join(note)).ok()
}

/// Tells the other processes of this run. Best effort: without it each finds out for itself.
pub(crate) fn write(config: &Config, note: &str, text: &str) {
    let Some(folder) = folder(config) else { return };
    if !folder.is_dir() {
        forget_old(&config.dir.join("runs"));
    }
    let written = || -> Option<()> {
        private(&folder).ok()?;
        // For this user alone, since it may hold a password; renamed, so that nobody reads half of it.
        let mut file = tempfile::NamedTempFile::new_in(&folder).ok()?;
        file.write_all(text.as_bytes()).ok()?;
        file.persist(folder.join(note)).ok().map(drop)
    };
    let _ = written();
}

/// Takes back what does not hold any more.
pub(crate) fn forget(config: &Config, note: &str) {
    if let Some(folder) = folder(config) {
        let _ = std::fs::remove_file(folder.join(note));
    }
}

/// Removes what runs that are over left in a folder that has one entry for each.
pub(crate) fn forget_old(runs: &Path) {
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > DAY) {
            let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
        }
    }
}
