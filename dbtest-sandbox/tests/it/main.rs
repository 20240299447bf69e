//! Clients with bad manners, in front of a real server: each of them gets an error or is closed,
//! no other notices, and the sandbox ends as if there had been none.

#![allow(missing_docs, unreachable_pub)]

mod arena;
mod ending;
mod fuzz;
mod fuzzed;
mod hostile;
mod notified;
mod raw;
