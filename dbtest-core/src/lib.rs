//! dbtest core (docs follow).

mod backend;
mod config;
mod engine;
mod error;
mod progress;
mod runtime;
mod setup;
mod sql;
mod url;

pub use backend::{
    Backend, Boundary, BoxFuture, Check, DbError, End, Finished, Place, Rows, Sandbox, Session,
};
pub use config::SETTINGS;
pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use setup::{Migrations, StepError};
