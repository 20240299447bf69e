//! The environment and the `.env` file, read once. [`SETTINGS`] is the one table that documents all
//! of it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::dotenv::DotEnv;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::report;

/// Every environment variable: its name, its default and what it does. The guide's table is
/// checked against this one.
pub const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "DBTEST_POSTGRES_URL",
        "unset",
        "the Postgres server to use, or several with spaces or commas between; before DATABASE_URL",
    ),
    (
        "DBTEST_MYSQL_URL",
        "unset",
        "the MySQL or MariaDB server to use, or several with spaces or commas between; before DATABASE_URL",
    ),
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
    (
        "DBTEST_STRATEGY",
        "unset",
        "rollback, truncate, template, schema or auto: overrides attribute and builder",
    ),
    ("DBTEST_MAX_CONNECTIONS", "10", "the most connections that a test's pool opens"),
    (
        "DBTEST_CONNECTIONS",
        "what the server allows, less a few",
        "how many connections the tests of all processes have on a server at once; others wait",
    ),
    (
        "DBTEST_KEEP",
        "unset",
        "1 keeps every test's database; under rollback it commits, so there is something to see",
    ),
    (
        "DBTEST_PATIENCE",
        "1",
        "on a slow machine: how many times as long dbtest waits for a server's answer or a free connection",
    ),
    (
        "DBTEST_KEEP_MAX",
        "5",
        "how many kept databases stay on a server, of all projects; the oldest goes first",
    ),
    ("DBTEST_DIFF", "unset", "1 prints what a failed test changed in its database"),
    (
        "DBTEST_REPORT",
        "unset",
        "1 writes down what the run spent in dbtest, for cargo dbtest report; any other word names the run",
    ),
    ("DBTEST_FRESH", "unset", "1 builds the template anew in this run"),
    ("DBTEST_LEAKS", "warn", "warn or fail: what a leaked connection does to its test"),
    ("DBTEST_SEED", "unset", "the number that a test's random values come from; without it, its name"),
    ("DBTEST_SKIP_MISSING", "unset", "1 skips, counted and printed, the tests whose server is missing"),
    ("DBTEST_DIR", "/dev/shm or the temporary folder", "where SQLite files and started servers live"),
    ("DBTEST_DOTENV", "1", "0 leaves a .env file unread; it can't be set in that file"),
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
    pub(crate) connections: Option<u32>,
    /// [`patient`] multiplies with it.
    pub(crate) patience: u32,
    pub(crate) keep: bool,
    pub(crate) keep_max: usize,
    pub(crate) diff: bool,
    /// The run that a report is written for.
    pub(crate) report: Option<String>,
    pub(crate) fresh: bool,
    pub(crate) leaks_fail: bool,
    pub(crate) skip_missing: bool,
    pub(crate) dir: PathBuf,
    /// nextest's number of the place where this test runs: a hint, two runs share numbers.
    pub(crate) slot_hint: u32,
    /// Where this process begins in a list of servers: nextest's number, or one by chance. Processes
    /// that all began with the first would leave the last ones idle.
    pub(crate) first_server: u32,
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

type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where settings stand: in the environment, and what it does not set in a `.env` file.
struct Environment {
    own: Variables,
    file: Option<DotEnv>,
}

impl Environment {
    /// This process's own.
    ///
    /// # Errors
    /// There is a `.env` file that can't be read.
    fn of_process() -> Result<Self> {
        let mut environment = Self { own: Box::new(|name| std::env::var(name).ok()), file: None };
        if environment.flag("DBTEST_DOTENV")?.unwrap_or(true)
            && let Ok(folder) = std::env::current_dir()
        {
            environment.file = DotEnv::find(&folder)?;
        }
        Ok(environment)
    }

    /// What is set to nothing is not set, and hides what the file says.
    fn get(&self, name: &str) -> Option<String> {
        let in_file = || self.file.as_ref()?.get(name).map(str::to_owned);
        (self.own)(name).or_else(in_file).filter(|value| !value.is_empty())
    }

    /// The name, and the file where the value stands there.
    fn shown(&self, name: &str) -> String {
        match &self.file {
            Some(file) if (self.own)(name).is_none() && file.get(name).is_some() => {
                format!("{name} in {}", file.path.display())
            }
            _ => name.to_owned(),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name).as_deref() {
            None => Ok(None),
            Some("0" | "false") => Ok(Some(false)),
            Some("1" | "true") => Ok(Some(true)),
            Some(other) => Err(self.unusable(name, other, "1 or 0")),
        }
    }

