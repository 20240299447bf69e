//! dbtest in one command: a bookshop's schema, dozens of isolated tests at the same time under
//! every strategy, a proof that they are isolated, and what each costs.
//!
//! ```text
//! cargo run -p quickstart
//! cargo run -p quickstart -- --engine postgres --tests 200
//! ```
//!
//! All figures are measured while it runs. The last line is JSON. The exit code is 0 if every
//! test passed, 1 if one did not, and 2 if there was nothing to run on.

mod args;
mod bodies;
mod phases;
mod report;
mod shop;

use std::process::ExitCode;

use args::{Engine, Options, Task};
use dbtest_sqlx::{SqlxMySql, SqlxPostgres, SqlxSqlite};
use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match args::parse(std::env::args().skip(1)) {
        Ok(Task::Run(options)) => options,
        Ok(Task::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("error: {why}\n  next step: run it with --help to see all options");
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(report) => {
            print!("{}", report.table());
            println!("{}", report.json());
            if report.isolated() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        // It says the next step itself.
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> dbtest_sqlx::Result<Report> {
    match options.engine {
        Engine::Sqlite => phases::all::<SqlxSqlite>(options).await,
        Engine::Postgres => phases::all::<SqlxPostgres>(options).await,
        Engine::MySql => phases::all::<SqlxMySql>(options).await,
    }
}
