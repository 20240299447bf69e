//! The factories on real databases, and the derive without one.

mod build;
mod on_diesel;
mod on_seaorm;
mod on_sqlx;
mod random;
mod samples;
mod schema;
mod told;
