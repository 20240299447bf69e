//! One child process: its output in a file, its progress on the terminal, its end never waited for
//! for ever.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a child ended.
#[derive(Debug)]
pub(crate) enum End {
    Exited(ExitStatus),
    /// It was still running at its limit, and was ended with all that it had started.
    TimedOut(Duration),
}

/// The variables that `cargo run` sets for *this* program. A cargo below us that sees them builds
/// crates anew whose build scripts look at them.
fn is_of_this_program(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_MANIFEST_LINKS",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    NAMES.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_")
}

/// A command without stdin and without colours, in the environment that we were called in.
pub(crate) fn command(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_this_program) {
            command.env_remove(name);
        }
    }
    command.current_dir(root).stdin(Stdio::null()).env("CARGO_TERM_COLOR", "never");
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), root)
}

/// Runs a command to its end, or for `limit`. Both its streams go to the file at `log`: a file and
/// not a pipe, because a server that a test leaves running may hold a pipe open long after.
/// `on_lines` gets the lines as they come, and an empty slice now and then.
pub(crate) fn run(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    mut on_lines: impl FnMut(&[String]),
) -> Result<End, String> {
    let in_file = |what: &str, error: std::io::Error| {
        format!("could not {what} {}: {error}; is the target directory writable?", log.display())
    };
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(|error| in_file("make the folder of", error))?;
    }
    let out = File::create(log).map_err(|error| in_file("write", error))?;
    let err = out.try_clone().map_err(|error| in_file("write", error))?;
    let mut reader = LineReader::open(log).map_err(|error| in_file("read", error))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child =
        command.stdout(out).stderr(err).spawn().map_err(|error| {
            format!("could not start `{program}`: {error}; is it installed and on the PATH?")
        })?;
    let end = loop {
        on_lines(&reader.lines(false).map_err(|error| in_file("read", error))?);
        match child.try_wait() {
            Ok(Some(status)) => break End::Exited(status),
            Ok(None) if started.elapsed() >= limit => {
                end_tree(&mut child);
                break End::TimedOut(limit);
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(format!("could not wait for `{program}`: {error}; run it by hand")),
        }
    };
    on_lines(&reader.lines(true).map_err(|error| in_file("read", error))?);
    Ok(end)
}

/// Starts a command whose output goes to the file at `log`, and kills it and all below it without
/// asking, `after` so long. Whether it was still running then.
pub(crate) fn kill_after(command: &mut Command, log: &Path, after: Duration) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("could not run it: {error}; see {}", log.display());
    let out = File::create(log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    let mut child = command.stdout(out).stderr(err).spawn().map_err(failed)?;
    std::thread::sleep(after);
    let runs = child.try_wait().map_err(failed)?.is_none();
    // First, so that it starts no more of them.
    let all = descendants(child.id(), &parents());
    let _ = child.kill();
    signal("KILL", &all);
    let _ = child.wait();
    Ok(runs)
}

/// Runs a command that answers soon; its output, both streams.
pub(crate) fn answer(command: &mut Command, log: &Path, limit: Duration) -> Result<String, String> {
    let mut output = Vec::new();
    let program = command.get_program().to_string_lossy().into_owned();
    match run(command, log, limit, |lines| output.extend_from_slice(lines))? {
        End::Exited(status) if status.success() => Ok(output.join("\n")),
        End::Exited(status) => {
            let last = output.iter().rev().find(|line| !line.trim().is_empty());
            Err(format!("`{program}` ended with {status}: {}", last.map_or("no word", |line| line.trim())))
        }
        End::TimedOut(limit) => Err(format!("`{program}` gave no answer in {} s", limit.as_secs())),
    }
}

/// Reads what was added to a file since it was last asked.
struct LineReader {
    file: File,
    rest: Vec<u8>,
}

impl LineReader {
    fn open(path: &Path) -> std::io::Result<LineReader> {
        Ok(LineReader { file: File::open(path)?, rest: Vec::new() })
    }

