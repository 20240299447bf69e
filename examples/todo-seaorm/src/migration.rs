//! The migrations, embedded in the program.

// The trait's own methods are written so, and an `async_trait` must be as its trait is.
#![allow(elided_lifetimes_in_paths)]

mod m0001_lists;
mod m0002_reminders;

use sea_orm_migration::prelude::*;

/// All migrations, in order.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_lists::Migration), Box::new(m0002_reminders::Migration)]
    }
}
