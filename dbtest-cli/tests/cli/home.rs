//! A machine of its own for one test: a folder in which servers are started, and what runs there.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells a process started by a test what to do.
pub(crate) const CHILD: &str = "DBTEST_TEST_CLI";

#[derive(Debug)]
pub(crate) struct Home(tempfile::TempDir);

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(tempfile::tempdir_in(parent).expect("a folder"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The folders of the servers that run.
    pub(crate) fn servers(&self) -> impl Iterator<Item = PathBuf> {
        let folders = ["postgres", "mysql"].map(|engine| self.folder().join(format!("servers/run-{engine}")));
        let entries = folders.map(|folder| std::fs::read_dir(folder).into_iter()).into_iter().flatten();
        let entries = entries.flatten().flatten().filter(|entry| entry.file_name() != "initialised");
        entries.map(|entry| entry.path())
    }

    /// The environment in which only this folder's servers are known. They are of the installed kind,
    /// since a container would be shared with the whole machine.
    fn dress(&self, command: &mut Command) {
        for (name, _) in std::env::vars() {
            if name.starts_with("DBTEST_") || name.starts_with("NEXTEST") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.env("DBTEST_DIR", self.folder()).env("DBTEST_SERVER", "installed");
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, &[])
    }

    pub(crate) fn cli_with(&self, args: &[&str], set: &[(&str, &str)]) -> Said {
        self.cli_fed(args, set, "")
    }

    /// The same, with text on stdin.
    pub(crate) fn cli_fed(&self, args: &[&str], set: &[(&str, &str)], stdin: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-dbtest"));
        self.dress(&mut command);
        // No crate is there, so that `cargo test` of the bench finds none either.
        command.args(args).envs(set.iter().copied()).current_dir(self.folder());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // A program that reads nothing may have ended already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().expect("its stdin"), stdin.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        Said {
            code: output.status.code().expect("an exit code"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// This same test in a process of its own, with `what` to do, until its end.
    pub(crate) fn process(&self, test: &str, what: &str) {
        let output = self.command(test, what).output().expect("a process");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// The same, until it says that it is there; with the word that it says.
    pub(crate) fn held(&self, test: &str, what: &str) -> (Held, String) {
        let mut command = self.command(test, what);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let ready = lines.find_map(|line| line.expect("a line").strip_prefix(READY).map(str::to_owned));
        let said = ready.unwrap_or_else(|| panic!("the process ended early ({what})"));
        (Held { child, _stdout: lines }, said)
    }

    fn command(&self, test: &str, what: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        self.dress(&mut command);
        command.args(["--exact", "--nocapture", test]).env(CHILD, what);
        command
    }
}

/// A process in the middle of a test.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Held {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

/// How a process says that it is there.
pub(crate) const READY: &str = "READY ";

/// Ends this folder's servers, and waits until they have removed what they keep in it.
impl Drop for Home {
    fn drop(&mut self) {
        for folder in self.servers() {
            for (file, signal) in [("data/postmaster.pid", "INT"), ("pid", "TERM")] {
                let Ok(text) = std::fs::read_to_string(folder.join(file)) else { continue };
                let process = text.lines().next().unwrap_or_default();
                let _ = Command::new("kill").args(["-s", signal, process]).status();
            }
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.servers().count() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
