//! What can go wrong before a test begins: each has a message that names the operation, the
//! database and the next step, and never the password.

use dbtest_sqlx::{Backend, ErrorKind, Fixture, Server};

pub(crate) const SECRET: &str = "hunter2";

/// Opens the fixture and checks what every message must have.
async fn refused<B: Backend>(fixture: Fixture<B>, kind: ErrorKind, words: &[&str]) -> String {
    let error = fixture.open().await.expect_err("this can't be opened");
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
pub(crate) fn as_user(url: &str, user: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("a user");
    let (host, tail) = place.split_once('/').expect("a database");
    let parameters = tail.split_once('?').map_or(String::new(), |(_, text)| format!("?{text}"));
    format!("{scheme}://{user}:{SECRET}@{host}/{database}{parameters}")
}

mod any {
    use dbtest_sqlx::{SqlxPostgres, SqlxSqlite, Strategy};

    use super::*;

    fn folder(name: &str) -> Fixture<SqlxSqlite> {
        Fixture::new().manifest_dir(env!("CARGO_MANIFEST_DIR")).migrations_dir(name)
    }

    #[tokio::test]
    async fn an_empty_migrations_folder() {
        let empty = tempfile::tempdir().expect("a folder");
        let path = empty.path().display().to_string();
        refused(folder(&path), ErrorKind::Config, &[&path, "there are none", "`.empty()`"]).await;
        let fixture = Fixture::<SqlxSqlite>::new().sql_dir(&path);
        refused(fixture, ErrorKind::Config, &[&path, "no .sql file"]).await;
    }

    #[tokio::test]
    async fn a_migrations_folder_that_is_not_there() {
        refused(folder("nowhere"), ErrorKind::Config, &["nowhere", "cannot be used"]).await;
    }

    #[tokio::test]
    async fn no_setup_at_all() {
        let words = ["names no setup", "migrations = false", "any::no_setup_at_all"];
        refused(Fixture::<SqlxSqlite>::new(), ErrorKind::Config, &words).await;
    }

    #[tokio::test]
    async fn a_malformed_url() {
        for url in ["postgres://u:hunter2@host:notaport/db", "not a url hunter2", "mysql://u:hunter2@h/db"] {
            let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::url(url));
            refused(fixture, ErrorKind::Config, &["is not a URL of a Postgres server", "postgres://user"])
                .await;
        }
    }

    #[tokio::test]
    async fn a_server_that_is_down() {
        // Port 1 is nobody's.
        let url = format!("postgres://u:{SECRET}@127.0.0.1:1/db");
        let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::url(url));
        refused(
            fixture,
            ErrorKind::Connect,
            &["cannot connect to Postgres (db at 127.0.0.1:1, the fixture's URL)"],
        )
        .await;
    }

    #[tokio::test]
    async fn a_remote_host_that_is_not_allowed() {
        // Refused before anything is sent: the name is reserved, and nothing answers there.
        let url = format!("postgres://u:{SECRET}@db.example.com/app");
        let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Refused, &["db.example.com", "DBTEST_ALLOW_HOST"]).await;
    }

    #[tokio::test]
    async fn a_seed_that_fails() {
        let fixture = Fixture::<SqlxSqlite>::new()
            .sql("schema.sql", "CREATE TABLE a (x INT NOT NULL)")
            .seed_sql("users.sql", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (NULL);")
            .strategy(Strategy::Truncate);
        let words = ["seed users.sql", "INSERT INTO a VALUES (NULL)", "NOT NULL constraint failed"];
        refused(fixture, ErrorKind::Setup, &words).await;
    }

    #[tokio::test]
    async fn a_seed_in_code_that_fails() {
        let fixture = Fixture::<SqlxSqlite>::new()
            .version("1")
            .seed(|_pool| async { Err::<(), _>("the fake data ran out") });
        refused(fixture, ErrorKind::Setup, &["bad_input.rs", "the fake data ran out"]).await;
    }
}

