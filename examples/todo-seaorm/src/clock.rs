//! The time, as the service sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Seconds since 1970, counted with tokio's clock: a test that pauses it moves this one too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Duration,
    start: Instant,
}

impl Clock {
    /// A clock that shows the system's time now.
    pub fn system() -> Self {
        Self::starting_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// A clock that shows this time now.
    pub fn starting_at(epoch: Duration) -> Self {
        Self { epoch, start: Instant::now() }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        let now = self.epoch + self.start.elapsed();
        i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }
}
