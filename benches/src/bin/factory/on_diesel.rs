//! Diesel and diesel-async: `insert_into` with one row of values, and with many.

use dbtest_diesel::asynchronous::{DieselAsyncMySql, DieselAsyncPostgres};
use dbtest_diesel::{DieselMySql, DieselPostgres};
use dbtest_factory::Factory;
use diesel::{
    Connection, ExpressionMethods as _, MysqlConnection, PgConnection, SqliteConnection, insert_into, select,
};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection};

use crate::{Inserts, MANY, Result, Size, Way, check, compare, create, open};

diesel::table! {
    bench_item (id) {
        id -> BigInt,
        email -> Text,
        priority -> Text,
        done -> Bool,
        weight -> BigInt,
        note -> Nullable<Text>,
    }
}

diesel::define_sql_function!(fn last_insert_id() -> BigInt);
diesel::define_sql_function!(fn last_insert_rowid() -> BigInt);

/// One INSERT, and the numbers of its rows, as each engine says them.
macro_rules! numbers {
    (postgres, $values:expr, $rows:expr, $on:expr, $($awaits:tt)*) => {
        insert_into(bench_item::table).values($values).returning(bench_item::id).get_results::<i64>($on) $($awaits)* ?
    };
    (mysql, $values:expr, $rows:expr, $on:expr, $($awaits:tt)*) => {{
        insert_into(bench_item::table).values($values).execute($on) $($awaits)* ?;
        let first = select(last_insert_id()).get_result::<i64>($on) $($awaits)* ?;
        first..first + $rows as i64
    }};
    (sqlite, $values:expr, $rows:expr, $on:expr, $($awaits:tt)*) => {{
        insert_into(bench_item::table).values($values).execute($on) $($awaits)* ?;
        let last = select(last_insert_rowid()).get_result::<i64>($on) $($awaits)* ?;
        last - $rows as i64 + 1..=last
    }};
    // diesel-async sends the rows one by one; the connection inside can send them in one statement.
    (sqlite_inside, $values:expr, $rows:expr, $on:expr, .await) => {{
        let values = $values;
        $on.spawn_blocking(move |inside| {
            diesel::RunQueryDsl::execute(insert_into(bench_item::table).values(values), inside)
        })
        .await?;
        let last = select(last_insert_rowid()).get_result::<i64>($on).await?;
        last - $rows as i64 + 1..=last
    }};
}

macro_rules! on {
    ($module:ident, $orm:ident, $engine:ident, $connection:ty, $dsl:path, $many:ident, ($($awaits:tt)*)) => {
        mod $module {
            use $dsl as _;

            use super::*;

            #[derive(Clone, Debug, Factory)]
            #[factory(table = bench_item, $orm($engine))]
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

            macro_rules! values {
                ($item:expr) => {
                    (
                        bench_item::email.eq($item.email.clone()),
                        bench_item::priority.eq($item.priority.clone()),
                        bench_item::done.eq($item.done),
                        bench_item::weight.eq($item.weight),
                        bench_item::note.eq($item.note.clone()),
                    )
                };
            }

            impl Inserts for &mut $connection {
                async fn clear(&mut self) -> Result<()> {
                    diesel::delete(bench_item::table).execute(*self) $($awaits)* ?;
                    Ok(())
                }

                async fn insert(&mut self, way: Way, size: Size) -> Result<()> {
                    let items = match (way, size) {
                        (Way::Bare, Size::One) => {
                            let mut item = item(1);
                            let ids = numbers!($engine, values!(item), 1, *self, $($awaits)*);
                            ids.into_iter().for_each(|id| item.id = id);
                            vec![item]
                        }
                        (Way::Bare, Size::Many) => {
                            let mut items: Vec<_> = (1..=MANY).map(item).collect();
                            let values = || items.iter().map(|item| values!(item)).collect::<Vec<_>>();
                            let ids = numbers!($many, values(), MANY, *self, $($awaits)*);
                            items.iter_mut().zip(ids).for_each(|(item, id)| item.id = id);
                            items
                        }
                        (Way::Factory, Size::One) => vec![Item::factory().create(self) $($awaits)* ?],
                        (Way::Factory, Size::Many) => Item::factory().create_many(MANY, self) $($awaits)* ?,
                    };
                    check(&items, |item| item.id, size)
                }
            }
        }
    };
}

on!(on_sqlite, diesel, sqlite, SqliteConnection, diesel::RunQueryDsl, sqlite, ());
on!(on_postgres, diesel, postgres, PgConnection, diesel::RunQueryDsl, postgres, ());
on!(on_mysql, diesel, mysql, MysqlConnection, diesel::RunQueryDsl, mysql, ());

type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;
on!(on_async_sqlite, diesel_async, sqlite, AsyncSqlite, diesel_async::RunQueryDsl, sqlite_inside, (.await));
on!(on_async_postgres, diesel_async, postgres, AsyncPgConnection, diesel_async::RunQueryDsl, postgres, (.await));
on!(on_async_mysql, diesel_async, mysql, AsyncMysqlConnection, diesel_async::RunQueryDsl, mysql, (.await));

pub(crate) async fn all() -> Result<Vec<String>> {
    let mut sqlite = SqliteConnection::establish(":memory:")?;
    diesel::RunQueryDsl::execute(diesel::sql_query(create("SQLite")), &mut sqlite)?;
    let mut missed = compare("SQLite", "Diesel", &mut sqlite).await?;
    let db = open::<DieselPostgres>("Postgres").await?;
    missed.extend(compare("Postgres", "Diesel", &mut *db.handle().get()?).await?);
    db.close().await?;
    let db = open::<DieselMySql>("MySQL").await?;
    missed.extend(compare("MySQL", "Diesel", &mut *db.handle().get()?).await?);
    db.close().await?;

    let mut sqlite = AsyncSqlite::establish(":memory:").await?;
    diesel_async::RunQueryDsl::execute(diesel::sql_query(create("SQLite")), &mut sqlite).await?;
    missed.extend(compare("SQLite", "diesel-async", &mut sqlite).await?);
    let db = open::<DieselAsyncPostgres>("Postgres").await?;
    missed.extend(compare("Postgres", "diesel-async", &mut *db.handle().get().await?).await?);
    db.close().await?;
    let db = open::<DieselAsyncMySql>("MySQL").await?;
    missed.extend(compare("MySQL", "diesel-async", &mut *db.handle().get().await?).await?);
    db.close().await?;
    Ok(missed)
}
