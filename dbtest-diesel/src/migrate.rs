//! Diesel's migrations as core's: `EmbeddedMigrations`, `FileBasedMigrations`, or a folder that is
//! read when the test runs.
//!
//! Diesel shows no SQL of a migration. So each is run once on a connection that only takes down
//! what it is sent: that text is the fingerprint, and it is what runs on the real database.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dbtest_core::{StepError, statement_at};
use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

/// Takes down the SQL that a migration would run.
#[derive(Debug, Default)]
struct Recorder(String);

impl SimpleConnection for Recorder {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.0.push_str(query);
        Ok(())
    }
}

impl<DB: Backend> BoxableConnection<DB> for Recorder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// One migration, read.
#[derive(Clone, Debug)]
struct Recorded {
    name: String,
    version: String,
    sql: String,
    in_transaction: bool,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl MigrationName for Recorded {
    fn version(&self) -> MigrationVersion<'_> {
        (&self.version).into()
    }
}

impl MigrationMetadata for Recorded {
    fn run_in_transaction(&self) -> bool {
        self.in_transaction
    }
}

impl<DB: Backend> Migration<DB> for Recorded {
    fn run(&self, connection: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        connection.batch_execute(&self.sql).map_err(Into::into)
    }

    fn revert(&self, _: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        Err("a test database is not migrated down".into())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self
    }

    fn name(&self) -> &dyn MigrationName {
        self
    }
}

impl Recorded {
    fn step(&self) -> String {
        format!("migration {}", self.name)
    }
}

/// All migrations of a source, in order.
#[derive(Clone, Debug)]
pub(crate) struct All(Vec<Recorded>);

impl All {
    pub(crate) fn read<DB: Backend>(source: &impl MigrationSource<DB>) -> Result<Self, String> {
        let mut all = Vec::new();
        for migration in source.migrations().map_err(|error| error.to_string())? {
            let mut recorder = Recorder::default();
            migration.run(&mut recorder).map_err(|error| error.to_string())?;
            all.push(Recorded {
                name: migration.name().to_string(),
                version: migration.name().version().to_string(),
                sql: recorder.0,
                in_transaction: migration.metadata().run_in_transaction(),
            });
        }
        all.sort_by(|one, other| one.version.cmp(&other.version));
        Ok(Self(all))
    }

    /// What tells one source from another in messages, since Diesel's have no name.
    pub(crate) fn name(&self) -> String {
        match self.0.first() {
            Some(first) => format!("from {} on", first.name),
            None => "(none)".to_owned(),
        }
    }

    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let part = |one: &Recorded| {
            format!("{}:{} {}:{} {}\n", one.name.len(), one.name, one.sql.len(), one.sql, one.in_transaction)
        };
        self.0.iter().map(part).collect::<String>().into_bytes()
    }

    pub(crate) fn sql(&self) -> Vec<(String, String)> {
        self.0.iter().map(|one| (one.step(), one.sql.clone())).collect()
    }

    /// Applies those that are not yet in the database's own list.
    pub(crate) fn apply<DB: Backend>(
        &self,
        harness: &mut impl MigrationHarness<DB>,
    ) -> Result<(), StepError> {
        let applied = harness.applied_migrations().map_err(|error| words(error.to_string()))?;
        for one in &self.0 {
            if !applied.contains(&MigrationName::version(one)) {
                harness.run_migration(one).map_err(|error| explain(one, &*error))?;
            }
        }
        Ok(())
    }
}

/// An error of no migration in particular.
pub(crate) fn words(message: String) -> StepError {
    StepError { message, ..StepError::default() }
}

/// Says which migration failed, and which of its statements where the database tells.
fn explain(migration: &Recorded, error: &(dyn std::error::Error + Send + Sync + 'static)) -> StepError {
    let mut explained =
        StepError { step: Some(migration.step()), statement: None, message: error.to_string() };
    if let Some(diesel::result::Error::DatabaseError(_, info)) = error.downcast_ref() {
        explained.message = info.message().to_owned();
        let position = info.statement_position().and_then(|position| usize::try_from(position).ok());
        explained.statement =
            position.and_then(|position| statement_at(&migration.sql, position)).map(str::to_owned);
    }
    explained
}

/// A folder of Diesel's migrations, as it was when this process first asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) all: Arc<All>,
}

