//! Maintenance sessions on one server: opened by the backend, kept and lent out here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{DbError, Rows, Session};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::server::Connect;

/// A server's maintenance database and the idle sessions on it.
pub(crate) struct Hub {
    pub(crate) url: String,
    /// The same, as dbtest's own sessions open it.
    own: String,
    engine: Engine,
    connect: Connect,
    idle: Mutex<Vec<Box<dyn Session>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({})", crate::url::shown(&self.url))
    }
}

impl Hub {
    /// `first` is a session that is open already: the one that found the server.
    pub(crate) fn new(
        engine: Engine,
        url: String,
        connect: Connect,
        first: Option<Box<dyn Session>>,
    ) -> Arc<Self> {
        // By its name a session of ours is known, and not taken for somebody's.
        let own = if engine == Engine::Postgres && !url.contains("application_name=") {
            crate::url::with_parameter(&url, "application_name", &application())
        } else {
            url.clone()
        };
        Arc::new(Self { url, own, engine, connect, idle: Mutex::new(first.into_iter().collect()) })
    }

    /// The server and database, for messages.
    pub(crate) fn shown(&self) -> String {
        crate::url::shown(&self.url)
    }

    /// An idle session, or a new one.
    pub(crate) async fn session(self: &Arc<Self>) -> Result<Lent> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) => session,
            None => self.open(self.own.clone()).await?,
        };
        Ok(Lent { session: Some(session), hub: Arc::clone(self), usable: true })
    }

    /// Closes what is idle.
    pub(crate) async fn rest(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for session in idle {
            session.close().await;
        }
    }

    /// A session of its own on the maintenance database, that is never lent to others.
    pub(crate) async fn open_own(&self) -> Result<Box<dyn Session>> {
        self.open(self.own.clone()).await
    }

    /// A session of its own, on another database of the server.
    pub(crate) async fn open(&self, url: String) -> Result<Box<dyn Session>> {
        self.try_open(url.clone())
            .await
            .map_err(|error| Error::connect(&crate::url::shown(&url), self.engine, error))
    }

    /// The same, with the error as the database gave it.
    pub(crate) async fn try_open(&self, url: String) -> Result<Box<dyn Session>, DbError> {
        (self.connect)(url).await
    }

    /// Runs the query on an idle session. A session that went stale while it was idle (the
    /// server was restarted) is replaced once.
    pub(crate) async fn query(self: &Arc<Self>, operation: &str, sql: &str) -> Result<Rows> {
        self.first(operation, sql).await.map(|(_, rows)| rows)
    }

    /// The same, for a session on which more is to be done.
    pub(crate) async fn first(self: &Arc<Self>, operation: &str, sql: &str) -> Result<(Lent, Rows)> {
        let mut lent = self.session().await?;
        let rows = match lent.try_query(sql).await {
            Err(error) if error.connect => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                lent = self.session().await?;
                lent.query(operation, sql).await?
            }
            result => result.map_err(|error| Error::database(operation, &self.shown(), error))?,
        };
        Ok((lent, rows))
    }

    /// Like [`query`](Self::query), without rows.
    pub(crate) async fn execute(self: &Arc<Self>, operation: &str, sql: &str) -> Result<()> {
        self.query(operation, sql).await.map(drop)
    }
}

/// A session that goes back to its hub when it is dropped, unless something went wrong on it.
pub(crate) struct Lent {
    session: Option<Box<dyn Session>>,
    hub: Arc<Hub>,
    /// Not in the middle of a statement, not broken, holding nothing.
    usable: bool,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({:?})", self.hub)
    }
}

impl Lent {
    pub(crate) async fn try_query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let Some(session) = self.session.as_mut() else {
            return Err(DbError::connection(None, "the maintenance session is gone"));
        };
        // A future that is dropped half-way leaves the session in the middle of a statement.
        let usable = std::mem::replace(&mut self.usable, false);
        let result = session.query(sql).await;
        self.usable = usable && !matches!(&result, Err(error) if error.connect);
        result
    }

    pub(crate) async fn query(&mut self, operation: &str, sql: &str) -> Result<Rows> {
        let place = self.hub.shown();
        self.try_query(sql).await.map_err(|error| Error::database(operation, &place, error))
    }

    /// From here on the session holds a lock: dropped, it must be closed and not lent again.
    pub(crate) fn holds(&mut self, holds: bool) {
        self.usable = !holds;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            if self.usable {
                self.hub.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
            } else {
                // Closing says goodbye to the server, which frees the session's locks at once.
                crate::runtime::detach(session.close());
            }
        }
    }
}

/// What Postgres shows as the application of our sessions: by it a lease's holder is found.
pub(crate) fn application() -> String {
    format!("dbtest-{}", std::process::id())
}

/// The first column of the first row.
pub(crate) fn scalar(rows: &Rows) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}
