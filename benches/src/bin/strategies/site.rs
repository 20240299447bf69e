//! One engine's server, and the databases that contenders make there for themselves.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use dbtest_benches::schema;
use dbtest_sqlx::{Fixture, Server, Strategy, TestDb};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Result;
use crate::client::Client;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "lower")]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Postgres,
    MariaDb,
    MySql,
    Sqlite,
}

impl Engine {
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "Postgres",
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// `installed`, `auto`, or an image.
pub fn server(word: &str) -> Server {
    match word {
        "auto" => Server::auto(),
        "installed" => Server::installed(),
        image => Server::container(image).into(),
    }
}

/// A server that dbtest started, which stays as long as this does.
pub struct Host<C: Client> {
    held: TestDb<C::Backend>,
    pub version: String,
}

impl<C: Client> Host<C> {
    pub async fn find(engine: Engine, server: Server) -> Result<Self> {
        let fixture = Fixture::<C::Backend>::new().label("bench").empty().server(server);
        let held = fixture.require(Strategy::Truncate).open_for("bench").await?;
        let mut connection = C::connect(&held.database_url()).await?;
        let version = match engine {
            Engine::Postgres => "SELECT current_setting('server_version')",
            Engine::Sqlite => "SELECT sqlite_version()",
            Engine::MariaDb | Engine::MySql => "SELECT version()",
        };
        let version = C::text(&mut connection, version).await?;
        C::close(connection).await?;
        Ok(Self { held, version })
    }

    pub fn url(&self) -> String {
        self.held.database_url()
    }
}

#[derive(Clone, Debug)]
pub struct Site {
    pub engine: Engine,
    pub tables: usize,
    /// The URL of some database there.
    url: Url,
}

impl Site {
    pub fn new(engine: Engine, tables: usize, url: &str) -> Result<Self> {
        Ok(Self { engine, tables, url: Url::parse(url)? })
    }

    /// The folder of SQLite's files; of a server, one for temporary files.
    pub fn around(&self) -> PathBuf {
        match self.engine {
            Engine::Sqlite => {
                Path::new(self.url.path()).parent().map_or_else(std::env::temp_dir, Path::to_owned)
            }
            _ => std::env::temp_dir(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.around().join("bench")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The URL of the database of that name.
    pub fn database(&self, name: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("sqlite://{}?mode=rwc", self.file(name).display()),
            _ => {
                let mut url = self.url.clone();
                url.set_path(name);
                url.to_string()
            }
        }
    }

    /// The URL of a database from which others are made and dropped.
    pub fn maintenance(&self) -> String {
        self.database(if self.engine == Engine::Postgres { "postgres" } else { "mysql" })
    }

    pub async fn drop<C: Client>(&self, name: &str) -> Result<()> {
        match self.engine {
            Engine::Sqlite => {
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(self.file(&format!("{name}{end}")));
                }
                Ok(())
            }
            _ => {
                let force = if self.engine == Engine::Postgres { " WITH (FORCE)" } else { "" };
                self.admin::<C>(&format!("DROP DATABASE IF EXISTS {name}{force}")).await
            }
        }
    }

    async fn admin<C: Client>(&self, sql: &str) -> Result<()> {
        let mut admin = C::connect(&self.maintenance()).await?;
        C::script(&mut admin, sql).await?;
        C::close(admin).await
    }

    /// A new and empty database.
    pub async fn empty<C: Client>(&self, name: &str) -> Result<String> {
        self.drop::<C>(name).await?;
        match self.engine {
            Engine::Sqlite => std::fs::create_dir_all(self.folder())?,
            _ => self.admin::<C>(&format!("CREATE DATABASE {name}")).await?,
        }
        Ok(self.database(name))
    }

    /// A new database with the schema.
    pub async fn filled<C: Client>(&self, name: &str) -> Result<String> {
        if self.engine != Engine::Postgres {
            return self.fill::<C>(name).await;
        }
        // Copied, or preparing the contenders takes longer than measuring them.
        let first = format!("bench_{}_{}", std::process::id(), self.tables);
        let is_there = format!("SELECT count(*)::text FROM pg_database WHERE datname = '{first}'");
        let mut admin = C::connect(&self.maintenance()).await?;
        if C::text(&mut admin, &is_there).await? == "0" {
            self.fill::<C>(&first).await?;
        }
        self.drop::<C>(name).await?;
        C::script(&mut admin, &format!("CREATE DATABASE {name} TEMPLATE {first}")).await?;
        C::close(admin).await?;
        Ok(self.database(name))
    }

    async fn fill<C: Client>(&self, name: &str) -> Result<String> {
        let url = self.empty::<C>(name).await?;
        let mut connection = C::connect(&url).await?;
        if self.engine == Engine::Sqlite {
            // As dbtest has its files: readers and a writer do not block each other.
            C::script(&mut connection, "PRAGMA journal_mode = WAL").await?;
        }
        C::script(&mut connection, &schema::script(C::DIALECT, self.tables)).await?;
        C::close(connection).await?;
        Ok(url)
    }
}
