//! The legs of a run and which of them can run: pure, over what the machine was found to have.

use std::collections::BTreeMap;
use std::fmt;

use crate::args::Options;
use crate::counts::Runner;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    MySql,
}

impl Engine {
    /// The module of the conformance suite, the word for `which_server`, the start of leg names.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Postgres => "postgres",
            Engine::MySql => "mysql",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Sqlite => "SQLite",
            Engine::Postgres => "Postgres",
            Engine::MySql => "MySQL",
        }
    }

    /// The variables that name a server and an image; SQLite has neither.
    fn variables(self) -> Option<(&'static str, &'static str)> {
        match self {
            Engine::Sqlite => None,
            Engine::Postgres => Some(("DBTEST_POSTGRES_URL", "DBTEST_POSTGRES_IMAGE")),
            Engine::MySql => Some(("DBTEST_MYSQL_URL", "DBTEST_MYSQL_IMAGE")),
        }
    }

    /// The package that Debian and Ubuntu have.
    pub(crate) fn package(self) -> Option<&'static str> {
        match self {
            Engine::Sqlite => None,
            Engine::Postgres => Some("postgresql"),
            Engine::MySql => Some("mariadb-server"),
        }
    }

    fn next_step(self) -> String {
        let package = self.package().unwrap_or_default();
        let (url, _) = self.variables().unwrap_or_default();
        format!("start Docker, or install {package} (`apt-get install {package}`), or set {url}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    InProcess,
    Container(&'static str),
    Installed,
    Url,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::InProcess => f.write_str("in process"),
            Server::Container(image) => write!(f, "container {image}"),
            Server::Installed => f.write_str("installed"),
            Server::Url => f.write_str("url"),
        }
    }
}

/// What a server leg runs on, and under whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct On {
    pub(crate) engine: Engine,
    pub(crate) server: Server,
    pub(crate) runner: Runner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes when its command does.
    Check,
    /// Runs tests, and must run some.
    Tests,
    /// Runs an engine's part of the conformance suite.
    Conformance(On),
}

/// One named part of the run: one call of cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What stands after `cargo`; empty where the workspace has nothing to run.
    pub(crate) command: Vec<String>,
    /// Set, or where there is no value, removed.
    pub(crate) env: Vec<(&'static str, Option<&'static str>)>,
}

impl Leg {
    pub(crate) fn on(&self) -> Option<On> {
        match self.kind {
            Kind::Conformance(on) => Some(on),
            _ => None,
        }
    }

    pub(crate) fn runner(&self) -> Runner {
        self.on().map_or(Runner::CargoTest, |on| on.runner)
    }

    /// The part of a test's name that this leg asks for.
    pub(crate) fn filter(&self) -> String {
        self.on().map(|on| format!("{}::", on.engine.word())).unwrap_or_default()
    }

    /// The command as one writes it in a shell.
    pub(crate) fn line(&self) -> String {
        let set = self.env.iter().filter_map(|(name, value)| Some(format!("{name}={} ", (*value)?)));
        let quoted = |word: &String| {
            if word.contains(['(', '*', ' ']) { format!("'{word}'") } else { word.clone() }
        };
        let words = self.command.iter().map(quoted).collect::<Vec<_>>();
        format!("{}cargo {}", set.collect::<String>(), words.join(" "))
    }

    fn is_asked_for(&self, only: &[String]) -> bool {
        only.is_empty() || only.iter().any(|part| self.name.contains(part.as_str()))
    }
}

/// What the workspace holds, as far as it shapes the legs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// The crates in examples/, quickstart among them.
    pub(crate) examples: Vec<String>,
}

/// The images of the container legs: the oldest that we promise and the newest, both families.
const CONTAINERS: [(Engine, &str); 4] = [
    (Engine::Postgres, "postgres:15"),
    (Engine::Postgres, "postgres:18"),
    (Engine::MySql, "mysql:9.7"),
    (Engine::MySql, "mariadb:11.8"),
];

/// The servers on which every adapter runs, each engine once. On the others it is the adapter for sqlx alone:
/// what they add is a server, and that is core's affair.
const ALL_ADAPTERS: [&str; 3] = ["sqlite", "postgres:18", "mariadb:11.8"];

/// Foreign clients of the sandbox. Their own programs are as old as the installed server.
pub(crate) const CLIENTS: &str = "sandbox-clients";

