//! A sandbox in front of a real database, a client in it that behaves, and what must hold when
//! all is over.

use std::time::{Duration, Instant};

use dbtest_sandbox::{Address, Closed, End, Options, Sandbox, Server, Upstream};
use dbtest_sqlx::{Fixture, SqlxPostgres, Strategy, TestDb};
use sqlx::Connection;

use crate::raw::{HANG, Raw, password, startup};

/// The tables that hostile clients play with, and the one of the client that behaves.
const SCHEMA: &str = "CREATE TABLE toys (id int PRIMARY KEY, note text); INSERT INTO toys VALUES (1, 'one');
    CREATE TABLE ledger (id int PRIMARY KEY); INSERT INTO ledger VALUES (0);
    CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO toys VALUES (77); COMMIT; END $$;";

/// What the database holds, as one line.
const CONTENT: &str = "SELECT (SELECT string_agg(t::text, ',' ORDER BY id) FROM toys t) || ' ' ||
    (SELECT string_agg(t::text, ',') FROM ledger t) || ' ' ||
    (SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    || ' ' || (SELECT count(*) FROM pg_largeobject_metadata)
    || ' ' || (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())";

/// What must not hang.
pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(HANG, future).await.expect("it hangs") })
}

fn server(url: &str) -> Server {
    let url = url::Url::parse(url).expect("a URL");
    let port = url.port().unwrap_or(5432);
    let host = url.query_pairs().find(|(name, _)| name == "host").map(|(_, host)| host.into_owned());
    let address = match host {
        Some(folder) if folder.starts_with('/') => Address::Unix(format!("{folder}/.s.PGSQL.{port}").into()),
        _ => Address::Tcp(url.host_str().unwrap_or("127.0.0.1").to_owned(), port),
    };
    Server {
        address,
        user: url.username().to_owned(),
        password: url.password().map(str::to_owned),
        database: url.path().trim_start_matches('/').to_owned(),
    }
}

/// A database of its own, that no sandbox changes.
#[derive(Debug)]
pub struct Ground {
    db: TestDb<SqlxPostgres>,
    pub server: Server,
    content: String,
}

impl Ground {
    pub fn new() -> Self {
        let db = Fixture::<SqlxPostgres>::new()
            .manifest_dir(env!("CARGO_MANIFEST_DIR"))
            .sql("schema", SCHEMA)
            .require(Strategy::Template)
            .open_blocking()
            .expect("a database");
        let server = server(db.url());
        let mut ground = Self { db, server, content: String::new() };
        ground.content = ground.read();
        ground
    }

    /// With something set for the whole database, whose name takes the place of the braces.
    pub fn with(sql: &str) -> Self {
        let ground = Self::new();
        let sql = sql.replace("{}", &format!("\"{}\"", ground.server.database));
        wait_for(async {
            let mut connection = sqlx::PgConnection::connect(ground.db.url()).await.expect("the database");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("a setting");
        });
        ground
    }

    fn read(&self) -> String {
        wait_for(async {
            let mut connection = sqlx::PgConnection::connect(self.db.url()).await.expect("the database");
            sqlx::query_scalar(CONTENT).fetch_one(&mut connection).await.expect("its content")
        })
    }

    pub fn url(&self) -> &str {
        self.db.url()
    }

    pub fn untouched(&self) {
        assert_eq!(self.read(), self.content, "the database was changed");
    }

    pub fn sandbox(&self, wait: Duration) -> Sandbox {
        self.sandbox_with(Options { wait, ..Options::default() })
    }

    pub fn sandbox_with(&self, options: Options) -> Sandbox {
        let server = self.server.clone();
        wait_for(async {
            let upstream = Upstream::connect(server).await.expect("the server");
            Sandbox::open(upstream, options).await.expect("a sandbox")
        })
    }

    pub fn end(self) {
        self.db.close_blocking().expect("the database is given back");
    }
}

/// A client that is logged in.
pub fn log_in(sandbox: &Sandbox, server: &Server) -> Raw {
    let mut client = Raw::connect(sandbox);
    client.send(&startup(&server.user, &server.database));
    client.send(&password(sandbox.password()));
    let greeting = client.until(b'Z');
    let key = greeting.iter().find(|message| message.tag == b'K').expect("a key");
    client.key.copy_from_slice(&key.body);
    client
}

