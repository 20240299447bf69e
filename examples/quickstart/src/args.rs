//! The command line.

pub(crate) const HELP: &str = "\
Isolated tests in parallel under each of dbtest's strategies, a proof of it, and what each costs.

usage: cargo run -p quickstart [-- OPTIONS]

  --engine NAME   sqlite (default), postgres or mysql; dbtest finds a server or starts one
  --tests N       how many tests under each strategy (default 48)
  --help          this text

The last line of the output is JSON. Exit code: 0 all passed, 1 a test failed, 2 nothing ran.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    MySql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) engine: Engine,
    /// Under each strategy.
    pub(crate) tests: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Run(Options),
    Help,
}

pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut options = Options { engine: Engine::Sqlite, tests: 48 };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Task::Help),
            "--engine" => {
                options.engine = match args.next().as_deref() {
                    Some("sqlite") => Engine::Sqlite,
                    Some("postgres") => Engine::Postgres,
                    Some("mysql" | "mariadb") => Engine::MySql,
                    Some(other) => {
                        return Err(format!("there is no engine {other:?}: sqlite, postgres or mysql"));
                    }
                    None => return Err("--engine wants a name: sqlite, postgres or mysql".to_owned()),
                }
            }
            "--tests" => {
                let number = args.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
                options.tests = number.ok_or("--tests wants a whole number above 0")?;
            }
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    Ok(Task::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn sqlite_is_the_default_and_the_rest_is_said() {
        assert_eq!(parsed(""), Ok(Task::Run(Options { engine: Engine::Sqlite, tests: 48 })));
        let said = Options { engine: Engine::Postgres, tests: 7 };
        assert_eq!(parsed("--tests 7 --engine postgres"), Ok(Task::Run(said)));
        assert_eq!(parsed("--engine mysql --help"), Ok(Task::Help));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (line, named) in [
            ("--engine oracle", "oracle"),
            ("--engine", "--engine"),
            ("--tests 0", "--tests"),
            ("--tests many", "--tests"),
            ("--fast", "--fast"),
        ] {
            let why = parsed(line).expect_err("refused");
            assert!(why.contains(named), "{why}");
        }
    }
}
