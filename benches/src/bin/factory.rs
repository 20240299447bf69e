//! What a factory costs beside the statement that it writes: side by side, in turn, in one process.
//!
//! ```text
//! cargo run --release --bin factory
//! cargo run --release --bin factory -- postgres://me:secret@127.0.0.1:5432/scratch
//! ```
//!
//! Without a URL it runs on SQLite in memory, where there is no way to a server to hide behind. With one it makes
//! the table `bench_item` in that database and drops it.

use std::time::{Duration, Instant};

use dbtest_factory::Factory;
use sqlx::{Connection, PgConnection, QueryBuilder, SqliteConnection};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Pairs of measurements; each pair is one block of the one way, and one of the other.
const PAIRS: usize = 100;
const SINGLE: usize = 200;
const MANY: usize = 1_000;

/// What is to hold: one row by a factory over one by sqlx, and a thousand over the bare INSERT.
const LIMITS: [f64; 2] = [1.10, 3.0];

macro_rules! on {
    ($module:ident, $engine:ident, $database:ident, $connection:ty, $id:literal) => {
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

            async fn one(connection: &mut $connection, n: i64) -> Result<i64> {
                let insert = "INSERT INTO bench_item (email, priority, done, weight, note) VALUES ($1, $2, $3, $4, $5) \
                              RETURNING id";
                Ok(sqlx::query_scalar(insert)
                    .bind(format!("item{n}@example.com"))
                    .bind("normal")
                    .bind(false)
                    .bind(n)
                    .bind(None::<String>)
                    .fetch_one(connection)
                    .await?)
            }

            async fn many(connection: &mut $connection, rows: usize) -> Result<()> {
                let mut insert = QueryBuilder::<sqlx::$database>::new(
                    "INSERT INTO bench_item (email, priority, done, weight, note) ",
                );
                insert.push_values(0..rows as i64, |mut values, n| {
                    values.push_bind(format!("item{n}@example.com"));
                    values.push_bind("normal").push_bind(false).push_bind(n).push_bind(None::<String>);
                });
                insert.build().execute(connection).await?;
                Ok(())
            }

            async fn clear(connection: &mut $connection) -> Result<()> {
                sqlx::query("DELETE FROM bench_item").execute(connection).await?;
                Ok(())
            }

            pub(crate) async fn run(url: &str) -> Result<[f64; 2]> {
                let mut connection = <$connection>::connect(url).await?;
                let create = concat!(
                    "CREATE TABLE bench_item (id ", $id, ", email text NOT NULL, priority text NOT NULL, done boolean NOT \
                     NULL, weight bigint NOT NULL, note text)"
                );
                sqlx::query(create).execute(&mut connection).await?;
                let mut found = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
                for _ in 0..PAIRS {
                    clear(&mut connection).await?;
                    let begun = Instant::now();
                    for n in 0..SINGLE {
                        one(&mut connection, n as i64).await?;
                    }
                    found[0].0.push(begun.elapsed() / SINGLE as u32);
                    let begun = Instant::now();
                    for _ in 0..SINGLE {
                        Item::factory().create(&mut connection).await?;
                    }
                    found[0].1.push(begun.elapsed() / SINGLE as u32);
                    clear(&mut connection).await?;
                    let begun = Instant::now();
                    many(&mut connection, MANY).await?;
                    found[1].0.push(begun.elapsed());
                    clear(&mut connection).await?;
                    let begun = Instant::now();
                    Item::factory().create_many(MANY, &mut connection).await?;
                    found[1].1.push(begun.elapsed());
                }
                sqlx::query("DROP TABLE bench_item").execute(&mut connection).await?;
                let names = ["one row", "1000 rows in one INSERT"];
                let ratio = |at: usize| {
                    let (bare, factory) = (median(&found[at].0), median(&found[at].1));
                    let ratio = factory.as_secs_f64() / bare.as_secs_f64();
                    println!("{:<24} bare {bare:>10.1?}   factory {factory:>10.1?}   {ratio:.2}×", names[at]);
                    ratio
                };
                Ok([ratio(0), ratio(1)])
            }
        }
    };
}

on!(on_sqlite, sqlite, Sqlite, SqliteConnection, "integer PRIMARY KEY");
on!(on_postgres, postgres, Postgres, PgConnection, "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY");

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let ratios = match std::env::args().nth(1) {
        Some(url) => on_postgres::run(&url).await?,
        None => on_sqlite::run("sqlite::memory:").await?,
    };
    if ratios.iter().zip(LIMITS).any(|(ratio, limit)| *ratio > limit) {
        return Err(format!("more than {LIMITS:?} times the bare statement").into());
    }
    Ok(())
}
