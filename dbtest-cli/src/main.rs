//! `cargo dbtest`: what dbtest made on which server, and how to open, drop and clean it.

mod args;
mod bench;
mod doctor;
mod open;
mod outcome;
mod remove;
mod report;
mod servers;
mod show;

use std::process::ExitCode;

use args::Command;
use dbtest_sqlx::ErrorKind;
use outcome::Outcome;

fn main() -> ExitCode {
    let args = args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start a runtime: {error}");
            return Outcome::Failed.into();
        }
    };
    runtime
        .block_on(run(&args))
        .unwrap_or_else(|error| {
            eprintln!("error: {error}");
            if error.kind() == ErrorKind::Refused { Outcome::Refused } else { Outcome::Failed }
        })
        .into()
}

async fn run(args: &args::Args) -> dbtest_sqlx::Result<Outcome> {
    match &args.command {
        Command::Doctor { engines } => Ok(doctor::run(engines, args.json).await),
        Command::Bench { rounds, strategy, command } => bench::run(*rounds, strategy, command, args.json),
        Command::Report => report::run(args.json),
        Command::Status { all } => servers::status(*all, args.json).await,
        Command::Up { engine } => servers::up(*engine, args.json).await,
        Command::Down { engine } => servers::down(*engine, args.json).await,
        Command::Url { name } => open::url(name, args.json).await,
        Command::Shell { name } => open::shell(name.as_deref()).await,
        Command::Keep { name } => remove::keep(name, args.json).await,
        Command::Drop { name } => remove::one(name, args.json).await,
        Command::Clean { all, yes } => remove::all(*all, *yes, args.json).await,
    }
}