macro_rules! migrations {
    ($backend:ident, $folder:literal) => {
        /// The file and the statement are shown to the first test, the others are pointed at it.
        #[tokio::test]
        async fn a_migration_that_fails_in_the_middle() {
            let fixture = || {
                Fixture::<dbtest_sqlx::$backend>::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
            };
            let words = ["migration 2 books", "CREATE TABL shelves", "syntax", "then run the tests again"];
            refused(fixture(), ErrorKind::Setup, &words).await;
            let second = fixture().open_for("another test").await.expect_err("still broken");
            assert!(second.to_string().contains("failed before in this run, in bad_input::"), "{second}");
            assert!(!second.to_string().contains("shelves"), "shown twice: {second}");
        }
    };
}

/// What the migrations table says and what the files say.
macro_rules! versions {
    ($backend:ident, $folder:literal) => {
        /// A dump of another version of the application, and the files of this one.
        fn dump(version: &str) -> Fixture<dbtest_sqlx::$backend> {
            let is_postgres = <dbtest_sqlx::$backend as Backend>::ENGINE == dbtest_sqlx::Engine::Postgres;
            let (bytes, checksum) = if is_postgres { ("BYTEA", "'another'") } else { ("BLOB", "X'00'") };
            let dump = format!(
                "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
                   installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
                   checksum {bytes} NOT NULL, execution_time BIGINT NOT NULL);
                 INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                   VALUES ({version}, TRUE, {checksum}, 0)"
            );
            Fixture::new()
                .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                .sql("dump.sql", dump)
                .migrations_dir($folder)
        }

        #[tokio::test]
        async fn the_migrations_table_knows_what_the_files_do_not() {
            let fixture = dump("99, 'shelves'");
            let words = ["migrations/", "migration 99", "missing in the resolved migrations"];
            refused(fixture, ErrorKind::Setup, &words).await;
        }

        #[tokio::test]
        async fn a_migration_was_applied_with_another_text() {
            let fixture = dump("1, 'authors'");
            let words = ["migrations/", "migration 1", "has been modified"];
            refused(fixture, ErrorKind::Setup, &words).await;
        }
    };
}

mod sqlite {
    use super::*;

    migrations!(SqlxSqlite, "tests/it/broken/sqlite");
    versions!(SqlxSqlite, "tests/it/migrations/sqlite");
}

mod postgres {
    use dbtest_sqlx::{SqlxPostgres, Strategy};

    use super::*;

    migrations!(SqlxPostgres, "tests/it/broken/postgres");
    versions!(SqlxPostgres, "tests/it/migrations/postgres");

    async fn empty() -> dbtest_sqlx::TestDb<SqlxPostgres> {
        Fixture::new().empty().open().await.expect("a database")
    }

