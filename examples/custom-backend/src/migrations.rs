//! Migrations: a folder of `.sql` files.

use std::path::Path;

use dbtest_core::{BoxFuture, Migrations, StepError, statements};
use rusqlite::Connection;

use crate::Rusqlite;
use crate::backend::db_error;

/// The `.sql` files of a folder, in the order of their names, each in a transaction. As many as
/// `PRAGMA user_version` says were applied before.
///
/// (An application would have such a migrator already. dbtest's own `Fixture::sql_dir` does
/// without one, and without the book that it keeps.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFiles {
    folder: String,
    /// Names and texts.
    files: Vec<(String, String)>,
}

impl SqlFiles {
    /// Reads the folder.
    ///
    /// # Errors
    /// A sentence that says why it can't be used.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
                files.push((name, text));
            }
        }
        files.sort();
        if files.is_empty() {
            return Err("there is no .sql file".to_owned());
        }
        Ok(Self { folder: folder.display().to_string(), files })
    }

    /// Applies those that the database does not have.
    ///
    /// # Errors
    /// The file, the statement and SQLite's message.
    pub fn apply(&self, connection: &mut Connection) -> Result<(), StepError> {
        let failed = |error| StepError { message: db_error(error).message, ..StepError::default() };
        let applied: u32 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        for (number, (name, text)) in (1..).zip(&self.files).filter(|(number, _)| *number > applied) {
            let savepoint = connection.savepoint().map_err(failed)?;
            for statement in statements(text) {
                savepoint.execute_batch(statement.text).map_err(|error| StepError {
                    step: Some(name.clone()),
                    statement: Some(statement.text.to_owned()),
                    message: db_error(error).message,
                })?;
            }
            savepoint.pragma_update(None, "user_version", number).map_err(failed)?;
            savepoint.commit().map_err(failed)?;
        }
        Ok(())
    }
}

impl Migrations<Rusqlite> for SqlFiles {
    fn name(&self) -> String {
        self.folder.clone()
    }

    fn fingerprint(&self) -> Vec<u8> {
        let lengths = self.files.iter().map(|(name, text)| format!("{name} {}\n{text}", text.len()));
        lengths.collect::<String>().into_bytes()
    }

    fn sql(&self) -> Vec<(String, String)> {
        self.files.clone()
    }

    fn run(&self, mut handle: Connection) -> BoxFuture<'_, Result<(), StepError>> {
        Box::pin(async move { self.apply(&mut handle) })
    }
}
