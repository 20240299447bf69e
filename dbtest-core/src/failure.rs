//! A setup's failure, remembered for the other processes of the same nextest run.

use std::path::PathBuf;

use crate::config::Config;

fn path(config: &Config, fingerprint: &str) -> Option<PathBuf> {
    // Without a run that spans processes there is nobody to tell.
    let run = std::env::var("NEXTEST_RUN_ID").ok()?;
    let run: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(config.dir.join("failures").join(format!("{run}-{fingerprint}")))
}

/// The first test of this run whose setup failed.
pub(crate) fn recorded(config: &Config, fingerprint: &str) -> Option<String> {
    std::fs::read_to_string(path(config, fingerprint)?).ok()
}

/// Remembers a failure. Best effort: without it every test shows the whole error.
pub(crate) fn record(config: &Config, fingerprint: &str, test: &str) {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    let Some(path) = path(config, fingerprint) else { return };
    let Some(folder) = path.parent() else { return };
    let _ = std::fs::create_dir_all(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > DAY) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::write(path, test);
}
