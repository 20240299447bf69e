//! What can go wrong before a test begins: each has a message that names the operation, the
//! database and the next step, and never the password.

use dbtest_diesel::{Backend, ErrorKind, Fixture, Server};

const SECRET: &str = "hunter2";

/// Opens the fixture and checks what every message must have.
fn refused<B: Backend>(fixture: Fixture<B>, kind: ErrorKind, words: &[&str]) -> String {
    let error = fixture.open_blocking().expect_err("this can't be opened");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains("\n  next step: "), "no next step: {text}");
    assert!(!text.contains(SECRET), "the password is shown: {text}");
    assert_eq!(format!("{error:?}"), text, "unwrap() shows the same");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
    text
}

/// Points a URL at another user.
fn as_user(url: &str, user: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("a user");
    let (host, tail) = place.split_once('/').expect("a database");
    let parameters = tail.split_once('?').map_or(String::new(), |(_, text)| format!("?{text}"));
    format!("{scheme}://{user}:{SECRET}@{host}/{database}{parameters}")
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod any {
    use dbtest_diesel::{DieselPostgres, DieselSqlite, Strategy};

    use super::*;

    fn folder(name: &str) -> Fixture<DieselSqlite> {
        Fixture::new().manifest_dir(env!("CARGO_MANIFEST_DIR")).migrations_dir(name)
    }

    #[test]
    fn an_empty_migrations_folder() {
        let empty = tempfile::tempdir().expect("a folder");
        let path = empty.path().display().to_string();
        refused(folder(&path), ErrorKind::Config, &[&path, "there are none", "`.empty()`"]);
        let fixture = Fixture::<DieselSqlite>::new().sql_dir(&path);
        refused(fixture, ErrorKind::Config, &[&path, "no .sql file"]);
    }

    #[test]
    fn a_migrations_folder_that_is_not_there() {
        refused(folder("nowhere"), ErrorKind::Config, &["nowhere", "cannot be used"]);
    }

    #[test]
    fn no_setup_at_all() {
        let words = ["names no setup", "migrations = false", "any::no_setup_at_all"];
        refused(Fixture::<DieselSqlite>::new(), ErrorKind::Config, &words);
    }

    #[test]
    fn a_malformed_url() {
        for url in ["postgres://u:hunter2@host:notaport/db", "not a url hunter2", "mysql://u:hunter2@h/db"] {
            let fixture = Fixture::<DieselPostgres>::new().empty().server(Server::url(url));
            refused(fixture, ErrorKind::Config, &["is not a URL of a Postgres server", "postgres://user"]);
        }
    }

    #[test]
    fn a_server_that_is_down() {
        // Port 1 is nobody's.
        let url = format!("postgres://u:{SECRET}@127.0.0.1:1/db");
        let fixture = Fixture::<DieselPostgres>::new().empty().server(Server::url(url));
        refused(
            fixture,
            ErrorKind::Connect,
            &["cannot connect to Postgres (db at 127.0.0.1:1, the fixture's URL)"],
        );
    }

    #[test]
    fn a_remote_host_that_is_not_allowed() {
        // Refused before anything is sent: the name is reserved, and nothing answers there.
        let url = format!("postgres://u:{SECRET}@db.example.com/app");
        let fixture = Fixture::<DieselPostgres>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Refused, &["db.example.com", "DBTEST_ALLOW_HOST"]);
    }

    #[test]
    fn a_seed_that_fails() {
        let fixture = Fixture::<DieselSqlite>::new()
            .sql("schema.sql", "CREATE TABLE a (x INT NOT NULL)")
            .seed_sql("users.sql", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (NULL);")
            .strategy(Strategy::Truncate);
        let words = ["seed users.sql", "INSERT INTO a VALUES (NULL)", "NOT NULL constraint failed"];
        refused(fixture, ErrorKind::Setup, &words);
    }

    #[test]
    fn a_seed_in_code_that_fails() {
        let fixture = Fixture::<DieselSqlite>::new()
            .version("1")
            .seed_blocking(|_pool| Err::<(), _>("the fake data ran out"));
        refused(fixture, ErrorKind::Setup, &["bad_input.rs", "the fake data ran out"]);
    }
}

macro_rules! migrations {
    ($backend:ident, $folder:literal) => {
        /// The file and the statement are shown to the first test, the others are pointed at it.
        #[test]
        fn a_migration_that_fails_in_the_middle() {
            let fixture = || {
                Fixture::<dbtest_diesel::$backend>::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
            };
            let words = [
                "migration 2026-01-01-000001_books",
                "CREATE TABL shelves",
                "syntax",
                "then run the tests again",
            ];
            refused(fixture(), ErrorKind::Setup, &words);
            let second = std::thread::Builder::new()
                .name("another test".to_owned())
                .spawn(move || fixture().open_blocking())
                .expect("a thread")
                .join()
                .expect("ended")
                .expect_err("still broken");
            assert!(second.to_string().contains("failed before in this run, in bad_input::"), "{second}");
            assert!(!second.to_string().contains("shelves"), "shown twice: {second}");
        }
    };
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    migrations!(DieselSqlite, "tests/it/broken/sqlite");
}

#[cfg(feature = "postgres")]
mod postgres {
    use dbtest_diesel::{DieselPostgres, Strategy, TestDb};
    use diesel::PgConnection;
    use diesel::prelude::*;
    use diesel::r2d2::{ConnectionManager, Pool};

    use super::*;

    /// Runs the statement; how many rows it touched.
    fn run(db: &TestDb<DieselPostgres>, sql: &str) -> QueryResult<usize> {
        diesel::sql_query(sql).execute(&mut db.handle().get().expect("a connection"))
    }

    migrations!(DieselPostgres, "tests/it/broken/postgres");

    fn empty() -> TestDb<DieselPostgres> {
        Fixture::new().empty().open_blocking().expect("a database")
    }

    #[test]
    fn a_wrong_password() {
        let db = empty();
        let role = format!("dbtest_role_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'right'");
        run(&db, &create).expect("a role");
        // Where the server trusts its socket no password is wrong; a user that is not there is.
        let url = as_user(&db.database_url(), &format!("{role}_x"), "postgres");
        let fixture = Fixture::<DieselPostgres>::new().empty().server(Server::url(url));
        let text = refused(fixture, ErrorKind::Connect, &["cannot connect to Postgres", &role]);
        assert!(text.contains("check user and password"), "{text}");
        let drop = format!("DROP ROLE {role}");
        run(&db, &drop).expect("dropped");
        db.close_blocking().expect("closed");
    }

    #[test]
    fn a_user_who_may_not_create_databases() {
        let db = empty();
        let role = format!("dbtest_poor_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'");
        run(&db, &create).expect("a role");
        let url = as_user(&db.database_url(), &role, "postgres");
        for strategy in [Strategy::Rollback, Strategy::Truncate, Strategy::Template] {
            let fixture =
                Fixture::<DieselPostgres>::new().empty().server(Server::url(&url)).strategy(strategy);
            let words = ["may not create databases", "CREATEDB", "\"schema\""];
            refused(fixture, ErrorKind::Unsupported, &words);
        }
        // What the message recommends works, with the right to make schemas somewhere.
        let name = format!("dbtest_poor_home_{}", std::process::id());
        run(&db, &format!("CREATE DATABASE {name} OWNER {role}")).expect("a home");
        let own = Fixture::<DieselPostgres>::new()
            .sql("schema.sql", "CREATE TABLE a (x INT); INSERT INTO a VALUES (1)")
            .server(Server::url(as_user(&db.database_url(), &role, &name)))
            .strategy(Strategy::Schema);
        for _ in 0..2 {
            let poor = own.clone().open_blocking().expect("a schema");
            assert_eq!(run(&poor, "SELECT x FROM a"), Ok(1), "the rows");
            run(&poor, "INSERT INTO a VALUES (2)").expect("a row");
            poor.close_blocking().expect("closed");
        }
        for sql in [format!("DROP DATABASE {name} WITH (FORCE)"), format!("DROP ROLE {role}")] {
            run(&db, &sql).expect("dropped");
        }
        db.close_blocking().expect("closed");
    }

    /// The old one can only be had as a container, so where this server is one.
    #[test]
    fn only_a_server_that_is_new_enough_is_used() {
        let db = empty();
        let enough = "SELECT 1 / (current_setting('server_version_num')::int >= 140000)::int";
        run(&db, enough).expect("a version that is new enough");
        let container = db.origin().starts_with("container");
        db.close_blocking().expect("closed");
        if container {
            let fixture = Fixture::<DieselPostgres>::new().empty().server(Server::container("postgres:13"));
            let words = ["is Postgres 13", "needs 14 or newer", "upgrade it"];
            refused(fixture, ErrorKind::Version, &words);
        }
    }

    #[test]
    fn a_schema_in_a_migration_under_schema_per_worker() {
        let fixture = Fixture::<DieselPostgres>::new()
            .sql("0001_users.sql", "CREATE TABLE fine (x INT);\nCREATE TABLE public.users (x INT);")
            .strategy(Strategy::Schema);
        let words = ["0001_users.sql", "CREATE TABLE public.users", "search_path"];
        refused(fixture, ErrorKind::Unsupported, &words);
        // In code nobody can read it, but what it made is found, and removed.
        for _ in 0..2 {
            let fixture = Fixture::<DieselPostgres>::new()
                .version("1")
                .strategy(Strategy::Schema)
                .seed_blocking(|pool: Pool<ConnectionManager<PgConnection>>| {
                    let mut connection = pool.get().expect("a connection");
                    diesel::sql_query("CREATE TABLE public.hidden (x INT)").execute(&mut connection).map(drop)
                });
            refused(fixture, ErrorKind::Unsupported, &["public.hidden"]);
        }
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use dbtest_diesel::{DieselMySql, TestDb};
    use diesel::prelude::*;

    use super::*;

    fn run(db: &TestDb<DieselMySql>, sql: &str) -> QueryResult<usize> {
        diesel::sql_query(sql).execute(&mut db.handle().get().expect("a connection"))
    }

    migrations!(DieselMySql, "tests/it/broken/mysql");

    #[test]
    fn a_user_who_is_not_there() {
        let db = Fixture::<DieselMySql>::new().empty().open_blocking().expect("a database");
        let url = as_user(&db.database_url(), "dbtest_nobody", "mysql");
        let fixture = Fixture::<DieselMySql>::new().empty().server(Server::url(url));
        let words = ["cannot connect to MySQL", "dbtest_nobody", "check user and password"];
        refused(fixture, ErrorKind::Connect, &words);
        db.close_blocking().expect("closed");
    }

    #[test]
    fn a_user_who_may_not_create_databases() {
        let db = Fixture::<DieselMySql>::new().empty().open_blocking().expect("a database");
        let user = format!("dbtest_poor_{}", std::process::id());
        let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'");
        run(&db, &create).expect("a user");
        let url = as_user(&db.database_url(), &user, "information_schema");
        let fixture = Fixture::<DieselMySql>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Rights, &["dbtest_meta", "denied", "GRANT ALL ON `dbtest\\_%`"]);
        let drop = format!("DROP USER '{user}'@'%'");
        run(&db, &drop).expect("dropped");
        db.close_blocking().expect("closed");
    }
}
