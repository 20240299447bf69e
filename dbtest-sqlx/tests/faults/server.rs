//! A server of a test's own, from installed binaries: it can be killed, started again, frozen and
//! filled, and whoever comes to it needs a password that no message may show.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dbtest_sqlx::{Engine, Probe, Session};

use crate::child::PATIENCE;
use crate::scene::folder;

pub(crate) const SECRET: &str = "hunter2";

#[derive(Debug)]
pub(crate) struct Server {
    engine: Engine,
    folder: tempfile::TempDir,
    child: Child,
    mounted: bool,
}

/// Servers refuse to run as root: then the packages' user.
fn user(engine: Engine) -> Option<(u32, u32)> {
    let name = if engine == Engine::Postgres { "postgres" } else { "mysql" };
    if !is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the users");
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:")));
    let mut fields = line.unwrap_or_else(|| panic!("there is no user {name}")).split(':').skip(2);
    let mut number = || fields.next().expect("a field").parse().expect("a number");
    Some((number(), number()))
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn binary(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packages = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packages = packages.map(|version| version.path().join("bin"));
    let folders = std::env::split_paths(&path).chain(packages).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}; install postgresql and mariadb-server"))
}

/// Runs a program to its end as the server's user.
fn run(engine: Engine, command: &mut Command) {
    if let Some((user, group)) = user(engine) {
        command.uid(user).gid(group);
    }
    let output = command.current_dir("/").output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn own(engine: Engine, path: &Path) {
    if let Some((user, group)) = user(engine) {
        let owner = format!("{user}:{group}");
        let done = Command::new("chown").args(["-R", &owner]).arg(path).status().expect("chown");
        assert!(done.success());
    }
}

/// An initialised data directory, made once for all runs.
fn image(engine: Engine) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", engine.word()));
    if image.is_dir() {
        return image;
    }
    let made = folder();
    own(engine, made.path());
    let data = made.path().join("data");
    match engine {
        Engine::Postgres => run(
            engine,
            Command::new(binary("initdb"))
                .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
                .arg(&data),
        ),
        _ => run(
            engine,
            Command::new(binary("mariadb-install-db"))
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                .args(["--skip-name-resolve", "--innodb-log-file-size=8M"])
                .arg(format!("--datadir={}", data.display()))
                .env("TMPDIR", made.path()),
        ),
    }
    let part = image.with_extension(std::process::id().to_string());
    let copied = Command::new("cp").arg("-Rp").arg(&data).arg(&part).status().expect("cp");
    assert!(copied.success());
    // Another process may have been first; its image is as good.
    let _ = std::fs::rename(&part, &image);
    image
}

impl Server {
    pub(crate) fn start(engine: Engine, megabytes: Option<u32>) -> Self {
        let folder = folder();
        if let Some(megabytes) = megabytes {
            mount(folder.path(), megabytes);
        }
        let copied =
            Command::new("cp").arg("-Rp").arg(image(engine)).arg(folder.path().join("data")).status();
        assert!(copied.expect("cp").success());
        own(engine, folder.path());
        let child = launch(engine, folder.path());
        let mut server = Self { engine, folder, child, mounted: megabytes.is_some() };
        server.listens();
        server
    }

    fn socket(&self) -> PathBuf {
        socket(self.engine, self.folder.path())
    }

