//! Every call of diesel-async that the service makes.

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::BigInt;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use schema::{activity, item, list, priority};
use serde::Serialize;

use crate::error::{Error, Result};

/// A connection to the database.
pub type Connection = SyncConnectionWrapper<SqliteConnection>;

/// The pool that the service works on.
pub type Pool = bb8::Pool<Connection>;

/// The migrations, embedded in the program.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// The tables, as Diesel knows them.
#[allow(missing_docs, unreachable_pub)]
pub mod schema {
    diesel::table! {
        list (id) {
            id -> BigInt,
            name -> Text,
        }
    }

    diesel::table! {
        priority (code) {
            code -> Text,
            weight -> BigInt,
        }
    }

    diesel::table! {
        item (id) {
            id -> BigInt,
            list_id -> BigInt,
            title -> Text,
            priority -> Text,
            done -> Bool,
            remind_at -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        activity (id) {
            id -> BigInt,
            item_id -> BigInt,
            what -> Text,
        }
    }

    diesel::joinable!(item -> priority (priority));
    diesel::allow_tables_to_appear_in_same_query!(item, priority);
}

/// A list of items.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Serialize)]
#[diesel(table_name = list)]
pub struct List {
    /// Its number.
    pub id: i64,
    /// Its name; no two have the same.
    pub name: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Serialize)]
#[diesel(table_name = item)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName, Serialize)]
pub struct Statistics {
    /// All items.
    #[diesel(sql_type = BigInt)]
    pub items: i64,
    /// Those that are done.
    #[diesel(sql_type = BigInt)]
    pub done: i64,
    /// What is open, by the weight of its priority.
    #[diesel(sql_type = BigInt)]
    pub open_weight: i64,
}

/// Connects to the database and migrates it, on a runtime with threads.
///
/// # Errors
/// The database can't be opened or migrated.
pub async fn connect(url: &str) -> Result<Pool> {
    let manager = AsyncDieselConnectionManager::new(url);
    let pool = Pool::builder().build(manager).await.map_err(|error| Error::Database(error.into()))?;
    let connection = pool.dedicated_connection().await.map_err(|error| Error::Database(error.into()))?;
    AsyncMigrationHarness::new(connection).run_pending_migrations(MIGRATIONS).map_err(Error::Database)?;
    Ok(pool)
}

/// All lists, by name.
///
/// # Errors
/// The database failed.
pub async fn lists(pool: &Pool) -> Result<Vec<List>> {
    let mut connection = take(pool).await?;
    Ok(list::table.select(List::as_select()).order(list::name).load(&mut *connection).await?)
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
    let mut connection = take(pool).await?;
    diesel::insert_into(list::table)
        .values(list::name.eq(name))
        .returning(List::as_returning())
        .get_result(&mut *connection)
        .await
        .map_err(|error| taken(error, name))
}

/// The items of a list, the most important first.
///
/// # Errors
/// There is no such list.
pub async fn items(pool: &Pool, list: i64) -> Result<Vec<Item>> {
    let mut connection = take(pool).await?;
    exists(&mut connection, list).await?;
    let items = item::table
        .inner_join(priority::table)
        .filter(item::list_id.eq(list))
        .order((priority::weight.desc(), item::id))
        .select(Item::as_select());
    Ok(items.load(&mut *connection).await?)
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
    let mut connection = take(pool).await?;
    exists(&mut connection, list).await?;
    diesel::insert_into(item::table)
        .values((
            item::list_id.eq(list),
            item::title.eq(title),
            item::priority.eq(priority),
            item::remind_at.eq(remind_at),
        ))
        .returning(Item::as_returning())
        .get_result(&mut *connection)
        .await
        .map_err(|error| match error {
            DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
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
    let mut connection = take(pool).await?;
    let transaction = connection.transaction(async |connection| {
        record(connection, item, "completed").await?;
        let changed = diesel::update(item::table.find(item).filter(item::done.eq(false)))
            .set((item::done.eq(true), item::remind_at.eq(None::<i64>)))
            .execute(connection)
            .await?;
        if changed == 0 {
            // What was written down goes with the transaction.
            return Err(Error::Conflict(format!("completed item {item}")));
        }
        Ok(())
    });
    transaction.await
}

/// Writes a reminder for each item whose time has come, and returns how many there were.
///
/// # Errors
/// The database failed.
pub async fn remind(pool: &Pool, now: i64) -> Result<usize> {
    let mut connection = take(pool).await?;
    let transaction = connection.transaction(async |connection| {
        let due: Vec<i64> = diesel::update(item::table.filter(item::remind_at.le(now)))
            .set(item::remind_at.eq(None::<i64>))
            .returning(item::id)
            .get_results(connection)
            .await?;
        for item in &due {
            record(connection, *item, "reminded").await?;
        }
        Ok(due.len())
    });
    transaction.await
}

/// What happened to an item, in order.
///
/// # Errors
/// The database failed.
pub async fn activity(pool: &Pool, item: i64) -> Result<Vec<String>> {
    let mut connection = take(pool).await?;
    let activity = activity::table.filter(activity::item_id.eq(item)).order(activity::id);
    Ok(activity.select(activity::what).load(&mut *connection).await?)
}

/// How a list stands.
///
/// # Errors
/// There is no such list.
pub async fn statistics(pool: &Pool, list: i64) -> Result<Statistics> {
    let mut connection = take(pool).await?;
    exists(&mut connection, list).await?;
    let statistics = diesel::sql_query(
        "SELECT COUNT(*) AS items, COALESCE(SUM(done), 0) AS done, \
         COALESCE(SUM(CASE WHEN done THEN 0 ELSE weight END), 0) AS open_weight \
         FROM item JOIN priority ON priority.code = priority WHERE list_id = $1",
    )
    .bind::<BigInt, _>(list);
    Ok(statistics.get_result(&mut *connection).await?)
}

async fn record(connection: &mut Connection, item: i64, what: &str) -> Result<()> {
    let written = diesel::insert_into(activity::table)
        .values((activity::item_id.eq(item), activity::what.eq(what)))
        .execute(connection)
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => Err(Error::NotFound),
        Err(error) => Err(error.into()),
    }
}

async fn exists(connection: &mut Connection, list: i64) -> Result<()> {
    let found: Option<i64> = list::table.find(list).select(list::id).first(connection).await.optional()?;
    found.map(drop).ok_or(Error::NotFound)
}

async fn take(pool: &Pool) -> Result<bb8::PooledConnection<'_, Connection>> {
    pool.get().await.map_err(|error| Error::Database(error.into()))
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        Self::Database(error.into())
    }
}

fn taken(error: DieselError, name: &str) -> Error {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Error::Conflict(name.to_owned()),
        _ => error.into(),
    }
}
