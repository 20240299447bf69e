//! Loads files of rows into a database: in the order of the references, and with a word on the
//! line that is refused.

use crate::backend::{DbError, Rows, Session};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::rows::{Row, RowFile, Value, dependency_order};
use crate::sql;

/// How many rows go into one statement. A batch that is refused is tried again row by row.
const BATCH: usize = 200;

/// Loads all files, or says which line of which is wrong. Whoever calls throws away what was
/// loaded before it.
pub(crate) async fn load(session: &mut dyn Session, engine: Engine, files: &[RowFile]) -> Result<()> {
    let tables: Vec<_> = files.iter().map(RowFile::table).collect();
    let references = session
        .query(references(engine))
        .await
        .map_err(|error| failed(&files[0].name, None, &error.message))?;
    let references: Vec<_> = references.into_iter().filter_map(pair).collect();
    for table in dependency_order(&tables, &references) {
        for file in files.iter().filter(|file| file.table() == table) {
            load_file(session, engine, file).await?;
        }
    }
    Ok(())
}

fn pair(row: Vec<Option<String>>) -> Option<(String, String)> {
    let mut row = row.into_iter();
    Some((row.next()??, row.next()??))
}

/// A column as its table has it.
struct Column {
    name: String,
    declared: String,
}

async fn load_file(session: &mut dyn Session, engine: Engine, file: &RowFile) -> Result<()> {
    let rows = file.rows().map_err(|wrong| failed(&file.name, Some(wrong.line), &wrong.why))?;
    let table = file.table();
    let found: Rows = session
        .query(&columns(engine, table))
        .await
        .map_err(|error| failed(&file.name, None, &error.message))?;
    let known: Vec<_> =
        found.into_iter().filter_map(pair).map(|(name, declared)| Column { name, declared }).collect();
    if known.is_empty() {
        let why = format!("there is no table {table}, which the file's name says");
        return Err(failed(&file.name, None, &why));
    }
    // Rows with other columns, as JSON has them, go into another statement.
    let mut left = &rows[..];
    while let Some(first) = left.first() {
        let same = left.iter().take(BATCH).take_while(|row| row.columns == first.columns).count();
        let (batch, rest) = left.split_at(same);
        left = rest;
        let texts = batch.iter().map(|row| values(engine, &known, row)).collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|(line, why)| failed(&file.name, Some(line), &why))?;
        if let Err(error) = insert(session, engine, table, first, &texts).await {
            for (row, text) in batch.iter().zip(&texts) {
                let alone = insert(session, engine, table, row, std::slice::from_ref(text)).await;
                alone.map_err(|error| failed(&file.name, Some(row.line), &error.message))?;
            }
            // Each one alone is accepted: what the batch was refused for is gone.
            crate::progress::say(&format!(
                "{}: {} at first, not on the second try",
                file.name, error.message
            ));
        }
    }
    for column in &known {
        // A number that was given is not given again by its sequence.
        if engine == Engine::Postgres && rows.iter().any(|row| row.columns.contains(&column.name)) {
            let (name, column) = (sql::literal(&quoted(engine, table)), &column.name);
            let next = format!(
                "SELECT setval(s, m) FROM (SELECT pg_get_serial_sequence({name}, {}) AS s, (SELECT max({})::text::bigint \
                 FROM {}) AS m) AS x WHERE s IS NOT NULL AND m IS NOT NULL AND m > 0",
                sql::literal(column),
                quote(engine, column),
                quoted(engine, table)
            );
            let has = format!(
                "SELECT 1 WHERE pg_get_serial_sequence({name}, {}) IS NOT NULL",
                sql::literal(column)
            );
            let set = async {
                if !session.query(&has).await?.is_empty() {
                    session.query(&next).await?;
                }
                Ok::<_, DbError>(())
            };
            set.await.map_err(|error| failed(&file.name, None, &error.message))?;
        }
    }
    Ok(())
}

