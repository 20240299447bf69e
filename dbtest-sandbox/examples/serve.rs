//! Opens a sandbox on a database, prints its URL, and ends it when standard input ends:
//!
//! ```text
//! cargo run -p dbtest-sandbox --example serve -- postgres://me:secret@127.0.0.1:5432/app_test [folder]
//! ```

use std::io::Read;

use dbtest_sandbox::{Address, End, Listen, Options, Sandbox, Server, Upstream};

fn server(url: &str) -> Result<Server, Box<dyn std::error::Error>> {
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let server = server(&args.next().ok_or("which database? give its URL")?)?;
    let listen = args.next().map_or(Listen::Loopback, |folder| Listen::Folder(folder.into()));
    let (user, database) = (server.user.clone(), server.database.clone());
    let options = Options { listen, ..Options::default() };
    let sandbox = Sandbox::open(Upstream::connect(server).await?, options).await?;
    let (host, query) = match sandbox.address() {
        Address::Tcp(host, port) => (format!("{host}:{port}"), String::new()),
        Address::Unix(path) => {
            let folder = path.parent().ok_or("a socket without a folder")?;
            ("localhost".to_owned(), format!("?host={}", folder.display()))
        }
    };
    println!("postgres://{user}:{}@{host}/{database}{query}", sandbox.password());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let closed = sandbox.close(End::Discard).await;
    eprintln!("{} clients were still connected", closed.clients);
    Ok(closed.intact?)
}
