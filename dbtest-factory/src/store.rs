//! sqlx: the INSERT, and what the database made of it.

use std::ops::DerefMut;

use sqlx::query_builder::Separated;
use sqlx::{Acquire, ColumnIndex, Database, Executor, IntoArguments, QueryBuilder};

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

    fn bind(row: &Self::Row, column: usize, values: &mut Separated<'_, DB, &'static str>);
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
    rows: Vec<C::Row>,
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
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for (at, (_, bit)) in C::COLUMNS.iter().enumerate() {
        if given(bit) { written.push(at) } else { read.push(at) }
    }
    // A table of which everything is generated has no VALUES of several rows.
    let most = if written.is_empty() { 1 } else { DB::VALUES / written.len() };
    let mut done = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut some: Vec<_> = rows.by_ref().take(most).collect();
        let inserted = insert_some::<DB, C>(connection, &mut some, &written, &read).await;
        inserted.map_err(|error| {
            let columns: Vec<_> = C::COLUMNS.iter().map(|(name, _)| *name).collect();
            Error::refused(C::FACTORY, C::TABLE, DB::refusal(&error, C::TABLE, &columns))
        })?;
        done.append(&mut some);
    }
    Ok(done)
}

async fn insert_some<DB, C>(
    connection: &mut DB::Connection,
    rows: &mut [C::Row],
    written: &[usize],
    read: &[usize],
) -> Result<(), sqlx::Error>
where
    DB: Engine,
    C: Columns<DB>,
    DB::Arguments: IntoArguments<DB> + Send,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut insert = QueryBuilder::<DB>::new("INSERT INTO ");
    insert.push(table::<DB>(C::TABLE));
    if written.is_empty() {
        insert.push(if DB::RETURNING { " DEFAULT VALUES" } else { " () VALUES ()" });
    } else {
        insert.push(format!(" ({}) ", names::<DB, C>(written)));
        insert.push_values(rows.iter(), |mut values, row| {
            for column in written {
                C::bind(row, *column, &mut values);
            }
        });
    }
    if read.is_empty() {
        insert.build().execute(connection).await?;
        return Ok(());
    }
    let only_number = C::ID.is_some_and(|id| read == [id]);
    if DB::RETURNING && !(DB::COUNTS && only_number) {
        insert.push(format!(" RETURNING {}", names::<DB, C>(read)));
        let back = match rows.len() {
            1 => vec![insert.build().fetch_one(connection).await?],
            _ => insert.build().fetch_all(connection).await?,
        };
        return take::<DB, C>(rows, read, &back);
    }
    let result = insert.build().execute(&mut *connection).await?;
    let Some(id) = C::ID else { return Err(no_number::<DB, C>(read)) };
    if read.contains(&id) {
        let Some(first) = DB::first(&result, rows.len()) else { return Err(no_number::<DB, C>(read)) };
        number::<DB, C>(connection, rows, first).await?;
    }
    let others: Vec<_> = read.iter().copied().filter(|column| *column != id).collect();
    if others.is_empty() {
        return Ok(());
    }
    let mut select = QueryBuilder::<DB>::new("SELECT ");
    select.push(format!(
        "{} FROM {} WHERE {} IN (",
        names::<DB, C>(&others),
        table::<DB>(C::TABLE),
        names::<DB, C>(&[id])
    ));
    let mut ids = select.separated(", ");
    for row in rows.iter() {
        C::bind(row, id, &mut ids);
    }
    select.push(format!(") ORDER BY {}", names::<DB, C>(&[id])));
    let back = select.build().fetch_all(connection).await?;
    take::<DB, C>(rows, &others, &back)
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
        let usual = QueryBuilder::<DB>::new(step_of).build().fetch_optional(&mut *connection).await?;
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
