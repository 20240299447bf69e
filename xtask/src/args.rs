//! The command line: few enough words to read them by hand.

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Test(Options),
    /// The server legs, so many times.
    Flake(u32, Options),
    /// The nextest legs, killed so many times.
    Kill(u32, Options),
    /// Many tests on these engines.
    Soak(Soak),
}

/// How the legs are chosen and run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Nothing is installed on this machine.
    pub(crate) no_install: bool,
    /// Parts of the names of the legs to run; empty is all of them.
    pub(crate) only: Vec<String>,
    /// Says what would run.
    pub(crate) list: bool,
    /// A failed leg does not end the run.
    pub(crate) keep_going: bool,
    /// A leg that can't run is a failure: what CI wants.
    pub(crate) all: bool,
}

/// How much is soaked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Soak {
    pub(crate) tests: usize,
    pub(crate) processes: usize,
    /// All of them where it is empty.
    pub(crate) engines: Vec<String>,
}

pub(crate) const HELP: &str = "\
cargo xtask test             runs everything, on every kind of server that this machine has
cargo xtask flake N          runs the server legs N times and says how often each one failed
cargo xtask kill N           kills a nextest run of each server leg at N random moments; the run after each must be
                             green (--only NAME chooses legs: sqlite, postgres-installed, mysql-installed, …)
cargo xtask soak             many tiny tests over many processes, and what is left afterwards: --tests 5000
                             --processes 16, --engine postgres, mysql or sqlite; repeat it for more

    --only NAME              only the legs whose name has NAME in it (postgres:15, nextest, fmt, …); repeat it for more
    --list                   says which legs there are and what they run
    --keep-going             goes on after a failed leg
    --all                    a leg that can't run fails the command (as CI=true does); implies --keep-going
    --no-install             installs nothing (else: cargo-nextest; on Debian and Ubuntu, if it needs no question
                             and there is no other server: postgresql, mariadb-server)
";

/// Reads the arguments after `cargo xtask`; `ci` is whether the environment says that this is CI.
pub(crate) fn parse(args: &[String], ci: bool) -> Result<Task, String> {
    let mut words = args.iter().map(String::as_str);
    let task = words.next();
    let rounds = match task {
        None | Some("help" | "--help" | "-h") => return Ok(Task::Help),
        Some("test") => None,
        Some("soak") => return soak(words).map(Task::Soak),
        Some(task @ ("flake" | "kill")) => {
            let text =
                words.next().ok_or_else(|| format!("{task} needs a number: `cargo xtask {task} 20`"))?;
            let number = text.parse().ok().filter(|number| *number > 0);
            Some(number.ok_or_else(|| {
                format!("`{text}` is not a number of rounds: write for example `cargo xtask {task} 20`")
            })?)
        }
        Some(other) => return Err(format!("there is no task `{other}`; there is:\n\n{HELP}")),
    };
    let mut options = Options { all: ci, ..Options::default() };
    while let Some(word) = words.next() {
        match word {
            "--no-install" => options.no_install = true,
            "--list" => options.list = true,
            "--keep-going" => options.keep_going = true,
            "--all" => options.all = true,
            "--only" => match words.next() {
                Some(name) => options.only.push(name.to_owned()),
                None => return Err("--only needs a name: `cargo xtask test --list` shows them".to_owned()),
            },
            "--help" | "-h" => return Ok(Task::Help),
            other => match other.strip_prefix("--only=") {
                Some(name) => options.only.push(name.to_owned()),
                None => return Err(format!("there is no option `{other}`; there is:\n\n{HELP}")),
            },
        }
    }
    options.keep_going |= options.all;
    Ok(match rounds {
        None => Task::Test(options),
        Some(rounds) if task == Some("kill") => Task::Kill(rounds, options),
        Some(rounds) => Task::Flake(rounds, options),
    })
}

fn soak<'w>(mut words: impl Iterator<Item = &'w str>) -> Result<Soak, String> {
    let mut soak = Soak { tests: 5000, processes: 16, engines: Vec::new() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value; there is:\n\n{HELP}"))?;
        let number = || {
            let number = value.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("`{value}` is not a number for {word}: write for example 100"))
        };
        match word {
            "--tests" => soak.tests = number()?,
            "--processes" => soak.processes = number()?,
            "--engine" if ["postgres", "mysql", "sqlite"].contains(&value) => {
                soak.engines.push(value.to_owned())
            }
            "--engine" => return Err(format!("`{value}` is no engine: say postgres, mysql or sqlite")),
            other => return Err(format!("there is no option `{other}`; there is:\n\n{HELP}")),
        }
    }
    Ok(soak)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), false)
    }

    #[test]
    fn every_option_is_read() {
        let all = Options {
            no_install: true,
            only: vec!["postgres:15".to_owned(), "fmt".to_owned()],
            list: true,
            keep_going: true,
            all: false,
        };
        let line = "test --no-install --only postgres:15 --only=fmt --list --keep-going";
        assert_eq!(read(line), Ok(Task::Test(all)));
        assert_eq!(read("flake 20"), Ok(Task::Flake(20, Options::default())));
        assert_eq!(read("kill 20"), Ok(Task::Kill(20, Options::default())));
        let soak = Soak { tests: 5000, processes: 4, engines: vec!["mysql".to_owned()] };
        assert_eq!(read("soak --processes 4 --engine mysql"), Ok(Task::Soak(soak)));
        assert_eq!(read(""), Ok(Task::Help));
    }

    #[test]
    fn ci_requires_every_leg_and_runs_every_leg() {
        let Ok(Task::Test(options)) = parse(&["test".to_owned()], true) else { panic!("a test task") };
        assert!(options.all && options.keep_going);
    }

    #[test]
    fn what_cannot_be_read_is_answered_with_what_can() {
        for (line, says) in [
            ("tset", "cargo xtask test"),
            ("test --fast", "--keep-going"),
            ("test --only", "--list"),
            ("flake", "flake 20"),
            ("flake 0", "flake 20"),
            ("flake many", "flake 20"),
            ("kill", "kill 20"),
            ("soak --engine oracle", "sqlite"),
            ("soak --tests", "--processes"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
