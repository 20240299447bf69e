//! What can go wrong before a test begins: each has a message that names the operation, the
//! database and the next step, and never the password.

use dbtest_diesel::asynchronous::{Backend, ErrorKind, Fixture};

const SECRET: &str = "hunter2";

/// Opens the fixture and checks what every message must have.
async fn refused<B: Backend>(fixture: Fixture<B>, kind: ErrorKind, words: &[&str]) -> String {
    let error = fixture.open().await.expect_err("this can't be opened");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains("\n  next step: "), "no next step: {text}");
    assert!(!text.contains(SECRET), "the password is shown: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
    text
}

macro_rules! migrations {
    ($backend:ident, $folder:literal) => {
        /// The migration and the statement are shown to the first test, the others are pointed
        /// at it.
        #[tokio::test]
        async fn a_migration_that_fails_in_the_middle() {
            let fixture = || {
                Fixture::<dbtest_diesel::asynchronous::$backend>::new()
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir($folder)
            };
            let words = [
                "migration 2026-01-01-000002_books",
                "CREATE TABL shelves",
                "syntax",
                "then run the tests again",
            ];
            refused(fixture(), ErrorKind::Setup, &words).await;
            let second = fixture().open_for("another test").await.expect_err("still broken");
            assert!(second.to_string().contains("failed before in this run, in bad_input::"), "{second}");
            assert!(!second.to_string().contains("shelves"), "shown twice: {second}");
        }

        #[tokio::test]
        async fn a_migrations_folder_that_is_not_there() {
            let fixture = Fixture::<dbtest_diesel::asynchronous::$backend>::new().migrations_dir("nowhere");
            refused(fixture, ErrorKind::Config, &["nowhere", "cannot be used"]).await;
        }

        #[tokio::test]
        async fn an_empty_migrations_folder() {
            let empty = tempfile::tempdir().expect("a folder");
            let path = empty.path().display().to_string();
            let fixture = Fixture::<dbtest_diesel::asynchronous::$backend>::new().migrations_dir(&path);
            refused(fixture, ErrorKind::Config, &[&path, "there are none"]).await;
        }

        #[tokio::test]
        async fn a_seed_in_code_that_fails() {
            let fixture = Fixture::<dbtest_diesel::asynchronous::$backend>::new()
                .version("1")
                .seed(|_pool| async { Err::<(), _>("the fake data ran out") });
            refused(fixture, ErrorKind::Setup, &["bad_input.rs", "the fake data ran out"]).await;
        }
    };
}

#[cfg(any(feature = "async-postgres", feature = "async-mysql"))]
macro_rules! servers {
    ($backend:ident, $scheme:literal, $engine:literal, $empty:literal) => {
        #[tokio::test]
        async fn a_malformed_url() {
            for rest in ["://u:hunter2@host:notaport/db", " no url hunter2"] {
                let fixture = Fixture::<dbtest_diesel::asynchronous::$backend>::new()
                    .empty()
                    .server(Server::url(format!("{}{rest}", $scheme)));
                refused(fixture, ErrorKind::Config, &[concat!("is not a URL of a ", $engine, " server")])
                    .await;
            }
        }

        #[tokio::test]
        async fn a_server_that_is_down() {
            // Port 1 is nobody's.
            let url = format!("{}://u:{SECRET}@127.0.0.1:1/db", $scheme);
            let fixture =
                Fixture::<dbtest_diesel::asynchronous::$backend>::new().empty().server(Server::url(url));
            let words = [concat!("cannot connect to ", $engine), "127.0.0.1:1"];
            refused(fixture, ErrorKind::Connect, &words).await;
        }

        /// Where the server trusts its socket no password is wrong; a user that is not there is.
        #[tokio::test]
        async fn a_wrong_user_or_password() {
            let db = Fixture::<dbtest_diesel::asynchronous::$backend>::new().empty().open().await;
            let db = db.expect("a database");
            let (scheme, rest) = db.url().split_once("://").expect("a URL");
            let (_, place) = rest.split_once('@').expect("a user");
            let (host, tail) = place.split_once('/').expect("a database");
            let parameters = tail.split_once('?').map_or(String::new(), |(_, text)| format!("?{text}"));
            let url = format!("{scheme}://dbtest_nobody:{SECRET}@{host}/{}{parameters}", $empty);
            let fixture =
                Fixture::<dbtest_diesel::asynchronous::$backend>::new().empty().server(Server::url(url));
            let words = [concat!("cannot connect to ", $engine), "dbtest_nobody", "check user and password"];
            refused(fixture, ErrorKind::Connect, &words).await;
            db.close().await.expect("closed");
        }

        #[tokio::test]
        async fn a_user_who_may_not_create_databases() {
            let db = Fixture::<dbtest_diesel::asynchronous::$backend>::new().empty().open().await;
            let db = db.expect("a database");
            let user = format!("dbtest_async_{}", std::process::id());
            let (create, drop, kind, words) = poor(&user);
            let run = async |sql: &str| {
                use diesel_async::SimpleAsyncConnection;
                let mut connection = db.handle().get().await.expect("a connection");
                connection.batch_execute(sql).await.expect("it is done");
            };
            run(&create).await;
            let url = db.database_url();
            let (scheme, rest) = url.split_once("://").expect("a URL");
            let (_, place) = rest.split_once('@').expect("a user");
            let (host, tail) = place.split_once('/').expect("a database");
            let parameters = tail.split_once('?').map_or(String::new(), |(_, text)| format!("?{text}"));
            let url = format!("{scheme}://{user}:{SECRET}@{host}/{}{parameters}", $empty);
            let fixture =
                Fixture::<dbtest_diesel::asynchronous::$backend>::new().empty().server(Server::url(url));
            refused(fixture, kind, words).await;
            run(&drop).await;
            db.close().await.expect("closed");
        }
    };
}

#[cfg(feature = "async-sqlite")]
mod sqlite {
    use super::*;

    migrations!(DieselAsyncSqlite, "tests/async_it/broken/sqlite");
}

#[cfg(feature = "async-postgres")]
mod postgres {
    use dbtest_diesel::Server;

    use super::*;

    migrations!(DieselAsyncPostgres, "tests/async_it/broken/postgres");
    servers!(DieselAsyncPostgres, "postgres", "Postgres", "postgres");

    /// Makes the user, drops it, and what is said of it.
    fn poor(user: &str) -> (String, String, ErrorKind, &'static [&'static str]) {
        let create = format!("CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'");
        let words = &["may not create databases", "CREATEDB", "\"schema\""];
        (create, format!("DROP ROLE {user}"), ErrorKind::Unsupported, words)
    }
}

#[cfg(feature = "async-mysql")]
mod mysql {
    use dbtest_diesel::Server;

    use super::*;

    migrations!(DieselAsyncMySql, "tests/async_it/broken/mysql");
    servers!(DieselAsyncMySql, "mysql", "MySQL", "information_schema");

    /// Makes the user, drops it, and what is said of it.
    fn poor(user: &str) -> (String, String, ErrorKind, &'static [&'static str]) {
        let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}'");
        let words = &["dbtest_meta", "denied", "GRANT ALL ON `dbtest\\_%`"];
        (create, format!("DROP USER '{user}'@'%'"), ErrorKind::Rights, words)
    }
}
