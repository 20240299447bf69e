//! Other people's tools, as their users have them.

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dbtest_benches::schema;
use dbtest_sqlx::async_trait;
use diesel::RunQueryDsl;
use sqlx::migrate::Migrator;
use sqlx::testing::TestArgs;

use crate::Result;
use crate::client::Client;
use crate::contender::{Contender, Took, body, on_handle};
use crate::site::{Engine, Site};

/// What `#[sqlx::test]` expands to, on a thread and a runtime of its own as the test harness has it.
pub struct SqlxTest<C: Client> {
    path: &'static str,
    migrator: &'static Migrator,
    body: [&'static str; 3],
    client: std::marker::PhantomData<C>,
}

impl<C: Client> SqlxTest<C> {
    pub fn new(site: &Site, worker: usize) -> Self {
        Self {
            path: format!("bench::worker_{worker}").leak(),
            migrator: Box::leak(Box::new(schema::migrator(C::DIALECT, site.tables))),
            body: body(site.tables),
            client: std::marker::PhantomData,
        }
    }
}

/// What goes into the test's body and what comes out: it is a plain function.
#[derive(Default)]
struct Told {
    body: [&'static str; 3],
    begun: Option<Instant>,
    connect: Duration,
    took: Duration,
    ended: Option<Instant>,
}

thread_local! {
    static TOLD: RefCell<Told> = RefCell::default();
}

async fn told<C: Client>(pool: C::Pool) {
    let begun = Instant::now();
    let body = TOLD.with_borrow(|told| told.body);
    let (connect, took) = on_handle::<C>(&pool, &body).await.expect("a clean database");
    TOLD.set(Told { body, begun: Some(begun), connect, took, ended: Some(Instant::now()) });
}

#[async_trait(?Send)]
impl<C: Client> Contender for SqlxTest<C> {
    async fn test(&mut self) -> Result<Took> {
        let (path, migrator, body) = (self.path, self.migrator, self.body);
        let test = move || {
            TOLD.set(Told { body, ..Told::default() });
            let mut args = TestArgs::new(path);
            args.migrator(migrator);
            let start = Instant::now();
            C::sqlx_test(args, told::<C>);
            let told = TOLD.take();
            let (begun, ended) = told.begun.zip(told.ended)?;
            Some(Took { lease: begun - start, connect: told.connect, body: told.took, end: ended.elapsed() })
        };
        let took = std::thread::spawn(test).join().map_err(|_| "sqlx::test failed")?;
        Ok(took.ok_or("sqlx::test did not run")?)
    }
}

/// Diesel's own: a connection for each test, in a transaction that is never committed.
pub struct DieselTransaction {
    url: String,
    body: [&'static str; 3],
}

impl DieselTransaction {
    pub async fn new<C: Client>(site: &Site, name: &str) -> Result<Self> {
        Ok(Self { url: site.filled::<C>(name).await?, body: body(site.tables) })
    }
}

#[async_trait(?Send)]
impl Contender for DieselTransaction {
    async fn test(&mut self) -> Result<Took> {
        use diesel::Connection;
        let start = Instant::now();
        let mut connection = diesel::PgConnection::establish(&self.url)?;
        diesel::sql_query(schema::FIRST).execute(&mut connection)?;
        let connect = start.elapsed();
        let start = Instant::now();
        connection.begin_test_transaction()?;
        let lease = start.elapsed();
        let start = Instant::now();
        for sql in self.body {
            assert_eq!(diesel::sql_query(sql).execute(&mut connection)?, 5);
        }
        let body = start.elapsed();
        let end = Instant::now();
        drop(connection);
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }
}

/// A server for each test, on `tmpfs`, until it lets us in; then the schema.
pub struct Container<C: Client> {
    site: Site,
    name: String,
    migrator: Migrator,
    body: [&'static str; 3],
    client: std::marker::PhantomData<C>,
}

impl<C: Client> Container<C> {
    pub fn new(site: Site, name: &str) -> Self {
        let name = format!("{name}_{}", std::process::id());
        let (migrator, body) = (schema::migrator(C::DIALECT, site.tables), body(site.tables));
        Self { site, name, migrator, body, client: std::marker::PhantomData }
    }
}

fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("docker {}: {}", arguments.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[async_trait(?Send)]
impl<C: Client> Contender for Container<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        let (image, port, folder, set, scheme) = match self.site.engine {
            Engine::Postgres => (
                "postgres:15",
                "5432",
                "/var/lib/postgresql/data",
                "POSTGRES_PASSWORD=secret",
                "postgres://postgres",
            ),
            Engine::MariaDb => {
                ("mariadb:10.11", "3306", "/var/lib/mysql", "MARIADB_ROOT_PASSWORD=secret", "mysql://root")
            }
            _ => ("mysql:9.7", "3306", "/var/lib/mysql", "MYSQL_ROOT_PASSWORD=secret", "mysql://root"),
        };
        let publish = format!("127.0.0.1::{port}");
        let run = ["run", "--detach", "--rm", "--name", &self.name, "--publish", &publish];
        docker(&[&run[..], &["--tmpfs", folder, "--env", set, image]].concat())?;
        let at = docker(&["port", &self.name, port])?;
        let server = format!("{scheme}:secret@{}", at.lines().next().unwrap_or_default());
        let maintenance = if self.site.engine == Engine::Postgres { "postgres" } else { "mysql" };
        let mut admin = loop {
            // The first server of the image's script listens on no port.
            match C::connect(&format!("{server}/{maintenance}")).await {
                Ok(admin) => break admin,
                Err(_) if start.elapsed() < Duration::from_secs(60) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error),
            }
        };
        C::script(&mut admin, "CREATE DATABASE bench").await?;
        C::close(admin).await?;
        let pool = C::pool(&format!("{server}/bench"))?;
        C::migrate(&pool, &self.migrator).await?;
        let lease = start.elapsed();
        let (connect, body) = on_handle::<C>(&pool, &self.body).await?;
        let end = Instant::now();
        C::end(pool).await;
        docker(&["rm", "--force", "--volumes", &self.name])?;
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }
}