    /// Waits until the server takes connections.
    fn listens(&mut self) {
        let start = Instant::now();
        let (engine, socket) = (self.engine, self.socket());
        let greets = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            if engine == Engine::Postgres {
                // Postgres speaks when it is spoken to: to a request for TLS it says no, and a server that
                // is starting says so only to who wants in.
                std::io::Write::write_all(&mut stream, &[0, 0, 0, 8, 4, 210, 22, 47]).ok()?;
            }
            std::io::Read::read(&mut stream, &mut [0; 1]).ok().filter(|read| *read == 1)
        };
        while greets().is_none() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {}", self.said());
            assert!(start.elapsed() < PATIENCE, "the server does not start: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The owner gets a password; Postgres asks nobody for it, and is given it all the same.
    pub(crate) async fn set_up<B: Probe>(&self) {
        if self.engine == Engine::MySql {
            let mut session = lets_in::<B>(&self.url().replace(&format!(":{SECRET}"), "")).await;
            let set = format!("ALTER USER root@localhost IDENTIFIED BY '{SECRET}'");
            session.execute(&set).await.expect("a password");
            session.close().await;
        }
        self.is_ready::<B>().await;
    }

    /// Waits until it has recovered.
    pub(crate) async fn is_ready<B: Probe>(&self) {
        lets_in::<B>(&self.url()).await.close().await;
    }

    pub(crate) fn url(&self) -> String {
        self.url_of(if self.engine == Engine::Postgres { "postgres" } else { "root" })
    }

    /// The same for another user with the same password.
    pub(crate) fn url_of(&self, user: &str) -> String {
        match self.engine {
            Engine::Postgres => format!(
                "postgres://{user}:{SECRET}@localhost:5432/postgres?host={}",
                self.folder.path().display()
            ),
            _ => format!(
                "mysql://{user}:{SECRET}@localhost/information_schema?socket={}",
                self.socket().display()
            ),
        }
    }

    /// Its log.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// All of its processes: they work in its folder, also those whose parent is dead.
    fn processes(&self) -> Vec<u32> {
        let data = self.folder.path().join("data");
        let works =
            |process: &u32| std::fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|at| at == data);
        all().into_iter().map(|(process, _)| process).filter(works).collect()
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&mut self) {
        // First, so that it starts no more of them.
        self.child.kill().expect("killed");
        self.child.wait().expect("a child");
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            signal("KILL", &left);
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.child = launch(self.engine, self.folder.path());
        self.listens();
    }

    pub(crate) fn freeze(&self) {
        signal("STOP", &self.processes());
    }

    pub(crate) fn thaw(&self) {
        signal("CONT", &self.processes());
    }

    /// Writes until nothing fits any more, and says where.
    pub(crate) fn fill(&self) -> PathBuf {
        fill(self.folder.path())
    }
}

async fn lets_in<B: Probe>(url: &str) -> Box<dyn Session> {
    let start = Instant::now();
    loop {
        match B::session(url).await {
            Ok(session) => return session,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A disk of so many megabytes, which only root can have.
pub(crate) fn mount(at: &Path, megabytes: u32) {
    let size = format!("size={megabytes}m,mode=0755");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
    let mounted = mounted.expect("mount");
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
}

pub(crate) fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("-l").arg(at).status();
}

/// Writes a file until nothing fits any more.
pub(crate) fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filled");
    let mut file = File::create(&path).expect("a file");
    for size in [1 << 20, 4096, 1] {
        while std::io::Write::write_all(&mut file, &vec![1; size]).is_ok() {}
    }
    path
}

fn socket(engine: Engine, folder: &Path) -> PathBuf {
    folder.join(if engine == Engine::Postgres { ".s.PGSQL.5432" } else { "s" })
}

fn launch(engine: Engine, folder: &Path) -> Child {
    let data = folder.join("data");
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command;
    if engine == Engine::Postgres {
        command = Command::new(binary("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(folder).args(["-p", "5432"]);
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=100",
            "autovacuum=off",
            "max_wal_size=64MB",
            "min_wal_size=32MB",
        ] {
            command.args(["-c", setting]);
        }
    } else {
        command = Command::new(binary("mariadbd"));
        command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        command.arg(format!("--socket={}", folder.join("s").display()));
        command.arg(format!("--pid-file={}", folder.join("pid").display()));
        command.args(["--skip-networking", "--secure-file-priv=", "--skip-log-bin", "--max-connections=100"]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M"]);
        command.args(["--sync-binlog=0", "--innodb-doublewrite=OFF"]);
    }
    if let Some((user, group)) = user(engine) {
        command.uid(user).gid(group);
    }
    let out = log.try_clone().expect("the same file");
    // A MariaDB that starts deletes the temporary tables of every other in the same folder.
    command.env("TMPDIR", folder);
    command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(log).spawn().expect("a server")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if self.mounted {
            unmount(self.folder.path());
        }
    }
}

/// All processes and their parents.
fn all() -> Vec<(u32, u32)> {
    let parent = |process: u32| -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let all = std::fs::read_dir("/proc").expect("the processes").flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    all.filter_map(|process| Some((process, parent(process)?))).collect()
}

/// A process and all below it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let all = all();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(all.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        at += 1;
    }
    family
}

pub(crate) fn signal(name: &str, processes: &[u32]) {
    for process in processes {
        // One that has ended needs none.
        let process = process.to_string();
        let _ = Command::new("kill").args(["-s", name, &process]).stderr(Stdio::null()).status();
    }
}
