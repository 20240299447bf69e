#![doc = include_str!("../README.md")]

mod client;
mod error;
mod extended;
mod handshake;
mod message;
mod notify;
mod runtime;
mod sandbox;
mod server;
mod session;
mod settings;
mod shared;
mod special;
pub mod statement;
mod wire;

pub use error::Error;
pub use sandbox::{Closed, End, Listen, Options, Sandbox};
pub use server::{Server, Upstream};
pub use wire::Address;