async fn insert(
    session: &mut dyn Session,
    engine: Engine,
    table: &str,
    row: &Row,
    values: &[String],
) -> std::result::Result<(), DbError> {
    let names: Vec<_> = row.columns.iter().map(|column| quote(engine, column)).collect();
    let table = quoted(engine, table);
    session.execute(&format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), values.join(", "))).await
}

/// The row's values as SQL. Text is coerced by the database to the column's type, except where an
/// engine would take it as it is.
fn values(engine: Engine, known: &[Column], row: &Row) -> std::result::Result<String, (u64, String)> {
    let mut texts = Vec::with_capacity(row.values.len());
    for (name, value) in row.columns.iter().zip(&row.values) {
        let Some(column) = known.iter().find(|column| column.name == *name) else {
            let names: Vec<_> = known.iter().map(|column| column.name.as_str()).collect();
            let why = format!("the table has no column {name}; its columns are {}", names.join(", "));
            return Err((row.named, why));
        };
        let declared = column.declared.to_uppercase();
        let text = match value {
            Value::Null => "NULL".to_owned(),
            Value::Bool(true) => "TRUE".to_owned(),
            Value::Bool(false) => "FALSE".to_owned(),
            Value::Text(text) => match (engine, text.as_str()) {
                (Engine::MySql, "true" | "false") if declared == "TINYINT(1)" => text.to_uppercase(),
                (Engine::Sqlite, "true" | "false") if declared.contains("BOOL") => text.to_uppercase(),
                (Engine::Sqlite, _) if !fits_sqlite(&declared, text) => {
                    return Err((
                        row.line,
                        format!("{name} is {text:?}, and the column is {}", column.declared),
                    ));
                }
                (Engine::MySql, _) => sql::literal(&text.replace('\\', "\\\\")),
                _ => sql::literal(text),
            },
        };
        texts.push(text);
    }
    Ok(format!("({})", texts.join(", ")))
}

/// SQLite keeps whatever it is given, so a wrong type would only be seen by the test.
fn fits_sqlite(declared: &str, text: &str) -> bool {
    if declared.contains("INT") || declared.contains("BOOL") {
        text.trim().parse::<i64>().is_ok()
    } else if ["REAL", "FLOA", "DOUB"].iter().any(|word| declared.contains(word)) {
        text.trim().parse::<f64>().is_ok()
    } else {
        true
    }
}

fn quote(engine: Engine, name: &str) -> String {
    match engine {
        Engine::MySql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// `books`, or `audit.events`.
fn quoted(engine: Engine, table: &str) -> String {
    table.split('.').map(|part| quote(engine, part)).collect::<Vec<_>>().join(".")
}

/// The columns of a table and their types; none if there is no such table.
fn columns(engine: Engine, table: &str) -> String {
    match engine {
        Engine::Postgres => format!(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = \
             to_regclass({}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            sql::literal(&quoted(engine, table))
        ),
        Engine::MySql => format!(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = database() \
             AND table_name = {} ORDER BY ordinal_position",
            sql::literal(table)
        ),
        Engine::Sqlite => format!("SELECT name, type FROM pragma_table_info({})", sql::literal(table)),
    }
}

/// Which table refers to which, in the words of files' names: with its schema where it needs that.
fn references(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE cn.nspname || '.' END || c.relname, \
             CASE WHEN pg_table_is_visible(f.oid) THEN '' ELSE fn.nspname || '.' END || f.relname FROM pg_constraint k \
             JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
             JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace WHERE k.contype = 'f'"
        }
        Engine::MySql => {
            "SELECT table_name, referenced_table_name FROM information_schema.key_column_usage WHERE table_schema = \
             database() AND referenced_table_name IS NOT NULL"
        }
        Engine::Sqlite => {
            "SELECT m.name, f.\"table\" FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
        }
    }
}

fn failed(file: &str, line: Option<u64>, why: &str) -> Error {
    match line {
        Some(line) => Error::setup(&format!("{file}, line {line}"), None, why),
        None => Error::setup(file, None, why),
    }
}
