//! dbtest's strategies.

use std::io::BufRead;
use std::process::Command;
use std::time::Instant;

use dbtest_benches::schema;
use dbtest_sqlx::{Fixture, Strategy, async_trait};

use crate::Result;
use crate::client::{Client, OnPostgres};
use crate::contender::{Contender, Kind, Took, body, on_handle};
use crate::site::{Engine, Site, server};

pub struct Dbtest<C: Client> {
    fixture: Fixture<C::Backend>,
    test: String,
    body: [&'static str; 3],
}

impl<C: Client> Dbtest<C> {
    pub fn new(kind: Kind, site: &Site, worker: usize, at: &str) -> Self {
        let strategy = match kind {
            Kind::Rollback => Strategy::Rollback,
            Kind::Template => Strategy::Template,
            Kind::Schema => Strategy::Schema,
            _ => Strategy::Truncate,
        };
        let fixture = C::fixture(schema::migrator(C::DIALECT, site.tables))
            .label("bench")
            .server(server(at))
            .require(strategy);
        Self { fixture, test: format!("worker_{worker}"), body: body(site.tables) }
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Dbtest<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        let db = self.fixture.clone().open_for(&self.test).await?;
        let lease = start.elapsed();
        let (connect, body) = on_handle::<C>(db.handle(), &self.body).await?;
        let end = Instant::now();
        db.close().await?;
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }
}

/// This program as a process under nextest, which makes no clone ahead for the test of another process.
pub fn alone(at: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--postgres", at, "--alone"])
        .env("NEXTEST_RUN_ID", format!("bench-{}", std::process::id()));
    Ok(command)
}

/// What that process does: see [`External`](crate::external::External).
pub async fn run_alone(task: &str, at: &str) -> Result<()> {
    let task: serde_json::Value = serde_json::from_str(task)?;
    let (url, tables) = (task["url"].as_str().ok_or("a URL")?, task["tables"].as_u64().ok_or("tables")?);
    let site = Site::new(Engine::Postgres, usize::try_from(tables)?, url)?;
    let mut contender = Dbtest::<OnPostgres>::new(Kind::Template, &site, 0, at);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        let took = contender.test().await?;
        let times = [took.lease, took.connect, took.body, took.end].map(|took| took.as_nanos().to_string());
        println!("{}", times.join(" "));
    }
    Ok(())
}
