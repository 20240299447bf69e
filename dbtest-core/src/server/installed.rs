//! Servers from installed binaries: initialised once, copied for every start, reachable through
//! a unix socket in a folder that only this user may enter.

use std::path::Path;

use super::{Connect, Running};
use crate::engine::Engine;
use crate::error::Result;

#[cfg(not(unix))]
pub(super) async fn find(_bin: Option<&Path>, _engine: Engine, _connect: &Connect) -> Result<Running> {
    Err(crate::error::Error::unavailable(
        "installed servers are reached through unix sockets, which this system lacks",
        "use a container or a URL",
    ))
}

#[cfg(not(unix))]
pub(super) async fn examine(_engine: Engine) -> Result<(String, String)> {
    Err(crate::error::Error::unavailable(
        "installed servers are reached through unix sockets, which this system lacks",
        "use a container or a URL",
    ))
}

#[cfg(not(unix))]
pub(super) async fn end(_entry: &super::Entry, _folder: std::path::PathBuf) -> Result<()> {
    Ok(())
}

/// Ends the server that works on the folder, and removes the folder.
#[cfg(unix)]
pub(super) async fn end(entry: &super::Entry, folder: std::path::PathBuf) -> Result<()> {
    started::end(entry, folder).await
}

/// The binary that would be started, and what it says of itself.
#[cfg(unix)]
pub(super) async fn examine(engine: Engine) -> Result<(String, String)> {
    started::examine(engine).await
}

#[cfg(unix)]
pub(super) async fn find(bin: Option<&Path>, engine: Engine, connect: &Connect) -> Result<Running> {
    started::find(bin, engine, connect).await
}

#[cfg(unix)]
mod started {
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::super::registry::{self, Entry, State};
    use super::super::{
        Connect, Failed, Running, fast_args, fast_signal, idle, is_full, known, prove_fast, ready, room_args,
    };
    use super::Engine;
    use crate::backend::BoxFuture;
    use crate::config::config;
    use crate::error::{Error, Result, START_DOCKER};
    use crate::progress;

    /// Where packages put the binaries of a Postgres: `*` is one version each.
    const POSTGRES_FOLDERS: &[&str] = &[
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/usr/local/pgsql/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/opt/postgresql@*/bin",
        "/Applications/Postgres.app/Contents/Versions/*/bin",
    ];

    const MYSQL_FOLDERS: &[&str] = &[
        "/usr/sbin",
        "/usr/libexec",
        "/usr/local/sbin",
        "/usr/local/mysql/bin",
        "/opt/homebrew/opt/mariadb*/bin",
        "/opt/homebrew/opt/mysql*/bin",
        "/usr/local/opt/mariadb*/bin",
        "/usr/local/opt/mysql*/bin",
    ];

    /// The longest path of a unix socket, on the system that allows least (macOS, 104), with
    /// room for its own end.
    const LONGEST_SOCKET: usize = 100;

    /// How long a server that is told to end may take before it is killed.
    const LAST: Duration = Duration::from_secs(10);

    /// How the names of data directories begin that are not whole.
    const HALF: &str = "half-";

    pub(super) async fn find(bin: Option<&Path>, engine: Engine, connect: &Connect) -> Result<Running> {
        let user = user_for(engine)?;
        let server = server(bin, engine)?;
        let path = server.display().to_string();
        let origin = format!("installed {path}");
        // An upgrade in place changes the file, and with it the key.
        let file = fs::metadata(&server).map_err(|error| Error::system(format!("read {path}"), error))?;
        let file = format!("{} {}", file.len(), file.mtime());
        let idle = idle::word(config()?.idle);
        let settings = [fast_args(engine), room_args(engine)].concat().join(" ");
        let entry =
            Entry::new(&["installed", engine.word(), &path, &file, &idle, &settings, idle::INSTALLED])?;
        if let Some(running) = known(&entry, engine, &origin, connect).await? {
            return Ok(running);
        }
        let lock = entry.lock(&origin).await?;
        if let Some(running) = known(&entry, engine, &origin, connect).await? {
            return Ok(running);
        }
        if let Some(error) = entry.failure() {
            return Err(error);
        }
        let start = left_or_new(server, engine, user, &entry, &origin, idle, connect);
        let running = progress::while_waiting(&format!("starting {origin}"), start).await;
        let running = running.inspect_err(|error| entry.remember_failure(error));
        drop(lock);
        running
    }

