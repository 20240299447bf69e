//! The command line.

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};

/// What dbtest made on which server, and how to open, drop and clean it.
///
/// It looks at the servers that dbtest knows of and starts none: the one that DBTEST_POSTGRES_URL,
/// DBTEST_MYSQL_URL or DATABASE_URL names, those that dbtest started for you, and for SQLite the
/// folder in DBTEST_DIR. Only what dbtest made is ever shown or dropped. Set the variables as your
/// tests have them.
#[derive(Debug, Parser)]
#[command(name = "cargo dbtest", bin_name = "cargo dbtest", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  it was done, and no problem was found
  1  it could not be done, or a problem was found
  2  wrong usage
  3  nothing that dbtest made has that name
  4  refused: somebody holds it, or it is not dbtest's to drop";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the servers, and on each the kept databases, templates and slots
    ///
    /// Kept databases come first, with the test that failed in them; then the places of each setup: its
    /// template and the slots made from it, with who holds them. Slots that are free are counted.
    Status {
        /// List free slots too
        #[arg(long)]
        all: bool,
    },
    /// Print the URL of a database, with its password
    Url {
        /// A name that `status` shows
        name: String,
    },
    /// Open psql, mysql or sqlite3 on a database
    ///
    /// A template is opened for reading only; on Postgres it is closed to everybody and can't be opened.
    Shell {
        /// A name that `status` shows; without it, the database that was kept last
        name: Option<String>,
    },
    /// Say how much of the latest run was spent in dbtest, by phase
    ///
    /// Of the latest run of tests with DBTEST_REPORT=1: one `cargo nextest run`, or all test executables of one
    /// `cargo test`. Also says how often a slot was made anew, and why.
    Report,
    /// Run your own tests under each strategy, and say which is the cheapest that is right for them
    ///
    /// In turn and repeatedly, so that a busy machine is busy for all alike. What a test database costs is told
    /// apart from what your tests do themselves, and tests that pass under some strategies only are named.
    /// Tests that require a strategy keep it.
    Bench {
        /// How often each strategy runs
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Only these
        #[arg(long, value_enum)]
        strategy: Vec<StrategyWord>,
        /// What runs the tests, after two dashes; without it, `cargo test --no-fail-fast`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Start the server that a test would have, if it does not run yet
    ///
    /// Tests do that themselves. A server that dbtest started ends itself when no client has been connected for
    /// DBTEST_IDLE seconds.
    Up {
        #[arg(value_enum)]
        engine: EngineWord,
    },
    /// End the servers that dbtest started, with all that is on them, kept databases too
    ///
    /// One on which a living process holds something is refused, and so is one that dbtest did not start.
    Down {
        #[arg(value_enum)]
        engine: EngineWord,
    },
    /// Keep the database of a failed test until you drop it
    ///
    /// Without that, the test's next failure takes its place, and of all kept ones only DBTEST_KEEP_MAX stay.
    Keep {
        /// A name that `status` shows
        name: String,
    },
    /// Drop one kept database, or one template
    ///
    /// A template is built again by the next test that needs it. What a living process holds is refused.
    Drop {
        /// A name that `status` shows
        name: String,
    },
    /// Drop all that no living process holds
    ///
    /// Templates, free slots, clones, and what a killed process left half-made. The next run builds its
    /// templates again. Kept databases stay, except with --all.
    Clean {
        /// Kept databases too, after asking on a terminal
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long, requires = "all")]
        yes: bool,
    },
    /// Say which server a test would have here, and why
    ///
    /// Looks at what dbtest looks at, in the same order, and starts nothing: the variables, the container
    /// engine and its images, installed binaries, the server's version, rights and connection limit, and the
    /// folder for files. Each line that is not as it should be has its next step.
    Doctor {
        /// Only these; a problem with another is none
        #[arg(value_enum)]
        engines: Vec<EngineWord>,
    },
}

/// A strategy, as it is written everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum StrategyWord {
    Rollback,
    Truncate,
    Template,
    Schema,
}

impl StrategyWord {
    pub(crate) const ALL: &[Self] = &[Self::Rollback, Self::Truncate, Self::Template, Self::Schema];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Truncate => "truncate",
            Self::Template => "template",
            Self::Schema => "schema",
        }
    }
}

/// An engine, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineWord {
    Postgres,
    /// MariaDB too
    Mysql,
    Sqlite,
}

/// The arguments of this process, run as `cargo dbtest …` or as `cargo-dbtest …`.
pub(crate) fn parse() -> Args {
    Args::parse_from(without_cargos_word(std::env::args_os().collect()))
}

/// `cargo dbtest status` runs `cargo-dbtest dbtest status`.
fn without_cargos_word(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|word| word == "dbtest") {
        args.remove(1);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn cargos_own_word_is_left_out_and_a_name_is_not() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(without_cargos_word(words("cargo-dbtest dbtest status")), words("cargo-dbtest status"));
        assert_eq!(without_cargos_word(words("cargo-dbtest url dbtest")), words("cargo-dbtest url dbtest"));
    }
}
