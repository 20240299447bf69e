//! A schema of any number of tables, and a test that writes three tables × five rows into it.

use std::fmt::Write;
use std::sync::Arc;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

/// Two migrations for each table: the table with a serial key, two foreign keys and a text column,
/// and its two indexes.
pub fn migrations(dialect: Dialect, tables: usize) -> Vec<String> {
    let id = match dialect {
        Dialect::Postgres => "id serial PRIMARY KEY",
        Dialect::MySql => "id int AUTO_INCREMENT PRIMARY KEY",
        Dialect::Sqlite => "id INTEGER PRIMARY KEY",
    };
    (1..=tables)
        .flat_map(|table| {
            let (parent, other) = ((table / 2).max(1), (table / 3).max(1));
            [
                format!(
                    "CREATE TABLE t{table} ({id}, parent int, other int, name text NOT NULL, \
                     FOREIGN KEY (parent) REFERENCES t{parent} (id), \
                     FOREIGN KEY (other) REFERENCES t{other} (id))"
                ),
                format!(
                    "CREATE INDEX t{table}_parent ON t{table} (parent); \
                     CREATE INDEX t{table}_other ON t{table} (other);"
                ),
            ]
        })
        .collect()
}

/// The same as one text.
pub fn script(dialect: Dialect, tables: usize) -> String {
    migrations(dialect, tables).into_iter().fold(String::new(), |mut text, sql| {
        let _ = writeln!(text, "{};", sql.trim_end_matches(';'));
        text
    })
}

/// The same as sqlx's migrations.
pub fn migrator(dialect: Dialect, tables: usize) -> Migrator {
    let migrations = migrations(dialect, tables).into_iter().zip(1..).map(|(sql, version)| {
        let sql = AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str();
        Migration::new(version, format!("step {version}").into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The three tables that a test writes to: each is the parent of the next.
pub fn written(tables: usize) -> [usize; 3] {
    let first = (tables / 5).max(1);
    [first, 2 * first, 4 * first]
}

/// What a test does: five rows in each of three tables, which refer to each other. Each statement
/// writes five rows if nobody's rows were there before.
pub fn body(tables: usize) -> [String; 3] {
    let [first, second, third] = written(tables);
    [
        format!("INSERT INTO t{first} (name) VALUES ('a'), ('b'), ('c'), ('d'), ('e')"),
        format!("INSERT INTO t{second} (parent, name) SELECT id, name FROM t{first}"),
        format!("INSERT INTO t{third} (parent, name) SELECT id, name FROM t{second}"),
    ]
}

/// The first statement on a handle: it is open when this has answered.
pub const FIRST: &str = "SELECT id FROM t1 WHERE id = 0";
