//! What the benchmarks have in common: the schema, and what a test does in it.

pub mod schema;