    #[tokio::test]
    async fn a_wrong_password() {
        let db = empty().await;
        let role = format!("dbtest_role_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'right'");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(db.handle()).await.expect("a role");
        // Where the server trusts its socket no password is wrong; a user that is not there is.
        let url = as_user(&db.database_url(), &format!("{role}_x"), "postgres");
        let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::url(url));
        let text = refused(fixture, ErrorKind::Connect, &["cannot connect to Postgres", &role]).await;
        assert!(text.contains("check user and password"), "{text}");
        let drop = format!("DROP ROLE {role}");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(db.handle()).await.expect("dropped");
        db.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_user_who_may_not_create_databases() {
        let db =
            Fixture::<SqlxPostgres>::new().empty().strategy(Strategy::Auto).open().await.expect("a database");
        assert_eq!(db.strategy(), "truncate", "who may create databases has one");
        let role = format!("dbtest_poor_{}", std::process::id());
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(db.handle()).await.expect("a role");
        let url = as_user(&db.database_url(), &role, "postgres");
        for strategy in [Strategy::Rollback, Strategy::Truncate, Strategy::Template] {
            let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::url(&url)).strategy(strategy);
            let words = ["may not create databases", "CREATEDB", "\"schema\""];
            refused(fixture, ErrorKind::Unsupported, &words).await;
        }
        // What the message recommends works, with the right to make schemas somewhere.
        let name = format!("dbtest_poor_home_{}", std::process::id());
        for sql in [format!("CREATE DATABASE {name} OWNER {role}")] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(db.handle()).await.expect("a home");
        }
        let own = Fixture::<SqlxPostgres>::new()
            .sql("schema.sql", "CREATE TABLE a (x INT); INSERT INTO a VALUES (1)")
            .server(Server::url(as_user(&db.database_url(), &role, &name)));
        for strategy in [Strategy::Schema, Strategy::Auto] {
            let poor = own.clone().strategy(strategy).open().await.expect("a schema");
            assert_eq!(poor.strategy(), "schema");
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM a")
                .fetch_one(poor.handle())
                .await
                .expect("the rows");
            assert_eq!(rows, 1);
            sqlx::query("INSERT INTO a VALUES (2)").execute(poor.handle()).await.expect("a row");
            poor.close().await.expect("closed");
        }
        for sql in [format!("DROP DATABASE {name} WITH (FORCE)"), format!("DROP ROLE {role}")] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(db.handle()).await.expect("dropped");
        }
        db.close().await.expect("closed");
    }

    /// The old one can only be had as a container, so where this server is one.
    #[tokio::test]
    async fn only_a_server_that_is_new_enough_is_used() {
        let db = empty().await;
        let version: String =
            sqlx::query_scalar("SHOW server_version_num").fetch_one(db.handle()).await.expect("a version");
        assert!(version.parse::<u32>().expect("a number") >= 140_000, "{version}");
        let container = db.origin().starts_with("container");
        db.close().await.expect("closed");
        if container {
            let fixture = Fixture::<SqlxPostgres>::new().empty().server(Server::container("postgres:13"));
            let words = ["is Postgres 13", "needs 14 or newer", "upgrade it"];
            refused(fixture, ErrorKind::Version, &words).await;
        }
    }

    #[tokio::test]
    async fn a_schema_in_a_migration_under_schema_per_worker() {
        let fixture = Fixture::<SqlxPostgres>::new()
            .sql("0001_users.sql", "CREATE TABLE fine (x INT);\nCREATE TABLE public.users (x INT);")
            .strategy(Strategy::Schema);
        let words = ["0001_users.sql", "CREATE TABLE public.users", "search_path"];
        refused(fixture, ErrorKind::Unsupported, &words).await;
        // In code nobody can read it, but what it made is found, and removed.
        for _ in 0..2 {
            let fixture = Fixture::<SqlxPostgres>::new().version("1").strategy(Strategy::Schema).seed(
                |pool: sqlx::PgPool| async move {
                    sqlx::query("CREATE TABLE public.hidden (x INT)").execute(&pool).await.map(drop)
                },
            );
            refused(fixture, ErrorKind::Unsupported, &["public.hidden"]).await;
        }
    }
}

mod mysql {
    use dbtest_sqlx::SqlxMySql;

    use super::*;

    migrations!(SqlxMySql, "tests/it/broken/mysql");
    versions!(SqlxMySql, "tests/it/migrations/mysql");

    #[tokio::test]
    async fn a_user_who_is_not_there() {
        let db = Fixture::<SqlxMySql>::new().empty().open().await.expect("a database");
        let url = as_user(&db.database_url(), "dbtest_nobody", "mysql");
        let fixture = Fixture::<SqlxMySql>::new().empty().server(Server::url(url));
        let words = ["cannot connect to MySQL", "dbtest_nobody", "check user and password"];
        refused(fixture, ErrorKind::Connect, &words).await;
        db.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_user_who_may_not_create_databases() {
        let db = Fixture::<SqlxMySql>::new().empty().open().await.expect("a database");
        let user = format!("dbtest_poor_{}", std::process::id());
        let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(db.handle()).await.expect("a user");
        let url = as_user(&db.database_url(), &user, "information_schema");
        let fixture = Fixture::<SqlxMySql>::new().empty().server(Server::url(url));
        refused(fixture, ErrorKind::Rights, &["dbtest_meta", "denied", "GRANT ALL ON `dbtest\\_%`"]).await;
        let drop = format!("DROP USER '{user}'@'%'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(db.handle()).await.expect("dropped");
        db.close().await.expect("closed");
    }
}
