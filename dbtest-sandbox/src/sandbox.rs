//! A sandbox: listens for clients, and ends with its test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::client;
use crate::error::Error;
use crate::runtime;
use crate::server::{self, Upstream};
use crate::session::{Ended, Session};
use crate::shared::Shared;
use crate::wire::{Address, Stream};

/// How long clients that are still connected have for their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a sandbox listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1, on a port that is free.
    Loopback,
    /// On a socket in this folder, which nobody else may enter. Others may be there.
    Folder(PathBuf),
}

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: Listen,
    /// SQL that runs right after the transaction began; say, what makes its COMMIT fail.
    pub guard: String,
    /// SQL that lets the transaction commit after all, for [`End::Commit`].
    pub allow_commit: String,
    /// SQL that runs last in a transaction that is rolled back, say, for what no rollback takes
    /// back. Where it finds that a constraint does not hold, the transaction counts as lost.
    pub last: String,
    /// A query that is asked when the transaction is over, if all before it went well. It can't write.
    pub check: String,
    /// How long a client waits for another one that holds a transaction and sends nothing. Then
    /// it gets SQLSTATE 40P01.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Listen::Loopback,
            guard: "SELECT 1".to_owned(),
            allow_commit: "SELECT 1".to_owned(),
            last: String::new(),
            check: String::new(),
            wait: Duration::from_secs(5),
        }
    }
}

/// What becomes of a sandbox's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing of it stays.
    Discard,
    /// All that clients committed stays, so that a person can look at it.
    Commit,
}

/// How a sandbox ended.
#[derive(Debug)]
pub struct Closed {
    /// Clients that were still connected.
    pub clients: usize,
    /// The server connection, as it was before, for the next sandbox. `None` if it is broken.
    pub upstream: Option<Upstream>,
    /// Whether the transaction was still there, and ours.
    pub intact: Result<(), Error>,
    /// What [`Options::check`] answered: the first column. `None` if it was not asked, or if
    /// [`Options::last`] failed.
    pub checked: Option<String>,
}

/// Any number of clients inside one transaction that is never committed.
///
/// Dropped without [`close`](Sandbox::close), the server connection is closed, which rolls the
/// transaction back.
#[derive(Debug)]
pub struct Sandbox {
    address: Address,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
    allow_commit: String,
    last: String,
    check: String,
}

impl Sandbox {
    /// Listens for clients. The transaction begins with the first statement that may write.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn open(upstream: Upstream, options: Options) -> Result<Self, Error> {
        runtime::enter(|| open(upstream, options))
    }

    /// Where clients connect to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The password that clients must have. Their user and database are the server's.
    pub fn password(&self) -> &str {
        &self.shared.password
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.shared.clients()
    }

    /// Ends every client and the transaction.
    pub async fn close(self, end: End) -> Closed {
        runtime::run(Box::pin(close(self, end))).await
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // The folder's owner cleans up after us if this fails.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// On the sandboxes' runtime. Nothing here waits, so that no thread has to wake another.
fn open(upstream: Upstream, options: Options) -> Result<Sandbox, Error> {
    let Options { listen, guard, allow_commit, last, check, wait } = options;
    let (listener, address) = match listen {
        Listen::Loopback => {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            let listener = listener.map_err(|error| Error::listen(&error))?;
            let port = listener.local_addr().map_err(|error| Error::listen(&error))?.port();
            (Listener::Tcp(listener), Address::Tcp("127.0.0.1".to_owned(), port))
        }
        Listen::Folder(folder) => {
            let (listener, path) = bind(&folder)?;
            (Listener::Unix(listener, path.clone()), Address::Unix(path))
        }
    };
    let password = format!("{:016x}{:016x}", random()?, random()?);
    let shared = Arc::new(Shared::new(Session::new(upstream, guard), password, wait));
    let (stop, stopped) = oneshot::channel();
    let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
    Ok(Sandbox { address, shared, stop, accepting, allow_commit, last, check })
}

/// A socket with a name that libpq looks for in a folder, and with a port that is free there: it is
/// only a number.
fn bind(folder: &Path) -> Result<(UnixListener, PathBuf), Error> {
    const PORTS: std::ops::Range<u64> = 1024..65_536;
    let count = PORTS.end - PORTS.start;
    let first = random()?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for at in 0..count {
        let port = PORTS.start + first.wrapping_add(at) % count;
        let path = folder.join(format!(".s.PGSQL.{port}"));
        match UnixListener::bind(&path) {
            Ok(listener) => return Ok((listener, path)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(Error::listen(&error)),
        }
    }
    Err(Error::listen(&last))
}

fn random() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| Error::listen(&std::io::Error::other(error)))
}

