//! Engines: what SQL it takes to create, clone, seal, list, reset and drop.

pub(crate) mod mysql;
mod mysql_slot;
pub(crate) mod postgres;
pub(crate) mod postgres_schema;
pub(crate) mod sqlite;
mod sqlite_log;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::backend::{Sandbox, Session};
use crate::description::Description;
use crate::error::Result;
use crate::name::Name;

/// A database engine. MariaDB is [`Engine::MySql`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL 14 or newer.
    Postgres,
    /// MySQL 8.0 or newer, MariaDB 10.5 or newer.
    MySql,
    /// SQLite 3.35 or newer, in the test's own process.
    Sqlite,
}

impl Engine {
    /// The word for the engine in names and settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    pub(crate) const fn example_url(self) -> &'static str {
        match self {
            Self::Postgres => "postgres://user:password@localhost:5432/database",
            Self::MySql => "mysql://user:password@localhost:3306/database",
            Self::Sqlite => "sqlite:///path/to/folder",
        }
    }

    /// How this engine's own error begins that refuses what a transaction of one connection can't have, and
    /// what that was. Postgres' sandbox says so itself.
    pub(crate) const fn refused_in_a_transaction(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Postgres => None,
            Self::MySql => Some(("XAER_RMFAIL", "BEGIN, COMMIT, ROLLBACK or a change of the schema")),
            Self::Sqlite => Some(("cannot start a transaction within a transaction", "BEGIN")),
        }
    }

    /// Makes the server refuse all writing of the connection that runs it.
    pub(crate) const fn read_only(self) -> &'static str {
        match self {
            Self::Postgres => "SET default_transaction_read_only = on",
            Self::MySql => "SET SESSION TRANSACTION READ ONLY",
            Self::Sqlite => "PRAGMA query_only = ON",
        }
    }

    /// `container` is the step that leads to a server in one.
    pub(crate) fn server_next_step(self, container: &str) -> String {
        let (install, variable) = match self {
            Self::Postgres => {
                ("Postgres (Debian, Ubuntu: apt-get install postgresql)", "DBTEST_POSTGRES_URL")
            }
            Self::MySql => ("MariaDB (Debian, Ubuntu: apt-get install mariadb-server)", "DBTEST_MYSQL_URL"),
            Self::Sqlite => return "set DBTEST_DIR to a folder that this user may write".to_owned(),
        };
        format!(
            "{container}, or install {install}, or set {variable}; DBTEST_SKIP_MISSING=1 skips these tests and says so"
        )
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "Postgres",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// Where dbtest makes places on one server: databases, schemas or files. One implementation
/// per way of making them; strategies are written over this and know no engine.
#[async_trait]
pub(crate) trait Places: Send + Sync + fmt::Debug {
    /// The server in words, for messages.
    fn shown(&self) -> String;

    /// What makes a template serve only this server, and its user: engine and version, and who made it.
    fn version(&self) -> &str;

    /// Whether looking at what is there costs a connection and round trips.
    fn is_remote(&self) -> bool {
        true
    }

    /// What the other processes of this run need not ask the server again.
    fn facts(&self) -> String {
        String::new()
    }

    /// How many connections the server lets us have; `None` where nobody counts them.
    fn connections(&self) -> Option<u32> {
        None
    }

    /// Closes the maintenance sessions that are idle: this process is going to wait.
    async fn rest(&self) {}

    /// The URL that opens the place.
    fn url(&self, name: &Name) -> String;

    /// The command that a person opens the place with.
    fn command(&self, name: &Name) -> String;

    /// Whether places are copied from a template. Where not, each is filled by the setup.
    fn copies(&self) -> bool {
        true
    }

    /// Whether a test may have a place of its own that is dropped afterwards. Where making and
    /// dropping costs too much, clones are recycled like slots.
    fn drops_clones(&self) -> bool {
        true
    }

    /// All places of ours on this server.
    async fn survey(&self) -> Result<Vec<Found>>;

    /// How large each place is, and who holds it, as far as that can be known.
    async fn details(&self) -> Result<HashMap<Name, Details>>;

    /// Takes the lock on a name: against making, sweeping and dropping it twice. Without
    /// `wait`, `None` if somebody has it.
    async fn hold(&self, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>>;

    /// Protects a template from being swept until this process ends. `false` if it was swept since
    /// it was seen.
    async fn protect(&self, name: &Name) -> Result<bool>;

    /// Makes an empty place.
    async fn create(&self, name: &Name) -> Result<()>;

    /// Called when the setup has filled a place: waits until it is quiet, closes a template to
    /// everybody, and adds what a clone will need to the description.
    async fn filled(&self, name: &Name, description: &mut Description) -> Result<()>;

    /// Makes a copy of a template.
    async fn copy(&self, template: &Name, description: &Description, name: &Name) -> Result<()>;

    /// Makes a copy of a template that one test has, and takes the lock on its name. `None` if the
    /// template is gone, or the name is taken.
    async fn clone_of(
        &self,
        template: &Name,
        description: &Description,
        name: &Name,
    ) -> Result<Option<Box<dyn Hold>>> {
        let Some(hold) = self.hold(&name.to_string(), false).await? else { return Ok(None) };
        match self.copy(template, description, name).await {
            Ok(()) => Ok(Some(hold)),
            Err(error) => {
                let _ = self.destroy(name).await;
                hold.release().await;
                Err(error)
            }
        }
    }

    /// Makes a place ready to be reset: baseline, marks.
    async fn prepare(&self, name: &Name) -> Result<()>;

    /// Writes the description on a place.
    async fn describe(&self, name: &Name, description: &Description) -> Result<()>;

    /// Opens the reset session of a slot, leases the slot with it and [settles](Attached::settle)
    /// it. `None` if somebody still has the lease after `patience`, or if the slot is no more,
    /// half-made or kept. `note` is what its last holder told of it: [`Attached::note`].
    async fn attach(
        &self,
        name: &Name,
        how: Settle,
        patience: Duration,
        note: Option<&str>,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>>;

    /// Drops a place and everything written about it; ends what is connected to it. `false` if
    /// somebody leased it in the meantime: then it stays.
    async fn destroy(&self, name: &Name) -> Result<bool>;

    /// The transaction that is never committed, in this place.
    fn sandbox(&self, name: &Name) -> Result<Sandboxing>;

    /// Why the boundary's check failed, and the next step, in words.
    fn explain(&self, error: &crate::backend::DbError) -> (String, &'static str);
}

/// How a transaction that is never committed is had.
#[derive(Debug)]
pub(crate) enum Sandboxing {
    /// The handle has one connection, and the backend opens the transaction on it.
    Handle(Sandbox),
    /// The place is opened through a server of our own, which holds the transaction.
    #[cfg(feature = "sandbox")]
    Wire(crate::sandbox::Guard),
}

/// A place that a survey found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) description: Option<Description>,
    /// Somebody alive holds its lease, its name or its protection.
    pub(crate) held: bool,
}

impl Found {
    pub(crate) fn is_kept(&self) -> bool {
        self.description.as_ref().is_some_and(|description| description.kept.is_some())
    }
}

/// What a place is on its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceForm {
    /// A database of its own.
    Database,
    /// A schema in a database that it shares.
    Schema,
    /// A file (SQLite).
    File,
}

/// By what a server is known when its places are asked for.
pub(crate) enum Met {
    /// The session that found it.
    Session(Box<dyn Session>),
    /// What [`Places::facts`] told in another process of this run.
    Facts(String),
}

impl Met {
    /// The session, or the facts if they can be read.
    fn split<F: DeserializeOwned>(self) -> (Option<Box<dyn Session>>, Option<F>) {
        match self {
            Self::Session(session) => (Some(session), None),
            Self::Facts(text) => (None, serde_json::from_str(&text).ok()),
        }
    }
}

/// What a person wants to know of a place beyond what a survey finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// In bytes.
    pub(crate) size: Option<u64>,
    pub(crate) holder: Option<Holder>,
}

/// Who holds a place, as far as the server or the system tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The test process, on the machine that it runs on.
    pub process: Option<u32>,
    /// The server's own number of the connection.
    pub connection: Option<u64>,
    /// What the connection says of itself: its application on Postgres, its user and host on MySQL.
    pub application: Option<String>,
}

