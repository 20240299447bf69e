//! What the engine itself can do, and what most tools do with it, in plain SQL on the same client.

use std::time::Instant;

use dbtest_benches::schema;
use dbtest_sqlx::async_trait;
use sqlx::migrate::Migrator;

use crate::Result;
use crate::client::Client;
use crate::contender::{Contender, Took, body, on_handle, write};
use crate::site::{Engine, Site};

/// How a warm connection's database is made clean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Rollback,
    Truncate,
    Delete,
}

/// One connection for all tests.
pub struct Warm<C: Client> {
    site: Site,
    name: String,
    connection: C::Connection,
    body: [&'static str; 3],
    reset: Reset,
    sql: String,
}

impl<C: Client> Warm<C> {
    pub async fn new(site: Site, name: &str, reset: Reset) -> Result<Self> {
        let mut connection = C::connect(&site.filled::<C>(name).await?).await?;
        let tables: Vec<String> = (1..=site.tables).rev().map(|table| format!("t{table}")).collect();
        let each =
            |before: &str| tables.iter().map(|table| format!("{before} {table}; ")).collect::<String>();
        let sql = match (site.engine, reset) {
            (_, Reset::Rollback) => "ROLLBACK".to_owned(),
            (Engine::Postgres, Reset::Truncate) => {
                format!("TRUNCATE {} RESTART IDENTITY CASCADE", tables.join(", "))
            }
            (Engine::Postgres, Reset::Delete) => {
                let restarts: String = tables
                    .iter()
                    .map(|table| format!("PERFORM setval('{table}_id_seq', 1, false); "))
                    .collect();
                let deletes = each("DELETE FROM");
                let function = format!(
                    "CREATE FUNCTION flush_all() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {deletes}{restarts}END $$"
                );
                C::script(&mut connection, &function).await?;
                "SELECT flush_all()".to_owned()
            }
            (Engine::Sqlite, _) => format!("BEGIN; {}COMMIT", each("DELETE FROM")),
            (_, reset) => {
                let word = if reset == Reset::Truncate { "TRUNCATE" } else { "DELETE FROM" };
                format!("SET foreign_key_checks = 0; {}SET foreign_key_checks = 1", each(word))
            }
        };
        Ok(Self { name: name.to_owned(), body: body(site.tables), site, connection, reset, sql })
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Warm<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        if self.reset == Reset::Rollback {
            C::script(&mut self.connection, "BEGIN").await?;
        }
        let lease = start.elapsed();
        let body = write::<C>(&mut self.connection, &self.body).await?;
        let end = Instant::now();
        C::script(&mut self.connection, &self.sql).await?;
        Ok(Took { lease, body, end: end.elapsed(), ..Took::default() })
    }

    async fn end(self: Box<Self>) -> Result<()> {
        C::close(self.connection).await?;
        self.site.drop::<C>(&self.name).await
    }
}

/// A pool for each test, on a database that is there, and the test in a transaction that is rolled
/// back: what a handle costs whoever isolates it.
pub struct Handle<C: Client> {
    site: Site,
    name: String,
    url: String,
    client: std::marker::PhantomData<C>,
}

impl<C: Client> Handle<C> {
    pub async fn new(site: Site, name: &str) -> Result<Self> {
        let url = site.filled::<C>(name).await?;
        Ok(Self { site, name: name.to_owned(), url, client: std::marker::PhantomData })
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Handle<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        let pool = C::pool(&self.url)?;
        let mut connection = C::acquire(&pool).await?;
        C::run(&mut connection, schema::FIRST).await?;
        drop(connection);
        let connect = start.elapsed();
        let end = Instant::now();
        C::end(pool).await;
        Ok(Took { connect, end: end.elapsed(), ..Took::default() })
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.site.drop::<C>(&self.name).await
    }
}

/// A database of the test's own, copied by the engine; for SQLite by the file system.
pub struct Clone<C: Client> {
    site: Site,
    name: String,
    strategy: &'static str,
    admin: Option<C::Connection>,
    body: [&'static str; 3],
}

impl<C: Client> Clone<C> {
    pub async fn new(site: Site, name: &str, strategy: &'static str) -> Result<Self> {
        site.filled::<C>(&format!("{name}_template")).await?;
        let admin = match site.engine {
            Engine::Sqlite => None,
            _ => Some(C::connect(&site.maintenance()).await?),
        };
        Ok(Self { body: body(site.tables), site, name: name.to_owned(), strategy, admin })
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Clone<C> {
    async fn test(&mut self) -> Result<Took> {
        let (name, template) = (&self.name, format!("{}_template", self.name));
        let start = Instant::now();
        match &mut self.admin {
            Some(admin) => {
                let sql = format!("CREATE DATABASE {name} TEMPLATE {template}{}", self.strategy);
                C::script(admin, &sql).await?;
            }
            None => drop(std::fs::copy(self.site.file(&template), self.site.file(name))?),
        }
        let lease = start.elapsed();
        let pool = C::pool(&self.site.database(name))?;
        let (connect, body) = on_handle::<C>(&pool, &self.body).await?;
        let end = Instant::now();
        C::end(pool).await;
        match &mut self.admin {
            Some(admin) => C::script(admin, &format!("DROP DATABASE {name}")).await?,
            None => self.site.drop::<C>(name).await?,
        }
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.site.drop::<C>(&format!("{}_template", self.name)).await
    }
}

/// A schema of the test's own, filled by the whole DDL as one text.
pub struct SchemaDdl<C: Client> {
    site: Site,
    name: String,
    admin: C::Connection,
    ddl: String,
    body: [&'static str; 3],
}

impl<C: Client> SchemaDdl<C> {
    pub async fn new(site: Site, name: &str) -> Result<Self> {
        let admin = C::connect(&site.empty::<C>(name).await?).await?;
        let ddl =
            format!("CREATE SCHEMA own; SET search_path TO own; {}", schema::script(C::DIALECT, site.tables));
        Ok(Self { body: body(site.tables), site, name: name.to_owned(), admin, ddl })
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for SchemaDdl<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        C::script(&mut self.admin, &self.ddl).await?;
        let lease = start.elapsed();
        let mut url = url::Url::parse(&self.site.database(&self.name))?;
        url.query_pairs_mut().append_pair("options", "-c search_path=own");
        let pool = C::pool(url.as_str())?;
        let (connect, body) = on_handle::<C>(&pool, &self.body).await?;
        let end = Instant::now();
        C::end(pool).await;
        C::script(&mut self.admin, "DROP SCHEMA own CASCADE").await?;
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }

    async fn end(self: Box<Self>) -> Result<()> {
        C::close(self.admin).await?;
        self.site.drop::<C>(&self.name).await
    }
}

/// A new database for each test, and every migration into it.
pub struct Migrate<C: Client> {
    site: Site,
    name: String,
    migrator: Migrator,
    body: [&'static str; 3],
    client: std::marker::PhantomData<C>,
}

impl<C: Client> Migrate<C> {
    pub fn new(site: Site, name: &str) -> Result<Self> {
        let migrator = schema::migrator(C::DIALECT, site.tables);
        let body = body(site.tables);
        Ok(Self { site, name: name.to_owned(), migrator, body, client: std::marker::PhantomData })
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Migrate<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        let url = self.site.empty::<C>(&self.name).await?;
        let pool = C::pool(&url)?;
        C::migrate(&pool, &self.migrator).await?;
        let lease = start.elapsed();
        let (connect, body) = on_handle::<C>(&pool, &self.body).await?;
        let end = Instant::now();
        C::end(pool).await;
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.site.drop::<C>(&self.name).await
    }
}
