//! What happens to a server that dbtest started from installed binaries, and to what it wrote down
//! about it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dbtest_sqlx::{Engine, Probe};

use crate::child::{Order, PATIENCE, Process, Task};
use crate::scene::{SUITE, assert_says, child_command, folder};
use crate::server::{family, signal};

crate::tests!(
    the_folder_is_removed_between_runs;
    killed_while_a_server_is_initialised,
    killed_while_a_server_starts,
    the_server_is_killed_under_a_running_suite,
    the_servers_watcher_is_killed,
    a_started_server_is_frozen,
    the_state_file_is_garbage,
    the_temporary_files_of_other_servers_are_left_alone
);

/// A folder in which dbtest starts servers.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(folder())
    }

    fn command<B: Probe>(&self) -> Command {
        let mut command = child_command::<B>(self.0.path());
        command.env("DBTEST_SERVER", "installed");
        command
    }

    fn start<B: Probe>(&self, order: Order<'_>) -> Process {
        Process::start(self.command::<B>(), order, &[])
    }

    fn green<B: Probe>(&self) {
        let (passed, said, _) = self.start::<B>(SUITE).ended();
        assert!(passed, "{said}");
    }

    fn parent(&self, engine: Engine) -> PathBuf {
        self.0.path().join(format!("servers/run-{}", engine.word()))
    }

    /// The folders of the servers that were started.
    fn servers(&self, engine: Engine) -> Vec<PathBuf> {
        let entries = entries(&self.parent(engine));
        entries.into_iter().filter(|path| !path.ends_with("initialised")).collect()
    }

    /// Those that run; what was killed before may leave its folder for a moment.
    fn kill_servers<B: Probe>(&self) {
        let folders = self.servers(B::ENGINE);
        let running: Vec<u32> = folders.iter().filter_map(|folder| running_in(folder)).collect();
        assert!(!running.is_empty(), "a run was green, but no server works in {folders:?}");
        signal("KILL", &running);
    }

    fn states(&self) -> Vec<PathBuf> {
        let mut states = entries(&self.0.path().join("servers"));
        states.retain(|path| path.extension().is_some_and(|end| end == "json"));
        states
    }

    /// The next run is green, and there is one server in the end, with nothing left of others.
    fn recovers<B: Probe>(&self) {
        self.green::<B>();
        self.green::<B>();
        assert_eq!(self.states().len(), 1);
        let start = Instant::now();
        while self.servers(B::ENGINE).len() != 1 {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.servers(B::ENGINE));
            std::thread::sleep(Duration::from_millis(20));
        }
        let half = entries(&self.parent(B::ENGINE).join("initialised"));
        assert_eq!(half.len(), 1, "{half:?}");
    }
}

/// Ends what runs there.
impl Drop for Home {
    fn drop(&mut self) {
        for server in [Engine::Postgres, Engine::MySql].into_iter().flat_map(|engine| self.servers(engine)) {
            for process in processes_of(&server) {
                signal("KILL", &family(process));
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The processes that were told to work there.
fn processes_of(folder: &Path) -> Vec<u32> {
    let name = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("the processes").flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let works = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line)
            .split('\0')
            .any(|word| word.starts_with(&name) || word.ends_with(&format!("={name}/data")))
    };
    processes.filter(works).collect()
}

/// Of those, the server: the one that is not the script.
fn server_of(folder: &Path) -> u32 {
    let start = Instant::now();
    // A process has another name for a moment, until it runs what it was started for.
    loop {
        if let Some(server) = running_in(folder) {
            return server;
        }
        assert!(start.elapsed() < PATIENCE, "no server works in {}", folder.display());
    }
}

fn running_in(folder: &Path) -> Option<u32> {
    let name = |process: &u32| std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    processes_of(folder).into_iter().find(|process| name(process).trim() != "sh")
}

fn until(what: &str, process: &mut Process, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(process.is_alive(), "it ended before {what}: {}", process.said());
        assert!(start.elapsed() < PATIENCE, "{what}: {}", process.said());
    }
}

fn is_half(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("half-"))
}