/// A lock that ends with its process, however that ends.
#[async_trait]
pub(crate) trait Hold: Send + fmt::Debug {
    /// Whether the lock is still held: its session may have ended.
    async fn is_alive(&mut self) -> bool {
        true
    }

    /// Drops the place whose name is locked.
    async fn drop_place(&mut self, places: &dyn Places, name: &Name) -> Result<()> {
        places.destroy(name).await.map(drop)
    }

    /// Gives the lock back.
    async fn release(self: Box<Self>);
}

/// The reset session of a slot. While it is open the slot is leased.
#[async_trait]
pub(crate) trait Attached: Send + fmt::Debug {
    /// The test is over, and its handle is about to be closed: the last look at what closing it
    /// removes.
    fn closing(&mut self) {}

    /// Ends every other connection to the place, waits until they are gone, and puts the place
    /// back to its baseline.
    async fn settle(&mut self, how: Settle) -> Result<Settled>;

    /// What whoever leases it next, in another process of this run, need not find out again.
    fn note(&self) -> Option<String> {
        None
    }

    /// Whether nothing stayed of a sandbox whose connection was closed before anybody could ask
    /// it. Where the sandbox makes COMMIT fail, nothing can.
    async fn left_nothing(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// Ends the lease.
    async fn detach(self: Box<Self>);
}

/// What a reset must care for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settle {
    /// Connections that the test did not give back.
    pub(crate) leaked: usize,
    /// Only what a rollback leaves behind: tables without transactions, identity values.
    pub(crate) rolled_back: bool,
    /// Identity values start again even where that costs (MySQL).
    pub(crate) restart_identity: bool,
    /// The server process of a connection of our own that stays open (Postgres).
    pub(crate) spared: Option<i32>,
}

/// How a reset ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The place is at its baseline.
    Clean,
    /// It can't be put back and must be made anew, for this reason.
    Rebuild(String),
}