    fn unusable(&self, name: &str, value: &str, expected: &str) -> Error {
        Error::setting(&self.shown(name), value, expected)
    }
}

fn environment() -> Result<&'static Environment> {
    static ENVIRONMENT: OnceLock<Result<Environment>> = OnceLock::new();
    ENVIRONMENT.get_or_init(Environment::of_process).as_ref().map_err(Clone::clone)
}

/// The settings, read at the first call.
///
/// # Errors
/// A variable that is set to something that can't be used, or a `.env` file that can't be read.
pub(crate) fn config() -> Result<&'static Config> {
    static CONFIG: OnceLock<Result<Config>> = OnceLock::new();
    CONFIG.get_or_init(|| read(environment()?)).as_ref().map_err(Clone::clone)
}

/// How long to wait where `usual` does for most machines.
pub(crate) fn patient(usual: Duration) -> Duration {
    config().map_or(usual, |config| usual.saturating_mul(config.patience))
}

/// The URL that the environment names for the engine, and where it stands.
pub(crate) fn url_for(engine: Engine) -> Result<Option<(String, String)>> {
    Ok(url_among(engine, environment()?))
}

fn url_among(engine: Engine, environment: &Environment) -> Option<(String, String)> {
    let own = match engine {
        Engine::Postgres => "DBTEST_POSTGRES_URL",
        Engine::MySql => "DBTEST_MYSQL_URL",
        Engine::Sqlite => return None,
    };
    let set = |name| environment.get(name).map(|url| (environment.shown(name), url));
    set(own).or_else(|| set("DATABASE_URL").filter(|(_, url)| crate::url::engine(url) == Some(engine)))
}

/// The variable that names the engine's image, and the image without it.
pub(crate) const fn image_setting(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::MySql => ("DBTEST_MYSQL_IMAGE", "mysql:9.7"),
        _ => ("DBTEST_POSTGRES_IMAGE", "postgres:18"),
    }
}

/// The image that the environment or the default names for the engine.
pub(crate) fn image_for(engine: Engine) -> Result<String> {
    let (name, default) = image_setting(engine);
    Ok(environment()?.get(name).unwrap_or_else(|| default.to_owned()))
}

