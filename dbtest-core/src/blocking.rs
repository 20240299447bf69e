//! Sessions of drivers that block their thread, wrapped once for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::backend::{DbError, Rows, Session};
use crate::runtime::blocking;

/// A maintenance connection of a driver that blocks its thread: a [`Session`] without async.
/// [`blocking_session`] makes a [`Session`] of it.
///
/// Both methods take several statements in one text, separated by semicolons. Dropping it closes
/// the connection.
pub trait BlockingSession: Send + 'static {
    /// Runs the statements and throws their rows away.
    ///
    /// # Errors
    /// The first statement's error; those after it did not run.
    fn execute(&mut self, sql: &str) -> Result<(), DbError>;

    /// Runs the statements and returns the rows of all of them as text.
    ///
    /// # Errors
    /// The first statement's error; those after it did not run.
    fn query(&mut self, sql: &str) -> Result<Rows, DbError>;
}

/// Opens a session whose every call, the opening and the closing too, runs on a thread of
/// dbtest's own: no runtime is held up by it.
///
/// # Errors
/// What `open` returned.
pub async fn blocking_session<S: BlockingSession>(
    open: impl FnOnce() -> Result<S, DbError> + Send + 'static,
) -> Result<Box<dyn Session>, DbError> {
    let session = blocking(open).await?;
    Ok(Box::new(Blocking(Arc::new(Mutex::new(Some(session))))))
}

/// `None` once it is closed.
struct Blocking<S>(Arc<Mutex<Option<S>>>);

impl<S: BlockingSession> Blocking<S> {
    /// A call that is dropped half-way goes on, and the next one waits for it.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut S) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let session = Arc::clone(&self.0);
        blocking(move || match &mut *session.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(session) => call(session),
            None => Err(DbError::connection(None, "the session is closed")),
        })
        .await
    }
}

#[async_trait]
impl<S: BlockingSession> Session for Blocking<S> {
    async fn execute(&mut self, sql: &str) -> Result<(), DbError> {
        let sql = sql.to_owned();
        self.call(move |session| session.execute(&sql)).await
    }

    async fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
        let sql = sql.to_owned();
        self.call(move |session| session.query(&sql)).await
    }

    async fn close(self: Box<Self>) {
        blocking(move || drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Answers with the thread it ran on; the query "wait" ends when it is told to.
    struct Fake {
        go: Receiver<()>,
        log: Sender<String>,
    }

    impl BlockingSession for Fake {
        fn execute(&mut self, sql: &str) -> Result<(), DbError> {
            Err(DbError::statement(Some("1".to_owned()), sql))
        }

        fn query(&mut self, sql: &str) -> Result<Rows, DbError> {
            if sql == "wait" {
                let _ = self.log.send("waits".to_owned());
                let _ = self.go.recv();
            }
            let _ = self.log.send(sql.to_owned());
            let thread = std::thread::current().name().map(str::to_owned);
            Ok(vec![vec![thread]])
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = self.log.send("closed".to_owned());
        }
    }

    async fn open() -> (Box<dyn Session>, Sender<()>, Receiver<String>) {
        let ((go, waits), (log, lines)) = (channel(), channel());
        let session = blocking_session(move || Ok(Fake { go: waits, log })).await.expect("a session");
        (session, go, lines)
    }

    #[tokio::test]
    async fn a_call_runs_on_a_thread_of_dbtests_own() {
        let (mut session, _go, _lines) = open().await;
        assert_eq!(session.query("which").await, Ok(vec![vec![Some("dbtest".to_owned())]]));
        assert_eq!(session.execute("no").await, Err(DbError::statement(Some("1".to_owned()), "no")));
    }

    #[tokio::test]
    async fn closing_waits_for_a_call_that_was_given_up() {
        let (mut session, go, lines) = open().await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), session.query("wait")).await;
        assert!(given_up.is_err(), "nobody told it to end");
        assert_eq!(lines.recv().as_deref(), Ok("waits"));
        let closing = tokio::spawn(session.close());
        go.send(()).expect("it waits");
        closing.await.expect("closed");
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["wait", "closed"]);
    }

    #[tokio::test]
    async fn an_error_of_the_opening_is_returned() {
        let refused = blocking_session::<Fake>(|| Err(DbError::connection(None, "nobody there"))).await;
        assert_eq!(refused.err(), Some(DbError::connection(None, "nobody there")));
    }
}
