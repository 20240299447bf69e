//! Exit codes.

use std::process::ExitCode;

/// How a command ended. Wrong usage is 2, which clap gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0
    Good,
    /// 1: it could not be done, or a problem was found.
    Failed,
    /// 3: nothing has that name.
    NotFound,
    /// 4: dbtest will not do that: somebody holds it, or it is not dbtest's to drop.
    Refused,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Good => 0,
            Outcome::Failed => 1,
            Outcome::NotFound => 3,
            Outcome::Refused => 4,
        })
    }
}
