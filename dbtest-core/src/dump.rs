//! What is in a database, and what a test changed, as text that a person reads and a test asserts.

use std::collections::BTreeMap;
use std::fmt;

use crate::backend::Session;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The rows of a database, table by table: the result of [`TestDb::dump`](crate::TestDb::dump).
///
/// Its text is the same for the same rows: tables by name, rows by key. `mask` hides what is
/// another in every run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    tables: BTreeMap<String, Table>,
    masked: Vec<String>,
}

/// What is in one dump and not in another: the result of [`TestDb::diff`](crate::TestDb::diff).
///
/// A line begins with `+` for a new row, `-` for one that is gone, `~` for one that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    before: Dump,
    after: Dump,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    columns: Vec<String>,
    /// Those of the primary key.
    key: Vec<usize>,
    rows: Vec<Vec<Option<String>>>,
}

impl Dump {
    /// Hides a column: `"created_at"` in every table, `"users.token"` in one.
    pub fn mask(mut self, column: impl Into<String>) -> Self {
        self.masked.push(column.into());
        self
    }

    fn masks(&self, table: &str, column: &str) -> bool {
        self.masked.iter().any(|mask| mask == column || mask.split_once('.') == Some((table, column)))
    }

    /// A value as it is shown.
    fn value(&self, table: &str, column: &str, value: &Option<String>) -> String {
        match value {
            _ if self.masks(table, column) => "[masked]".to_owned(),
            None => "NULL".to_owned(),
            Some(text) if is_plain(text) => text.clone(),
            Some(text) => format!("{text:?}"),
        }
    }

    fn row(&self, name: &str, table: &Table, row: &[Option<String>]) -> String {
        let each = table.columns.iter().zip(row);
        let each = each.map(|(column, value)| format!("{column}={}", self.value(name, column, value)));
        each.collect::<Vec<_>>().join(" ")
    }
}

impl Diff {
    /// Hides a column, as [`Dump::mask`] does. A row of which only masked columns changed did not.
    pub fn mask(mut self, column: impl Into<String>) -> Self {
        let column = column.into();
        self.before = self.before.mask(column.clone());
        self.after = self.after.mask(column);
        self
    }

    /// Nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// The tables that were changed, each with its lines.
    fn lines(&self) -> Vec<(&str, Vec<String>)> {
        let empty = Table::default();
        let mut names: Vec<_> = self.before.tables.keys().chain(self.after.tables.keys()).collect();
        names.sort();
        names.dedup();
        let tables = names.into_iter().map(|name| {
            let before = self.before.tables.get(name).unwrap_or(&empty);
            let after = self.after.tables.get(name).unwrap_or(&empty);
            (name.as_str(), self.table(name, before, after))
        });
        tables.filter(|(_, lines)| !lines.is_empty()).collect()
    }

    fn table(&self, name: &str, before: &Table, after: &Table) -> Vec<String> {
        let mut old: Vec<_> = before.rows.iter().map(|row| Some(row.as_slice())).collect();
        let mut lines = Vec::new();
        for row in &after.rows {
            // The same row by its key, or without one by all of it.
            let same =
                old.iter().position(|other| other.is_some_and(|other| after.is_same(before, row, other)));
            match same.and_then(|at| old[at].take()) {
                None => lines.push((after.sort_key(row), format!("+ {}", self.after.row(name, after, row)))),
                Some(other) => {
                    let changes = self.changes(name, before, after, other, row);
                    if !changes.is_empty() {
                        let key = after.key.iter().map(|at| {
                            let column = &after.columns[*at];
                            format!("{column}={}", self.after.value(name, column, &row[*at]))
                        });
                        let line = key.chain(changes).collect::<Vec<_>>().join(" ");
                        lines.push((after.sort_key(row), format!("~ {line}")));
                    }
                }
            }
        }
        for row in old.into_iter().flatten() {
            lines.push((before.sort_key(row), format!("- {}", self.before.row(name, before, row))));
        }
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn changes(
        &self,
        name: &str,
        before: &Table,
        after: &Table,
        old: &[Option<String>],
        new: &[Option<String>],
    ) -> Vec<String> {
        let none = None;
        let each = after.columns.iter().zip(new).filter_map(|(column, new)| {
            let old = before.columns.iter().position(|one| one == column).map_or(&none, |at| &old[at]);
            let (old, new) = (self.before.value(name, column, old), self.after.value(name, column, new));
            (old != new).then(|| format!("{column}={old} → {new}"))
        });
        each.collect()
    }
}

impl Table {
    /// Whether two rows are one: `row` of this table, `other` of the table as it was.
    fn is_same(&self, was: &Self, row: &[Option<String>], other: &[Option<String>]) -> bool {
        if self.key.is_empty() || self.columns != was.columns {
            return row == other;
        }
        self.key.iter().all(|at| row[*at] == other[*at])
    }

