//! A sandbox: listens for clients, and ends with its test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::client;
use crate::error::Error;
use crate::runtime;
use crate::server::{self, Upstream};
use crate::session::Session;
use crate::shared::Shared;
use crate::wire::{Address, Stream};

/// How long clients that are still connected have for their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a sandbox listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1, on a port that is free.
    Loopback,
    /// On a socket in this folder, which nobody else may enter.
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
}

impl Sandbox {
    /// Listens for clients. The transaction begins with the first statement that may write.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn open(upstream: Upstream, options: Options) -> Result<Self, Error> {
        runtime::run(Box::pin(open(upstream, options))).await
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

async fn open(upstream: Upstream, options: Options) -> Result<Sandbox, Error> {
    let (listener, address) = match options.listen {
        Listen::Loopback => {
            let listener =
                TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| Error::listen(&error))?;
            let port = listener.local_addr().map_err(|error| Error::listen(&error))?.port();
            (Listener::Tcp(listener), Address::Tcp("127.0.0.1".to_owned(), port))
        }
        Listen::Folder(folder) => {
            // The name that libpq looks for in a folder, with a port that is only a number.
            let path = folder.join(".s.PGSQL.5432");
            let listener = UnixListener::bind(&path).map_err(|error| Error::listen(&error))?;
            (Listener::Unix(listener, path.clone()), Address::Unix(path))
        }
    };
    let password = format!("{:016x}{:016x}", random()?, random()?);
    let shared = Arc::new(Shared::new(Session::new(upstream, options.guard), password, options.wait));
    let (stop, stopped) = oneshot::channel();
    let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
    Ok(Sandbox { address, shared, stop, accepting, allow_commit: options.allow_commit })
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
    let Sandbox { shared, stop, accepting, allow_commit, .. } = sandbox;
    let clients = shared.clients();
    let _ = stop.send(());
    note(&shared, accepting.await);
    let database = shared.database.clone();
    if let Some(words) = shared.panic() {
        let reason = format!("dbtest panicked while it served a client, which is a bug in dbtest: {words}");
        return Closed { clients, upstream: None, intact: Err(Error::lost(&database, reason)) };
    }
    shared.reclaim();
    // Every task that had it has ended.
    let Ok(mut session) = Arc::clone(&shared.session).try_lock_owned() else {
        let intact = Err(Error::lost(&database, "a client did not let go of it"));
        return Closed { clients, upstream: None, intact };
    };
    if session.waits() {
        let _ = cancel(&session).await;
    }
    session.wind_up();
    let allow = (end == End::Commit).then_some(allow_commit.as_str());
    let ended = match session.end(allow).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(Error::lost(&database, reason)),
        Err(error) => Err(Error::lost(&database, format!("the server's connection broke: {error}"))),
    };
    let mut reusable = None;
    if ended.is_ok() && session.run("DISCARD ALL").await.is_ok_and(|discarded| discarded.is_ok()) {
        drop(session);
        if let Some(shared) = Arc::into_inner(shared)
            && let Some(session) = Arc::into_inner(shared.session)
        {
            reusable = Some(session.into_inner().upstream);
        }
    }
    Closed { clients, upstream: reusable, intact: ended }
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
        let upstream = Upstream { wire: Wire::new(Stream::Tcp(stream)), server, key, parameters };
        let sandbox = Sandbox::open(upstream, Options::default()).await.expect("a sandbox");
        let ended = tokio::spawn(async { panic!("as told") }).await;
        note(&sandbox.shared, ended);
        let closed = sandbox.close(End::Discard).await;
        assert!(closed.upstream.is_none());
        let words = closed.intact.expect_err("a panic").to_string();
        assert!(words.contains("a bug in dbtest: as told"), "{words}");
    }
}
