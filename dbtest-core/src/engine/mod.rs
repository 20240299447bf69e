//! Engines: what SQL it takes to create, clone, seal, list, reset and drop.

use std::fmt;

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

    pub(crate) const fn server_next_step(self) -> &'static str {
        match self {
            Self::Postgres => {
                "start Docker, or install Postgres (Debian, Ubuntu: apt-get install postgresql), \
                 or set DBTEST_POSTGRES_URL; DBTEST_SKIP_MISSING=1 skips these tests and says so"
            }
            Self::MySql => {
                "start Docker, or install MariaDB (Debian, Ubuntu: apt-get install mariadb-server), \
                 or set DBTEST_MYSQL_URL; DBTEST_SKIP_MISSING=1 skips these tests and says so"
            }
            Self::Sqlite => "set DBTEST_DIR to a folder that this user may write",
        }
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
