//! Every call of SeaORM that the service makes.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, Database, DbErr, DerivePartialModel, EntityTrait,
    FromQueryResult, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationTrait, SqlErr, TransactionTrait,
    raw_sql,
};
use sea_orm_migration::MigratorTrait;
use serde::Serialize;

pub use crate::entity::list::Model as List;
use crate::entity::{activity, item, list, priority};
use crate::error::{Error, Result};
pub use crate::migration::Migrator;

/// The pool that the service works on.
pub type Pool = sea_orm::DatabaseConnection;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel, Serialize)]
#[sea_orm(entity = "item::Entity", from_query_result)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromQueryResult, Serialize)]
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
    let pool = Database::connect(url).await.map_err(failed)?;
    Migrator::up(&pool, None).await.map_err(failed)?;
    Ok(pool)
}

/// All lists, by name.
///
/// # Errors
/// The database failed.
pub async fn lists(pool: &Pool) -> Result<Vec<List>> {
    list::Entity::find().order_by_asc(list::Column::Name).all(pool).await.map_err(failed)
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
    let list = list::ActiveModel { name: Set(name.to_owned()), ..Default::default() };
    list.insert(pool).await.map_err(|error| taken(error, name))
}

/// The items of a list, the most important first.
///
/// # Errors
/// There is no such list.
pub async fn items(pool: &Pool, list: i64) -> Result<Vec<Item>> {
    exists(pool, list).await?;
    item::Entity::find()
        .join(JoinType::InnerJoin, item::Relation::Priority.def())
        .filter(item::Column::ListId.eq(list))
        .order_by_desc(priority::Column::Weight)
        .order_by_asc(item::Column::Id)
        .into_partial_model()
        .all(pool)
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
    let item = item::ActiveModel {
        list_id: Set(list),
        title: Set(title.to_owned()),
        priority: Set(priority.to_owned()),
        remind_at: Set(remind_at),
        done: Set(false),
        ..Default::default()
    };
    let item::Model { id, title, priority, done, .. } =
        item.insert(pool).await.map_err(|error| match error.sql_err() {
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => {
                Error::Invalid(format!("there is no priority {priority:?}"))
            }
            _ => taken(error, title),
        })?;
    Ok(Item { id, title, priority, done })
}

/// Completes an item and writes that down, both or neither.
///
/// # Errors
/// There is no such item, or it is done already.
pub async fn complete(pool: &Pool, item: i64) -> Result<()> {
    let transaction = pool.begin().await.map_err(failed)?;
    record(&transaction, item, "completed").await?;
    let changed = item::Entity::update_many()
        .col_expr(item::Column::Done, Expr::value(true))
        .col_expr(item::Column::RemindAt, Expr::value(None::<i64>))
        .filter(item::Column::Id.eq(item))
        .filter(item::Column::Done.eq(false))
        .exec(&transaction)
        .await
        .map_err(failed)?;
    if changed.rows_affected == 0 {
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
    let transaction = pool.begin().await.map_err(failed)?;
    let due = item::Entity::update_many()
        .col_expr(item::Column::RemindAt, Expr::value(None::<i64>))
        .filter(item::Column::RemindAt.lte(now))
        .exec_with_returning(&transaction)
        .await
        .map_err(failed)?;
    for item in &due {
        record(&transaction, item.id, "reminded").await?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(due.len())
}

/// What happened to an item, in order.
///
/// # Errors
/// The database failed.
pub async fn activity(pool: &Pool, item: i64) -> Result<Vec<String>> {
    let rows = activity::Entity::find()
        .filter(activity::Column::ItemId.eq(item))
        .order_by_asc(activity::Column::Id)
        .all(pool)
        .await
        .map_err(failed)?;
    Ok(rows.into_iter().map(|row| row.what).collect())
}

/// How a list stands.
///
/// # Errors
/// There is no such list.
pub async fn statistics(pool: &Pool, list: i64) -> Result<Statistics> {
    exists(pool, list).await?;
    let statement = raw_sql!(
        Sqlite,
        "SELECT COUNT(*) AS items, COALESCE(SUM(done), 0) AS done, \
         COALESCE(SUM(CASE WHEN done THEN 0 ELSE weight END), 0) AS open_weight \
         FROM item JOIN priority ON priority.code = priority WHERE list_id = {list}"
    );
    let statistics = Statistics::find_by_statement(statement).one(pool).await.map_err(failed)?;
    statistics.ok_or(Error::NotFound)
}

async fn record(connection: &impl ConnectionTrait, item: i64, what: &str) -> Result<()> {
    let activity =
        activity::ActiveModel { item_id: Set(item), what: Set(what.to_owned()), ..Default::default() };
    match activity.insert(connection).await {
        Ok(_) => Ok(()),
        Err(error) => match error.sql_err() {
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Err(Error::NotFound),
            _ => Err(failed(error)),
        },
    }
}

async fn exists(pool: &Pool, list: i64) -> Result<()> {
    let found = list::Entity::find_by_id(list).one(pool).await.map_err(failed)?;
    found.map(drop).ok_or(Error::NotFound)
}

fn failed(error: DbErr) -> Error {
    Error::Database(error.into())
}

fn taken(error: DbErr, name: &str) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::Conflict(name.to_owned()),
        _ => failed(error),
    }
}
