//! sqlx: a statement that is written out for one row, and its `QueryBuilder` for many.

use dbtest_factory::Factory;
use dbtest_sqlx::{SqlxMySql, SqlxPostgres};
use sqlx::query_builder::QueryBuilder;
use sqlx::{Connection, MySqlConnection, PgConnection, SqliteConnection};

use crate::{Inserts, MANY, Result, Size, Way, check, compare, create, open};

/// The numbers of so many rows of one INSERT, as each engine says them best.
trait Numbered: sqlx::Database {
    const ONE: &'static str;
    async fn one(
        item: sqlx::query::Query<'_, Self, Self::Arguments>,
        on: &mut Self::Connection,
    ) -> Result<i64>;
    async fn many(insert: QueryBuilder<Self>, on: &mut Self::Connection, rows: usize) -> Result<Vec<i64>>;
}

impl Numbered for sqlx::Postgres {
    const ONE: &'static str = "INSERT INTO bench_item (email, priority, done, weight, note) VALUES ($1, $2, $3, $4, $5) RETURNING id";

    async fn one(item: sqlx::query::Query<'_, Self, Self::Arguments>, on: &mut PgConnection) -> Result<i64> {
        Ok(sqlx::Row::try_get(&item.fetch_one(on).await?, 0)?)
    }

    async fn many(mut insert: QueryBuilder<Self>, on: &mut PgConnection, _: usize) -> Result<Vec<i64>> {
        insert.push(" RETURNING id");
        Ok(insert.build_query_scalar().fetch_all(on).await?)
    }
}

impl Numbered for sqlx::MySql {
    const ONE: &'static str =
        "INSERT INTO bench_item (email, priority, done, weight, note) VALUES (?, ?, ?, ?, ?)";

    async fn one(
        item: sqlx::query::Query<'_, Self, Self::Arguments>,
        on: &mut MySqlConnection,
    ) -> Result<i64> {
        Ok(item.execute(on).await?.last_insert_id() as i64)
    }

    async fn many(mut insert: QueryBuilder<Self>, on: &mut MySqlConnection, rows: usize) -> Result<Vec<i64>> {
        let first = insert.build().execute(on).await?.last_insert_id() as i64;
        Ok((first..first + rows as i64).collect())
    }
}

impl Numbered for sqlx::Sqlite {
    const ONE: &'static str =
        "INSERT INTO bench_item (email, priority, done, weight, note) VALUES (?, ?, ?, ?, ?)";

    async fn one(
        item: sqlx::query::Query<'_, Self, Self::Arguments>,
        on: &mut SqliteConnection,
    ) -> Result<i64> {
        Ok(item.execute(on).await?.last_insert_rowid())
    }

    async fn many(
        mut insert: QueryBuilder<Self>,
        on: &mut SqliteConnection,
        rows: usize,
    ) -> Result<Vec<i64>> {
        let last = insert.build().execute(on).await?.last_insert_rowid();
        Ok((last - rows as i64 + 1..=last).collect())
    }
}

macro_rules! on {
    ($module:ident, $engine:ident, $database:ty, $connection:ty) => {
        mod $module {
            use super::*;

            #[derive(Clone, Debug, Factory)]
            #[factory(table = "bench_item", sqlx($engine))]
            struct Item {
                id: i64,
                #[factory(sequence = "item{n}@example.com")]
                email: String,
                #[factory(default = "normal")]
                priority: String,
                done: bool,
                weight: i64,
                note: Option<String>,
            }

            fn item(n: usize) -> Item {
                let (email, priority) = (format!("item{n}@example.com"), "normal".to_owned());
                Item { id: 0, email, priority, done: false, weight: 0, note: None }
            }

            async fn one(on: &mut $connection, mut item: Item) -> Result<Item> {
                let insert = sqlx::query(<$database>::ONE).bind(&item.email).bind(&item.priority);
                let insert = insert.bind(item.done).bind(item.weight).bind(&item.note);
                item.id = <$database>::one(insert, on).await?;
                Ok(item)
            }

            async fn many(on: &mut $connection, mut items: Vec<Item>) -> Result<Vec<Item>> {
                let mut insert =
                    QueryBuilder::new("INSERT INTO bench_item (email, priority, done, weight, note) ");
                insert.push_values(&items, |mut values, item| {
                    values.push_bind(&item.email).push_bind(&item.priority);
                    values.push_bind(item.done).push_bind(item.weight).push_bind(&item.note);
                });
                let ids = <$database>::many(insert, on, items.len()).await?;
                items.iter_mut().zip(ids).for_each(|(item, id)| item.id = id);
                Ok(items)
            }

            impl Inserts for &mut $connection {
                async fn clear(&mut self) -> Result<()> {
                    sqlx::query("DELETE FROM bench_item").execute(&mut **self).await?;
                    Ok(())
                }

                async fn insert(&mut self, way: Way, size: Size) -> Result<()> {
                    let items = match (way, size) {
                        (Way::Bare, Size::One) => vec![one(self, item(1)).await?],
                        (Way::Bare, Size::Many) => many(self, (1..=MANY).map(item).collect()).await?,
                        (Way::Factory, Size::One) => vec![Item::factory().create(&mut **self).await?],
                        (Way::Factory, Size::Many) => Item::factory().create_many(MANY, &mut **self).await?,
                    };
                    check(&items, |item| item.id, size)
                }
            }
        }
    };
}

on!(on_sqlite, sqlite, sqlx::Sqlite, SqliteConnection);
on!(on_postgres, postgres, sqlx::Postgres, PgConnection);
on!(on_mysql, mysql, sqlx::MySql, MySqlConnection);

pub(crate) async fn all() -> Result<Vec<String>> {
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(create("SQLite"))).execute(&mut sqlite).await?;
    let mut missed = compare("SQLite", "sqlx", &mut sqlite).await?;
    let db = open::<SqlxPostgres>("Postgres").await?;
    missed.extend(compare("Postgres", "sqlx", &mut *db.handle().acquire().await?).await?);
    db.close().await?;
    let db = open::<SqlxMySql>("MySQL").await?;
    missed.extend(compare("MySQL", "sqlx", &mut *db.handle().acquire().await?).await?);
    db.close().await?;
    Ok(missed)
}