/// The integration tests of the adapters, sqlx's first, and of the factories, which are on all of them.
const ADAPTERS: [&str; 5] = ["it", "seaorm", "diesel", "diesel_async", "factory"];

/// The tests of `cargo dbtest`, and the faults. They start servers of their own, from installed binaries; the
/// faults also containers.
const OWN_SERVERS: [&str; 2] = ["cli", "faults"];

/// The arguments that select the tests of a server's leg.
fn tests(server: &str, runner: Runner) -> Vec<String> {
    let all = ALL_ADAPTERS.contains(&server) && (runner == Runner::CargoTest || server != ALL_ADAPTERS[2]);
    let adapters = if all { &ADAPTERS[..] } else { &ADAPTERS[..1] };
    let own = runner == Runner::CargoTest && (server == "sqlite" || server.ends_with("-installed"));
    adapters
        .iter()
        .chain(own.then_some(&OWN_SERVERS).into_iter().flatten())
        .flat_map(|name| ["--test".to_owned(), (*name).to_owned()])
        .collect()
}

/// Every leg that was asked for, in the order of the run. `urls` says for which engines the environment names
/// a server.
///
/// All legs that run tests select the same crates with the same features, so that the
/// dependencies are compiled once.
pub(crate) fn legs(members: &Members, urls: &[Engine], only: &[String]) -> Vec<Leg> {
    let ours = || {
        let mut words = vec!["--workspace".to_owned()];
        words.extend(members.examples.iter().flat_map(|name| ["--exclude".to_owned(), name.clone()]));
        words.extend(["--exclude".to_owned(), CLIENTS.to_owned()]);
        words.push("--all-features".to_owned());
        words
    };
    let mut legs = vec![
        leg("fmt", Kind::Check, words("fmt --all -- --check")),
        leg("clippy", Kind::Check, words("clippy --workspace --all-targets --all-features -- -D warnings")),
        leg("build", Kind::Check, [words("test --no-run"), ours()].concat()),
        leg("unit", Kind::Tests, [words("test --no-fail-fast"), ours(), words("--lib --bins")].concat()),
        leg("doc", Kind::Tests, [words("test --no-fail-fast"), ours(), words("--doc")].concat()),
    ];
    let mut servers = vec![("sqlite".to_owned(), Engine::Sqlite, Server::InProcess)];
    servers.extend(
        CONTAINERS.iter().map(|&(engine, image)| (image.to_owned(), engine, Server::Container(image))),
    );
    for engine in [Engine::Postgres, Engine::MySql] {
        servers.push((format!("{}-installed", engine.word()), engine, Server::Installed));
    }
    servers.extend(urls.iter().map(|&engine| (format!("{}-url", engine.word()), engine, Server::Url)));
    for (name, engine, server) in servers {
        let filter = format!("{}::", engine.word());
        let env = environment(engine, server);
        let on = On { engine, server, runner: Runner::CargoTest };
        let filters = vec!["--".to_owned(), filter.clone()];
        let command = [words("test --no-fail-fast"), ours(), tests(&name, Runner::CargoTest), filters];
        legs.push(Leg {
            name: name.clone(),
            kind: Kind::Conformance(on),
            command: command.concat(),
            env: env.clone(),
        });
        let on = On { runner: Runner::Nextest, ..on };
        let show = words("--profile ci --status-level all --final-status-level none");
        // What a process of its own for each test changes is how leases and sessions end, and that is the same
        // under every strategy: one of them is enough for the adapters behind the first.
        let filter = format!(
            "test({filter}) and (binary({}) or not test(/^conformance::.*::(rollback|template|schema)::/))",
            ADAPTERS[0]
        );
        let filter = vec!["-E".to_owned(), filter];
        let command = [words("nextest run"), ours(), tests(&name, Runner::Nextest), show, filter].concat();
        let name = format!("{name}/nextest");
        legs.push(Leg { name, kind: Kind::Conformance(on), command, env });
    }
    let engines = [Engine::Sqlite, Engine::Postgres, Engine::MySql];
    let others = engines.iter().flat_map(|engine| ["--skip".to_owned(), format!("{}::", engine.word())]);
    let rest = [words("test --no-fail-fast"), ours(), words("--test * --"), others.collect()].concat();
    legs.push(leg("rest", Kind::Tests, rest));
    let env = environment(Engine::Postgres, Server::Installed);
    let command = words(&format!("test --no-fail-fast -p {CLIENTS}"));
    legs.push(Leg { name: "clients".to_owned(), kind: Kind::Tests, command, env });
    let (quickstart, others): (Vec<_>, Vec<_>) =
        members.examples.iter().partition(|name| *name == "quickstart");
    let packages: Vec<_> = others.into_iter().flat_map(|name| ["-p".to_owned(), name.clone()]).collect();
    let command =
        if packages.is_empty() { packages } else { [words("test --no-fail-fast"), packages].concat() };
    legs.push(leg("examples", Kind::Tests, command));
    let command = if quickstart.is_empty() { Vec::new() } else { words("run -p quickstart") };
    legs.push(leg("quickstart", Kind::Check, command));
    legs.retain(|leg| leg.is_asked_for(only));
    legs
}

