//! Makes the database that `sqlx::query!` asks while this crate is compiled.

use dbtest_sqlx::{Fixture, SqlxSqlite};

fn main() {
    let migrations = Fixture::<SqlxSqlite>::new().label("checked-queries").migrations_dir("migrations");
    let url = migrations.stable_blocking("checkedqueries").expect("a database with all migrations");
    println!("cargo:rustc-env=DATABASE_URL={url}");
    println!("cargo:rerun-if-changed=migrations");
    // Gone after a restart of the machine, where it is in memory.
    println!("cargo:rerun-if-changed={}", url.trim_start_matches("sqlite://"));
}