async fn accept(listener: Listener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept() => match stream {
                Ok(stream) => {
                    let secret = random().unwrap_or_default() as u32;
                    let Some(peer) = shared.join(secret) else { continue };
                    clients.spawn(client::serve(stream, peer, Arc::clone(&shared)));
                }
                // Out of file descriptors: those that end make room.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(ended) = clients.join_next() => note(&shared, ended),
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    shared.stop();
    let all = async {
        while let Some(ended) = clients.join_next().await {
            note(&shared, ended);
        }
    };
    if tokio::time::timeout(GOODBYE, all).await.is_err() {
        clients.shutdown().await;
    }
}

/// A task must not die in silence: what it did for its client is in doubt, and so is the rest.
fn note(shared: &Shared, ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        shared.panicked(words);
    }
}

async fn close(sandbox: Sandbox, end: End) -> Closed {
    let Sandbox { shared, stop, accepting, allow_commit, last, check, .. } = sandbox;
    let clients = shared.clients();
    let _ = stop.send(());
    note(&shared, accepting.await);
    let database = shared.database.clone();
    if let Some(words) = shared.panic() {
        let reason = format!("dbtest panicked while it served a client, which is a bug in dbtest: {words}");
        return Closed {
            clients,
            upstream: None,
            intact: Err(Error::lost(&database, reason)),
            checked: None,
        };
    }
    shared.reclaim();
    // Every task that had it has ended.
    let Ok(mut session) = Arc::clone(&shared.session).try_lock_owned() else {
        let intact = Err(Error::lost(&database, "a client did not let go of it"));
        return Closed { clients, upstream: None, intact, checked: None };
    };
    if session.waits() {
        let _ = cancel(&session).await;
    }
    session.wind_up();
    let ended = match end {
        End::Discard => session.discard(&last, &check).await,
        End::Commit => session.commit(&allow_commit).await,
    };
    let ended = match ended {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(reason)) => Err(Error::lost(&database, reason)),
        Err(error) => Err(Error::lost(&database, format!("the server's connection broke: {error}"))),
    };
    let Ended { checked, fresh } = match ended {
        Ok(ended) => ended,
        Err(error) => return Closed { clients, upstream: None, intact: Err(error), checked: None },
    };
    drop(session);
    let upstream = Arc::into_inner(shared)
        .and_then(|shared| Arc::into_inner(shared.session))
        .map(|session| session.into_inner().upstream)
        .filter(|_| fresh);
    Closed { clients, upstream, intact: Ok(()), checked }
}

/// Asks the server to cancel what the session runs.
pub(crate) fn cancel(session: &Session) -> JoinHandle<std::io::Result<()>> {
    let (address, key) = (session.upstream.server.address.clone(), session.upstream.key);
    tokio::spawn(async move { server::cancel(&address, key).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;
    use crate::wire::Wire;

    #[tokio::test]
    async fn a_panic_while_a_client_is_served_is_told_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let server = Server {
            address: Address::Tcp("127.0.0.1".to_owned(), address.port()),
            user: "me".to_owned(),
            password: None,
            database: "d".to_owned(),
        };
        let (key, parameters) = ((0, 0), std::collections::BTreeMap::new());
        let upstream =
            Upstream { wire: Wire::new(Stream::Tcp(stream)), server, key, parameters, deferrable: None };
        let sandbox = Sandbox::open(upstream, Options::default()).await.expect("a sandbox");
        let ended = tokio::spawn(async { panic!("as told") }).await;
        note(&sandbox.shared, ended);
        let closed = sandbox.close(End::Discard).await;
        assert!(closed.upstream.is_none());
        let words = closed.intact.expect_err("a panic").to_string();
        assert!(words.contains("a bug in dbtest: as told"), "{words}");
    }
}