    /// The lines that are whole, and at the end what is left too.
    fn lines(&mut self, end: bool) -> std::io::Result<Vec<String>> {
        self.file.read_to_end(&mut self.rest)?;
        let whole = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            _ if end => self.rest.len(),
            Some(at) => at + 1,
            None => return Ok(Vec::new()),
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }
}

/// Ends a child and what it started: asked first, then without asking.
fn end_tree(child: &mut Child) {
    let all = descendants(child.id(), &parents());
    signal("TERM", &all);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(5) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Only what is still of this family: numbers are used again.
    let alive: Vec<u32> = parents().into_iter().map(|(pid, _)| pid).filter(|pid| all.contains(pid)).collect();
    signal("KILL", &alive);
    // Where there is no `sh` at least the child itself ends; that it already has is no failure.
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        // The shell's own `kill`: small images have no other.
        let script = format!("kill -{name} {} 2>/dev/null", pids.join(" "));
        let _ = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status();
    }
}

/// Every process and its parent: from /proc, else from `ps`.
fn parents() -> Vec<(u32, u32)> {
    if let Ok(folder) = std::fs::read_dir("/proc") {
        let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let parent = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<u32>().ok()
        };
        return pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    }
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect()
}

/// A process and all below it, the lowest last.
fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut all = vec![root];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        let children = parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid);
        let new: Vec<u32> = children.filter(|pid| !all.contains(pid)).collect();
        all.extend(new);
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_run_sets_is_not_handed_down() {
        assert!(
            ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "OUT_DIR"].into_iter().all(is_of_this_program)
        );
        let kept = ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "CARGO_INCREMENTAL", "PATH"];
        assert!(!kept.into_iter().any(is_of_this_program));
    }

    #[test]
    fn a_family_is_found_whole_and_alone() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 3)];
        assert_eq!(descendants(2, &parents), [2, 3, 4, 6]);
    }

    #[cfg(unix)]
    mod with_a_shell {
        use super::*;

        fn sh(script: &str, limit: Duration) -> (End, Vec<String>) {
            let folder = tempfile::tempdir().expect("a folder");
            let mut lines = Vec::new();
            let mut command = command("sh", folder.path());
            let end = run(command.args(["-c", script]), &folder.path().join("a/log"), limit, |more| {
                lines.extend_from_slice(more);
            });
            (end.expect("it ran"), lines)
        }

        #[test]
        fn both_streams_are_read_and_the_last_line_needs_no_end() {
            let (end, lines) = sh("echo one; echo two >&2; printf three; exit 3", Duration::from_secs(20));
            assert_eq!(lines, ["one", "two", "three"]);
            assert!(matches!(end, End::Exited(status) if status.code() == Some(3)));
        }

        #[test]
        fn what_hangs_is_ended_with_its_children() {
            let (end, lines) = sh("sleep 600 & echo $!; wait", Duration::from_millis(300));
            assert!(matches!(end, End::TimedOut(_)));
            let sleeper: u32 = lines[0].parse().expect("a number");
            // It is gone, or dead and not yet waited for by its new parent.
            let state = std::fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{state}");
        }

        #[test]
        fn a_child_that_leaves_a_server_behind_is_not_waited_for() {
            let started = Instant::now();
            let (end, lines) = sh("sleep 5 & echo done", Duration::from_secs(4));
            assert!(matches!(end, End::Exited(_)));
            assert_eq!(lines, ["done"]);
            assert!(started.elapsed() < Duration::from_secs(3));
        }

        #[test]
        fn what_cannot_be_started_is_named() {
            let folder = tempfile::tempdir().expect("a folder");
            let mut command = command("no-such-program", folder.path());
            let error = answer(&mut command, &folder.path().join("log"), Duration::from_secs(1));
            assert!(error.expect_err("nothing to start").contains("no-such-program"));
        }
    }
}
