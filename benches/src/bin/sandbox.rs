//! What a query costs through the Postgres sandbox, and what it costs without: side by side, in
//! turn, in one process.
//!
//! ```text
//! cargo run --release --bin sandbox -- postgres://me:secret@127.0.0.1:5432/scratch
//! cargo run --release --bin sandbox -- postgres://me:secret@127.0.0.1:5432/scratch "one row" 2   # some only
//! ```
//!
//! Beside them two relays that only copy bytes show what the way through another thread costs.
//! It makes the table `bench` in that database and drops it. Both ways go over the same kind of
//! socket: TCP, or with `?host=/folder` a unix socket.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::Socket;

use dbtest_sandbox::{Address, End, Listen, Options, Sandbox, Server, Upstream};
use tokio_postgres::{Client, Config, NoTls};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Pairs of measurements; each pair is one block of the one way, and one of the other.
const PAIRS: usize = 400;

#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    /// How often in one block.
    times: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Row,
    Text,
    Insert,
    Transaction,
    Large,
}

const WORKS: [Work; 5] = [
    Work { name: "one row, prepared", times: 25, kind: Kind::Row },
    Work { name: "one row, simple query", times: 25, kind: Kind::Text },
    Work { name: "one insert", times: 10, kind: Kind::Insert },
    Work { name: "BEGIN, insert, row, COMMIT", times: 5, kind: Kind::Transaction },
    Work { name: "2 MB in 20,000 rows", times: 1, kind: Kind::Large },
];

async fn block(client: &Client, work: Work) -> Result<Duration> {
    let row = client.prepare("SELECT id, word FROM bench WHERE id = $1").await?;
    let insert = client.prepare("INSERT INTO bench (word) VALUES ($1)").await?;
    let large = client.prepare("SELECT g, repeat('x', 96) FROM generate_series(1, 20000) g").await?;
    let start = Instant::now();
    for _ in 0..work.times {
        match work.kind {
            Kind::Row => {
                client.query_one(&row, &[&1]).await?;
            }
            Kind::Text => {
                client.simple_query("SELECT id, word FROM bench WHERE id = 1").await?;
            }
            Kind::Insert => {
                client.execute(&insert, &[&"word"]).await?;
            }
            Kind::Transaction => {
                client.batch_execute("BEGIN").await?;
                client.execute(&insert, &[&"word"]).await?;
                client.query_one(&row, &[&1]).await?;
                client.batch_execute("COMMIT").await?;
            }
            Kind::Large => {
                client.query(&large, &[]).await?;
            }
        }
    }
    Ok(start.elapsed() / u32::try_from(work.times)?)
}

fn config(server: &Server, address: &Address, password: Option<&str>) -> Config {
    let mut config = Config::new();
    config.user(&server.user).dbname(&server.database);
    match address {
        Address::Tcp(host, port) => config.host(host).port(*port),
        Address::Unix(socket) => {
            let port = socket.extension().and_then(|port| port.to_str()?.parse().ok()).unwrap_or(5432);
            config.host_path(socket.parent().unwrap_or(socket)).port(port)
        }
    };
    if let Some(password) = password {
        config.password(password);
    }
    config
}

async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Its end is the client's.
        let _ = connection.await;
    });
    Ok(client)
}

fn server(url: &str) -> Result<Server> {
    let url = url::Url::parse(url)?;
    let port = url.port().unwrap_or(5432);
    let folder = url.query_pairs().find(|(name, value)| name == "host" && value.starts_with('/'));
    let address = match folder {
        Some((_, folder)) => Address::Unix(format!("{folder}/.s.PGSQL.{port}").into()),
        None => Address::Tcp(url.host_str().unwrap_or("127.0.0.1").to_owned(), port),
    };
    Ok(Server {
        address,
        user: url.username().to_owned(),
        password: url.password().map(str::to_owned),
        database: url.path().trim_start_matches('/').to_owned(),
    })
}

/// A relay understands nothing and copies bytes: what any server between the client and the
/// database costs here before it does anything useful.
fn relay(server: &Address, folder: &Path, way: Relay) -> Result<Address> {
    match server.clone() {
        Address::Tcp(host, port) => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port_here = listener.local_addr()?.port();
            std::thread::spawn(move || -> io::Result<()> {
                let (client, server) = (listener.accept()?.0, TcpStream::connect((host, port))?);
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                carry(client.into(), server.into(), way)
            });
            Ok(Address::Tcp("127.0.0.1".to_owned(), port_here))
        }
        Address::Unix(server) => {
            let path = folder.join(format!(".s.PGSQL.{}", way as u8 + 1));
            let listener = UnixListener::bind(&path)?;
            std::thread::spawn(move || -> io::Result<()> {
                carry(listener.accept()?.0.into(), UnixStream::connect(server)?.into(), way)
            });
            Ok(Address::Unix(path))
        }
    }
}

/// How a relay waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    /// A thread for each direction sleeps until there is something.
    Sleeping,
    /// One thread looks at both sides all the time, unless both are silent for long.
    Looking,
}

