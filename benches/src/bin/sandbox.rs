//! What a query costs through the Postgres sandbox, and what it costs without: side by side, in
//! turn, in one process.
//!
//! ```text
//! cargo run --release --bin sandbox -- postgres://me:secret@127.0.0.1:5432/scratch
//! ```
//!
//! It makes the table `bench` in that database and drops it. Both ways go over the same kind of
//! socket: TCP, or with `?host=/folder` a unix socket.

use std::time::{Duration, Instant};

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

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// One way to the database and the other: micro- or milliseconds do not matter, only the ratio.
fn report(name: &str, mut direct: Vec<f64>, mut through: Vec<f64>) {
    let mut ratios: Vec<f64> = through.iter().zip(&direct).map(|(t, d)| t / d).collect();
    for list in [&mut ratios, &mut direct, &mut through] {
        list.sort_by(f64::total_cmp);
    }
    println!(
        "| {name} | {:.0} | {:.0} | {:.2} | {:.2} |",
        at(&direct, 0.5),
        at(&through, 0.5),
        at(&through, 0.1) / at(&direct, 0.1),
        at(&ratios, 0.5)
    );
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
    println!("| | direct, µs | sandbox, µs | ratio of p10 | median ratio |");
    println!("| --- | --- | --- | --- | --- |");
    for work in WORKS {
        let (mut slow, mut fast) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            // First the one, then the other, so that neither always comes second.
            for direct_now in [pair % 2 == 0, pair % 2 == 1] {
                let client = if direct_now { &direct } else { &through };
                let took = block(client, work).await?.as_secs_f64() * 1e6;
                if direct_now { fast.push(took) } else { slow.push(took) }
            }
        }
        report(work.name, fast, slow);
    }
    drop(through);
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
    report("a test: connect, begin, insert, roll back", by_hand, sandboxed);
    direct.batch_execute("DROP TABLE bench").await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
