#![doc = include_str!("../README.md")]

mod backend;
mod blocking;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod description;
mod dotenv;
mod dump;
mod engine;
mod error;
mod fixture;
mod ground;
mod guard;
mod hash;
mod hub;
mod inventory;
mod load;
mod name;
mod progress;
mod report;
mod rows;
mod run;
pub mod runner;
mod runtime;
#[cfg(feature = "sandbox")]
mod sandbox;
mod server;
mod setup;
mod slot;
mod sql;
mod stock;
mod strategy;
mod sweep;
mod test_db;
mod url;

/// For implementers of [`Session`] and [`IsolationStrategy`].
pub use async_trait::async_trait;
pub use backend::{
    Backend, Boundary, BoxFuture, Check, DbError, End, Finished, Place, Rows, Sandbox, Session, Watch,
};
pub use blocking::{BlockingSession, blocking_session};
pub use config::SETTINGS;
#[cfg(feature = "conformance")]
pub use conformance::Probe;
pub use dump::{Diff, Dump};
pub use engine::{Engine, Holder, PlaceForm};
pub use error::{Error, ErrorKind, Result};
pub use fixture::Fixture;
pub use inventory::{Inventory, KeptNote, Listed, PlaceKind};
pub use report::{Phase, Report, Spent};
pub use runtime::blocking;
pub use server::{Container, Diagnosis, Finding, Health, Server};
pub use setup::{Migrations, StepError, executable_identity};
pub use slot::{Claim, Kept};
pub use sql::{Statement, statement_at, statements};
pub use strategy::{
    Context, IsolationStrategy, Lease, Outcome, Promises, SchemaPerWorker, Strategy, TemplateClone,
    TransactionRollback, Truncate,
};
pub use test_db::{SANDBOX_LOST, SANDBOX_WAIT, TestDb};
