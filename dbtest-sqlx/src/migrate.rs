//! sqlx's migrations as core's: a `Migrator`, or a folder that is read when the test runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dbtest_core::{BoxFuture, Migrations, StepError, statement_at};
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::position;

/// A folder of sqlx migrations, as it was when this process first asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    name: String,
    migrator: Arc<Migrator>,
}

impl Folder {
    /// Reads the folder once per process: a suite asks once per test.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        static ALL: Mutex<BTreeMap<PathBuf, Folder>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(folder) {
            return Ok(known.clone());
        }
        let migrator = resolve(folder)?;
        if migrator.iter().next().is_none() {
            return Err("there are none (no file such as 0001_users.sql)".to_owned());
        }
        let read = Self { name: folder.display().to_string(), migrator: Arc::new(migrator) };
        all.insert(folder.to_owned(), read.clone());
        Ok(read)
    }
}

/// sqlx reads a folder on a tokio runtime only, and whoever calls may or may not be on one.
fn resolve(folder: &Path) -> Result<Migrator, String> {
    let read = || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        runtime.block_on(Migrator::new(folder)).map_err(|error| error.to_string())
    };
    std::thread::scope(|scope| scope.spawn(read).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What a migration is called in its folder.
fn file(version: i64, description: &str) -> String {
    format!("migration {version} {description}")
}

fn fingerprint(migrator: &Migrator) -> Vec<u8> {
    let mut all = Vec::new();
    for migration in migrator.iter().filter(|migration| !migration.migration_type.is_down_migration()) {
        all.extend(migration.version.to_le_bytes());
        all.extend(&*migration.checksum);
    }
    all
}

fn texts(migrator: &Migrator) -> Vec<(String, String)> {
    migrator
        .iter()
        .filter(|migration| !migration.migration_type.is_down_migration())
        .map(|migration| (file(migration.version, &migration.description), migration.sql.as_str().to_owned()))
        .collect()
}

/// Says which migration failed, and which of its statements.
fn explain(migrator: &Migrator, error: MigrateError) -> StepError {
    let MigrateError::ExecuteMigration(cause, version) = error else {
        return StepError { message: error.to_string(), ..StepError::default() };
    };
    let Some(migration) = migrator.iter().find(|migration| migration.version == version) else {
        return StepError { message: cause.to_string(), ..StepError::default() };
    };
    let text = migration.sql.as_str();
    let message = match &cause {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    // Where the database gives no position, core finds the statement.
    let statement = position(&cause).and_then(|position| statement_at(text, position));
    StepError {
        step: Some(file(version, &migration.description)),
        statement: statement.map(str::to_owned),
        message,
    }
}

macro_rules! migrations {
    ($feature:literal, $backend:ty, $pool:ty) => {
        #[cfg(feature = $feature)]
        impl Migrations<$backend> for Migrator {
            fn name(&self) -> String {
                "embedded in the test".to_owned()
            }

            fn fingerprint(&self) -> Vec<u8> {
                fingerprint(self)
            }

            fn sql(&self) -> Vec<(String, String)> {
                texts(self)
            }

            fn run(&self, handle: $pool) -> BoxFuture<'_, Result<(), StepError>> {
                Box::pin(async move {
                    let result = Migrator::run(self, &handle).await;
                    handle.close().await;
                    result.map_err(|error| explain(self, error))
                })
            }
        }

        #[cfg(feature = $feature)]
        impl Migrations<$backend> for Folder {
            fn name(&self) -> String {
                self.name.clone()
            }

            fn fingerprint(&self) -> Vec<u8> {
                fingerprint(&self.migrator)
            }

            fn sql(&self) -> Vec<(String, String)> {
                texts(&self.migrator)
            }

            fn run(&self, handle: $pool) -> BoxFuture<'_, Result<(), StepError>> {
                Migrations::<$backend>::run(&*self.migrator, handle)
            }
        }
    };
}

migrations!("postgres", crate::SqlxPostgres, sqlx::PgPool);
migrations!("mysql", crate::SqlxMySql, sqlx::MySqlPool);
migrations!("sqlite", crate::SqlxSqlite, sqlx::SqlitePool);
