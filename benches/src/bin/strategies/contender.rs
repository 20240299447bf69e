//! Ways to give a test a clean database.

use std::process::Command;
use std::time::{Duration, Instant};

use dbtest_benches::schema;
use dbtest_sqlx::async_trait;

use crate::Result;
use crate::client::Client;
use crate::external::External;
use crate::site::{Engine, Site};
use crate::{Options, dbtest, external, peers, raw};

/// One test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// From the start until the place is known, without its handle.
    pub lease: Duration,
    /// Opening the handle, until the first statement has answered.
    pub connect: Duration,
    /// Three tables × five rows.
    pub body: Duration,
    /// From the end of the body until the next test may start.
    pub end: Duration,
}

impl Took {
    pub fn whole(&self) -> Duration {
        self.lease + self.connect + self.body + self.end
    }
}

#[async_trait(?Send)]
pub trait Contender {
    async fn test(&mut self) -> Result<Took>;

    /// Removes what it made.
    async fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Every contender, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Floor,
    Handle,
    RawClone,
    Rollback,
    Truncate,
    Template,
    TemplateAlone,
    Schema,
    TruncateAll,
    DeleteAll,
    PlainClone,
    SchemaDdl,
    Migrate,
    SqlxTest,
    DbPool,
    DieselTransaction,
    DjangoTestCase,
    DjangoTransactionTestCase,
    PgTransactionalTests,
    Container,
}

