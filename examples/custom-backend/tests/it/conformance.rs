//! dbtest's own suite: what it asks of its own backends, asked of this one. A line is a module
//! with a test per case.

use custom_backend::Rusqlite;
use dbtest_core::{Strategy, conformance};

conformance!(rollback, Rusqlite, Strategy::Rollback);
conformance!(truncate, Rusqlite, Strategy::Truncate);
conformance!(template, Rusqlite, Strategy::Template);
conformance!(schema, Rusqlite, Strategy::Schema);
