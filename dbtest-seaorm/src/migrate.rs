//! SeaORM's migrations as core's: a `MigratorTrait`, or a folder of SQL files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dbtest_core::{Backend, BoxFuture, Migrations, StepError, executable_identity};
use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTraitSelf;

use crate::SeaOrmBackend;

/// Migrations of SeaORM for [`Fixture::migrations`](dbtest_core::Fixture::migrations): the
/// `Migrator` of your migration crate.
///
/// What a migration does is code, and code can't be compared. So the template is built anew when
/// the test executable changes, unless you say [`version`](SeaOrmMigrator::version) or
/// [`sources`](SeaOrmMigrator::sources).
///
/// ```
/// use dbtest_seaorm::{Fixture, SeaOrmSqlite, migrator};
/// # use sea_orm_migration::prelude::{MigrationTrait, MigratorTrait};
/// # struct Migrator;
/// # impl MigratorTrait for Migrator {
/// #     fn migrations() -> Vec<Box<dyn MigrationTrait>> { Vec::new() }
/// # }
///
/// fn app() -> Fixture<SeaOrmSqlite> {
///     Fixture::new().migrations(migrator(Migrator))
/// }
/// # let _ = app();
/// ```
pub fn migrator<M: MigratorTraitSelf + 'static>(migrator: M) -> SeaOrmMigrator<M> {
    SeaOrmMigrator { migrator, identity: Identity::Executable }
}

/// What [`migrator`] makes: a migrator, and what stands for its code in the fingerprint.
#[derive(Clone, Debug)]
pub struct SeaOrmMigrator<M> {
    migrator: M,
    identity: Identity,
}

#[derive(Clone, Debug)]
enum Identity {
    Executable,
    Version(String),
    Sources(PathBuf),
}

impl<M> SeaOrmMigrator<M> {
    /// The template is rebuilt when this changes or the list of migrations does, and not when
    /// the executable does. You promise to change it along with a migration's code.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.identity = Identity::Version(version.into());
        self
    }

    /// The template is rebuilt when a file in this folder changes, and not when the executable
    /// does. You promise that the migrations do nothing that is written elsewhere. A relative
    /// path starts from the folder of the crate that is tested.
    ///
    /// A file that is younger than the executable is not what it was compiled from; then, and
    /// where the folder can't be read, the executable stands for the code after all.
    #[must_use]
    pub fn sources(mut self, folder: impl Into<PathBuf>) -> Self {
        self.identity = Identity::Sources(folder.into());
        self
    }
}

impl<B: SeaOrmBackend, M: MigratorTraitSelf + 'static> Migrations<B> for SeaOrmMigrator<M> {
    fn name(&self) -> String {
        std::any::type_name::<M>().to_owned()
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut all = self.migrator.migration_table_name().to_string().into_bytes();
        for migration in self.migrator.get_migration_files() {
            all.push(0);
            all.extend(migration.name().as_bytes());
        }
        all.push(0);
        all.extend(match &self.identity {
            Identity::Executable => executable_identity(),
            Identity::Version(version) => version.clone().into_bytes(),
            Identity::Sources(folder) => sources(folder).unwrap_or_else(executable_identity),
        });
        all
    }

    fn run(&self, handle: DatabaseConnection) -> BoxFuture<'_, Result<(), StepError>> {
        Box::pin(async move {
            let result = self.up(&handle).await;
            // A connection that can't say goodbye is gone as well.
            let _ = handle.close().await;
            result
        })
    }
}

impl<M: MigratorTraitSelf> SeaOrmMigrator<M> {
    async fn up(&self, handle: &DatabaseConnection) -> Result<(), StepError> {
        // SeaORM tells nobody but this callback which statement failed.
        let statement = Arc::new(Mutex::new(None));
        let mut heard = handle.clone();
        heard.set_metric_callback({
            let statement = Arc::clone(&statement);
            move |info| {
                if info.failed {
                    let mut statement = statement.lock().unwrap_or_else(PoisonError::into_inner);
                    *statement = Some(info.statement.to_string());
                }
            }
        });
        let Err(error) = self.migrator.up(&heard, None).await else { return Ok(()) };
        // A migration is written down when it has run, so the first that is not is the one.
        let pending = self.migrator.get_pending_migrations_read_only(handle).await;
        let step = pending.ok().and_then(|pending| Some(format!("migration {}", pending.first()?.name())));
        let statement = statement.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(StepError { step, statement, message: message(&error) })
    }
}

/// The database's own words, without SeaORM's and sqlx's around them.
fn message(error: &DbErr) -> String {
    #[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
    if let DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner) = error
        && let sea_orm::RuntimeErr::SqlxError(inner) = inner
        && let Some(database) = inner.as_database_error()
    {
        return database.message().to_owned();
    }
    error.to_string()
}

