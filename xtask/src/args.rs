//! The command line: few enough words to read them by hand.

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Test(Options),
    /// The server legs, so many times.
    Flake(u32, Options),
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

pub(crate) const HELP: &str = "\
cargo xtask test             runs everything, on every kind of server that this machine has
cargo xtask flake N          runs the server legs N times and says how often each one failed

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
        Some("flake") => {
            let text = words.next().ok_or("flake needs a number: `cargo xtask flake 20`")?;
            let number = text.parse().ok().filter(|number| *number > 0);
            Some(number.ok_or_else(|| {
                format!("`{text}` is not a number of rounds: write for example `cargo xtask flake 20`")
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
    Ok(rounds.map_or(Task::Test(options.clone()), |rounds| Task::Flake(rounds, options)))
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
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