    pub(super) async fn end(entry: &Entry, folder: PathBuf) -> Result<()> {
        let entry = entry.clone();
        blocking(move || {
            for process in processes_of(&folder) {
                // The script ends the server fast, and removes its folder and its socket's.
                let _ = Command::new("kill").args(["-s", "TERM", &process]).stderr(Stdio::null()).status();
            }
            let deadline = Instant::now() + LAST;
            while !processes_of(&folder).is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            discard(&entry, &folder);
            Ok(())
        })
        .await
    }

    pub(super) async fn examine(engine: Engine) -> Result<(String, String)> {
        blocking(move || {
            user_for(engine)?;
            let binaries = Binaries::of(&server(None, engine)?, engine)?;
            Ok((binaries.server.display().to_string(), binaries.version))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(Error::system("start a server", std::io::Error::other(error))),
        }
    }

    // ---- binaries

    #[derive(Debug)]
    struct Binaries {
        /// `initdb`, `mariadb-install-db`, or the server itself.
        init: PathBuf,
        server: PathBuf,
        /// What the server says of itself; the initialised directory is keyed by it.
        version: String,
        flavour: Flavour,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Flavour {
        Postgres,
        MariaDb,
        MySql,
    }

    /// The server's binary: the first on `PATH`, else the newest that packages put somewhere.
    /// Looks at files only: every test process does this, and running one costs milliseconds.
    fn server(bin: Option<&Path>, engine: Engine) -> Result<PathBuf> {
        if let Some(bin) = bin {
            return server_in(bin, engine).ok_or_else(|| none(engine, &bin.display().to_string()));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(found) = std::env::split_paths(&path).find_map(|bin| server_in(&bin, engine)) {
            return Ok(found);
        }
        let patterns = if engine == Engine::Postgres { POSTGRES_FOLDERS } else { MYSQL_FOLDERS };
        let installed = patterns.iter().flat_map(|pattern| matching(pattern));
        installed
            .filter_map(|bin| server_in(&bin, engine))
            .max_by_key(|server| numbers(&server.display().to_string()))
            .ok_or_else(|| none(engine, &format!("PATH, {}", patterns.join(", "))))
    }

    fn server_in(bin: &Path, engine: Engine) -> Option<PathBuf> {
        let names: &[&str] = if engine == Engine::Postgres { &["postgres"] } else { &["mariadbd", "mysqld"] };
        let server = names.iter().map(|name| bin.join(name)).find(|file| file.is_file())?;
        // A package of clients only may bring one without the other.
        (engine != Engine::Postgres || bin.join("initdb").is_file()).then_some(server)
    }

    impl Binaries {
        /// Asks the server what it is, and looks for what initialises it.
        fn of(server: &Path, engine: Engine) -> Result<Self> {
            let failed = |error| Error::system(format!("run {}", server.display()), error);
            let output =
                Command::new(server).arg("--version").stdin(Stdio::null()).output().map_err(failed)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(ended(&format!("{} --version failed", server.display()), &said));
            }
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let flavour = match engine {
                Engine::Postgres => Flavour::Postgres,
                _ if version.contains("MariaDB") => Flavour::MariaDb,
                _ => Flavour::MySql,
            };
            let bin = server.parent().unwrap_or(Path::new("/"));
            let init = match flavour {
                Flavour::Postgres => Some(bin.join("initdb")),
                Flavour::MariaDb => beside(bin, &["mariadb-install-db", "mysql_install_db"]),
                Flavour::MySql => Some(server.to_owned()),
            };
            let init = init.ok_or_else(|| none(engine, &format!("{} and PATH", bin.display())))?;
            Ok(Self { server: server.to_owned(), init, version, flavour })
        }

        /// Makes a data directory. On a failure the error is what the program said.
        fn initialise(&self, data: &Path, user: Option<User>) -> Result<()> {
            let mut command = Command::new(&self.init);
            match self.flavour {
                Flavour::Postgres => {
                    command
                        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"])
                        .arg(data);
                    // As the official image has it, nearly: letters beyond ASCII have a case.
                    command.arg(if cfg!(target_os = "linux") {
                        "--locale=C.UTF-8"
                    } else {
                        "--locale=en_US.UTF-8"
                    });
                }
                Flavour::MariaDb => {
                    command.arg("--no-defaults").arg(option("--datadir=", data)).args([
                        // Else only the system's own root gets in.
                        "--auth-root-authentication-method=normal",
                        "--skip-test-db",
                        "--skip-name-resolve",
                    ]);
                }
                Flavour::MySql => {
                    command.arg("--no-defaults").arg("--initialize-insecure").arg(option("--datadir=", data));
                    command.arg("--loose-innodb-redo-log-capacity=33554432");
                }
            }
            dress(&mut command, user, data.parent().unwrap_or(data));
            let output = command
                .stdin(Stdio::null())
                .output()
                .map_err(|error| Error::system(format!("run {}", self.init.display()), error))?;
            if output.status.success() {
                return Ok(());
            }
            let said = [output.stdout, output.stderr].concat();
            Err(ended(&format!("{} failed", self.init.display()), &String::from_utf8_lossy(&said)))
        }

        /// The server's command line, and the socket that it will listen on.
        fn command(
            &self,
            engine: Engine,
            folder: &Path,
            sockets: &Path,
        ) -> (Vec<std::ffi::OsString>, PathBuf) {
            let data = folder.join("data");
            let mut command = vec![self.server.clone().into_os_string()];
            let socket = match self.flavour {
                Flavour::Postgres => {
                    command.extend(["-D".into(), data.into(), "-k".into(), sockets.into()]);
                    // The port is a part of the socket's name. No TCP: whoever can reach the socket is let in.
                    command.extend(["-p", "5432", "-c", "listen_addresses="].map(Into::into));
                    sockets.join(".s.PGSQL.5432")
                }
                Flavour::MariaDb | Flavour::MySql => {
                    let socket = sockets.join("s");
                    command.push("--no-defaults".into());
                    command.push(option("--datadir=", &data));
                    command.push(option("--socket=", &socket));
                    command.push(option("--pid-file=", &folder.join("pid")));
                    // The packaged default is a folder that may not be ours to read.
                    command.extend(["--skip-networking", "--secure-file-priv="].map(Into::into));
                    socket
                }
            };
            command.extend([room_args(engine), fast_args(engine)].concat().into_iter().map(Into::into));
            (command, socket)
        }

        fn url(&self, sockets: &Path, socket: &Path) -> String {
            match self.flavour {
                // The port is named, or drivers would take it from PGPORT.
                Flavour::Postgres => crate::url::with_parameter(
                    "postgres://postgres@localhost:5432/postgres",
                    "host",
                    &sockets.display().to_string(),
                ),
                Flavour::MariaDb | Flavour::MySql => crate::url::with_parameter(
                    "mysql://root@localhost/information_schema",
                    "socket",
                    &socket.display().to_string(),
                ),
            }
        }
    }

    fn none(engine: Engine, looked: &str) -> Error {
        let names = match engine {
            Engine::Postgres => "`postgres` with `initdb`",
            _ => "`mariadbd` with `mariadb-install-db`, or `mysqld`",
        };
        Error::unavailable(format!("no {names} in {looked}"), engine.server_next_step(START_DOCKER))
    }

    /// A program that belongs to the server in `bin`.
    fn beside(bin: &Path, names: &[&str]) -> Option<PathBuf> {
        let places = [bin.to_owned(), bin.join("../bin"), bin.join("../scripts")];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = places.into_iter().chain(std::env::split_paths(&path)).collect::<Vec<_>>();
        names
            .iter()
            .flat_map(|name| places.iter().map(move |place| place.join(name)))
            .find(|file| file.is_file())
    }

    /// The folders that fit a pattern with at most one `*`.
    fn matching(pattern: &str) -> Vec<PathBuf> {
        let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
        let (parent, start) = before.rsplit_once('/').unwrap_or(("", before));
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
            .map(|entry| PathBuf::from(format!("{}{after}", entry.path().display())))
            .collect()
    }

    /// The numbers of a version, to compare by.
    fn numbers(version: &str) -> Vec<u64> {
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    }

    fn option(name: &str, path: &Path) -> std::ffi::OsString {
        let mut option = std::ffi::OsString::from(name);
        option.push(path);
        option
    }

    // ---- the user that a server runs as

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct User {
        id: u32,
        group: u32,
    }

    /// Servers refuse to run as root: then the packages' user, or nobody. Else ourselves.
    fn user_for(engine: Engine) -> Result<Option<User>> {
        if !registry::is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|error| {
            Error::system("read /etc/passwd, to run a server as another user than root", error)
        })?;
        let names = if engine == Engine::Postgres { ["postgres", "nobody"] } else { ["mysql", "nobody"] };
        match names.iter().find_map(|name| user_in(&users, name)) {
            Some(user) => Ok(Some(user)),
            None => Err(Error::unavailable(
                format!("a server refuses to run as root, and there is no user {}", names.join(" or ")),
                "run the tests as another user than root",
            )),
        }
    }

    fn user_in(users: &str, name: &str) -> Option<User> {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let id = fields.nth(1)?.parse().ok()?;
        Some(User { id, group: fields.next()?.parse().ok()? })
    }

    /// What every program of ours runs with: its user, a folder that is always there, English, and a
    /// folder of its own for temporary files: a MariaDB that starts deletes those of every other server
    /// in the same one, which break or crash then.
    fn dress(command: &mut Command, user: Option<User>, temporary: &Path) {
        if let Some(user) = user {
            command.uid(user.id).gid(user.group);
        }
        command.current_dir("/").env("LC_ALL", "C").env("TMPDIR", temporary);
        command.env_remove("PGDATA").env_remove("PGOPTIONS");
    }

    /// A new folder for this user and the server's, and nobody else.
    fn make_folder(path: &Path, user: Option<User>) -> Result<()> {
        let made = match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        };
        made.map_err(|error| Error::system(format!("make the folder {}", path.display()), error))?;
        give(path, user)
    }

