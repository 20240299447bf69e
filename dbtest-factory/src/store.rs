//! sqlx: the INSERT, and what the database made of it.

use std::fmt::Write;
use std::ops::DerefMut;
use std::sync::OnceLock;

use sqlx::error::BoxDynError;
use sqlx::{Acquire, Arguments, AssertSqlSafe, ColumnIndex, Database, Executor, IntoArguments, SqlSafeStr};

use crate::error::Error;
use crate::refusal::Refusal;

/// How a row goes into its table and comes back. The derive implements it.
pub trait Columns<DB: Database> {
    type Row: Send;
    const FACTORY: &'static str;
    const TABLE: &'static str;
    /// Each with its number among those that the database generates, if it is one.
    const COLUMNS: &'static [(&'static str, Option<u32>)];
    /// The column that the database counts up.
    const ID: Option<usize>;

    /// The text that inserts one row of which nothing generated is given. It is written once: that costs a good part
    /// of what an INSERT into memory does.
    fn usual() -> &'static OnceLock<String>;
    /// # Errors
    /// The value has no form that goes to the database.
    fn bind(row: &Self::Row, column: usize, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;
    /// # Errors
    /// The column is of another type.
    fn read(row: &mut Self::Row, column: usize, from: &DB::Row, index: usize) -> Result<(), sqlx::Error>;
    fn number(row: &mut Self::Row, number: u64);
}

/// What the engines differ in.
pub trait Engine: Database {
    /// `INSERT … RETURNING`.
    const RETURNING: bool;
    /// How many values one statement takes.
    const VALUES: usize;
    const QUOTE: char;
    /// Placeholders are `$1`, `$2` and not `?`.
    const NUMBERED: bool = false;
    /// Where a number is all that is to be read, [`first`](Engine::first) is cheaper than rows.
    const COUNTS: bool = false;

    /// The number of the first of so many rows of one INSERT, where the engine says it.
    fn first(_: &Self::QueryResult, _rows: usize) -> Option<u64> {
        None
    }

    fn refusal(error: &sqlx::Error, table: &str, columns: &[&str]) -> Refusal;
}

#[cfg(feature = "sqlx-postgres")]
impl Engine for sqlx::Postgres {
    const RETURNING: bool = true;
    const VALUES: usize = 65_535;
    const QUOTE: char = '"';
    const NUMBERED: bool = true;

    fn refusal(error: &sqlx::Error, table: &str, columns: &[&str]) -> Refusal {
        let Some(database) = error.as_database_error() else { return other(error) };
        let postgres = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
        let column = postgres.and_then(|error| error.column());
        let mut message = database.message().to_owned();
        if let Some(detail) = postgres.and_then(|error| error.detail()) {
            message.push_str(" (");
            message.push_str(detail);
            message.push(')');
        }
        Refusal::read(&message, database.constraint(), column, table, columns)
    }
}

#[cfg(feature = "sqlx-mysql")]
impl Engine for sqlx::MySql {
    const RETURNING: bool = false;
    const VALUES: usize = 65_535;
    const QUOTE: char = '`';

    fn first(result: &Self::QueryResult, _rows: usize) -> Option<u64> {
        Some(result.last_insert_id())
    }

    fn refusal(error: &sqlx::Error, table: &str, columns: &[&str]) -> Refusal {
        from_message(error, table, columns)
    }
}

#[cfg(feature = "sqlx-sqlite")]
impl Engine for sqlx::Sqlite {
    const RETURNING: bool = true;
    const VALUES: usize = 32_766;
    const QUOTE: char = '"';
    const COUNTS: bool = true;

    // Each row of one INSERT gets the number behind the highest.
    fn first(result: &Self::QueryResult, rows: usize) -> Option<u64> {
        u64::try_from(result.last_insert_rowid()).ok()?.checked_sub(rows as u64 - 1)
    }

    fn refusal(error: &sqlx::Error, table: &str, columns: &[&str]) -> Refusal {
        from_message(error, table, columns)
    }
}