impl Kind {
    pub const ALL: [Self; 20] = [
        Self::Floor,
        Self::Handle,
        Self::RawClone,
        Self::Rollback,
        Self::Truncate,
        Self::Template,
        Self::TemplateAlone,
        Self::Schema,
        Self::TruncateAll,
        Self::DeleteAll,
        Self::PlainClone,
        Self::SchemaDdl,
        Self::Migrate,
        Self::SqlxTest,
        Self::DbPool,
        Self::DieselTransaction,
        Self::DjangoTestCase,
        Self::DjangoTransactionTestCase,
        Self::PgTransactionalTests,
        Self::Container,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: BEGIN … ROLLBACK, warm connection",
            Self::Handle => "floor: a fresh handle, nothing isolated",
            Self::RawClone => "floor: raw CREATE DATABASE, file copy",
            Self::Rollback => "dbtest rollback",
            Self::Truncate => "dbtest truncate",
            Self::Template => "dbtest template",
            Self::TemplateAlone => "dbtest template, none made ahead (nextest)",
            Self::Schema => "dbtest schema",
            Self::TruncateAll => "TRUNCATE of all tables",
            Self::DeleteAll => "DELETE from all tables, one call (as Joist)",
            Self::PlainClone => "template clone, plain (as pgtestdb, IntegreSQL)",
            Self::SchemaDdl => "schema + captured DDL (as crates-io)",
            Self::Migrate => "drop, create, migrate",
            Self::SqlxTest => "sqlx::test 0.9",
            Self::DbPool => "db-pool 0.7",
            Self::DjangoTestCase => "Django TestCase",
            Self::DjangoTransactionTestCase => "Django TransactionTestCase",
            Self::PgTransactionalTests => "pg-transactional-tests (Node)",
            Self::DieselTransaction => "diesel's test transaction",
            Self::Container => "a container per test",
        }
    }

    pub fn runs_on(self, engine: Engine) -> bool {
        match self {
            Self::RawClone
            | Self::TemplateAlone
            | Self::SchemaDdl
            | Self::DieselTransaction
            | Self::PgTransactionalTests => engine == Engine::Postgres,
            Self::PlainClone | Self::DjangoTestCase | Self::DjangoTransactionTestCase => {
                matches!(engine, Engine::Postgres | Engine::Sqlite)
            }
            // The same as truncate there: MySQL has databases for schemas, SQLite a file.
            Self::Schema => engine == Engine::Postgres,
            // SQLite has no TRUNCATE.
            Self::TruncateAll | Self::Container | Self::DbPool => engine != Engine::Sqlite,
            _ => true,
        }
    }

    /// Whether `lease` holds the opening of the handle, since the transaction is opened on it.
    pub fn connects_early(self, engine: Engine) -> bool {
        self == Self::Rollback && engine != Engine::Postgres
    }

    /// Whether each test has a handle of its own.
    pub fn opens_a_handle(self) -> bool {
        match self {
            Self::Floor | Self::TruncateAll | Self::DeleteAll | Self::DbPool => false,
            // One connection and no pool; closing it is how its transaction ends.
            Self::DieselTransaction => false,
            Self::DjangoTestCase | Self::DjangoTransactionTestCase | Self::PgTransactionalTests => false,
            _ => true,
        }
    }

    pub async fn make<C: Client>(
        self,
        site: &Site,
        worker: usize,
        options: &Options,
    ) -> Result<Box<dyn Contender>> {
        let name = format!("bench_{worker}_{}", format!("{self:?}").to_lowercase());
        let site = site.clone();
        Ok(match self {
            Self::Floor => Box::new(raw::Warm::<C>::new(site, &name, raw::Reset::Rollback).await?),
            Self::TruncateAll => Box::new(raw::Warm::<C>::new(site, &name, raw::Reset::Truncate).await?),
            Self::DeleteAll => Box::new(raw::Warm::<C>::new(site, &name, raw::Reset::Delete).await?),
            Self::Handle => Box::new(raw::Handle::<C>::new(site, &name).await?),
            Self::RawClone => Box::new(raw::Clone::<C>::new(site, &name, " STRATEGY = FILE_COPY").await?),
            Self::PlainClone => Box::new(raw::Clone::<C>::new(site, &name, "").await?),
            Self::SchemaDdl => Box::new(raw::SchemaDdl::<C>::new(site, &name).await?),
            Self::Migrate => Box::new(raw::Migrate::<C>::new(site, &name)?),
            Self::Rollback | Self::Truncate | Self::Template | Self::Schema => {
                Box::new(dbtest::Dbtest::<C>::new(self, &site, worker, options.server(site.engine)))
            }
            Self::TemplateAlone => {
                let command = dbtest::alone(options.server(site.engine))?;
                Box::new(External::new::<C>(command, &site, &site.maintenance()).await?)
            }
            Self::SqlxTest => Box::new(peers::SqlxTest::<C>::new(&site, worker)),
            Self::DieselTransaction => Box::new(peers::DieselTransaction::new::<C>(&site, &name).await?),
            Self::DbPool => {
                Box::new(External::new::<C>(external::db_pool()?, &site, &site.maintenance()).await?)
            }
            Self::DjangoTestCase | Self::DjangoTransactionTestCase => {
                let word = if self == Self::DjangoTestCase { "TestCase" } else { "TransactionTestCase" };
                let mut command = Command::new(&options.python);
                command.arg(external::peers().join("django/contender.py")).env("CONTENDER", word);
                let url = site.filled::<C>(&name).await?;
                Box::new(External::new::<C>(command, &site, &url).await?)
            }
            Self::PgTransactionalTests => {
                let mut command = Command::new("node");
                command.arg(external::peers().join("node/contender.js"));
                let url = site.filled::<C>(&name).await?;
                Box::new(External::new::<C>(command, &site, &url).await?)
            }
            Self::Container => Box::new(peers::Container::<C>::new(site, &name)),
        })
    }
}

/// The body's statements, which outlive every connection that prepares them.
pub fn body(tables: usize) -> [&'static str; 3] {
    schema::body(tables).map(|sql| &*sql.leak())
}

/// The test itself. It fails if the place was not clean.
pub async fn write<C: Client>(connection: &mut C::Connection, body: &[&'static str; 3]) -> Result<Duration> {
    let start = Instant::now();
    for sql in body {
        let rows = C::run(connection, sql).await?;
        if rows != 5 {
            return Err(format!("{rows} rows and not 5: the place was not clean ({sql})").into());
        }
    }
    Ok(start.elapsed())
}

/// The test on a handle that has no connection yet: opening it, and the body.
pub async fn on_handle<C: Client>(pool: &C::Pool, body: &[&'static str; 3]) -> Result<(Duration, Duration)> {
    let start = Instant::now();
    let mut connection = C::acquire(pool).await?;
    C::run(&mut connection, schema::FIRST).await?;
    let connect = start.elapsed();
    Ok((connect, write::<C>(&mut connection, body).await?))
}
