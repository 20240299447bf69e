//! The cases, by theme. Their list, with the rule of each, stands in the suite's own module.

pub(super) mod boundary;
pub(super) mod crash;
pub(super) mod handle;
pub(super) mod identity;
pub(super) mod keep;
pub(super) mod parallel;
pub(super) mod rows;
pub(super) mod schema_changes;
pub(super) mod session;
pub(super) mod setup;
pub(super) mod transactions;

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[
    include_str!("boundary.rs"),
    include_str!("crash.rs"),
    include_str!("handle.rs"),
    include_str!("identity.rs"),
    include_str!("keep.rs"),
    include_str!("parallel.rs"),
    include_str!("rows.rs"),
    include_str!("schema_changes.rs"),
    include_str!("session.rs"),
    include_str!("setup.rs"),
    include_str!("transactions.rs"),
];