fn carry(client: Socket, server: Socket, way: Relay) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    match way {
        Relay::Sleeping => {
            let (from, to) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || io::copy(&mut &from, &mut &to));
            loop {
                let read = (&server).read(&mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                (&client).write_all(&buffer[..read])?;
            }
        }
        Relay::Looking => {
            client.set_nonblocking(true)?;
            server.set_nonblocking(true)?;
            let mut last = Instant::now();
            loop {
                for (mut from, to) in [(&client, &server), (&server, &client)] {
                    match from.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(read) => {
                            to.set_nonblocking(false)?;
                            { to }.write_all(&buffer[..read])?;
                            to.set_nonblocking(true)?;
                            last = Instant::now();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                if last.elapsed() > Duration::from_micros(200) {
                    std::thread::sleep(Duration::from_micros(100));
                } else {
                    std::thread::yield_now();
                }
            }
        }
    }
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The ways to the database beside each other: the first is what the others are measured by.
fn report(name: &str, ways: &mut [Vec<f64>]) {
    let ratios: Vec<f64> = ways[1..]
        .iter()
        .map(|way| {
            let mut ratios: Vec<f64> = way.iter().zip(&ways[0]).map(|(way, first)| way / first).collect();
            ratios.sort_by(f64::total_cmp);
            at(&ratios, 0.5)
        })
        .collect();
    for way in ways.iter_mut() {
        way.sort_by(f64::total_cmp);
    }
    print!("| {name} | {:.0} |", at(&ways[0], 0.5));
    for (way, median) in ways[1..].iter().zip(ratios) {
        print!(" {:.0} | {:.2} ({median:.2}) |", at(way, 0.5), at(way, 0.1) / at(&ways[0], 0.1));
    }
    println!();
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("which scratch database? give its URL")?;
    let server = server(&url)?;
    let direct = connect(&config(&server, &server.address, server.password.as_deref())).await?;
    let table = "DROP TABLE IF EXISTS bench; CREATE TABLE bench (id serial PRIMARY KEY, word text NOT NULL); \
                 INSERT INTO bench (word) VALUES ('word')";
    direct.batch_execute(table).await?;
    let folder = std::env::temp_dir().join(format!("dbtest-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let listen = match server.address {
        Address::Tcp(..) => Listen::Loopback,
        Address::Unix(_) => Listen::Folder(folder.clone()),
    };
    let upstream = Upstream::connect(server.clone()).await?;
    let sandbox = Sandbox::open(upstream, Options { listen, ..Options::default() }).await?;
    let through = connect(&config(&server, sandbox.address(), Some(sandbox.password()))).await?;
    let mut ways = vec![direct, through];
    for way in [Relay::Sleeping, Relay::Looking] {
        let relay = relay(&server.address, &folder, way)?;
        ways.push(connect(&config(&server, &relay, server.password.as_deref())).await?);
    }
    println!(
        "| | direct, µs | sandbox, µs | ratio of p10 (median) | relay | ratio | looking relay | ratio |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    // Of several words, those that begin with one of them.
    let only: Vec<String> = std::env::args().skip(2).collect();
    for work in WORKS
        .iter()
        .copied()
        .filter(|work| only.is_empty() || only.iter().any(|word| work.name.starts_with(word)))
    {
        let mut took: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
        for round in 0..PAIRS {
            // Each comes first as often as the others.
            for turn in 0..ways.len() {
                let way = (round + turn) % ways.len();
                took[way].push(block(&ways[way], work).await?.as_secs_f64() * 1e6);
            }
        }
        report(work.name, &mut took);
    }
    let direct = ways.remove(0);
    drop(ways);
    let closed = sandbox.close(End::Discard).await;
    closed.intact?;
    // A whole test: connect, write, end; by hand, and through a sandbox on a warm connection.
    let (mut by_hand, mut sandboxed) = (Vec::new(), Vec::new());
    let mut warm = closed.upstream;
    for _ in 0..200 {
        let start = Instant::now();
        let client = connect(&config(&server, &server.address, server.password.as_deref())).await?;
        client.batch_execute("BEGIN").await?;
        client.execute("INSERT INTO bench (word) VALUES ('x')", &[]).await?;
        client.batch_execute("ROLLBACK").await?;
        by_hand.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        let upstream = match warm.take() {
            Some(upstream) => upstream,
            None => Upstream::connect(server.clone()).await?,
        };
        let sandbox = Sandbox::open(upstream, Options::default()).await?;
        let client = connect(&config(&server, sandbox.address(), Some(sandbox.password()))).await?;
        client.execute("INSERT INTO bench (word) VALUES ('x')", &[]).await?;
        drop(client);
        let closed = sandbox.close(End::Discard).await;
        closed.intact?;
        warm = closed.upstream;
        sandboxed.push(start.elapsed().as_secs_f64() * 1e6);
    }
    report("a test: connect, begin, insert, roll back", &mut [by_hand, sandboxed]);
    direct.batch_execute("DROP TABLE bench").await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