    /// A new folder with a name that nobody else has.
    fn new_folder(prefix: &str, parent: &Path, user: Option<User>) -> Result<PathBuf> {
        let private = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(prefix).permissions(private).tempdir_in(parent);
        let failed = |error| Error::system(format!("make a folder in {}", parent.display()), error);
        let path = made.map_err(failed)?.keep();
        give(&path, user)?;
        Ok(path)
    }

    fn give(path: &Path, user: Option<User>) -> Result<()> {
        let Some(user) = user else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user.id), Some(user.group))
            .map_err(|error| Error::system(format!("give {} to the server's user", path.display()), error))
    }

    // ---- starting

    async fn left_or_new(
        server: PathBuf,
        engine: Engine,
        user: Option<User>,
        entry: &Entry,
        origin: &str,
        idle: String,
        connect: &Connect,
    ) -> Result<Running> {
        // One that does not answer may be starting still: whoever started it may have been killed.
        if let Some(State { url, folder: Some(folder), .. }) = entry.read() {
            let name = folder.clone();
            let mut alive = || -> BoxFuture<'static, bool> {
                Box::pin(std::future::ready(!processes_of(&name).is_empty()))
            };
            match ready(connect, &[url], true, &mut alive).await {
                Ok((url, session)) => {
                    return Ok(Running::new(engine, url, origin.to_owned(), true, Some(session)));
                }
                Err(Failed::Deadline(error)) if is_full(&error) => {
                    return Err(Error::connect(origin, engine, error));
                }
                Err(_) => discard(entry, &folder),
            }
        }
        start(server, engine, user, entry, origin, idle, connect).await
    }

    async fn start(
        server: PathBuf,
        engine: Engine,
        user: Option<User>,
        entry: &Entry,
        origin: &str,
        idle: String,
        connect: &Connect,
    ) -> Result<Running> {
        // Owned by the server's user, so that the script can remove what is in it.
        let parent = entry.folder().join(format!("run-{}", engine.word()));
        make_folder(&parent, user)?;
        let (cache, key) = (parent.join("initialised"), entry.key().to_owned());
        let launched = blocking(move || {
            make_folder(&cache, user)?;
            let binaries = Binaries::of(&server, engine)?;
            let image = initialised(&binaries, &cache, user)?;
            launch(&binaries, engine, user, &parent, &key, &image, &idle)
        })
        .await?;
        let Launched { mut child, folder, url } = launched;
        // Known from here on, so that a run that is killed now leaves nothing unfound.
        let state = State {
            url: url.clone(),
            container: None,
            folder: Some(folder.clone()),
            origin: origin.to_owned(),
        };
        let outcome = match entry.write(&state) {
            Err(error) => Err(error),
            Ok(()) => {
                let mut alive = || -> BoxFuture<'static, bool> {
                    Box::pin(std::future::ready(child.try_wait().is_ok_and(|ended| ended.is_none())))
                };
                match ready(connect, &[url], false, &mut alive).await {
                    Ok((url, mut session)) => prove_fast(engine, &mut *session, origin)
                        .await
                        .map(|()| Running::new(engine, url, origin.to_owned(), true, Some(session))),
                    Err(Failed::Ended) => Err(ended(&format!("{origin} ended at once"), &log(&folder))),
                    Err(Failed::Deadline(error)) => {
                        Err(ended(&format!("{origin} cannot be reached: {error}"), &log(&folder)))
                    }
                }
            }
        };
        if outcome.is_err() {
            discard(entry, &folder);
        }
        outcome
    }

    /// The initialised data directory of this version; made where it is missing. It appears
    /// under its name only when it is whole.
    fn initialised(binaries: &Binaries, cache: &Path, user: Option<User>) -> Result<PathBuf> {
        let readable: String = binaries
            .version
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let readable: String = readable.chars().take(80).collect();
        let data = cache.join(readable);
        // The program of a starter that was killed may be writing still; then the next start removes it.
        for left in fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let half = left.file_name().is_some_and(|name| name.to_string_lossy().starts_with(HALF));
            if half && processes_of(&left).is_empty() {
                remove(&left);
            }
        }
        if data.is_dir() {
            return Ok(data);
        }
        let half = new_folder(HALF, cache, user)?;
        if let Err(error) = binaries.initialise(&half, user) {
            remove(&half);
            return Err(error);
        }
        // Two servers with one identity are fine, but not in one replication set-up; MySQL makes a new one.
        let _ = fs::remove_file(half.join("auto.cnf"));
        fs::rename(&half, &data).map_err(|error| {
            Error::system(format!("rename {} to {}", half.display(), data.display()), error)
        })?;
        Ok(data)
    }

    struct Launched {
        child: Child,
        folder: PathBuf,
        url: String,
    }

    fn launch(
        binaries: &Binaries,
        engine: Engine,
        user: Option<User>,
        parent: &Path,
        key: &str,
        image: &Path,
        idle: &str,
    ) -> Result<Launched> {
        let folder = new_folder(&format!("{key}-"), parent, user)?;
        let sockets = if folder.as_os_str().len() + "/.s.PGSQL.5432.lock".len() > LONGEST_SOCKET {
            // DBTEST_DIR is too deep for a socket's path.
            new_folder("dbtest-", Path::new("/tmp"), user)?
        } else {
            folder.clone()
        };
        let (server, socket) = binaries.command(engine, &folder, &sockets);
        let log = folder.join("log");
        let open = || fs::File::options().create(true).append(true).open(&log);
        let log_file = open().map_err(|error| Error::system(format!("write {}", log.display()), error))?;
        let mut command = Command::new("sh");
        command.args(["-c", idle::INSTALLED, "dbtest"]);
        command.args([folder.as_os_str(), image.as_os_str(), socket.as_os_str()]);
        command.args([OsStr::new(idle), OsStr::new(fast_signal(engine))]).args(server);
        dress(&mut command, user, &folder);
        // Not a pipe of ours, which a test runner would wait on; and not a process group of ours,
        // which Ctrl-C and a runner's timeout reach.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).process_group(0);
        let child = command.spawn().map_err(|error| Error::system("run sh", error))?;
        let url = binaries.url(&sockets, &socket);
        Ok(Launched { child, folder, url })
    }

    fn ended(what: &str, said: &str) -> Error {
        let mut what = format!("{what}; it said last:");
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(8)) {
            what.push_str("\n      ");
            what.push_str(line);
        }
        Error::unavailable(what, "see what it said; a container or a URL is another way")
    }

    fn log(folder: &Path) -> String {
        let mut text = Vec::new();
        if let Ok(file) = fs::File::open(folder.join("log")) {
            // A log that can't be read costs the message its end, no more.
            let _ = file.take(1 << 20).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends and removes what an earlier start left: its script may have been killed.
    fn discard(entry: &Entry, folder: &Path) {
        entry.forget();
        // Only a folder of ours, whatever the file says.
        if !folder.starts_with(entry.folder()) || folder.components().any(|part| part.as_os_str() == "..") {
            return;
        }
        for process in processes_of(folder) {
            // It may have ended by itself; then there is nothing left to do.
            let _ = Command::new("kill").args(["-s", "KILL", &process]).stderr(Stdio::null()).status();
        }
        remove(folder);
    }

    /// The processes that work on this folder: its script and its server.
    fn processes_of(folder: &Path) -> Vec<String> {
        let data = folder.join("data");
        let option = option("--datadir=", &data);
        let names = [folder.as_os_str(), data.as_os_str(), &option].map(OsStr::as_encoded_bytes);
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter(|process| process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|process| {
                let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).any(|argument| names.contains(&argument))
            })
            .map(|process| process.file_name().to_string_lossy().into_owned())
            .collect()
    }

    fn remove(folder: &Path) {
        // What stays is in memory or in a temporary folder, and is in nobody's way.
        let _ = fs::remove_dir_all(folder);
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_user_is_read_from_the_table() {
            let users = "root:x:0:0::/:/bin/sh\npostgres2:x:7:7::/:/\npostgres:x:101:104:A,B:/var:/bin/sh\n";
            assert_eq!(user_in(users, "postgres"), Some(User { id: 101, group: 104 }));
            assert_eq!(user_in(users, "nobody"), None);
            assert_eq!(user_in("postgres:x:what", "postgres"), None);
        }

        #[test]
        fn the_newest_version_wins_by_number() {
            assert!(numbers("postgres (PostgreSQL) 15.18") > numbers("postgres (PostgreSQL) 9.6"));
            assert!(numbers("mariadbd  Ver 11.4.2") > numbers("mariadbd  Ver 10.11.19"));
        }

        #[test]
        fn folders_fit_a_pattern() {
            let parent = tempfile::tempdir().expect("a folder");
            for name in ["pg-14/bin", "pg-15/bin", "other/bin"] {
                fs::create_dir_all(parent.path().join(name)).expect("a folder");
            }
            let mut found = matching(&format!("{}/pg-*/bin", parent.path().display()));
            found.sort();
            assert_eq!(found, [parent.path().join("pg-14/bin"), parent.path().join("pg-15/bin")]);
        }
    }
}
