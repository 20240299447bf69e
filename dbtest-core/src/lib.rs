//! dbtest core (docs follow).

mod backend;
mod config;
mod engine;
mod error;
mod guard;
mod progress;
mod runtime;
mod server;
mod setup;
mod sql;
mod url;

pub use backend::{
    Backend, Boundary, BoxFuture, Check, DbError, End, Finished, Place, Rows, Sandbox, Session,
};
pub use config::SETTINGS;
pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use server::{Container, Server};
pub use setup::{Migrations, StepError};