#[cfg(any(feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
fn from_message(error: &sqlx::Error, table: &str, columns: &[&str]) -> Refusal {
    match error.as_database_error() {
        Some(error) => Refusal::read(error.message(), None, None, table, columns),
        None => other(error),
    }
}

fn other(error: &sqlx::Error) -> Refusal {
    Refusal { message: error.to_string(), ..Refusal::default() }
}

/// A connection from a pool, a connection or a transaction.
///
/// # Errors
/// There is none to be had.
pub async fn acquire<'c, D: Acquire<'c>>(
    factory: &'static str,
    db: D,
) -> Result<impl DerefMut<Target = <D::Database as Database>::Connection> + Send, Error> {
    db.acquire().await.map_err(|error| Error::no_connection(factory, &error.to_string()))
}

/// Inserts the rows, of whose generated columns those in `set` were given, and reads the others.
///
/// # Errors
/// The database refuses them.
pub async fn insert<DB, C>(
    connection: &mut DB::Connection,
    mut rows: Vec<C::Row>,
    set: u64,
) -> Result<Vec<C::Row>, Error>
where
    DB: Engine,
    C: Columns<DB>,
    DB::Arguments: IntoArguments<DB> + Send,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
{
    let given = |bit: &Option<u32>| bit.is_none_or(|bit| set & (1 << bit) != 0);
    let room = || Vec::with_capacity(C::COLUMNS.len());
    let (mut written, mut read) = (room(), room());
    for (at, (_, bit)) in C::COLUMNS.iter().enumerate() {
        if given(bit) { written.push(at) } else { read.push(at) }
    }
    // A table of which everything is generated has no VALUES of several rows.
    let most = if written.is_empty() { 1 } else { DB::VALUES / written.len() };
    for some in rows.chunks_mut(most) {
        let inserted = insert_some::<DB, C>(connection, some, &written, &read, set == 0).await;
        inserted.map_err(|error| {
            let columns: Vec<_> = C::COLUMNS.iter().map(|(name, _)| *name).collect();
            Error::refused(C::FACTORY, C::TABLE, DB::refusal(&error, C::TABLE, &columns))
        })?;
    }
    Ok(rows)
}

async fn insert_some<DB, C>(
    connection: &mut DB::Connection,
    rows: &mut [C::Row],
    written: &[usize],
    read: &[usize],
    usual: bool,
) -> Result<(), sqlx::Error>
where
    DB: Engine,
    C: Columns<DB>,
    DB::Arguments: IntoArguments<DB> + Send,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
{
    let only_number = C::ID.is_some_and(|id| read == [id]);
    let returning = DB::RETURNING && !read.is_empty() && !(DB::COUNTS && only_number);
    let text = || insert_text::<DB, C>(rows.len(), written, if returning { read } else { &[] });
    let sql = if usual && rows.len() == 1 {
        C::usual().get_or_init(text).as_str().into_sql_str()
    } else {
        AssertSqlSafe(text()).into_sql_str()
    };
    let insert = sqlx::query_with(sql, arguments::<DB, C>(rows, written)?);
    if returning {
        let back = match rows.len() {
            1 => vec![insert.fetch_one(connection).await?],
            _ => insert.fetch_all(connection).await?,
        };
        return take::<DB, C>(rows, read, &back);
    }
    let result = insert.execute(&mut *connection).await?;
    if read.is_empty() {
        return Ok(());
    }
    let Some(id) = C::ID else { return Err(no_number::<DB, C>(read)) };
    if read.contains(&id) {
        let Some(first) = DB::first(&result, rows.len()) else { return Err(no_number::<DB, C>(read)) };
        number::<DB, C>(connection, rows, first).await?;
    }
    let others: Vec<_> = read.iter().copied().filter(|column| *column != id).collect();
    if others.is_empty() {
        return Ok(());
    }
    let names = names::<DB, C>;
    let mut select =
        format!("SELECT {} FROM {} WHERE {} IN (", names(&others), table::<DB>(C::TABLE), names(&[id]));
    placeholders::<DB>(&mut select, 0, rows.len());
    select.push_str(&format!(") ORDER BY {}", names(&[id])));
    let select = sqlx::query_with(AssertSqlSafe(select), arguments::<DB, C>(rows, &[id])?);
    let back = select.fetch_all(connection).await?;
    take::<DB, C>(rows, &others, &back)
}

