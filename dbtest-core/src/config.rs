//! The environment, read once. [`SETTINGS`] is the one table that documents all of it.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::engine::Engine;
use crate::error::{Error, Result};

/// Every environment variable: its name, its default and what it does. The guide's table is
/// checked against this one.
pub const SETTINGS: &[(&str, &str, &str)] = &[
    ("DBTEST_POSTGRES_URL", "unset", "the Postgres server to use; before DATABASE_URL"),
    ("DBTEST_MYSQL_URL", "unset", "the MySQL or MariaDB server to use; before DATABASE_URL"),
    ("DATABASE_URL", "unset", "used where its scheme fits the engine and nothing above is set"),
    ("DBTEST_SERVER", "auto", "auto, url, container or installed: the only kind of server to try"),
    ("DBTEST_POSTGRES_IMAGE", "postgres:18", "the image of a Postgres container"),
    ("DBTEST_MYSQL_IMAGE", "mysql:9.7", "the image of a MySQL or MariaDB container"),
    (
        "DBTEST_IDLE",
        "600",
        "seconds without a client after which a started server ends itself; never keeps it",
    ),
    (
        "DBTEST_ALLOW_HOST",
        "unset",
        "hosts, separated by commas, that dbtest may use although they are not local",
    ),
    ("DBTEST_STRATEGY", "unset", "rollback, truncate, template or schema: overrides attribute and builder"),
    ("DBTEST_MAX_CONNECTIONS", "10", "the most connections that a test's pool opens"),
    (
        "DBTEST_KEEP",
        "unset",
        "1 keeps every test's database; under rollback it commits, so there is something to see",
    ),
    ("DBTEST_KEEP_MAX", "5", "how many kept databases stay; the oldest goes first"),
    ("DBTEST_FRESH", "unset", "1 builds the template anew in this run"),
    ("DBTEST_LEAKS", "warn", "warn or fail: what a leaked connection does to its test"),
    ("DBTEST_SKIP_MISSING", "unset", "1 skips, counted and printed, the tests whose server is missing"),
    ("DBTEST_DIR", "/dev/shm or the temporary folder", "where SQLite files and started servers live"),
];

/// The environment as dbtest reads it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) server: ServerChoice,
    /// Seconds until a started server without clients ends itself; `None` is never.
    pub(crate) idle: Option<u64>,
    pub(crate) allow_hosts: Vec<String>,
    pub(crate) strategy: Option<String>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) keep: bool,
    pub(crate) keep_max: usize,
    pub(crate) fresh: bool,
    pub(crate) leaks_fail: bool,
    pub(crate) skip_missing: bool,
    pub(crate) dir: PathBuf,
    /// nextest's number of the place where this test runs: a hint, two runs share numbers.
    pub(crate) slot_hint: u32,
    /// One word for this run: nextest's, or this process's own.
    pub(crate) run: String,
}

/// `DBTEST_SERVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerChoice {
    Auto,
    Url,
    Container,
    Installed,
}

impl ServerChoice {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Url => "url",
            Self::Container => "container",
            Self::Installed => "installed",
        }
    }
}

/// The environment, read at the first call.
///
/// # Errors
/// A variable that is set to something that can't be used.
pub(crate) fn config() -> Result<&'static Config> {
    static CONFIG: OnceLock<Result<Config>> = OnceLock::new();
    CONFIG.get_or_init(|| read(&|name| std::env::var(name).ok())).as_ref().map_err(Clone::clone)
}

/// The URL that the environment names for the engine, and the variable it stands in.
pub(crate) fn url_for(engine: Engine) -> Option<(&'static str, String)> {
    url_among(engine, &|name| std::env::var(name).ok())
}

fn url_among(engine: Engine, get: &dyn Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let own = match engine {
        Engine::Postgres => "DBTEST_POSTGRES_URL",
        Engine::MySql => "DBTEST_MYSQL_URL",
        Engine::Sqlite => return None,
    };
    let set = |name: &'static str| get(name).filter(|url| !url.is_empty()).map(|url| (name, url));
    set(own).or_else(|| set("DATABASE_URL").filter(|(_, url)| crate::url::engine(url) == Some(engine)))
}

