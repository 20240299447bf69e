//! What a test in a process of its own costs on a machine where everything is warm, as under
//! nextest: connections and round trips, counted by a relay between the test and the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use dbtest_sqlx::{Fixture, Server};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Tells a process started by a test which server to use, and under which strategy.
const CHILD: &str = "DBTEST_TEST_ROUND_TRIPS";

/// Tells it to prepare, as a setup script does, and not to run the test.
const PREPARE: &str = "DBTEST_TEST_ROUND_TRIPS_PREPARE";

/// At most.
const CONNECTIONS: usize = 2;

/// Of so many the fewest count: a connection may take a moment to end, and is asked for again then.
const TIMES: usize = 5;

trait Stream: Read + Write + Send {
    fn another(&self) -> Box<dyn Stream>;
    fn end(&self);
}

macro_rules! stream {
    ($($kind:ty),+) => {$(
        impl Stream for $kind {
            fn another(&self) -> Box<dyn Stream> {
                Box::new(self.try_clone().expect("a second handle"))
            }

            fn end(&self) {
                // The other side may have ended it.
                let _ = self.shutdown(Shutdown::Both);
            }
        }
    )+};
}

stream!(TcpStream, UnixStream);

/// Where the server listens.
#[derive(Clone)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Address {
    fn new(host: &str, port: u16, socket: Option<&Path>) -> Self {
        socket.map_or_else(|| Self::Tcp(host.to_owned(), port), |socket| Self::Unix(socket.to_owned()))
    }

    fn open(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(host, port) => {
                Box::new(TcpStream::connect((host.as_str(), *port)).expect("the server"))
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).expect("the server")),
        }
    }
}

/// One connection. Its login is its own cost, and not counted as round trips.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    logged_in: bool,
    waiting: bool,
    trips: u32,
}

pub(crate) type Count = Arc<Mutex<Vec<Counted>>>;

/// Whether the server has let the client in, after all that it said until now.
pub(crate) type LoggedIn = fn(&[u8]) -> bool;

pub(crate) fn relay(address: Address, logged_in: LoggedIn) -> (u16, Count) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Count::default();
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a client");
            client.set_nodelay(true).expect("no delay");
            connection(client, address.open(), logged_in, &counted);
        }
    });
    (port, count)
}

fn connection(client: TcpStream, server: Box<dyn Stream>, logged_in: LoggedIn, count: &Count) {
    let at = {
        let mut all = count.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Counted::default());
        all.len() - 1
    };
    let (to_client, to_server) = (client.another(), server.another());
    let counted = Arc::clone(count);
    pipe(Box::new(client), to_server, move |said| {
        let one = &mut counted.lock().unwrap_or_else(PoisonError::into_inner)[at];
        // A goodbye waits for no answer.
        let goodbye = [&b"X\0\0\0\x04"[..], b"\x01\0\0\0\x01"].contains(&said);
        if one.logged_in && !one.waiting && !goodbye {
            one.trips += 1;
            one.waiting = true;
        }
    });
    let counted = Arc::clone(count);
    let mut heard = Vec::new();
    pipe(server, to_client, move |said| {
        let one = &mut counted.lock().unwrap_or_else(PoisonError::into_inner)[at];
        one.waiting = false;
        if !one.logged_in {
            heard.extend_from_slice(said);
            one.logged_in = logged_in(&heard);
        }
    });
}

fn pipe(mut from: Box<dyn Stream>, mut to: Box<dyn Stream>, mut told: impl FnMut(&[u8]) + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            told(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        from.end();
        to.end();
    });
}

pub(crate) fn postgres_address(options: &PgConnectOptions) -> Address {
    let socket = options.get_socket().map(|folder| folder.join(format!(".s.PGSQL.{}", options.get_port())));
    Address::new(options.get_host(), options.get_port(), socket.as_deref())
}

fn mysql_address(options: &MySqlConnectOptions) -> Address {
    Address::new(options.get_host(), options.get_port(), options.get_socket().map(PathBuf::as_path))
}

pub(crate) fn postgres_logged_in(heard: &[u8]) -> bool {
    heard.windows(5).any(|bytes| bytes == b"Z\0\0\0\x05")
}

/// A packet that is an OK.
fn mysql_logged_in(mut heard: &[u8]) -> bool {
    while let [a, b, c, _, kind, ..] = *heard {
        let length = 4 + usize::from(a) + (usize::from(b) << 8) + (usize::from(c) << 16);
        if kind == 0 {
            return true;
        }
        heard = heard.get(length..).unwrap_or_default();
    }
    false
}

