//! The recipes of the guide's page "In CI", run as far as a machine can that is none of GitHub's or
//! GitLab's: what a runner does with a job's services, variables and containers is done here with the
//! page's own text, and in the place of `cargo test` stands a process with tests under every strategy.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dbtest_sqlx::{Fixture, SqlxPostgres, Strategy};
use serde::Deserialize;
use tokio::net::{TcpListener, UnixStream};

const PAGE: &str = include_str!("../../../docs/src/ci.md");

/// How long a service may take to get well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A job of GitHub Actions.
#[derive(Debug, Deserialize)]
struct Job {
    #[serde(default)]
    services: BTreeMap<String, ActionsService>,
    env: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ActionsService {
    image: String,
    env: BTreeMap<String, String>,
    ports: Vec<String>,
    options: String,
}

/// A job of GitLab.
#[derive(Debug, Deserialize)]
struct GitlabJob {
    services: Vec<GitlabService>,
    variables: BTreeMap<String, String>,
    script: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct GitlabService {
    name: String,
    alias: String,
}

/// The YAML under this heading of the page.
fn recipe<T: for<'a> Deserialize<'a>>(heading: &str) -> BTreeMap<String, T> {
    let (_, rest) = PAGE.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let (_, rest) = rest.split_once("```yaml\n").expect("a recipe");
    let (yaml, _) = rest.split_once("```").expect("its end");
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{heading}: {error}\n{yaml}"))
}

fn job(heading: &str) -> Job {
    let mut jobs: BTreeMap<String, BTreeMap<String, Job>> = recipe(heading);
    jobs.remove("jobs").and_then(|mut jobs| jobs.remove("test")).expect("the job `test`")
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whether Docker has it; else the test fails, or says that it is skipped where that is wanted.
fn has_image(image: &str) -> bool {
    let output = Command::new("docker").args(["image", "inspect", image]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let what = format!("no Docker with the image {image} here");
    if std::env::var_os("DBTEST_SKIP_MISSING").is_some_and(|set| set == "1") {
        let said = format!("dbtest: skipped a recipe: {what}\n");
        // Past the harness, which shows nothing of a test that passes.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
        return false;
    }
    panic!(
        "{what}\n  next step: start Docker and pull the image; DBTEST_SKIP_MISSING=1 skips these tests and says so"
    );
}

/// Removed with the test, whatever becomes of it.
struct Removed(&'static [&'static str], String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(self.0).arg(&self.1).output();
    }
}

const CONTAINER: &[&str] = &["rm", "--force", "--volumes"];
const NETWORK: &[&str] = &["network", "rm", "--force"];

/// What the tests of a job are given of the environment: what the job says, and nothing of ours.
fn variables<'a>(job: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<(String, String)> {
    let own = [("DBTEST_DOTENV", "0"), ("RUST_BACKTRACE", "0")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.into_iter().chain(job.into_iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}

const SUITE: [&str; 3] = ["--exact", "--nocapture", "the_tests_of_a_job"];

fn cargo_test(variables: Vec<(String, String)>) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DBTEST_") || text.starts_with("NEXTEST") || text == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command.args(SUITE).env("DBTEST_DIR", folder.path()).envs(variables).output().expect("the tests")
}

/// They passed, all on the server in one of these containers.
fn assert_green(output: &Output, containers: &str) {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    assert!(output.status.success(), "{said}");
    let servers: Vec<_> =
        said.lines().filter_map(|line| line.split_once("ran on ")).map(|(_, id)| id).collect();
    assert_eq!(servers.len(), 4, "{said}");
    let here = containers.lines().any(|container| {
        let server = docker(&["exec", container, "psql", "--username=postgres", "-Atc", WHICH]);
        servers.iter().all(|other| *other == server)
    });
    assert!(here, "it ran elsewhere: {said}");
}

/// What is another on every server, also on one that was copied with its port and its name.
const WHICH: &str = "SELECT system_identifier || ' ' || pg_postmaster_start_time() FROM pg_control_system()";

/// Those that dbtest started.
fn started() -> String {
    docker(&["ps", "--quiet", "--filter", "label=dbtest.server", "--filter", "ancestor=postgres:18"])
}

/// What a process does that a test here has started; without one, on the server that there is.
#[tokio::test]
async fn the_tests_of_a_job() {
    for strategy in [Strategy::Truncate, Strategy::Template, Strategy::Schema, Strategy::Rollback] {
        let fixture = Fixture::<SqlxPostgres>::new().sql("book.sql", "CREATE TABLE book (title text)");
        let db = fixture.require(strategy).open().await.expect("a database");
        sqlx::query("INSERT INTO book VALUES ('Dune')").execute(db.handle()).await.expect("a row");
        let books: i64 =
            sqlx::query_scalar("SELECT count(*) FROM book").fetch_one(db.handle()).await.expect("a number");
        assert_eq!(books, 1);
        let server: String = sqlx::query_scalar(WHICH).fetch_one(db.handle()).await.expect("the server");
        println!("ran on {server}");
        db.close().await.expect("closed");
    }
}

#[test]
fn github_actions_with_a_container_that_dbtest_starts() {
    if has_image("postgres:18") {
        let job = job("GitHub Actions, with a container that dbtest starts");
        assert_green(&cargo_test(variables(&job.env)), &started());
    }
}

#[test]
fn github_actions_with_a_service_container() {
    let job = job("GitHub Actions, with a service container");
    let (_, service) = job.services.first_key_value().expect("a service");
    if !has_image(&service.image) {
        return;
    }
    let (host, inside) = service.ports[0].split_once(':').expect("host:container");
    // Any port of the host: somebody may have that one here.
    let mut run = vec!["run".to_owned(), "--detach".to_owned(), format!("--publish=127.0.0.1::{inside}")];
    run.extend(service.options.split_whitespace().map(str::to_owned));
    run.extend(service.env.iter().map(|(name, value)| format!("--env={name}={value}")));
    run.push(service.image.clone());
    let run: Vec<_> = run.iter().map(String::as_str).collect();
    let container = Removed(CONTAINER, docker(&run));
    // The runner begins with the steps when the service is healthy.
    let start = Instant::now();
    while docker(&["inspect", "--format", "{{.State.Health.Status}}", &container.1]) != "healthy" {
        assert!(start.elapsed() < PATIENCE, "{}", docker(&["logs", &container.1]));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mapped = docker(&["port", &container.1, &format!("{inside}/tcp")]);
    let port = mapped.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port");
    let there = format!("localhost:{host}/");
    let here = format!("localhost:{port}/");
    let env: BTreeMap<_, _> =
        job.env.iter().map(|(name, value)| (name.clone(), value.replace(&there, &here))).collect();
    assert_ne!(env, job.env, "the job's URL is not the service's");
    assert_green(&cargo_test(variables(&env)), &container.1);
}

#[test]
fn gitlab() {
    let mut jobs: BTreeMap<String, GitlabJob> = recipe("GitLab");
    let job = jobs.remove("test").expect("the job `test`");
    assert_eq!(job.script, ["cargo test"]);
    let service = &job.services[0];
    if !has_image(&service.name) {
        return;
    }
    let network = format!("dbtest-recipe-{}", std::process::id());
    docker(&["network", "create", &network]);
    let network = Removed(NETWORK, network);
    // GitLab gives a job's variables to its services, too.
    let mut run = vec!["run", "--detach", "--network", &network.1, "--network-alias", &service.alias];
    let env: Vec<_> = job.variables.iter().map(|(name, value)| format!("--env={name}={value}")).collect();
    run.extend(env.iter().map(String::as_str));
    run.push(&service.name);
    let container = Removed(CONTAINER, docker(&run));
    // GitLab waits for the service's port; what the image starts first to set itself up has none.
    let start = Instant::now();
    let ready = |container: &str| {
        let ask = ["exec", container, "pg_isready", "--quiet", "--host", &service.alias];
        Command::new("docker").args(ask).output().is_ok_and(|output| output.status.success())
    };
    while !ready(&container.1) {
        assert!(start.elapsed() < PATIENCE, "{}", docker(&["logs", &container.1]));
        std::thread::sleep(Duration::from_millis(50));
    }
    // The job's own container: the service's image has all that a compiled test needs, too.
    let program = std::env::current_exe().expect("this executable");
    let mounted = format!("{}:/tests:ro", program.display());
    let mut run = vec!["run", "--rm", "--network", &network.1, "--volume", &mounted];
    let own: Vec<_> =
        variables(&job.variables).iter().map(|(name, value)| format!("--env={name}={value}")).collect();
    run.extend(own.iter().map(String::as_str));
    run.extend(["--entrypoint", "/tests", &service.name]);
    run.extend(SUITE);
    let output = Command::new("docker").args(&run).output().expect("docker");
    assert_green(&output, &container.1);
    // Without that word of the recipe another host is refused.
    let refused: Vec<_> =
        run.iter().copied().filter(|word| !word.starts_with("--env=DBTEST_ALLOW_HOST")).collect();
    assert_ne!(refused, run);
    let output = Command::new("docker").args(&refused).output().expect("docker");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("DBTEST_ALLOW_HOST"), "{said}");
}

/// As Docker Desktop has it, and an engine on another machine.
#[tokio::test(flavor = "multi_thread")]
async fn docker_through_tcp() {
    if !has_image("postgres:18") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let relay = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a client");
            tokio::spawn(async move {
                let mut engine = UnixStream::connect("/var/run/docker.sock").await.expect("Docker");
                // Ends when either side does.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
            });
        }
    });
    let env = [("DOCKER_HOST", format!("tcp://localhost:{port}")), ("DBTEST_SERVER", "container".to_owned())];
    let env = env.map(|(name, value)| (name.to_owned(), value));
    let output = tokio::task::spawn_blocking(move || cargo_test(variables(env.iter().map(|(a, b)| (a, b)))));
    assert_green(&output.await.expect("the tests"), &started());
    relay.abort();
}
