//! Nobody waits for ever for a server that does not answer. What takes long is waited for as long as
//! the server lets somebody else in; when it does not even do that, it is frozen or cut off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Connect;
use crate::backend::{Backend, BoxFuture, DbError, Rows, Session};
use crate::engine::Engine;
use crate::{config, runtime};

/// How long a statement may take before the server is asked whether it is there, and how long it may
/// take to answer that.
fn silence() -> Duration {
    config::patient(Duration::from_secs(10))
}

type Open = fn(String) -> BoxFuture<'static, Result<Box<dyn Session>, DbError>>;

fn open<B: Backend>(url: String) -> BoxFuture<'static, Result<Box<dyn Session>, DbError>> {
    Box::pin(async move { B::session(&url).await })
}

/// A backend's sessions, without its type: core's logic is compiled once and not per backend.
pub(crate) fn connect<B: Backend>() -> Connect {
    if B::ENGINE == Engine::Sqlite {
        // There is no server.
        return Arc::new(open::<B>);
    }
    Arc::new(|url| {
        Box::pin(async move {
            let session = match tokio::time::timeout(silence(), B::session(&url)).await {
                Ok(opened) => opened?,
                Err(_) => return Err(silent(silence())),
            };
            let watched = Watched { session, url, open: open::<B>, lost: None };
            Ok(Box::new(watched) as Box<dyn Session>)
        })
    })
}

/// The work's end, or, if that comes first, that the backend's server does not answer. Safe on every
/// runtime, also where the clock is paused.
pub(crate) async fn or_silence<B: Backend, T>(
    url: &str,
    work: impl Future<Output = T>,
) -> Result<T, DbError> {
    if B::ENGINE == Engine::Sqlite {
        return Ok(work.await);
    }
    let url = url.to_owned();
    tokio::select! {
        biased;
        done = work => Ok(done),
        error = falls_silent_elsewhere(open::<B>, url) => Err(error),
    }
}

/// Ends when the server does not answer.
async fn falls_silent(open: Open, url: &str) -> DbError {
    loop {
        tokio::time::sleep(silence()).await;
        if let Some(error) = asked(open, url).await {
            return error;
        }
    }
}

/// The same on whatever runtime. Nothing is spawned before the first time that it asks.
async fn falls_silent_elsewhere(open: Open, url: String) -> DbError {
    loop {
        runtime::sleep(silence()).await;
        let url = url.clone();
        let asks = runtime::run_while_wanted(Box::pin(async move { asked(open, &url).await }));
        if let Some(error) = asks.await {
            return error;
        }
    }
}

/// Why the server is not there, if it isn't.
async fn asked(open: Open, url: &str) -> Option<DbError> {
    match tokio::time::timeout(silence(), open(url.to_owned())).await {
        Ok(Ok(session)) => {
            let _ = tokio::time::timeout(silence(), session.close()).await;
            None
        }
        // It refuses us in words of its own, so it is there.
        Ok(Err(error)) if error.code.is_some() => None,
        Ok(Err(error)) => {
            let why = format!("no answer, and nobody is let in any more: {}", error.message);
            Some(DbError::connection(None, why))
        }
        Err(_) => Some(silent(2 * silence())),
    }
}

fn silent(after: Duration) -> DbError {
    let why = format!(
        "no answer within {} seconds; the server is frozen or cut off, or slower than DBTEST_PATIENCE allows",
        after.as_secs()
    );
    DbError::connection(None, why)
}

/// A session that gives up when its server does.
struct Watched {
    session: Box<dyn Session>,
    url: String,
    open: Open,
    /// Why it is not asked again: somebody gave up in the middle of a statement.
    lost: Option<DbError>,
}

impl Watched {
    async fn watch<'s, T: 's>(
        &'s mut self,
        work: impl FnOnce(&'s mut dyn Session) -> BoxFuture<'s, Result<T, DbError>>,
    ) -> Result<T, DbError> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        tokio::select! {
            biased;
            done = work(&mut *self.session) => done,
            error = falls_silent(self.open, &self.url) => {
                self.lost = Some(error.clone());
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Session for Watched {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        self.watch(|session| session.execute(sql)).await
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        self.watch(|session| session.query(sql)).await
    }

    async fn close(self: Box<Self>) {
        // To a server that does not answer nobody says goodbye.
        if self.lost.is_none() {
            let _ = tokio::time::timeout(silence(), self.session.close()).await;
        }
    }
}
