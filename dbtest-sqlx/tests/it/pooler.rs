//! PgBouncer between a test and its server.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbtest_sqlx::{ErrorKind, Fixture, Server, SqlxPostgres};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::round_trips::{postgres_address, postgres_logged_in, relay};

struct Pooler {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself; the test says why.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pooler {
    async fn start(server: &str, mode: &str) -> Self {
        let options: PgConnectOptions = server.parse().expect("a URL");
        let (server_port, _) = relay(postgres_address(&options), postgres_logged_in);
        let login = server.split_once("://").expect("a URL").1.split_once('@').expect("a user").0;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (users, settings) = (folder.path().join("users.txt"), folder.path().join("pgbouncer.ini"));
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).expect("written");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits,application_name,options\n",
            users.display()
        );
        std::fs::write(&settings, text).expect("written");
        let mut command = Command::new("pgbouncer");
        if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            // It does not run as root, and reads its files as somebody else.
            let open = std::os::unix::fs::PermissionsExt::from_mode;
            std::fs::set_permissions(folder.path(), open(0o755)).expect("opened");
            command.args(["--user", "nobody"]);
        }
        let started = command.arg(&settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = started.unwrap_or_else(|error| {
            panic!("cannot start pgbouncer ({error}); next step: install it (apt-get install pgbouncer)")
        });
        let url = format!("postgres://{login}@127.0.0.1:{port}/postgres");
        let pooler = Self { process, url, _folder: folder };
        let begun = Instant::now();
        loop {
            match PgConnection::connect(&pooler.url).await {
                Ok(connection) => break connection.close().await.expect("closed"),
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "PgBouncer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pooler
    }
}

fn fixture(url: &str) -> Fixture<SqlxPostgres> {
    Fixture::new().sql("pooler.sql", "CREATE TABLE a (x INT)").server(Server::url(url))
}

#[tokio::test]
async fn one_that_gives_each_transaction_another_connection_is_refused() {
    let db = Fixture::<SqlxPostgres>::new().empty().open().await.expect("a database");
    let pooler = Pooler::start(&db.database_url(), "transaction").await;
    let error = fixture(&pooler.url).open().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    for word in ["127.0.0.1", "PgBouncer", "locks of a session", "next step", "pool_mode = session"] {
        assert!(error.to_string().contains(word), "{word:?} is missing: {error}");
    }
    db.close().await.expect("closed");
}

#[tokio::test]
async fn one_that_gives_each_client_its_own_connection_is_as_good_as_the_server() {
    let db = Fixture::<SqlxPostgres>::new().empty().open().await.expect("a database");
    let pooler = Pooler::start(&db.database_url(), "session").await;
    for _ in 0..2 {
        let pooled = fixture(&pooler.url).open().await.expect("a database");
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM a").fetch_one(pooled.handle()).await.expect("a row");
        assert_eq!(rows, 0, "what the test before wrote is gone");
        sqlx::query("INSERT INTO a VALUES (1)").execute(pooled.handle()).await.expect("a row");
        pooled.close().await.expect("closed");
    }
    db.close().await.expect("closed");
}
