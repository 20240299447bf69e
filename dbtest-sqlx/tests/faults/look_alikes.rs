//! The neighbours: databases, schemas, tables, users and files whose names look like dbtest's, with
//! rows in them. They survive everything.

use dbtest_sqlx::{Engine, Probe, Session};

use crate::scene::{Scene, first_column};

/// Names that a person made and that dbtest never makes.
const NAMES: [&str; 8] = [
    "dbtest_",
    "dbtest_production",
    "dbtest_t_0123456789ab_old",
    "dbtest_t_0123456789AB",
    "Dbtest_t_0123456789ab",
    "dbtest_s_0123456789ab_01_0123456789ab",
    "dbtest_c_0123456789ab",
    "dbtest_stable_my_shop",
];

/// Files beside SQLite's: the same, and names of ours with other ends.
const FILES: [&str; 5] = [
    "dbtest_t_0123456789ab.sql",
    "dbtest_t_0123456789ab.db.bak",
    "dbtest_t_0123456789ab.old.db",
    "dbtest_s_0123456789ab_0_0123456789ab.csv",
    "notes.txt",
];

#[derive(Debug, Default)]
pub(crate) struct LookAlikes(Vec<String>);

fn quoted(engine: Engine, name: &str) -> String {
    if engine == Engine::Postgres { format!("\"{name}\"") } else { format!("`{name}`") }
}

/// Another database of the same server.
fn at(url: &str, database: &str) -> String {
    let (start, rest) = url.rsplit_once("localhost").expect("a host");
    let (port, rest) = rest.split_once('/').expect("a database");
    let (_, parameters) = rest.split_once('?').expect("a socket");
    format!("{start}localhost{port}/{database}?{parameters}")
}

async fn session<B: Probe>(scene: &Scene<B>, database: &str) -> Box<dyn Session> {
    let url = at(&scene.server.as_ref().expect("a server").url(), database);
    B::session(&url).await.unwrap_or_else(|error| panic!("{database}: {error}"))
}

impl LookAlikes {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }

    pub(crate) async fn make<B: Probe>(scene: &Scene<B>) -> Self {
        if B::ENGINE == Engine::Sqlite {
            let folder = scene.sqlite();
            std::fs::create_dir_all(folder.join("dbtest_t_0123456789ab_folder")).expect("a folder");
            let names = NAMES.iter().map(|name| format!("{name}.db"));
            let names: Vec<_> = names.chain(FILES.iter().map(|name| (*name).to_owned())).collect();
            for name in &names {
                std::fs::write(folder.join(name), name).expect("a file");
            }
            std::fs::write(folder.join("dbtest_t_0123456789ab_folder/mine"), "mine").expect("a file");
            return Self(names);
        }
        let mut first = scene.session().await;
        for name in NAMES {
            let (database, user) = (quoted(B::ENGINE, name), &name[..name.len().min(30)]);
            let user = quoted(B::ENGINE, user);
            let sql = match B::ENGINE {
                // One statement a text: it can't run in a transaction.
                Engine::Postgres => {
                    vec![format!("CREATE DATABASE {database}"), format!("CREATE ROLE {user}")]
                }
                _ => vec![format!("CREATE DATABASE {database}"), format!("CREATE USER {user}@localhost")],
            };
            for sql in sql {
                first.execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            let mut own = session(scene, name).await;
            let sql =
                format!("CREATE TABLE {database} (what TEXT); INSERT INTO {database} VALUES ('{name}')");
            own.execute(&sql).await.expect("a table");
            if B::ENGINE == Engine::Postgres {
                let schema = format!("CREATE SCHEMA {database}; CREATE TABLE {database}.mine AS SELECT 1");
                own.execute(&schema).await.expect("a schema");
            }
            own.close().await;
        }
        first.close().await;
        Self(NAMES.map(str::to_owned).to_vec())
    }

    pub(crate) async fn assert_unharmed<B: Probe>(&self, scene: &Scene<B>) {
        if B::ENGINE == Engine::Sqlite {
            let folder = scene.sqlite();
            for name in &self.0 {
                let text = std::fs::read_to_string(folder.join(name));
                assert_eq!(text.unwrap_or_else(|error| panic!("{name}: {error}")), *name);
            }
            let mine = folder.join("dbtest_t_0123456789ab_folder/mine");
            assert_eq!(std::fs::read_to_string(mine).expect("a file"), "mine");
            return;
        }
        for name in &self.0 {
            let mut own = session(scene, name).await;
            let table = quoted(B::ENGINE, name);
            let rows = own.query(&format!("SELECT what FROM {table}")).await.expect("their rows");
            assert_eq!(first_column(rows), [name.as_str()]);
            if B::ENGINE == Engine::Postgres {
                let rows = own.query(&format!("SELECT count(*)::text FROM {table}.mine")).await;
                assert_eq!(first_column(rows.expect("their schema")), ["1"]);
            }
            own.close().await;
        }
        let users = match B::ENGINE {
            Engine::Postgres => "SELECT rolname::text FROM pg_roles",
            _ => "SELECT CAST(User AS CHAR) FROM mysql.user",
        };
        let users = first_column(scene.query(users).await);
        for name in &self.0 {
            assert!(users.iter().any(|user| *user == name[..name.len().min(30)]), "the user {name} is gone");
        }
    }
}
