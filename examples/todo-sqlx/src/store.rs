//! Every call of sqlx that the service makes.

use serde::Serialize;
use sqlx::FromRow;
use sqlx::migrate::Migrator;

use crate::error::{Error, Result};

/// The pool that the service works on.
pub type Pool = sqlx::SqlitePool;

/// The migrations, embedded in the program.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// A list of items.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct List {
    /// Its number.
    pub id: i64,
    /// Its name; no two have the same.
    pub name: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// What is to be done.
    pub title: String,
    /// `low`, `normal` or `high`.
    pub priority: String,
    /// Whether it is done.
    pub done: bool,
}

/// How a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct Statistics {
    /// All items.
    pub items: i64,
    /// Those that are done.
    pub done: i64,
    /// What is open, by the weight of its priority.
    pub open_weight: i64,
}

/// Connects to the database and migrates it.
///
/// # Errors
/// The database can't be opened or migrated.
pub async fn connect(url: &str) -> Result<Pool> {
    let pool = Pool::connect(url).await.map_err(failed)?;
    MIGRATOR.run(&pool).await.map_err(|error| Error::Database(error.into()))?;
    Ok(pool)
}

/// All lists, by name.
///
/// # Errors
/// The database failed.
pub async fn lists(pool: &Pool) -> Result<Vec<List>> {
    sqlx::query_as("SELECT id, name FROM list ORDER BY name").fetch_all(pool).await.map_err(failed)
}

/// Makes a list.
///
/// # Errors
/// There is a list of this name.
///
/// # Panics
/// On an empty name: it is the caller's to check what a client sends.
pub async fn create_list(pool: &Pool, name: &str) -> Result<List> {
    assert!(!name.is_empty(), "a list has a name");
    sqlx::query_as("INSERT INTO list (name) VALUES ($1) RETURNING id, name")
        .bind(name)
        .fetch_one(pool)
        .await
        .map_err(|error| taken(error, name))
}

/// The items of a list, the most important first.
///
/// # Errors
/// There is no such list.
pub async fn items(pool: &Pool, list: i64) -> Result<Vec<Item>> {
    exists(pool, list).await?;
    sqlx::query_as(
        "SELECT item.id, title, priority, done FROM item JOIN priority ON priority.code = priority \
         WHERE list_id = $1 ORDER BY weight DESC, item.id",
    )
    .bind(list)
    .fetch_all(pool)
    .await
    .map_err(failed)
}

/// Adds an item to a list.
///
/// # Errors
/// There is no such list or priority, or the list has an item of this title.
pub async fn add_item(
    pool: &Pool,
    list: i64,
    title: &str,
    priority: &str,
    remind_at: Option<i64>,
) -> Result<Item> {
    exists(pool, list).await?;
    sqlx::query_as(
        "INSERT INTO item (list_id, title, priority, remind_at) VALUES ($1, $2, $3, $4) \
         RETURNING id, title, priority, done",
    )
    .bind(list)
    .bind(title)
    .bind(priority)
    .bind(remind_at)
    .fetch_one(pool)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(database) if database.is_foreign_key_violation() => {
            Error::Invalid(format!("there is no priority {priority:?}"))
        }
        _ => taken(error, title),
    })
}

/// Completes an item and writes that down, both or neither.
///
/// # Errors
/// There is no such item, or it is done already.
pub async fn complete(pool: &Pool, item: i64) -> Result<()> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    record(&mut transaction, item, "completed").await?;
    let changed = sqlx::query("UPDATE item SET done = TRUE, remind_at = NULL WHERE id = $1 AND NOT done")
        .bind(item)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    if changed.rows_affected() == 0 {
        // What was written down goes with the transaction.
        return Err(Error::Conflict(format!("completed item {item}")));
    }
    transaction.commit().await.map_err(failed)
}

/// Writes a reminder for each item whose time has come, and returns how many there were.
///
/// # Errors
/// The database failed.
pub async fn remind(pool: &Pool, now: i64) -> Result<usize> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let due: Vec<i64> =
        sqlx::query_scalar("UPDATE item SET remind_at = NULL WHERE remind_at <= $1 RETURNING id")
            .bind(now)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
    for item in &due {
        record(&mut transaction, *item, "reminded").await?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(due.len())
}

/// What happened to an item, in order.
///
/// # Errors
/// The database failed.
pub async fn activity(pool: &Pool, item: i64) -> Result<Vec<String>> {
    sqlx::query_scalar("SELECT what FROM activity WHERE item_id = $1 ORDER BY id")
        .bind(item)
        .fetch_all(pool)
        .await
        .map_err(failed)
}

/// How a list stands.
///
/// # Errors
/// There is no such list.
pub async fn statistics(pool: &Pool, list: i64) -> Result<Statistics> {
    exists(pool, list).await?;
    sqlx::query_as(
        "SELECT COUNT(*) AS items, COALESCE(SUM(done), 0) AS done, \
         COALESCE(SUM(CASE WHEN done THEN 0 ELSE weight END), 0) AS open_weight \
         FROM item JOIN priority ON priority.code = priority WHERE list_id = $1",
    )
    .bind(list)
    .fetch_one(pool)
    .await
    .map_err(failed)
}

async fn record(connection: &mut sqlx::SqliteConnection, item: i64, what: &str) -> Result<()> {
    let written = sqlx::query("INSERT INTO activity (item_id, what) VALUES ($1, $2)")
        .bind(item)
        .bind(what)
        .execute(connection)
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Err(Error::NotFound),
        Err(error) => Err(failed(error)),
    }
}

async fn exists(pool: &Pool, list: i64) -> Result<()> {
    let found = sqlx::query("SELECT 1 FROM list WHERE id = $1").bind(list).fetch_optional(pool).await;
    found.map_err(failed)?.map(drop).ok_or(Error::NotFound)
}

fn failed(error: sqlx::Error) -> Error {
    Error::Database(error.into())
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => Error::Conflict(name.to_owned()),
        _ => failed(error),
    }
}
