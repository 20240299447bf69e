//! Client processes: each has a time limit, and what it printed is shown when it fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(60);

/// How a client ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{self}");
        self.stdout
    }

    /// All that it said, to compare with what it says elsewhere. Names of databases, process
    /// numbers and times are no two times the same and are masked.
    pub(crate) fn said(&self, place: &Place) -> String {
        masked(&self.to_string(), place)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
        write!(f, "{}{}exit {code}", self.stdout, self.stderr)
    }
}

pub(crate) fn masked(text: &str, place: &Place) -> String {
    let mut text = text.to_owned();
    let url = ::url::Url::parse(&place.url).expect("a URL");
    let mut hide = vec![place.url.clone(), url.path().trim_start_matches('/').to_owned()];
    hide.push(crate::place::name_of(&place.beside));
    for secret in hide.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "DATABASE");
    }
    for (pattern, with) in [
        (r"with PID \d+", "with PID N"),
        (r"process \d+", "process N"),
        (r"0x[0-9a-f]{6,}", "0xN"),
        (r"backend \d+", "backend N"),
    ] {
        text = Regex::new(pattern).expect("a pattern").replace_all(&text, with).into_owned();
    }
    text
}

/// A program on `PATH`.
///
/// # Panics
/// Where the program is missing, with the next step.
pub(crate) fn program(name: &str) -> Command {
    program_at(&find(name))
}

/// A program, with a clean environment as far as libpq is concerned: the URL says all.
pub(crate) fn program_at(file: &Path) -> Command {
    let mut command = Command::new(file);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(&variable);
        }
    }
    command.env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C").env("PGTZ", "UTC");
    // A person's own password file must not change what is compared.
    command.env("PGPASSFILE", "/there-is-none");
    command
}

fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        let package = match name {
            "psql" | "pg_dump" | "pg_restore" => "postgresql-client",
            "pgbench" => "postgresql",
            "pg_config" => "libpq-dev",
            "python3" => "python3-venv",
            "cc" => "gcc",
            other => other,
        };
        panic!(
            "there is no {name} on PATH, and this test runs it. \
             Install it (`apt-get install {package}`); sandbox-clients/README.md lists all of them."
        )
    })
}

/// Runs it to its end.
///
/// # Panics
/// After the limit, with what it printed until then.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &str) -> Ran {
    start(command).finish(input)
}

/// Starts it; its input stays open.
#[track_caller]
pub(crate) fn start(command: &mut Command) -> Running {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{:?} does not start: {error}", command.get_program()));
    let stdin = child.stdin.take();
    let stdout = lines(child.stdout.take().expect("piped"));
    let stderr = lines(child.stderr.take().expect("piped"));
    Running { child, stdin, stdout, stderr, seen: String::new(), deadline: Instant::now() + LIMIT }
}

/// The lines of a pipe, read on a thread of its own so that a full pipe never stops the client.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receive
}

/// A client that is running.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// What [`Running::until`] took from its output.
    seen: String,
    deadline: Instant,
}

impl Running {
    /// Another limit, from now on.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.deadline = Instant::now() + limit;
        self
    }

    /// Writes to its input.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        if let Err(error) = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()) {
            self.give_up(&format!("takes no input: {error}"));
        }
    }

    /// Waits for a line of its output that contains the words.
    #[track_caller]
    pub(crate) fn until(&mut self, words: &str) {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    if line.contains(words) {
                        return;
                    }
                }
                Err(_) => self.give_up(&format!("never printed {words:?}")),
            }
        }
    }

    /// Sends it a signal, as a terminal does.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(status.success(), "the client is gone already");
    }

    /// Gives it the rest of its input, and waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self, input: &str) -> Ran {
        if let Some(mut stdin) = self.stdin.take() {
            let input = input.to_owned();
            // One that does not read must not stop us; that it ended early shows in its status.
            std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        }
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < self.deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => self.give_up("is not done in time"),
                Err(error) => self.give_up(&format!("can't be waited for: {error}")),
            }
        };
        // It ended, so both pipes end.
        self.seen.extend(self.stdout.iter());
        Ran { status, stdout: std::mem::take(&mut self.seen), stderr: self.stderr.iter().collect() }
    }

    #[track_caller]
    fn give_up(&mut self, why: &str) -> ! {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.seen.extend(self.stdout.try_iter());
        let stderr: String = self.stderr.try_iter().collect();
        panic!("the client {why}.\nstdout:\n{}\nstderr:\n{stderr}", self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A check that fails leaves no client behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for what clients write, gone with the value.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