/// Runs the same test in a process of its own, as nextest does.
fn child(test: &str, url: &str, strategy: &str, run: &str, prepare: bool) {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command
        .args(["--exact", "--nocapture", test])
        .env(CHILD, url)
        .env("DBTEST_STRATEGY", strategy)
        .env("NEXTEST_RUN_ID", run)
        .env("NEXTEST_TEST_GLOBAL_SLOT", "3")
        .stdin(Stdio::null());
    if prepare {
        // A setup script has no slot.
        command.env(PREPARE, "1").env_remove("NEXTEST_TEST_GLOBAL_SLOT");
    }
    let output = command.output().expect("a child process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $options:ident, $home:literal, $address:ident, $logged_in:ident, $driver:literal, [$($strategy:ident $most:literal),+]) => {
        mod $engine {
            use dbtest_sqlx::$backend;
            use sqlx::Row;

            use super::*;

            fn fixture(strategy: &str) -> Fixture<$backend> {
                Fixture::new().sql("round_trips.sql", format!("CREATE TABLE by_{strategy} (x INT)"))
            }

            async fn body(fixture: Fixture<$backend>) {
                let db = fixture.open().await.expect("a database");
                // One round trip of the test's own.
                let one = sqlx::raw_sql("SELECT 'one'").fetch_one(db.handle()).await.expect("a row");
                assert_eq!(one.get::<String, _>(0), "one");
                db.close().await.expect("closed");
            }

            async fn counted(test: &str, strategy: &'static str, most: u32) {
                if let Ok(url) = std::env::var(CHILD) {
                    let fixture = fixture(strategy).server(Server::url(&url));
                    return if std::env::var_os(PREPARE).is_some() {
                        fixture.prepare().await.expect("prepared");
                    } else {
                        body(fixture).await;
                    };
                }
                let db = Fixture::<$backend>::new().empty().open().await.expect("a database");
                let url = db.database_url();
                let options: $options = url.parse().expect("a URL");
                let (port, count) = relay($address(&options), $logged_in);
                let user = url.split_once('@').expect("a user").0;
                let url = format!("{user}@127.0.0.1:{port}/{}", $home);
                let run = format!("round-trips-{}", std::process::id());
                let (test, counts) = (test.to_owned(), Arc::clone(&count));
                let all = tokio::task::spawn_blocking(move || {
                    child(&test, &url, strategy, &run, true);
                    // The first in its place of a run looks at the whole server, and makes what is not there.
                    child(&test, &url, strategy, &run, false);
                    let count = || {
                        counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        child(&test, &url, strategy, &run, false);
                        let counted = counts.lock().unwrap_or_else(PoisonError::into_inner);
                        counted.iter().map(|one| one.trips).collect::<Vec<u32>>()
                    };
                    (0..TIMES).map(|_| count()).collect::<Vec<_>>()
                })
                .await
                .expect("children");
                db.close().await.expect("closed");
                eprintln!("{} {strategy}: round trips on each connection: {all:?}", stringify!($engine));
                let connections = all.iter().map(Vec::len).min().expect("some");
                assert!(connections <= CONNECTIONS, "{connections} connections: {all:?}");
                let own = |trips: &Vec<u32>| {
                    trips.iter().sum::<u32>() - 1 - $driver * u32::try_from(trips.len()).expect("few")
                };
                let fewest = all.iter().map(own).min().expect("some");
                assert!(fewest <= most, "{fewest} round trips over the body and the driver's own: {all:?}");
            }

            $(
                #[tokio::test]
                async fn $strategy() {
                    let test = concat!("round_trips::", stringify!($engine), "::", stringify!($strategy));
                    counted(test, stringify!($strategy), $most).await;
                }
            )+
        }
    };
}

engine!(
    postgres,
    SqlxPostgres,
    PgConnectOptions,
    "postgres",
    postgres_address,
    postgres_logged_in,
    0,
    [rollback 4, truncate 2, template 4, schema 2]
);
engine!(
    mysql,
    SqlxMySql,
    MySqlConnectOptions,
    "information_schema",
    mysql_address,
    mysql_logged_in,
    // sqlx sets each session up with a statement of its own, the application's too.
    1,
    // While nobody on the server changes a schema it is 3 for truncate; but other tests do, and then each of
    // the two resets looks at everything, which is two more. A transaction of XA has six of its own, and
    // identity values that start again are looked at once in each reset.
    [rollback 11, truncate 7, template 9, schema 7]
);
