//! The backend: opens and ends a test's connection.

use std::path::Path;

use dbtest_core::{
    Backend, Boundary, Check, DbError, End, Engine, Finished, Migrations, Place, Sandbox, Session,
    blocking_session,
};
use rusqlite::Connection;

use crate::migrations::SqlFiles;
use crate::session::{RusqliteSession, rows};

/// SQLite through rusqlite: the test gets a `rusqlite::Connection`.
#[derive(Clone, Copy, Debug)]
pub struct Rusqlite;

impl Backend for Rusqlite {
    type Handle = Connection;

    const ENGINE: Engine = Engine::Sqlite;
    const NAME: &'static str = "rusqlite";

    async fn session(url: &str) -> Result<Box<dyn Session>, DbError> {
        let url = url.to_owned();
        blocking_session(move || connect(&url).map(RusqliteSession)).await
    }

    async fn open(place: &Place) -> Result<Connection, DbError> {
        let connection = connect(&place.url)?;
        connection.execute_batch(&place.on_connect).map_err(db_error)?;
        if let Some(sandbox) = &place.sandbox {
            begin(&connection, sandbox).map_err(db_error)?;
        }
        Ok(connection)
    }

    async fn finish(handle: Connection, place: &Place, end: End) -> Finished {
        let boundary = match &place.sandbox {
            Some(sandbox) => end_sandbox(&handle, sandbox, end),
            None => Boundary::Intact,
        };
        // The one connection is ours again, so there is none that the test could have leaked.
        drop(handle);
        Finished { boundary, leaked: 0 }
    }

    fn migrations(folder: &Path) -> Result<Box<dyn Migrations<Self>>, String> {
        Ok(Box::new(SqlFiles::read(folder)?))
    }
}

/// `sqlite:///path/to/file`: how dbtest writes a place's URL.
fn connect(url: &str) -> Result<Connection, DbError> {
    let path = url.strip_prefix("sqlite://").unwrap_or(url);
    let connected = Connection::open(path).and_then(|connection| {
        // Nobody mourns a test database after a power cut.
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF")?;
        Ok(connection)
    });
    connected.map_err(|error| DbError { connect: true, ..db_error(error) })
}

fn begin(connection: &Connection, sandbox: &Sandbox) -> rusqlite::Result<()> {
    if sandbox.refuse_commit {
        // SQLite has no SQL that refuses a COMMIT, but a hook: `true` makes it a rollback.
        connection.commit_hook(Some(|| true))?;
    }
    for sql in [&sandbox.before, &sandbox.begin, &sandbox.after] {
        connection.execute_batch(sql)?;
    }
    Ok(())
}

fn end_sandbox(connection: &Connection, sandbox: &Sandbox, end: End) -> Boundary {
    let ended = || -> rusqlite::Result<Boundary> {
        for check in &sandbox.checks {
            match check {
                Check::Succeeds(sql) => connection.execute_batch(sql)?,
                Check::Empty(sql) => {
                    if let Some(row) = rows(connection, sql)?.into_iter().next() {
                        let row: Vec<_> =
                            row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect();
                        return Ok(Boundary::Violated(row.join(", ")));
                    }
                }
            }
        }
        match end {
            End::Discard => connection.execute_batch(&sandbox.rollback)?,
            End::Commit => {
                connection.commit_hook(None::<fn() -> bool>)?;
                connection.execute_batch(&sandbox.commit)?;
            }
        }
        Ok(Boundary::Intact)
    };
    ended().unwrap_or_else(|error| Boundary::Broken(db_error(error)))
}

/// The extended result code and SQLite's own message.
pub(crate) fn db_error(error: rusqlite::Error) -> DbError {
    let code = error.sqlite_error().map(|error| error.extended_code.to_string());
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        other => other.to_string(),
    };
    DbError::statement(code, message)
}
