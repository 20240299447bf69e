//! Every call of Diesel that the service makes.

use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager};
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::BigInt;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::schema::{activity, item, list, priority};

/// The pool that the service works on.
pub type Pool = r2d2::Pool<ConnectionManager<SqliteConnection>>;

/// The migrations, embedded in the program.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// A list of items.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Serialize)]
pub struct List {
    /// Its number.
    pub id: i64,
    /// Its name; no two have the same.
    pub name: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Serialize)]
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

/// Connects to the database and migrates it.
///
/// # Errors
/// The database can't be opened or migrated.
pub async fn connect(url: &str) -> Result<Pool> {
    let pool = Pool::new(ConnectionManager::new(url)).map_err(|error| Error::Database(error.into()))?;
    run(&pool, |connection| connection.run_pending_migrations(MIGRATIONS).map(drop).map_err(Error::Database))
        .await?;
    Ok(pool)
}

/// All lists, by name.
///
/// # Errors
/// The database failed.
pub async fn lists(pool: &Pool) -> Result<Vec<List>> {
    run(pool, |connection| Ok(list::table.order(list::name).load(connection)?)).await
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
    let name = name.to_owned();
    run(pool, move |connection| {
        diesel::insert_into(list::table)
            .values(list::name.eq(&name))
            .get_result(connection)
            .map_err(|error| taken(error, &name))
    })
    .await
}

/// The items of a list, the most important first.
///
/// # Errors
/// There is no such list.
pub async fn items(pool: &Pool, list: i64) -> Result<Vec<Item>> {
    run(pool, move |connection| {
        exists(connection, list)?;
        let items = item::table
            .inner_join(priority::table)
            .filter(item::list_id.eq(list))
            .order((priority::weight.desc(), item::id))
            .select(ITEM)
            .load(connection)?;
        Ok(items)
    })
    .await
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
    let (title, priority) = (title.to_owned(), priority.to_owned());
    run(pool, move |connection| {
        exists(connection, list)?;
        diesel::insert_into(item::table)
            .values((
                item::list_id.eq(list),
                item::title.eq(&title),
                item::priority.eq(&priority),
                item::remind_at.eq(remind_at),
            ))
            .returning(ITEM)
            .get_result(connection)
            .map_err(|error| match error {
                diesel::result::Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
                    Error::Invalid(format!("there is no priority {priority:?}"))
                }
                error => taken(error, &title),
            })
    })
    .await
}

/// Completes an item and writes that down, both or neither.
///
/// # Errors
/// There is no such item, or it is done already.
pub async fn complete(pool: &Pool, item: i64) -> Result<()> {
    run(pool, move |connection| {
        connection.transaction(|connection| {
            record(connection, item, "completed")?;
            let open = item::table.filter(item::id.eq(item).and(item::done.eq(false)));
            let changed = diesel::update(open)
                .set((item::done.eq(true), item::remind_at.eq(None::<i64>)))
                .execute(connection)?;
            if changed == 0 {
                // What was written down goes with the transaction.
                return Err(Error::Conflict(format!("completed item {item}")));
            }
            Ok(())
        })
    })
    .await
}

/// Writes a reminder for each item whose time has come, and returns how many there were.
///
/// # Errors
/// The database failed.
pub async fn remind(pool: &Pool, now: i64) -> Result<usize> {
    run(pool, move |connection| {
        connection.transaction(|connection| {
            let due: Vec<i64> = diesel::update(item::table.filter(item::remind_at.le(now)))
                .set(item::remind_at.eq(None::<i64>))
                .returning(item::id)
                .get_results(connection)?;
            for item in &due {
                record(connection, *item, "reminded")?;
            }
            Ok(due.len())
        })
    })
    .await
}

/// What happened to an item, in order.
///
/// # Errors
/// The database failed.
pub async fn activity(pool: &Pool, item: i64) -> Result<Vec<String>> {
    run(pool, move |connection| {
        let what = activity::table
            .filter(activity::item_id.eq(item))
            .order(activity::id)
            .select(activity::what)
            .load(connection)?;
        Ok(what)
    })
    .await
}

/// How a list stands.
///
/// # Errors
/// There is no such list.
pub async fn statistics(pool: &Pool, list: i64) -> Result<Statistics> {
    run(pool, move |connection| {
        exists(connection, list)?;
        let statistics = diesel::sql_query(
            "SELECT COUNT(*) AS items, COALESCE(SUM(done), 0) AS done, \
             COALESCE(SUM(CASE WHEN done THEN 0 ELSE weight END), 0) AS open_weight \
             FROM item JOIN priority ON priority.code = priority WHERE list_id = ?",
        )
        .bind::<BigInt, _>(list)
        .get_result(connection)?;
        Ok(statistics)
    })
    .await
}

/// The columns of an [`Item`].
const ITEM: (item::id, item::title, item::priority, item::done) =
    (item::id, item::title, item::priority, item::done);

/// Diesel blocks, so it works on a thread where it may.
async fn run<T: Send + 'static>(
    pool: &Pool,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let pool = pool.clone();
    let working = tokio::task::spawn_blocking(move || {
        let mut connection = pool.get().map_err(|error| Error::Database(error.into()))?;
        work(&mut connection)
    });
    working.await.map_err(|error| Error::Database(error.into()))?
}

fn record(connection: &mut SqliteConnection, item: i64, what: &str) -> Result<()> {
    let written = diesel::insert_into(activity::table)
        .values((activity::item_id.eq(item), activity::what.eq(what)))
        .execute(connection);
    match written {
        Ok(_) => Ok(()),
        Err(diesel::result::Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
            Err(Error::NotFound)
        }
        Err(error) => Err(error.into()),
    }
}

fn exists(connection: &mut SqliteConnection, list: i64) -> Result<()> {
    let found: Option<i64> = list::table.find(list).select(list::id).first(connection).optional()?;
    found.map(drop).ok_or(Error::NotFound)
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

fn taken(error: diesel::result::Error, name: &str) -> Error {
    match error {
        diesel::result::Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
            Error::Conflict(name.to_owned())
        }
        error => error.into(),
    }
}
