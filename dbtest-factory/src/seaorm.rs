//! SeaORM: through the active model, so that its own behaviour applies.

use sea_orm::sea_query::{IntoValueTuple, Value, ValueTuple};
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityName,
    EntityTrait, IdenStatic, IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter,
    QueryOrder,
};

use crate::error::Error;
use crate::refusal::Refusal;

type ActiveOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::ActiveModel;
type ColumnOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::Column;
type KeyOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::PrimaryKey;

/// Inserts the rows, of whose generated columns those in `set` were given, and reads the others.
///
/// # Errors
/// The database refuses them.
pub async fn insert<M, C>(
    db: &C,
    factory: &'static str,
    rows: Vec<M>,
    set: u64,
    generated: &[&str],
    number: fn(&mut M, u64),
) -> Result<Vec<M>, Error>
where
    C: ConnectionTrait,
    M: ModelTrait + IntoActiveModel<ActiveOf<M>> + Send + Sync,
    M::Entity: EntityTrait<Model = M>,
    ActiveOf<M>: ActiveModelTrait<Entity = M::Entity> + ActiveModelBehavior + Send,
{
    let refused = |error: DbErr| {
        let names: Vec<_> = ColumnOf::<M>::iter().map(|column| column.as_str().to_owned()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let table = <M::Entity as Default>::default().table_name().to_owned();
        Error::refused(factory, &table, Refusal::read(&plain(&error), None, None, &table, &names))
    };
    let open: Vec<_> =
        (0..).zip(generated).filter(|(bit, _)| set & (1 << bit) == 0).map(|(_, name)| *name).collect();
    let actives: Vec<_> = rows.iter().map(|row| active(row.clone(), &open)).collect();
    insert_all(db, rows, actives, &open, number).await.map_err(refused)
}

fn active<M>(row: M, open: &[&str]) -> ActiveOf<M>
where
    M: ModelTrait + IntoActiveModel<ActiveOf<M>>,
    ActiveOf<M>: ActiveModelTrait<Entity = M::Entity>,
{
    let mut active = row.into_active_model().reset_all();
    for column in ColumnOf::<M>::iter().filter(|column| open.contains(&column.as_str())) {
        active.not_set(column);
    }
    active
}

async fn insert_all<M, C>(
    db: &C,
    mut rows: Vec<M>,
    mut actives: Vec<ActiveOf<M>>,
    open: &[&str],
    number: fn(&mut M, u64),
) -> Result<Vec<M>, DbErr>
where
    C: ConnectionTrait,
    M: ModelTrait + IntoActiveModel<ActiveOf<M>> + Send + Sync,
    M::Entity: EntityTrait<Model = M>,
    ActiveOf<M>: ActiveModelTrait<Entity = M::Entity> + ActiveModelBehavior + Send,
{
    if actives.len() == 1
        && let Some(active) = actives.pop()
    {
        return Ok(vec![active.insert(db).await?]);
    }
    let mut ready = Vec::with_capacity(actives.len());
    for active in actives {
        ready.push(active.before_save(db, true).await?);
    }
    let count = ready.len() as u64;
    let insert = M::Entity::insert_many(ready);
    let made = if db.support_returning() {
        insert.exec_with_returning(db).await?
    } else if open.is_empty() {
        insert.exec_without_returning(db).await?;
        rows
    } else {
        let result = insert.exec(db).await?;
        let counted = result.last_insert_id.and_then(|id| single(id.into_value_tuple()));
        let Some(counted) = counted else {
            let why = "this engine says what it generates only by one number that it counts up; give the columns \
                       defaults, or create the rows one by one";
            return Err(DbErr::Custom(why.to_owned()));
        };
        // MySQL says the first number of a statement, SQLite the last.
        let first =
            if db.get_database_backend() == DbBackend::Sqlite { counted + 1 - count } else { counted };
        let column = KeyOf::<M>::iter().next().map(PrimaryKeyToColumn::into_column);
        let only_key = column.as_ref().is_some_and(|column| open == [column.as_str()]);
        match column {
            Some(column) if !only_key => {
                let between = column.between(first as i64, (first + count - 1) as i64);
                M::Entity::find().filter(between).order_by_asc(column).all(db).await?
            }
            _ => {
                (first..).zip(&mut rows).for_each(|(id, row)| number(row, id));
                rows
            }
        }
    };
    let mut after = Vec::with_capacity(made.len());
    for model in made {
        after.push(ActiveOf::<M>::after_save(model, db, true).await?);
    }
    Ok(after)
}

/// The key, if it is one number.
fn single(key: ValueTuple) -> Option<u64> {
    let ValueTuple::One(value) = key else { return None };
    match value {
        Value::Int(Some(number)) => number.try_into().ok(),
        Value::BigInt(Some(number)) => number.try_into().ok(),
        Value::Unsigned(Some(number)) => Some(number.into()),
        Value::BigUnsigned(Some(number)) => Some(number),
        Value::SmallInt(Some(number)) => number.try_into().ok(),
        _ => None,
    }
}

/// The database's message, without the layers around it.
fn plain(error: &DbErr) -> String {
    let text = error.to_string();
    let start = text
        .rfind("error returned from database: ")
        .map_or(0, |at| at + "error returned from database: ".len());
    text[start..].to_owned()
}
