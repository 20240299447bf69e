//! Contenders in a process of their own, since they are of another language, or of other versions.
//!
//! Such a process gets a task as JSON and says `ready`; then it runs a test for every line that it is
//! sent, and answers with four times in nanoseconds.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use dbtest_benches::schema;
use dbtest_sqlx::async_trait;
use serde_json::{Value, json};

use crate::Result;
use crate::client::Client;
use crate::contender::{Contender, Took};
use crate::site::{Engine, Site};

/// The folder of the peers that are no part of this package.
pub fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// db-pool's own package, built when it is first asked for.
pub fn db_pool() -> Result<Command> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--message-format", "json"]);
        let output = cargo.current_dir(peers().join("db-pool")).stderr(Stdio::inherit()).output().ok()?;
        let messages = String::from_utf8(output.stdout).ok()?;
        let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages.find_map(|message| Some(message["executable"].as_str()?.into()))
    };
    let built = BUILT.get_or_init(build).as_ref().ok_or("peers/db-pool did not build")?;
    Ok(Command::new(built))
}

/// As many tests as threads make of them, in one process: db-pool needs that its tests share a runtime.
pub fn db_pool_suite(engine: Engine, url: &str, tables: usize) -> Result<(usize, f64)> {
    let site = Site::new(engine, tables, url)?;
    let dialect = if engine == Engine::Postgres { schema::Dialect::Postgres } else { schema::Dialect::MySql };
    let threads = std::thread::available_parallelism()?.get();
    let tests = 100;
    let mut task = task(&site, dialect, &site.maintenance());
    task["suite"] = json!([tests, threads]);
    let output = db_pool()?.arg(task.to_string()).stderr(Stdio::inherit()).output()?;
    let seconds = String::from_utf8(output.stdout)?.trim().parse();
    Ok((tests, seconds.map_err(|_| format!("db-pool's suite failed: {}", output.status))?))
}

fn task(site: &Site, dialect: schema::Dialect, url: &str) -> Value {
    json!({
        "engine": site.engine.word(),
        "url": url,
        "tables": site.tables,
        "script": schema::script(dialect, site.tables),
        "first": schema::FIRST,
        "body": schema::body(site.tables),
    })
}

pub struct External {
    child: Child,
    orders: ChildStdin,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl External {
    pub async fn new<C: Client>(mut command: Command, site: &Site, url: &str) -> Result<Self> {
        let task = task(site, C::DIALECT, url);
        let mut child = command.arg(task.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("no pipe")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        match answers.next() {
            Some(Ok(line)) if line == "ready" => Ok(Self { child, orders, answers }),
            other => {
                let _ = child.kill();
                Err(format!("it did not start: {other:?}").into())
            }
        }
    }
}

#[async_trait(?Send)]
impl Contender for External {
    async fn test(&mut self) -> Result<Took> {
        writeln!(self.orders)?;
        let answer = self.answers.next().ok_or("it ended")??;
        let mut times = answer.split(' ').map(|time| time.parse().map(Duration::from_nanos));
        let mut next =
            || times.next().ok_or("an answer of four times")?.map_err(Box::<dyn std::error::Error>::from);
        Ok(Took { lease: next()?, connect: next()?, body: next()?, end: next()? })
    }

    async fn end(mut self: Box<Self>) -> Result<()> {
        drop(self.orders);
        self.child.wait()?;
        Ok(())
    }
}