/// Closes a sandbox, which must not hang.
pub fn close(sandbox: Sandbox) -> Closed {
    let since = Instant::now();
    let closed = wait_for(sandbox.close(End::Discard));
    assert!(since.elapsed() < HANG / 2, "closing took {:?}", since.elapsed());
    closed
}

/// One test's sandbox, and all that is checked at its end.
#[derive(Debug)]
pub struct Arena {
    pub ground: Ground,
    pub sandbox: Sandbox,
    neighbour: Neighbour,
}

impl Arena {
    pub fn open() -> Self {
        Self::waiting(Duration::from_secs(20))
    }

    /// With this patience for a client that has a transaction open.
    pub fn waiting(wait: Duration) -> Self {
        let ground = Ground::new();
        let sandbox = ground.sandbox(wait);
        let neighbour = Neighbour::new(log_in(&sandbox, &ground.server));
        Self { ground, sandbox, neighbour }
    }

    /// A client that is connected and has said nothing.
    pub fn connect(&self) -> Raw {
        Raw::connect(&self.sandbox)
    }

    /// A client that is logged in.
    pub fn client(&self) -> Raw {
        log_in(&self.sandbox, &self.ground.server)
    }

    /// The client that behaves goes on as if there were no other.
    pub fn works(&mut self) {
        self.neighbour.works();
    }

    pub fn neighbour(&mut self) -> &mut Neighbour {
        &mut self.neighbour
    }

    /// All is over: the other client still works, the end comes soon, and nothing was changed.
    pub fn ends_well(mut self) {
        self.works();
        self.ends_intact();
    }

    /// The same, where the client that behaves need not work any more.
    pub fn ends_intact(self) {
        let Self { ground, sandbox, neighbour } = self;
        let closed = close(sandbox);
        assert_eq!(closed.intact, Ok(()));
        assert!(closed.upstream.is_some(), "the server's connection can be used again");
        drop(neighbour);
        ground.untouched();
        ground.end();
    }

    /// The server's connection broke: the words say why.
    pub fn ends_lost(self) -> String {
        let Self { ground, sandbox, neighbour } = self;
        let closed = close(sandbox);
        drop(neighbour);
        ground.untouched();
        ground.end();
        closed.intact.expect_err("the transaction is gone").to_string()
    }
}

/// A client that behaves, and knows what it must see.
#[derive(Debug)]
pub struct Neighbour {
    pub client: Raw,
    /// Rows that it added and committed.
    rows: i64,
    open: bool,
}

impl Neighbour {
    pub fn new(client: Raw) -> Self {
        Self { client, rows: 0, open: false }
    }

    /// Adds a row in a transaction that stays open.
    pub fn begins(&mut self) {
        self.client.well("BEGIN");
        self.rows += 1;
        self.client.well(&format!("INSERT INTO ledger VALUES ({})", self.rows));
        self.open = true;
    }

    /// Its transaction is as it was, and commits; then a transaction of each kind works.
    pub fn works(&mut self) {
        if self.open {
            assert_eq!(self.counts(), self.rows, "a row of the open transaction is gone");
            let answer = self.client.well("COMMIT");
            assert_eq!((answer.status, &answer.done[..]), (Some('I'), &["COMMIT".to_owned()][..]));
            self.open = false;
        }
        assert_eq!(self.counts(), self.rows, "a committed row is gone");
        self.rows += 1;
        self.client.well(&format!("INSERT INTO ledger VALUES ({})", self.rows));
        let answer = self.client.well("BEGIN; DELETE FROM ledger");
        assert_eq!(answer.status, Some('T'));
        assert_eq!(self.client.query("SELECT 1/0").code(), "22012");
        assert_eq!(self.client.query("SELECT 1").code(), "25P02");
        assert_eq!(self.client.well("ROLLBACK").status, Some('I'));
        assert_eq!(self.counts(), self.rows, "a transaction was not rolled back");
    }

    fn counts(&mut self) -> i64 {
        self.client.number("SELECT count(*) FROM ledger WHERE id > 0")
    }
}