async fn killed_while_a_server_is_initialised<B: Probe>() {
    let home = Home::new();
    let mut process = home.start::<B>(SUITE);
    until("it is being initialised", &mut process, || {
        entries(&home.parent(B::ENGINE).join("initialised")).iter().any(|folder| is_half(folder))
    });
    process.kill();
    home.green::<B>();
    // The program that was initialising it may have gone on until now.
    let mut folders = entries(&home.parent(B::ENGINE).join("initialised"));
    folders.retain(|folder| is_half(folder));
    let start = Instant::now();
    while folders.iter().any(|folder| !processes_of(folder).is_empty()) {
        assert!(start.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal("KILL", &[server_of(&home.servers(B::ENGINE).remove(0))]);
    home.recovers::<B>();
}

async fn killed_while_a_server_starts<B: Probe>() {
    let home = Home::new();
    let mut process = home.start::<B>(SUITE);
    // It is written down when it was started, and before anybody was let in.
    until("it was started", &mut process, || !home.states().is_empty());
    process.kill();
    home.recovers::<B>();
}

async fn the_server_is_killed_under_a_running_suite<B: Probe>() {
    let home = Home::new();
    let mut suite = home.start::<B>(Order { task: Task::Rounds, ..SUITE });
    suite.reaches("round");
    let server = home.servers(B::ENGINE).remove(0);
    signal("KILL", &[server_of(&server)]);
    let (passed, said, _) = suite.ended();
    assert!(!passed, "it ran on without a server");
    assert!(said.contains("panicked"), "{said}");
    home.recovers::<B>();
    assert!(!home.servers(B::ENGINE).contains(&server), "what was left of it is gone");
}

async fn the_servers_watcher_is_killed<B: Probe>() {
    let home = Home::new();
    home.green::<B>();
    let server = home.servers(B::ENGINE).remove(0);
    let (own, all) = (server_of(&server), processes_of(&server));
    signal("KILL", &all.into_iter().filter(|process| *process != own).collect::<Vec<_>>());
    home.recovers::<B>();
    assert!(home.servers(B::ENGINE).contains(&server), "it is the same one still");
    // Nobody cleans up behind it now; the next start does.
    signal("KILL", &family(own));
    home.recovers::<B>();
    assert!(!home.servers(B::ENGINE).contains(&server), "what was left of it is gone");
}

async fn a_started_server_is_frozen<B: Probe>() {
    let home = Home::new();
    home.green::<B>();
    let server = home.servers(B::ENGINE).remove(0);
    signal("STOP", &family(server_of(&server)));
    // Nobody will wake it, so it is given up for another.
    let (passed, said, took) = home.start::<B>(SUITE).ended();
    assert!(passed, "{said}");
    assert!(took < Duration::from_secs(90), "{took:?}");
    home.recovers::<B>();
    assert!(!home.servers(B::ENGINE).contains(&server), "what was left of it is gone");
}

async fn the_temporary_files_of_other_servers_are_left_alone<B: Probe>() {
    let (home, shared) = (Home::new(), folder());
    // The server may have a user of its own.
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o777)).expect("a folder");
    let other = shared.path().join("#sql-temptable-1-1-1.MAI");
    std::fs::write(&other, "a temporary table").expect("a file");
    let mut command = home.command::<B>();
    command.env("TMPDIR", shared.path());
    let (passed, said, _) = Process::start(command, SUITE, &[]).ended();
    assert!(passed, "{said}");
    assert!(other.exists(), "the server deleted it when it started");
}

async fn the_state_file_is_garbage<B: Probe>() {
    let home = Home::new();
    home.green::<B>();
    let state = home.states().remove(0);
    let text = std::fs::read_to_string(&state).expect("a state");
    let server = home.servers(B::ENGINE).remove(0);
    for garbage in ["", "{", "null", &text[..text.len() / 2]] {
        // The old one is nobody's from here on, and ends when it is idle; here, now.
        home.kill_servers::<B>();
        std::fs::write(&state, garbage).expect("garbage");
        home.green::<B>();
    }
    // One that leads to a server that is not there.
    let gone = text.replace(&server.display().to_string(), "/nowhere");
    std::fs::write(&state, gone).expect("a lie");
    home.kill_servers::<B>();
    home.recovers::<B>();
}

/// SQLite's files, what is counted and the state: all of it is made anew.
async fn the_folder_is_removed_between_runs<B: Probe>() {
    let home = Home::new();
    home.green::<B>();
    for server in home.servers(B::ENGINE) {
        signal("KILL", &[server_of(&server)]);
    }
    for path in entries(home.0.path()) {
        // The server's script may be at it too.
        let _ = std::fs::remove_dir_all(path);
    }
    home.green::<B>();
    home.green::<B>();
}

#[tokio::test]
async fn a_folder_that_somebody_else_owns_is_refused() {
    let home = Home::new();
    let path = home.0.path().join("file");
    std::fs::write(&path, "mine").expect("a file");
    let mut command = home.command::<dbtest_sqlx::SqlxSqlite>();
    command.env("DBTEST_DIR", &path);
    let (passed, said, _) = Process::start(command, SUITE, &[]).ended();
    assert!(!passed);
    assert_says(&said, &["DBTEST_DIR"]);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "mine");
}
