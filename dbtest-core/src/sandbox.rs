//! Opens and ends the wire-level sandbox of a Postgres place; the sandbox itself is the crate
//! `dbtest-sandbox`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dbtest_sandbox::{Address, End, Listen, Options, Sandbox, Server, Upstream};
use url::Url;

use crate::config::config;
use crate::error::{Error, Result};
use crate::server::private;
use crate::test_db::SANDBOX_WAIT;

/// The SQL that guards a sandbox's transaction from below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    /// Makes COMMIT fail.
    pub(crate) refuse: &'static str,
    /// Lets it succeed after all.
    pub(crate) allow: &'static str,
    /// Puts back what a rollback does not.
    pub(crate) last: &'static str,
    /// Asks whether the place is at its baseline: it is if the answer is the same as the last time, and
    /// not `no`.
    pub(crate) check: &'static str,
}

/// A place's sandbox while a test has it, and its warm server connection between tests.
#[derive(Default)]
pub(crate) struct Wire {
    open: Option<Sandbox>,
    /// Where its socket is, if that is no folder for all.
    folder: Option<tempfile::TempDir>,
    warm: Option<Upstream>,
    /// What the last one's check answered.
    checked: Option<String>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", if self.open.is_some() { "open" } else { "closed" })
    }
}

/// How a sandbox ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Why its transaction was not there any more.
    pub(crate) lost: Option<String>,
    /// Its place was found to be at its baseline.
    pub(crate) clean: bool,
}

impl Wire {
    /// Opens a sandbox on the database of this URL, and returns the URL of the sandbox.
    pub(crate) async fn open(&mut self, url: &str, guard: Guard) -> Result<String> {
        let server = server(url)?;
        let shown = crate::url::shown(url);
        let upstream = match self.warm.take() {
            Some(warm) => warm,
            None => Upstream::connect(server.clone()).await.map_err(|error| Error::sandbox(&shown, error))?,
        };
        // The kind of socket that the server has, so that a query costs about the same.
        let listen = match &server.address {
            Address::Tcp(..) => Listen::Loopback,
            Address::Unix(_) => Listen::Folder(match sockets()? {
                Some(folder) => folder.to_owned(),
                None => {
                    // Only this user may enter it.
                    let folder = tempfile::Builder::new().prefix("dbtest-").tempdir();
                    let folder = folder.map_err(|error| Error::sandbox(&shown, error))?;
                    self.folder.insert(folder).path().to_owned()
                }
            }),
        };
        let options = Options {
            listen,
            guard: guard.refuse.to_owned(),
            allow_commit: guard.allow.to_owned(),
            last: guard.last.to_owned(),
            check: guard.check.to_owned(),
            wait: SANDBOX_WAIT,
        };
        let sandbox =
            Sandbox::open(upstream, options).await.map_err(|error| Error::sandbox(&shown, error))?;
        let address = sandbox.address().clone();
        let inside = inside(url, &server, &address, sandbox.password())?;
        self.open = Some(sandbox);
        Ok(inside)
    }

    /// Ends the sandbox; `None` if there is none. With `keep`, what the test committed stays.
    pub(crate) async fn close(&mut self, keep: bool) -> Option<Ended> {
        let sandbox = self.open.take()?;
        let closed = sandbox.close(if keep { End::Commit } else { End::Discard }).await;
        // Where something is unclear the connection goes too: what it did, the server counts when it ends.
        self.warm = closed.upstream.filter(|_| closed.checked.is_some());
        self.folder = None;
        let checked = closed.checked.filter(|answer| answer != "no");
        let clean = checked.is_some() && checked == self.checked;
        self.checked = checked;
        Some(Ended { lost: closed.intact.err().map(|error| error.to_string()), clean })
    }

    /// The server process of the connection that stays open.
    pub(crate) fn spared(&self) -> Option<i32> {
        self.warm.as_ref().map(Upstream::process)
    }

    /// Ends the connection to the server.
    pub(crate) fn cool(&mut self) {
        self.warm = None;
    }
}

/// The folder in which all sandboxes of this user have their sockets: to make one for each, and to
/// remove it, costs more than all else about them. `None` if its path is too long for a socket's.
fn sockets() -> Result<Option<&'static Path>> {
    static FOLDER: OnceLock<Result<Option<PathBuf>>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let folder = config()?.dir.join("sandboxes");
        if folder.as_os_str().len() > LONGEST {
            return Ok(None);
        }
        private(&config()?.dir)?;
        private(&folder)?;
        // Of processes that were killed.
        crate::run::forget_old(&folder);
        Ok(Some(folder))
    });
    made.as_ref().map(Option::as_deref).map_err(Clone::clone)
}

/// What a socket's path may have, less its name.
const LONGEST: usize = 100 - "/.s.PGSQL.65535".len();

fn malformed(url: &str) -> Error {
    Error::sandbox(&crate::url::shown(url), "its URL names no server that can be reached")
}