/// The contents of a folder's files, or nothing where they can't be what the executable has.
fn sources(folder: &Path) -> Option<Vec<u8>> {
    // Tests run where cargo or nextest says that their crate is.
    let base = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let built = std::env::current_exe().and_then(std::fs::metadata).and_then(|meta| meta.modified()).ok()?;
    let mut all = Vec::new();
    let mut folders = vec![base.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).ok()?;
        let mut paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().ok()?;
        paths.sort();
        for path in paths {
            let meta = std::fs::metadata(&path).ok()?;
            if meta.is_dir() {
                folders.push(path);
                continue;
            }
            if meta.modified().ok()? > built {
                return None;
            }
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let content = std::fs::read(&path).ok()?;
            for part in [name, &content] {
                all.extend((part.len() as u64).to_le_bytes());
                all.extend(part);
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

/// A folder of SQL files, as sqlx reads and runs them.
pub(crate) struct Folder<S: Backend> {
    pub(crate) files: Box<dyn Migrations<S>>,
    /// sqlx's pool inside SeaORM's connection.
    pub(crate) pool: fn(&DatabaseConnection) -> Option<&S::Handle>,
}

impl<B: SeaOrmBackend, S: Backend<Handle: Clone>> Migrations<B> for Folder<S> {
    fn name(&self) -> String {
        self.files.name()
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.files.fingerprint()
    }

    fn sql(&self) -> Vec<(String, String)> {
        self.files.sql()
    }

    fn run(&self, handle: DatabaseConnection) -> BoxFuture<'_, Result<(), StepError>> {
        let Some(pool) = (self.pool)(&handle).cloned() else {
            let message = "the connection is not one that dbtest opened".to_owned();
            return Box::pin(async { Err(StepError { message, ..StepError::default() }) });
        };
        self.files.run(pool)
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::{Duration, SystemTime};

    use sea_orm_migration::async_trait;
    use sea_orm_migration::prelude::{DeriveMigrationName, MigrationTrait, MigratorTrait, SchemaManager};

    use super::*;
    use crate::SeaOrmSqlite;

    #[derive(DeriveMigrationName)]
    struct Migration;

    // An `async_trait` must be written as its trait is.
    #[allow(elided_lifetimes_in_paths)]
    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        async fn up(&self, _: &SchemaManager) -> Result<(), DbErr> {
            Ok(())
        }
    }

    struct None;

    impl MigratorTrait for None {
        fn migrations() -> Vec<Box<dyn MigrationTrait>> {
            Vec::new()
        }
    }

    struct One;

    impl MigratorTrait for One {
        fn migrations() -> Vec<Box<dyn MigrationTrait>> {
            vec![Box::new(Migration)]
        }
    }

    fn fingerprint(migrations: impl Migrations<SeaOrmSqlite>) -> Vec<u8> {
        migrations.fingerprint()
    }

    #[test]
    fn without_a_word_the_executable_stands_for_the_code() {
        let all = fingerprint(migrator(One));
        assert!(all.ends_with(&executable_identity()));
    }

    #[test]
    fn a_version_stands_for_the_code_but_not_for_the_list() {
        let first = fingerprint(migrator(One).version("1"));
        assert_eq!(first, fingerprint(migrator(One).version("1")));
        assert_ne!(first, fingerprint(migrator(One).version("2")));
        assert_ne!(first, fingerprint(migrator(None).version("1")), "a new migration is seen");
    }

    #[test]
    fn sources_stand_for_the_code_if_it_was_compiled_from_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str, age: Duration| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(&path, text).expect("a file");
            let file = std::fs::File::options().write(true).open(&path).expect("the file");
            file.set_modified(SystemTime::now() - age).expect("its time");
        };
        let old = Duration::from_secs(1_000_000_000);
        let all = || fingerprint(migrator(One).sources(folder.path()));
        let executable = fingerprint(migrator(One));
        assert_eq!(all(), executable, "an empty folder says nothing");

        write("lib.rs", "one", old);
        let one = all();
        assert_ne!(one, executable);
        assert_eq!(one, all());

        write("lib.rs", "two", old);
        let two = all();
        assert_ne!(one, two, "a changed file is seen");

        write("more/lib.rs", "three", old);
        assert_ne!(two, all(), "a new one too, in any folder");

        write("lib.rs", "one", Duration::ZERO);
        assert_eq!(all(), executable, "this file is younger than the code");
        let nowhere = folder.path().join("nowhere");
        assert_eq!(fingerprint(migrator(One).sources(nowhere)), executable);
    }
}