fn leg(name: &str, kind: Kind, command: Vec<String>) -> Leg {
    Leg { name: name.to_owned(), kind, command, env: Vec::new() }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// What makes the library take this server and no other.
fn environment(engine: Engine, server: Server) -> Vec<(&'static str, Option<&'static str>)> {
    // A `.env` above the checkout would name another.
    let mut env = vec![("DATABASE_URL", None), ("DBTEST_DOTENV", Some("0"))];
    for other in [Engine::Postgres, Engine::MySql] {
        let Some((url, image)) = other.variables() else { continue };
        let own = other == engine;
        if !(own && server == Server::Url) {
            env.push((url, None));
        }
        env.push((
            image,
            if let (true, Server::Container(image)) = (own, server) { Some(image) } else { None },
        ));
    }
    env.push((
        "DBTEST_SERVER",
        match server {
            Server::InProcess => None,
            Server::Container(_) => Some("container"),
            Server::Installed => Some("installed"),
            Server::Url => Some("url"),
        },
    ));
    env
}

/// Whether something can be had, else why not.
pub(crate) type Found = Result<(), String>;

/// What the machine was found to have. What nobody asked for is not looked up and not in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) containers: BTreeMap<&'static str, Found>,
    pub(crate) installed: BTreeMap<Engine, Found>,
    pub(crate) nextest: Option<Found>,
}

impl Available {
    pub(crate) fn has(&self, engine: Engine, server: Server) -> Found {
        let unknown = || Err("nobody looked for it; this is a bug in xtask".to_owned());
        match server {
            Server::InProcess | Server::Url => Ok(()),
            Server::Container(image) => self.containers.get(image).cloned().unwrap_or_else(unknown),
            Server::Installed => self.installed.get(&engine).cloned().unwrap_or_else(unknown),
        }
    }
}

/// The engines whose package is to be installed, before anything runs: where the machine has no other server
/// for it, or every leg is required.
pub(crate) fn to_install(legs: &[Leg], available: &Available, options: &Options) -> Vec<Engine> {
    let on = |engine| legs.iter().filter_map(Leg::on).filter(move |on| on.engine == engine);
    let wanted = |&engine: &Engine| {
        let missing =
            on(engine).any(|on| on.server == Server::Installed && available.has(engine, on.server).is_err());
        let another = on(engine).any(|on| available.has(engine, on.server).is_ok());
        missing && (options.all || !another)
    };
    if options.no_install {
        return Vec::new();
    }
    [Engine::Postgres, Engine::MySql].into_iter().filter(wanted).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    /// `fatal` fails the command.
    NotRun {
        why: String,
        fatal: bool,
    },
}