/// The `sslmode` that asks for TLS, which the sandbox does not speak: it is never left out in silence.
/// Through a unix socket nobody speaks it.
fn insists(address: &Address, mode: Option<String>) -> Option<String> {
    let insists = |mode: &String| matches!(mode.as_str(), "require" | "verify-ca" | "verify-full");
    mode.filter(insists).filter(|_| matches!(address, Address::Tcp(..)))
}

/// What the URL says of the server, as libpq reads it.
fn server(url: &str) -> Result<Server> {
    let parsed = Url::parse(url).map_err(|_| malformed(url))?;
    let pair =
        |name: &str| parsed.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let port = parsed.port().or_else(|| pair("port")?.parse().ok()).unwrap_or(5432);
    let address = match crate::url::socket(&parsed) {
        Some(folder) => Address::Unix(format!("{folder}/.s.PGSQL.{port}").into()),
        None => {
            let host = parsed.host_str().unwrap_or("localhost");
            Address::Tcp(host.trim_matches(['[', ']']).to_owned(), port)
        }
    };
    let decoded = |text: &str| crate::url::decoded(text);
    if let Some(mode) = insists(&address, pair("sslmode").or_else(|| std::env::var("PGSSLMODE").ok())) {
        return Err(Error::no_tls(&crate::url::shown(url), &mode));
    }
    let user = match parsed.username() {
        "" => pair("user").unwrap_or_else(|| std::env::var("USER").unwrap_or_else(|_| "postgres".to_owned())),
        user => decoded(user),
    };
    let password = parsed.password().map(decoded).or_else(|| pair("password"));
    let database = decoded(parsed.path().trim_start_matches('/'));
    Ok(Server { address, user, password, database })
}

/// The URL that opens the sandbox: as the server's, but for where it is and the password.
fn inside(url: &str, server: &Server, address: &Address, password: &str) -> Result<String> {
    let mut inside = Url::parse(url).map_err(|_| malformed(url))?;
    let where_it_is = ["host", "hostaddr", "port", "user", "password", "dbname", "sslmode"];
    let parameters: Vec<(String, String)> = inside
        .query_pairs()
        .filter(|(name, _)| !where_it_is.contains(&name.as_ref()) && !name.starts_with("ssl"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    inside.set_query(None);
    let (host, port, folder) = match address {
        Address::Tcp(host, port) => (host.as_str(), Some(*port), None),
        Address::Unix(socket) => {
            let port = socket.extension().and_then(|port| port.to_str()?.parse().ok());
            ("localhost", port, socket.parent().and_then(|folder| folder.to_str()))
        }
    };
    let set = inside.set_host(Some(host)).is_ok()
        && inside.set_port(port).is_ok()
        && inside.set_username(&server.user).is_ok()
        && inside.set_password(Some(password)).is_ok();
    if !set {
        return Err(malformed(url));
    }
    let mut inside = crate::url::with_parameter(inside.as_str(), "sslmode", "disable");
    if let Some(folder) = folder {
        inside = crate::url::with_parameter(&inside, "host", folder);
    }
    for (name, value) in parameters {
        inside = crate::url::with_parameter(&inside, &name, &value);
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str) -> (Server, String) {
        let server = server(url).expect("a server");
        let address = Address::Tcp("127.0.0.1".to_owned(), 7);
        let inside = inside(url, &server, &address, "p").expect("a URL");
        (server, inside)
    }

    #[test]
    fn the_sandbox_has_the_same_user_database_and_options() {
        let (server, inside) = opened("postgres://me:s%40t@db:5433/app?sslmode=prefer&options=-c%20x%3D1");
        assert_eq!(server.address, Address::Tcp("db".to_owned(), 5433));
        assert_eq!((server.user.as_str(), server.password.as_deref()), ("me", Some("s@t")));
        assert_eq!(inside, "postgres://me:p@127.0.0.1:7/app?sslmode=disable&options=-c%20x%3D1");
    }

    #[test]
    fn who_insists_on_tls_is_refused_and_not_served_without() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = server(&format!("postgres://me:secret@db/app?sslmode={mode}")).expect_err("no TLS");
            let words = error.to_string();
            assert!(words.contains(&format!("sslmode={mode}")) && words.contains("truncate"), "{words}");
            assert!(words.contains("of app at db") && !words.contains("secret"), "{words}");
            assert!(server(&format!("postgres://me@localhost/app?host=/run/pg&sslmode={mode}")).is_ok());
        }
    }

    #[test]
    fn a_private_socket_is_given() {
        let url = "postgres://me@localhost:5/app?host=/run/pg";
        let server = server(url).expect("a server");
        let address = Address::Unix("/tmp/x/.s.PGSQL.5432".into());
        assert_eq!(
            inside(url, &server, &address, "p").expect("a URL"),
            "postgres://me:p@localhost:5432/app?sslmode=disable&host=/tmp/x"
        );
    }

    #[test]
    fn a_private_socket_is_found() {
        let (server, inside) = opened("postgres://me@localhost:5/app?host=/run/pg");
        assert_eq!(server.address, Address::Unix("/run/pg/.s.PGSQL.5".into()));
        assert_eq!(inside, "postgres://me:p@127.0.0.1:7/app?sslmode=disable");
    }
}