fn insert_text<DB: Engine, C: Columns<DB>>(rows: usize, written: &[usize], returned: &[usize]) -> String {
    let mut sql = format!("INSERT INTO {}", table::<DB>(C::TABLE));
    if written.is_empty() {
        sql.push_str(if DB::RETURNING { " DEFAULT VALUES" } else { " () VALUES ()" });
    } else {
        sql.push_str(&format!(" ({}) VALUES ", names::<DB, C>(written)));
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            placeholders::<DB>(&mut sql, row * written.len(), written.len());
            sql.push(')');
        }
    }
    if !returned.is_empty() {
        sql.push_str(&format!(" RETURNING {}", names::<DB, C>(returned)));
    }
    sql
}

/// `$4, $5, $6`, or `?, ?, ?`.
fn placeholders<DB: Engine>(sql: &mut String, before: usize, count: usize) {
    for n in before + 1..=before + count {
        sql.push_str(if n == before + 1 { "" } else { ", " });
        // Writing into a String does not fail.
        let _ = if DB::NUMBERED { write!(sql, "${n}") } else { sql.write_char('?') };
    }
}

fn arguments<DB: Engine, C: Columns<DB>>(
    rows: &[C::Row],
    columns: &[usize],
) -> Result<DB::Arguments, sqlx::Error> {
    let mut arguments = DB::Arguments::default();
    arguments.reserve(rows.len() * columns.len(), 0);
    for row in rows {
        for column in columns {
            C::bind(row, *column, &mut arguments).map_err(sqlx::Error::Encode)?;
        }
    }
    Ok(arguments)
}

fn take<DB: Engine, C: Columns<DB>>(
    rows: &mut [C::Row],
    read: &[usize],
    back: &[DB::Row],
) -> Result<(), sqlx::Error> {
    if back.len() != rows.len() {
        return Err(sqlx::Error::Protocol(format!(
            "{} rows were inserted, and {} came back",
            rows.len(),
            back.len()
        )));
    }
    for (row, from) in rows.iter_mut().zip(back) {
        for (index, column) in read.iter().enumerate() {
            C::read(row, *column, from, index)?;
        }
    }
    Ok(())
}

/// The numbers of one INSERT follow each other, unless the server has other steps.
async fn number<DB, C>(
    connection: &mut DB::Connection,
    rows: &mut [C::Row],
    first: u64,
) -> Result<(), sqlx::Error>
where
    DB: Engine,
    C: Columns<DB>,
    DB::Arguments: IntoArguments<DB> + Send,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
{
    if rows.len() > 1 && !DB::RETURNING {
        // As text, which every engine's row gives without a type of its own.
        let step_of = "SELECT 1 WHERE @@auto_increment_increment = 1";
        let usual = sqlx::query::<DB>(step_of).fetch_optional(&mut *connection).await?;
        if usual.is_none() {
            let why = "the server's auto_increment_increment is not 1, so the numbers of several rows are not known";
            return Err(sqlx::Error::Protocol(why.to_owned()));
        }
    }
    for (number, row) in (first..).zip(rows) {
        C::number(row, number);
    }
    Ok(())
}

fn no_number<DB: Engine, C: Columns<DB>>(read: &[usize]) -> sqlx::Error {
    sqlx::Error::Protocol(format!(
        "{} can be read back on MySQL only by a number that the database counts up: add such a field `id`, or \
         give the field a default",
        names::<DB, C>(read)
    ))
}

fn names<DB: Engine, C: Columns<DB>>(columns: &[usize]) -> String {
    let quoted = columns.iter().map(|column| quote::<DB>(C::COLUMNS[*column].0));
    quoted.collect::<Vec<_>>().join(", ")
}

/// `books`, or `library.books`.
fn table<DB: Engine>(name: &str) -> String {
    name.split('.').map(quote::<DB>).collect::<Vec<_>>().join(".")
}

fn quote<DB: Engine>(name: &str) -> String {
    let quote = DB::QUOTE;
    format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
}