fn read(environment: &Environment) -> Result<Config> {
    let set = |name: &str| environment.get(name);
    let flag = |name: &str| environment.flag(name).map(|set| set.unwrap_or(false));
    let unusable = |name: &str, value: &str, expected: &str| environment.unusable(name, value, expected);
    let number = |name: &str| match set(name) {
        None => Ok(None),
        Some(text) => match text.parse::<u32>() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(unusable(name, &text, "a whole number above 0")),
        },
    };
    let server = match set("DBTEST_SERVER").as_deref() {
        None | Some("auto") => ServerChoice::Auto,
        Some("url") => ServerChoice::Url,
        Some("container") => ServerChoice::Container,
        Some("installed") => ServerChoice::Installed,
        Some(other) => {
            return Err(unusable("DBTEST_SERVER", other, "auto, url, container or installed"));
        }
    };
    let idle = match set("DBTEST_IDLE").as_deref() {
        None => Some(600),
        Some("never") => None,
        Some(text) => match text.parse() {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(unusable("DBTEST_IDLE", text, "a number of seconds, or never")),
        },
    };
    // It is read again by whoever draws from it, which need not be dbtest.
    if let Some(Err(_)) = set(dbtest_seed::VARIABLE).as_deref().map(dbtest_seed::parse) {
        let text = set(dbtest_seed::VARIABLE).unwrap_or_default();
        return Err(unusable(dbtest_seed::VARIABLE, &text, "a whole number below 2^64"));
    }
    let leaks_fail = match set("DBTEST_LEAKS").as_deref() {
        None | Some("warn") => false,
        Some("fail") => true,
        Some(other) => return Err(unusable("DBTEST_LEAKS", other, "warn or fail")),
    };
    let place: Option<u32> = set("NEXTEST_TEST_GLOBAL_SLOT").and_then(|text| text.parse().ok());
    Ok(Config {
        server,
        idle,
        allow_hosts: set("DBTEST_ALLOW_HOST")
            .map(|hosts| hosts.split(',').map(|host| host.trim().to_owned()).collect())
            .unwrap_or_default(),
        strategy: set("DBTEST_STRATEGY"),
        max_connections: number("DBTEST_MAX_CONNECTIONS")?,
        connections: number("DBTEST_CONNECTIONS")?,
        patience: number("DBTEST_PATIENCE")?.unwrap_or(1),
        keep: flag("DBTEST_KEEP")?,
        keep_max: number("DBTEST_KEEP_MAX")?.map_or(5, |number| number as usize),
        diff: flag("DBTEST_DIFF")?,
        report: set("DBTEST_REPORT").and_then(|text| report::run(&text)),
        fresh: flag("DBTEST_FRESH")?,
        leaks_fail,
        skip_missing: flag("DBTEST_SKIP_MISSING")?,
        dir: set("DBTEST_DIR").map_or_else(default_dir, PathBuf::from),
        slot_hint: place.unwrap_or(0),
        first_server: place.unwrap_or_else(by_chance),
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

/// A number that processes begun one after the other do not share. Their own numbers have a pattern.
fn by_chance() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32
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

    fn from(set: &'static [(&'static str, &'static str)]) -> Environment {
        let own =
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment { own: Box::new(own), file: None }
    }

    fn file(text: &str) -> Option<DotEnv> {
        Some(DotEnv::parse(".env".into(), text).expect("a file"))
    }

    #[test]
    fn every_setting_that_cannot_be_used_is_named() {
        const WRONG: &[[(&str, &str); 1]] = &[
            [("DBTEST_SERVER", "magic")],
            [("DBTEST_IDLE", "soon")],
            [("DBTEST_LEAKS", "maybe")],
            [("DBTEST_KEEP", "yes please")],
            [("DBTEST_MAX_CONNECTIONS", "0")],
            [("DBTEST_PATIENCE", "0.5")],
            [("DBTEST_SEED", "seven")],
        ];
        for set in WRONG {
            let name = set[0].0;
            let error = read(&from(set)).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn database_url_is_used_only_where_its_scheme_fits() {
        let mysql = from(&[("DATABASE_URL", "mysql://h/d")]);
        assert_eq!(url_among(Engine::Postgres, &mysql), None);
        let found = Some(("DATABASE_URL".to_owned(), "mysql://h/d".to_owned()));
        assert_eq!(url_among(Engine::MySql, &mysql), found);
        let both = from(&[("DATABASE_URL", "postgres://h/d"), ("DBTEST_POSTGRES_URL", "postgres://own/d")]);
        let (name, _) = url_among(Engine::Postgres, &both).expect("a URL");
        assert_eq!(name, "DBTEST_POSTGRES_URL");
    }

    #[test]
    fn the_file_is_asked_where_the_environment_is_silent() {
        let mut environment = from(&[("DBTEST_STRATEGY", "rollback"), ("DBTEST_POSTGRES_URL", "")]);
        environment.file = file(
            "DBTEST_STRATEGY=template\nDBTEST_KEEP_MAX=7\nDBTEST_POSTGRES_URL=postgres://file/d\n\
             DATABASE_URL=\"postgres://h/d\"\n",
        );
        let config = read(&environment).expect("settings");
        assert_eq!((config.strategy.as_deref(), config.keep_max), (Some("rollback"), 7));
        // Set to nothing it hides what the file says.
        let found = ("DATABASE_URL in .env".to_owned(), "postgres://h/d".to_owned());
        assert_eq!(url_among(Engine::Postgres, &environment), Some(found));
    }

    #[test]
    fn processes_begin_at_different_servers_of_a_list() {
        let first = |set| read(&from(set)).expect("settings").first_server;
        assert_eq!(first(&[("NEXTEST_TEST_GLOBAL_SLOT", "5")]), 5);
        // Without nextest by chance: that forty miss one of three is one case in three million.
        let met: std::collections::HashSet<u32> = (0..40).map(|_| first(&[]) % 3).collect();
        assert_eq!(met.len(), 3);
    }

    #[test]
    fn what_cannot_be_used_in_the_file_is_named_with_the_file() {
        let mut environment = from(&[]);
        environment.file = file("DBTEST_KEEP='yes please'");
        let error = read(&environment).expect_err("refused").to_string();
        assert!(error.contains("DBTEST_KEEP in .env is \"yes please\""), "{error}");
    }
}
