//! SeaORM: the active model's `insert` for one row, the entity's `insert_many` for many.

use dbtest_factory::Factory;
use dbtest_seaorm::{SeaOrmMySql, SeaOrmPostgres};
use sea_orm::entity::prelude::*;
use sea_orm::{ConnectOptions, Database, DbBackend, NotSet, Set};

use crate::{Inserts, MANY, Size, Way, check, compare, create, open};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Factory)]
#[sea_orm(table_name = "bench_item")]
#[factory(seaorm)]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[factory(sequence = "item{n}@example.com")]
    pub email: String,
    #[factory(default = "normal")]
    pub priority: String,
    pub done: bool,
    pub weight: i64,
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn item(n: usize) -> Model {
    let (email, priority) = (format!("item{n}@example.com"), "normal".to_owned());
    Model { id: 0, email, priority, done: false, weight: 0, note: None }
}

fn active(item: &Model) -> ActiveModel {
    ActiveModel {
        id: NotSet,
        email: Set(item.email.clone()),
        priority: Set(item.priority.clone()),
        done: Set(item.done),
        weight: Set(item.weight),
        note: Set(item.note.clone()),
    }
}

async fn many(db: &DatabaseConnection, mut items: Vec<Model>) -> crate::Result<Vec<Model>> {
    let insert = Entity::insert_many(items.iter().map(active));
    if db.support_returning() {
        return Ok(insert.exec_with_returning(db).await?);
    }
    let said = insert.exec(db).await?.last_insert_id.ok_or("no number")?;
    // MySQL says the first number of a statement, SQLite the last.
    let first = if db.get_database_backend() == DbBackend::Sqlite { said + 1 - MANY as i64 } else { said };
    (first..).zip(&mut items).for_each(|(id, item)| item.id = id);
    Ok(items)
}

impl Inserts for &DatabaseConnection {
    async fn clear(&mut self) -> crate::Result<()> {
        Entity::delete_many().exec(*self).await?;
        Ok(())
    }

    async fn insert(&mut self, way: Way, size: Size) -> crate::Result<()> {
        let items = match (way, size) {
            (Way::Bare, Size::One) => vec![active(&item(1)).insert(*self).await?],
            (Way::Bare, Size::Many) => many(self, (1..=MANY).map(item).collect()).await?,
            (Way::Factory, Size::One) => vec![Model::factory().create(*self).await?],
            (Way::Factory, Size::Many) => Model::factory().create_many(MANY, *self).await?,
        };
        check(&items, |item| item.id, size)
    }
}

pub(crate) async fn all() -> crate::Result<Vec<String>> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).test_before_acquire(false).sqlx_logging(false);
    let sqlite = Database::connect(options).await?;
    sqlite.execute_unprepared(&create("SQLite")).await?;
    let mut missed = compare("SQLite", "SeaORM", &sqlite).await?;
    let db = open::<SeaOrmPostgres>("Postgres").await?;
    missed.extend(compare("Postgres", "SeaORM", db.handle()).await?);
    db.close().await?;
    let db = open::<SeaOrmMySql>("MySQL").await?;
    missed.extend(compare("MySQL", "SeaORM", db.handle()).await?);
    db.close().await?;
    Ok(missed)
}
