//! A pooler between us and Postgres that gives each transaction whichever connection is free: a lock
//! that a session takes there holds nobody off, and no lease of dbtest's would.

use super::{Connect, PATIENCE, Running, reach};
use crate::backend::{DbError, Session};
use crate::config::patient;
use crate::error::{Error, Result};
use crate::hub::scalar;

/// Asks which server process answers, before and while another session has a transaction open: a
/// session of one's own has the same.
///
/// # Errors
/// It is another, or the server's own.
pub(super) async fn refuse(connect: &Connect, first: &mut dyn Session, running: &Running) -> Result<()> {
    let place = running.shown();
    match changes(connect, first, running).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::unsupported(
            format!(
                "a pooler stands before {place}, and gives each transaction another connection, as PgBouncer with \
                 pool_mode = transaction does: dbtest's leases are locks of a session, which are lost there"
            ),
            "give dbtest the server's own address, or set pool_mode = session",
        )),
        Err(error) => Err(Error::database("ask which process answers", &place, error)),
    }
}

async fn changes(connect: &Connect, first: &mut dyn Session, running: &Running) -> Result<bool, DbError> {
    const WHO: &str = "SELECT pg_backend_pid()::text";
    let before = scalar(&first.query(WHO).await?).map(str::to_owned);
    let mut second = reach(connect, &running.url, patient(PATIENCE)).await?;
    // It gets the connection that the first one gave back, if it did.
    let begun = second.execute("BEGIN").await;
    let asked = match begun {
        Ok(()) => {
            second.query(WHO).await?;
            let after = first.query(WHO).await.map(|rows| scalar(&rows).map(str::to_owned));
            second.execute("ROLLBACK").await?;
            after.map(|after| after != before)
        }
        // One that knows single statements only.
        Err(_) => Ok(true),
    };
    second.close().await;
    asked
}