    /// Rows stand by their key, numbers as numbers.
    fn sort_key(&self, row: &[Option<String>]) -> Vec<(Option<i128>, Option<String>)> {
        let all = (0..row.len()).collect();
        let key = if self.key.is_empty() { &all } else { &self.key };
        key.iter()
            .map(|at| (row[*at].as_ref().and_then(|text| text.parse().ok()), row[*at].clone()))
            .collect()
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text != "NULL"
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:+@".contains(c))
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, table) in self.tables.iter().filter(|(_, table)| !table.rows.is_empty()) {
            writeln!(f, "{name}")?;
            for row in &table.rows {
                writeln!(f, "  {}", self.row(name, table, row))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.lines();
        if tables.is_empty() {
            return writeln!(f, "nothing was changed");
        }
        for (name, lines) in tables {
            writeln!(f, "{name}")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn diff(before: Dump, after: Dump) -> Diff {
    Diff { before, after }
}

/// Reads all rows of all tables.
pub(crate) async fn read(session: &mut dyn Session, engine: Engine, place: &str) -> Result<Dump> {
    let failed = |error| Error::database("read the rows of the test's database", place, error);
    let mut dump = Dump::default();
    for row in session.query(columns(engine)).await.map_err(failed)? {
        let [Some(table), Some(column), key] = row.as_slice() else { continue };
        let table = dump.tables.entry(table.clone()).or_default();
        if key.as_deref().is_some_and(|key| key != "0") {
            table.key.push(table.columns.len());
        }
        table.columns.push(column.clone());
    }
    for (name, table) in &mut dump.tables {
        let columns: Vec<_> =
            table.columns.iter().map(|column| as_text(engine, &quote(engine, column))).collect();
        let select = format!("SELECT {} FROM {}", columns.join(", "), quote(engine, name));
        table.rows = session.query(&select).await.map_err(failed)?;
        let mut rows = std::mem::take(&mut table.rows);
        rows.sort_by_cached_key(|row| table.sort_key(row));
        table.rows = rows;
    }
    Ok(dump)
}

/// A column as text, the same on every driver.
fn as_text(engine: Engine, column: &str) -> String {
    match engine {
        Engine::Postgres => format!("{column}::text"),
        Engine::MySql => format!("CAST({column} AS CHAR)"),
        Engine::Sqlite => format!(
            "CASE typeof({column}) WHEN 'blob' THEN 'x' || hex({column}) ELSE CAST({column} AS TEXT) END"
        ),
    }
}

fn quote(engine: Engine, name: &str) -> String {
    match engine {
        Engine::MySql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Table, column, and whether the column is of the primary key, in the tables' own order.
fn columns(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT c.relname::text, a.attname::text, (SELECT count(*)::text FROM pg_index i WHERE i.indrelid = c.oid AND \
             i.indisprimary AND a.attnum = ANY (i.indkey)) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
        }
        Engine::MySql => {
            "SELECT c.table_name, c.column_name, IF(c.column_key = 'PRI', '1', '0') FROM information_schema.columns c \
             JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
             WHERE c.table_schema = database() AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position"
        }
        Engine::Sqlite => {
            "SELECT m.name, c.name, CAST(c.pk AS TEXT) FROM sqlite_master m, pragma_table_info(m.name) c WHERE \
             m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, c.cid"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: &[usize], rows: &[&[&str]]) -> Dump {
        let some = |text: &&str| (*text != "NULL").then(|| (*text).to_owned());
        let table = Table {
            columns: ["id", "title", "at"].map(str::to_owned).to_vec(),
            key: key.to_vec(),
            rows: rows.iter().map(|row| row.iter().map(some).collect()).collect(),
        };
        Dump { tables: [("book".to_owned(), table)].into(), masked: Vec::new() }
    }

    #[test]
    fn a_diff_says_what_was_added_changed_and_removed() {
        let before = table(&[0], &[&["2", "Two", "10"], &["3", "Three", "11"], &["10", "Ten", "12"]]);
        let after = table(&[0], &[&["1", "a b", "13"], &["2", "Two", "99"], &["10", "NULL", "12"]]);
        let found = diff(before, after);
        let text = "book\n  + id=1 title=\"a b\" at=13\n  ~ id=2 at=10 → 99\n  - id=3 title=Three at=11\n  \
                    ~ id=10 title=Ten → NULL\n";
        assert_eq!(found.to_string(), text);
        let masked = found.mask("book.at").to_string();
        assert!(masked.contains("at=[masked]") && !masked.contains("id=2"), "{masked}");
    }

    #[test]
    fn rows_without_a_key_are_themselves() {
        let before = table(&[], &[&["1", "a", "x"], &["1", "a", "x"]]);
        let after = table(&[], &[&["1", "a", "x"], &["1", "b", "x"]]);
        assert_eq!(
            diff(before.clone(), after).to_string(),
            "book\n  - id=1 title=a at=x\n  + id=1 title=b at=x\n"
        );
        assert!(diff(before.clone(), before.clone()).is_empty());
        assert_eq!(diff(before.clone(), before).to_string(), "nothing was changed\n");
    }
}
