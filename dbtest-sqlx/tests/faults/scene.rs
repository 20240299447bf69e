//! One machine for one fault: a folder, a server of its own, its neighbours' databases, and the
//! processes of test runs.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbtest_sqlx::{Engine, Probe, Rows, Session};

use crate::child::{Order, Process, Task};
use crate::look_alikes::LookAlikes;
use crate::server::{SECRET, Server};

/// What a test that nobody disturbs is.
pub(crate) const TEST: Order<'static> =
    Order { task: Task::Test, strategy: "truncate", project: "shop", version: "v1", size: 0 };
pub(crate) const SUITE: Order<'static> = Order { task: Task::Suite, strategy: "", ..TEST };

pub(crate) struct Scene<B> {
    folder: tempfile::TempDir,
    pub(crate) server: Option<Server>,
    neighbours: LookAlikes,
    backend: PhantomData<B>,
}

impl<B: Probe> Scene<B> {
    /// A server of the test's own, and neighbours on it.
    pub(crate) async fn new() -> Self {
        Self::on(None).await
    }

    /// The same, with so many megabytes for its data.
    pub(crate) async fn on(megabytes: Option<u32>) -> Self {
        let folder = folder();
        let server = (B::ENGINE != Engine::Sqlite).then(|| Server::start(B::ENGINE, megabytes));
        let mut scene = Self { folder, server, neighbours: LookAlikes::default(), backend: PhantomData };
        if let Some(server) = &scene.server {
            server.set_up::<B>().await;
        }
        scene.neighbours = LookAlikes::make::<B>(&scene).await;
        scene
    }

    /// The folder of this machine.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn sqlite(&self) -> PathBuf {
        self.folder().join("sqlite")
    }

    pub(crate) fn server_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("a server of its own")
    }

    /// The environment of a test run here.
    pub(crate) fn command(&self) -> Command {
        let mut command = child_command::<B>(self.folder());
        if let Some(server) = &self.server {
            command.env("DBTEST_SERVER", "url").env(variable(B::ENGINE), server.url());
        }
        command
    }

    pub(crate) fn start(&self, order: Order<'_>, given: &[&str]) -> Process {
        Process::start(self.command(), order, given)
    }

    /// A test that is in its body.
    pub(crate) fn in_the_body(&self, order: Order<'_>) -> Process {
        let mut process = self.start(order, &["open", "seeded"]);
        process.reaches("body");
        process
    }

    /// A whole run.
    pub(crate) fn run(&self, order: Order<'_>, set: &[(&str, &str)]) -> (bool, String) {
        let mut command = self.command();
        command.envs(set.iter().copied());
        let (passed, said, _) = Process::start(command, order, &[]).ended();
        assert!(!said.contains(SECRET), "the password is shown: {said}");
        if let (false, Some(server)) = (passed, &self.server) {
            // Shown when the test fails.
            println!("{}", server.said());
        }
        (passed, said)
    }

    /// A run that must pass.
    pub(crate) fn green(&self, order: Order<'_>) {
        let (passed, said) = self.run(order, &[]);
        assert!(passed, "{said}");
    }

    /// A session of the one who owns the server.
    pub(crate) async fn session(&self) -> Box<dyn Session> {
        let server = self.server.as_ref().expect("a server of its own");
        B::session(&server.url()).await.expect("a session")
    }

    pub(crate) async fn query(&self, sql: &str) -> Rows {
        let mut session = self.session().await;
        let rows = session.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        session.close().await;
        rows
    }

    /// The databases of dbtest's, without the neighbours.
    pub(crate) async fn places(&self) -> Vec<String> {
        let names: Vec<String> = match B::ENGINE {
            Engine::Sqlite => {
                let Ok(entries) = std::fs::read_dir(self.sqlite()) else { return Vec::new() };
                let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
                names.filter(|name| name.ends_with(".db")).collect()
            }
            Engine::Postgres => first_column(self.query("SELECT datname::text FROM pg_database").await),
            Engine::MySql => {
                let all = "SELECT CAST(SCHEMA_NAME AS CHAR) FROM information_schema.SCHEMATA";
                first_column(self.query(all).await)
            }
        };
        let ours = names.into_iter().filter(|name| name.starts_with("dbtest_"));
        ours.filter(|name| !self.neighbours.has(name)).collect()
    }

    /// The neighbours have what they had.
    pub(crate) async fn neighbours_are_unharmed(&self) {
        self.neighbours.assert_unharmed(self).await;
    }

    /// The next run is green, twice, without anybody doing anything; what the fault left behind is
    /// gone or used; and the neighbours have what they had.
    pub(crate) async fn recovers(&self) {
        // One template and its slots, dbtest's own, and what another version needs.
        self.recovers_to(12).await;
    }

    /// The same, with so many places of dbtest's in the end.
    pub(crate) async fn recovers_to(&self, most: usize) {
        self.green(SUITE);
        let first = self.places().await;
        self.green(SUITE);
        let second = self.places().await;
        // How many clones are made ahead is a matter of speed.
        let stay = |places: &[String]| places.iter().filter(|name| !name.starts_with("dbtest_c_")).count();
        assert!(stay(&second) <= stay(&first), "something grows: {first:?}, then {second:?}");
        assert!(second.len() <= most, "something was left behind: {second:?}");
        self.neighbours_are_unharmed().await;
    }
}

/// In memory, where there is some, and with a short name: sockets live below it.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("dbf-").tempdir_in(parent).expect("a folder")
}

/// This executable as a test run whose files are in the folder, with nothing of our own environment.
pub(crate) fn child_command<B: Probe>(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DBTEST_") || name.starts_with("NEXTEST") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    let test = format!("child::{}::a_suite_is_green", B::ENGINE.word());
    command.args(["--exact", "--nocapture", &test]);
    command.env("DBTEST_DIR", folder).env("DBTEST_DOTENV", "0").env("RUST_BACKTRACE", "0");
    command
}

pub(crate) fn variable(engine: Engine) -> &'static str {
    if engine == Engine::Postgres { "DBTEST_POSTGRES_URL" } else { "DBTEST_MYSQL_URL" }
}

pub(crate) fn first_column(rows: Rows) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
}

/// What a message must have that says why a test failed.
pub(crate) fn assert_says(said: &str, words: &[&str]) {
    assert!(said.contains("\n  next step: "), "no next step: {said}");
    assert!(!said.contains(SECRET), "the password is shown: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

/// A fault that can't be had here: the test fails, unless skipping was asked for, which is printed.
pub(crate) fn missing(what: &str, next: &str) {
    if std::env::var_os("DBTEST_SKIP_MISSING").is_some_and(|set| set == "1") {
        // Past the harness, which shows nothing of a test that passes.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("dbtest: skipped a fault: {what}\n").as_bytes(),
        );
        return;
    }
    panic!("{what}\n  next step: {next}; DBTEST_SKIP_MISSING=1 skips these tests and says so");
}
