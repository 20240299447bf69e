//! Every way to give a test a clean database, side by side, in turn, on one machine.
//!
//! ```text
//! cargo run --release --bin strategies -- --help
//! ```

mod cell;
mod client;
mod contender;
mod dbtest;
mod external;
mod machine;
mod peers;
mod plot;
mod raw;
mod report;
mod result;
mod site;
mod suite;

use std::path::PathBuf;
use std::process::Command;

use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::client::{Client, OnMySql, OnPostgres, OnSqlite};
use crate::contender::Kind;
use crate::result::Report;
use crate::site::{Engine, Host, Site, server};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Measures every strategy and every peer in turn, and writes what it found as JSON and Markdown.
#[derive(Clone, Debug, Parser, Serialize, Deserialize)]
pub struct Options {
    #[arg(long, value_enum, value_delimiter = ',', default_value = "postgres,mariadb,mysql,sqlite")]
    engines: Vec<Engine>,
    /// How many tables the schema has.
    #[arg(long, value_delimiter = ',', default_value = "10,50,150,500")]
    tables: Vec<usize>,
    /// How many tests run at once.
    #[arg(long, value_delimiter = ',', default_value = "1,2,8")]
    workers: Vec<usize>,
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// What one contender may take in one cell; a slow one has fewer turns.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The fewest turns of a contender.
    #[arg(long, default_value_t = 5)]
    least: usize,
    /// The Postgres server: auto, installed or an image.
    #[arg(long, default_value = "auto")]
    postgres: String,
    /// The MariaDB server.
    #[arg(long, default_value = "mariadb:11.8")]
    mariadb: String,
    /// The MySQL server.
    #[arg(long, default_value = "mysql:9.7")]
    mysql: String,
    /// The Python that has Django (`peers/django/requirements.txt`).
    #[arg(long, default_value = "python3")]
    python: String,
    /// Only contenders with one of these words in their name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// No contenders with one of these words in their name.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Whole suites too: 600 tests on 150 tables, under cargo test and under nextest.
    #[arg(long)]
    suites: bool,
    /// A folder for the figures as Markdown and JSON, and for the plots.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Where the result goes.
    #[arg(long, default_value = "strategies.json")]
    json: PathBuf,
    /// Measure nothing: show what these files hold.
    #[arg(long, value_delimiter = ',')]
    show: Vec<PathBuf>,
    /// All of this as JSON, for the process that measures one engine.
    #[arg(long, hide = true)]
    #[serde(skip)]
    child: Option<String>,
    /// A contender's task, for the process that is one.
    #[arg(long, hide = true)]
    #[serde(skip)]
    alone: Option<String>,
}

impl Options {
    fn wants(&self, kind: Kind) -> bool {
        let named = |words: &[String]| words.iter().any(|word| kind.name().contains(word.as_str()));
        // Without them nothing can be compared.
        let always = matches!(kind, Kind::Floor | Kind::Handle);
        always || ((self.only.is_empty() || named(&self.only)) && !named(&self.skip))
    }

    fn server(&self, engine: Engine) -> &str {
        match engine {
            Engine::Postgres => &self.postgres,
            Engine::MariaDb => &self.mariadb,
            Engine::MySql => &self.mysql,
            Engine::Sqlite => "auto",
        }
    }
}

/// Measures one engine.
fn engine<C: Client>(engine: Engine, options: &Options, child: bool) -> Result<Report> {
    let at = options.server(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = runtime.block_on(Host::<C>::find(engine, server(at)))?;
    if child {
        let mut cells = Vec::new();
        for &tables in &options.tables {
            let site = Site::new(engine, tables, &host.url())?;
            for &workers in &options.workers {
                eprintln!("{} {}, {tables} tables, {workers} workers", engine.name(), host.version);
                cells.push(cell::run::<C>(&site, workers, &host.version, at, options)?);
            }
        }
        return Ok(Report { cells, ..Report::default() });
    }
    // A process of its own, since sqlx::test knows one server per process, and writes its SQLite
    // files where it stands: beside ours.
    let folder =
        tempfile::Builder::new().prefix("bench").tempdir_in(Site::new(engine, 1, &host.url())?.around())?;
    let json = folder.path().join("cells.json");
    let child = Options { engines: vec![engine], json: json.clone(), ..options.clone() };
    let done = Command::new(std::env::current_exe()?)
        .args(["--child", &serde_json::to_string(&child)?])
        .env("DATABASE_URL", host.url())
        .current_dir(folder.path())
        .status()?;
    if !done.success() {
        return Err(format!("{}: {done}", engine.name()).into());
    }
    let mut report: Report = serde_json::from_slice(&std::fs::read(json)?)?;
    if options.suites {
        report.suites = suite::measure(engine, &host.version, &host.url())?;
    }
    Ok(report)
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if let Some(task) = &options.alone {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(dbtest::run_alone(task, &options.postgres));
    }
    let child = options.child.take();
    if let Some(all) = &child {
        options = serde_json::from_str(all)?;
    }
    let child = child.is_some();
    let mut report = Report { machine: machine::look(), ..Report::default() };
    if options.show.is_empty() {
        for &which in &options.engines {
            let measured = match which {
                Engine::Postgres => engine::<OnPostgres>(which, &options, child),
                Engine::MariaDb | Engine::MySql => engine::<OnMySql>(which, &options, child),
                Engine::Sqlite => engine::<OnSqlite>(which, &options, child),
            };
            match measured {
                Ok(more) => report.add(more),
                Err(error) if child => return Err(error),
                Err(error) => eprintln!("{} is left out: {error}", which.name()),
            }
        }
        std::fs::write(&options.json, serde_json::to_vec_pretty(&report)?)?;
        if child {
            return Ok(());
        }
    }
    for file in &options.show {
        let more: Report = serde_json::from_slice(&std::fs::read(file)?)?;
        report.machine = more.machine.clone();
        report.add(more);
    }
    if let Some(folder) = &options.docs {
        plot::write(&report, folder)?;
        std::fs::write(folder.join("figures.md"), format!("# Figures\n\n{}", report::markdown(&report)))?;
        std::fs::write(folder.join("figures.json"), serde_json::to_vec(&report)?)?;
    }
    print!("{}", report::markdown(&report));
    Ok(())
}