/// What can run, and whether it is a failure that the rest can't.
pub(crate) fn decide(legs: &[Leg], available: &Available, all: bool) -> Vec<Verdict> {
    let has_one = |engine| {
        legs.iter()
            .filter_map(Leg::on)
            .any(|on| on.engine == engine && available.has(engine, on.server).is_ok())
    };
    legs.iter()
        .map(|leg| {
            if leg.command.is_empty() {
                return Verdict::NotRun { why: "examples/ has no such crate".to_owned(), fatal: all };
            }
            let Some(on) = leg.on() else { return Verdict::Run };
            if let Err(why) = available.has(on.engine, on.server) {
                let fatal = all || !has_one(on.engine);
                let next = if fatal { format!("; {}", on.engine.next_step()) } else { String::new() };
                return Verdict::NotRun { why: format!("{why}{next}"), fatal };
            }
            match (on.runner, &available.nextest) {
                (Runner::Nextest, Some(Err(why))) => Verdict::NotRun { why: why.clone(), fatal: true },
                _ => Verdict::Run,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        Members { examples: ["custom-backend", "quickstart", "todo-sqlx"].map(str::to_owned).to_vec() }
    }

    fn everything() -> Available {
        Available {
            containers: CONTAINERS.iter().map(|&(_, image)| (image, Ok(()))).collect(),
            installed: BTreeMap::from([(Engine::Postgres, Ok(())), (Engine::MySql, Ok(()))]),
            nextest: Some(Ok(())),
        }
    }

    fn no_docker() -> Available {
        let containers = CONTAINERS.iter().map(|&(_, image)| (image, Err("no docker".to_owned()))).collect();
        Available { containers, ..everything() }
    }

    fn nothing() -> Available {
        let missing = |engine| (engine, Err("no binary".to_owned()));
        Available { installed: BTreeMap::from([Engine::Postgres, Engine::MySql].map(missing)), ..no_docker() }
    }

    fn all_legs() -> Vec<Leg> {
        legs(&members(), &[], &[])
    }

    fn named(name: &str) -> Leg {
        let found = legs(&members(), &[Engine::Postgres], &[]).into_iter().find(|leg| leg.name == name);
        found.unwrap_or_else(|| panic!("no leg {name}"))
    }

    fn not_run(available: &Available, all: bool) -> Vec<(String, bool)> {
        let legs = all_legs();
        let verdicts = decide(&legs, available, all);
        let missing = |(leg, verdict): (&Leg, Verdict)| match verdict {
            Verdict::Run => None,
            Verdict::NotRun { fatal, .. } => Some((leg.name.clone(), fatal)),
        };
        legs.iter().zip(verdicts).filter_map(missing).collect()
    }

    #[test]
    fn every_server_has_a_leg_under_each_runner() {
        let names: Vec<_> = all_legs().into_iter().map(|leg| leg.name).collect();
        let servers = [
            "sqlite",
            "postgres:15",
            "postgres:18",
            "mysql:9.7",
            "mariadb:11.8",
            "postgres-installed",
            "mysql-installed",
        ];
        for server in servers {
            assert!(names.contains(&server.to_owned()), "{names:?}");
            assert!(names.contains(&format!("{server}/nextest")), "{names:?}");
        }
        assert_eq!(names.len(), 5 + 2 * servers.len() + 4);
    }

    #[test]
    fn a_leg_lets_the_library_take_its_server_and_no_other() {
        let set = |name: &str| named(name).env.into_iter().collect::<BTreeMap<_, _>>();
        let postgres = set("postgres:15");
        assert_eq!(postgres["DBTEST_SERVER"], Some("container"));
        assert_eq!(postgres["DBTEST_POSTGRES_IMAGE"], Some("postgres:15"));
        for gone in ["DBTEST_POSTGRES_URL", "DBTEST_MYSQL_URL", "DATABASE_URL", "DBTEST_MYSQL_IMAGE"] {
            assert_eq!(postgres[gone], None, "{gone}");
        }
        assert_eq!(set("mariadb:11.8/nextest")["DBTEST_MYSQL_IMAGE"], Some("mariadb:11.8"));
        assert_eq!(set("mysql-installed")["DBTEST_SERVER"], Some("installed"));
        let url = set("postgres-url");
        assert_eq!(url["DBTEST_SERVER"], Some("url"));
        assert!(!url.contains_key("DBTEST_POSTGRES_URL"), "the leg on a URL must leave it alone");
    }

    #[test]
    fn commands_are_what_one_would_write() {
        assert_eq!(
            named("rest").line(),
            "cargo test --no-fail-fast --workspace --exclude custom-backend --exclude quickstart --exclude todo-sqlx \
             --exclude sandbox-clients --all-features --test '*' -- --skip sqlite:: --skip postgres:: --skip mysql::"
        );
        assert_eq!(named("examples").line(), "cargo test --no-fail-fast -p custom-backend -p todo-sqlx");
        assert_eq!(named("quickstart").line(), "cargo run -p quickstart");
        let line = "--test it --test seaorm --test diesel --test diesel_async";
        for (name, all) in [
            ("mariadb:11.8", true),
            ("mariadb:11.8/nextest", false),
            ("postgres:18/nextest", true),
            ("postgres:15", false),
        ] {
            assert_eq!(named(name).line().contains(line), all, "{name}");
        }
        assert!(named("mysql-installed").line().contains(" --test it --test cli --test faults "));
        assert!(!named("mysql:9.7").line().contains(" --test cli "));
        let nextest = named("mysql:9.7/nextest").line();
        assert!(nextest.contains("DBTEST_MYSQL_IMAGE=mysql:9.7 "), "{nextest}");
        let filter = " -E 'test(mysql::) and (binary(it) or not test(/^conformance::.*::(rollback|template|schema)::/))'";
        assert!(nextest.ends_with(filter), "{nextest}");
    }

    #[test]
    fn only_takes_any_part_of_a_name() {
        let only = |part: &str| legs(&members(), &[], &[part.to_owned()]).len();
        assert_eq!(only("postgres"), 6);
        assert_eq!(only("/nextest"), 7);
        assert_eq!(only("fmt"), 1);
        assert_eq!(only("oracle"), 0);
    }

    #[test]
    fn a_machine_with_everything_runs_everything() {
        assert_eq!(not_run(&everything(), true), []);
        assert_eq!(to_install(&all_legs(), &everything(), &Options::default()), []);
    }

    #[test]
    fn without_docker_the_installed_servers_are_enough_unless_all_is_asked_for() {
        let missing = not_run(&no_docker(), false);
        assert_eq!(missing.len(), 8);
        assert!(missing.iter().all(|(_, fatal)| !fatal), "{missing:?}");
        assert!(not_run(&no_docker(), true).iter().all(|(_, fatal)| *fatal));
    }

    #[test]
    fn an_engine_without_any_server_is_a_failure_with_the_next_step() {
        let mut available = no_docker();
        available.installed.insert(Engine::MySql, Err("no binary".to_owned()));
        let missing = not_run(&available, false);
        assert!(missing.contains(&("mysql-installed".to_owned(), true)), "{missing:?}");
        assert!(missing.contains(&("postgres:15".to_owned(), false)), "{missing:?}");
        let legs = legs(&members(), &[], &["mysql-installed".to_owned()]);
        let Verdict::NotRun { why, .. } = &decide(&legs, &available, false)[0] else {
            panic!("it can't run")
        };
        assert!(why.contains("apt-get install mariadb-server") && why.contains("DBTEST_MYSQL_URL"), "{why}");
    }

    #[test]
    fn packages_are_installed_only_where_there_is_no_other_server_or_all_are_required() {
        let options = Options::default();
        assert_eq!(to_install(&all_legs(), &nothing(), &options), [Engine::Postgres, Engine::MySql]);
        let docker = Available { containers: everything().containers, ..nothing() };
        assert_eq!(to_install(&all_legs(), &docker, &options), []);
        let all = Options { all: true, ..options.clone() };
        assert_eq!(to_install(&all_legs(), &docker, &all), [Engine::Postgres, Engine::MySql]);
        let forbidden = Options { no_install: true, ..all };
        assert_eq!(to_install(&all_legs(), &docker, &forbidden), []);
        let sqlite = legs(&members(), &[], &["sqlite".to_owned()]);
        assert_eq!(to_install(&sqlite, &Available::default(), &options), []);
        let with_url = legs(&members(), &[Engine::Postgres, Engine::MySql], &[]);
        assert_eq!(to_install(&with_url, &nothing(), &options), []);
    }

    #[test]
    fn nextest_is_not_optional() {
        let available = Available { nextest: Some(Err("not installed".to_owned())), ..everything() };
        let missing = not_run(&available, false);
        assert_eq!(missing.len(), 7);
        assert!(missing.iter().all(|(name, fatal)| name.ends_with("/nextest") && *fatal), "{missing:?}");
    }

    #[test]
    fn examples_that_are_missing_fail_only_where_every_leg_is_required() {
        let legs = legs(&Members::default(), &[], &["examples".to_owned(), "quickstart".to_owned()]);
        let fatal = |all| {
            let verdicts = decide(&legs, &everything(), all);
            verdicts.iter().all(|verdict| matches!(verdict, Verdict::NotRun { fatal, .. } if *fatal == all))
        };
        assert!(fatal(true) && fatal(false));
    }
}