/// The image that the environment or the default names for the engine.
pub(crate) fn image_for(engine: Engine) -> String {
    let (name, default) = match engine {
        Engine::MySql => ("DBTEST_MYSQL_IMAGE", "mysql:9.7"),
        _ => ("DBTEST_POSTGRES_IMAGE", "postgres:18"),
    };
    std::env::var(name).ok().filter(|image| !image.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
    let set = |name: &str| get(name).filter(|value| !value.is_empty());
    let flag = |name: &str| match set(name).as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(other) => Err(Error::setting(name, other, "1 or 0")),
    };
    let number = |name: &str| match set(name) {
        None => Ok(None),
        Some(text) => match text.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(Error::setting(name, &text, "a whole number above 0")),
        },
    };
    let server = match set("DBTEST_SERVER").as_deref() {
        None | Some("auto") => ServerChoice::Auto,
        Some("url") => ServerChoice::Url,
        Some("container") => ServerChoice::Container,
        Some("installed") => ServerChoice::Installed,
        Some(other) => {
            return Err(Error::setting("DBTEST_SERVER", other, "auto, url, container or installed"));
        }
    };
    let idle = match set("DBTEST_IDLE").as_deref() {
        None => Some(600),
        Some("never") => None,
        Some(text) => match text.parse() {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(Error::setting("DBTEST_IDLE", text, "a number of seconds, or never")),
        },
    };
    let leaks_fail = match set("DBTEST_LEAKS").as_deref() {
        None | Some("warn") => false,
        Some("fail") => true,
        Some(other) => return Err(Error::setting("DBTEST_LEAKS", other, "warn or fail")),
    };
    Ok(Config {
        server,
        idle,
        allow_hosts: set("DBTEST_ALLOW_HOST")
            .map(|hosts| hosts.split(',').map(|host| host.trim().to_owned()).collect())
            .unwrap_or_default(),
        strategy: set("DBTEST_STRATEGY"),
        max_connections: number("DBTEST_MAX_CONNECTIONS")?,
        keep: flag("DBTEST_KEEP")?,
        keep_max: number("DBTEST_KEEP_MAX")?.map_or(5, |number| number as usize),
        fresh: flag("DBTEST_FRESH")?,
        leaks_fail,
        skip_missing: flag("DBTEST_SKIP_MISSING")?,
        dir: set("DBTEST_DIR").map_or_else(default_dir, PathBuf::from),
        slot_hint: set("NEXTEST_TEST_GLOBAL_SLOT").and_then(|text| text.parse().ok()).unwrap_or(0),
        run: set("NEXTEST_RUN_ID").unwrap_or_else(own_run),
    })
}

/// Memory where there is some: a test database has no use for a disk.
fn default_dir() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    // Two users of one machine must not meet in one folder.
    let user = match std::fs::metadata("/proc/self") {
        #[cfg(unix)]
        Ok(own) => std::os::unix::fs::MetadataExt::uid(&own).to_string(),
        _ => std::env::var("USER").unwrap_or_else(|_| "user".to_owned()),
    };
    base.join(format!("dbtest-{user}"))
}

fn own_run() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{}-{now}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn every_setting_that_cannot_be_used_is_named() {
        for (name, value) in [
            ("DBTEST_SERVER", "magic"),
            ("DBTEST_IDLE", "soon"),
            ("DBTEST_LEAKS", "maybe"),
            ("DBTEST_KEEP", "yes please"),
            ("DBTEST_MAX_CONNECTIONS", "0"),
        ] {
            let error = read(&from(&[(name, value)])).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn database_url_is_used_only_where_its_scheme_fits() {
        let set = [("DATABASE_URL", "mysql://h/d")];
        assert_eq!(url_among(Engine::Postgres, &from(&set)), None);
        assert_eq!(url_among(Engine::MySql, &from(&set)), Some(("DATABASE_URL", "mysql://h/d".to_owned())));
        let set = [("DATABASE_URL", "postgres://h/d"), ("DBTEST_POSTGRES_URL", "postgres://own/d")];
        let (name, _) = url_among(Engine::Postgres, &from(&set)).expect("a URL");
        assert_eq!(name, "DBTEST_POSTGRES_URL");
    }
}