impl Folder {
    /// Reads the folder once per process: a suite asks once per test.
    pub(crate) fn read<DB: Backend>(folder: &Path) -> Result<Self, String> {
        static ALL: Mutex<BTreeMap<PathBuf, Folder>> = Mutex::new(BTreeMap::new());
        let mut known = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = known.get(folder) {
            return Ok(folder.clone());
        }
        let source = FileBasedMigrations::from_path(folder).map_err(|error| error.to_string())?;
        let all = All::read::<DB>(&source)?;
        if all.0.is_empty() {
            return Err(
                "there are none (no folder such as 2026-01-01-000000_users with an up.sql)".to_owned()
            );
        }
        let read = Self { name: folder.display().to_string(), all: Arc::new(all) };
        known.insert(folder.to_owned(), read.clone());
        Ok(read)
    }
}

/// Diesel's sources as core's migrations. What runs them is given: it takes the handle, and the
/// migrations or why they can't be read.
macro_rules! migrations {
    ([$($generics:tt)*] $backend:ty, $database:ty, $handle:ty, $run:expr) => {
        crate::migrate::migrations! { @source [$($generics)*] $backend, $database, $handle, $run,
            diesel_migrations::EmbeddedMigrations, "embedded, " }
        crate::migrate::migrations! { @source [$($generics)*] $backend, $database, $handle, $run,
            diesel_migrations::FileBasedMigrations, "in files, " }

        impl<$($generics)*> dbtest_core::Migrations<$backend> for crate::migrate::Folder {
            fn name(&self) -> String {
                self.name.clone()
            }

            fn fingerprint(&self) -> Vec<u8> {
                self.all.fingerprint()
            }

            fn sql(&self) -> Vec<(String, String)> {
                self.all.sql()
            }

            fn run(&self, handle: $handle) -> BoxFuture<'_, Result<(), StepError>> {
                $run(handle, Ok(Arc::clone(&self.all)))
            }
        }
    };
    (@source [$($generics:tt)*] $backend:ty, $database:ty, $handle:ty, $run:expr, $source:ty, $words:literal) => {
        impl<$($generics)*> dbtest_core::Migrations<$backend> for $source {
            fn name(&self) -> String {
                let all = All::read::<$database>(self);
                all.map_or_else(|why| why, |all| format!(concat!($words, "{}"), all.name()))
            }

            fn fingerprint(&self) -> Vec<u8> {
                // What can't be read fails when it is to run.
                All::read::<$database>(self).map_or_else(String::into_bytes, |all| all.fingerprint())
            }

            fn sql(&self) -> Vec<(String, String)> {
                All::read::<$database>(self).map(|all| all.sql()).unwrap_or_default()
            }

            fn run(&self, handle: $handle) -> BoxFuture<'_, Result<(), StepError>> {
                $run(handle, All::read::<$database>(self).map(Arc::new))
            }
        }
    };
}
pub(crate) use migrations;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod synchronous {
    use dbtest_core::{BoxFuture, blocking};

    use super::*;
    use crate::pool::Pool;
    use crate::speaks::Speaks;

    type Running = BoxFuture<'static, Result<(), StepError>>;

    fn run<C>(pool: Pool<C>, all: Result<Arc<All>, String>) -> Running
    where
        C: Speaks + MigrationHarness<C::Backend>,
    {
        Box::pin(blocking(move || {
            let mut connection = pool.get().map_err(|error| words(error.to_string()))?;
            all.map_err(words)?.apply(&mut *connection)
        }))
    }

    #[cfg(feature = "postgres")]
    migrations! { [] crate::DieselPostgres, diesel::pg::Pg, Pool<diesel::PgConnection>, run }
    #[cfg(feature = "mysql")]
    migrations! { [] crate::DieselMySql, diesel::mysql::Mysql, Pool<diesel::MysqlConnection>, run }
    #[cfg(feature = "sqlite")]
    migrations! { [] crate::DieselSqlite, diesel::sqlite::Sqlite, Pool<diesel::SqliteConnection>, run }
}
