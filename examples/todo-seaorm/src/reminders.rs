//! Reminds of items when their time has come.

use std::time::Duration;

use crate::clock::Clock;
use crate::store::{self, Pool};

/// How often the worker looks.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Looks once a [`PERIOD`] for items whose time has come, and writes a reminder for each. It
/// does not end; spawn it.
pub async fn run(pool: Pool, clock: Clock) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        if let Err(error) = store::remind(&pool, clock.now()).await {
            // The next tick tries again.
            eprintln!("cannot remind: {error}");
        }
    }
}
