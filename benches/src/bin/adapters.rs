//! What a query costs on the handle that a test gets, and what it costs on a pool that the application
//! makes itself with the same settings: nothing of dbtest stands in between, so the ratio should be 1.
//!
//! ```text
//! cargo run --release --bin adapters
//! ```
//!
//! Both pools are on one database of dbtest's, under the strategy `template` on Postgres.

use std::time::Instant;

use dbtest_diesel::DieselPostgres;
use dbtest_diesel::asynchronous::DieselAsyncPostgres;
use dbtest_seaorm::SeaOrmPostgres;
use dbtest_sqlx::{Backend, Fixture, SqlxPostgres, Strategy, TestDb};
use diesel::RunQueryDsl;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::{Integer, Text};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, bb8};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, Statement};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Pairs of blocks, the one way and the other.
const PAIRS: usize = 400;

/// How often in one block.
const TIMES: u32 = 25;

const SELECT: &str = "SELECT word FROM bench WHERE id = $1";
const INSERT: &str = "INSERT INTO bench (word) VALUES ($1)";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    Handle,
}

#[derive(diesel::QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

async fn open<B: Backend>() -> Result<TestDb<B>> {
    let schema = "CREATE TABLE bench (id serial PRIMARY KEY, word text NOT NULL); \
                  INSERT INTO bench (word) VALUES ('word')";
    let fixture = Fixture::<B>::new().label("bench").sql("schema.sql", schema).require(Strategy::Template);
    Ok(fixture.open_for("bench").await?)
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// First the one, then the other, so that neither always comes second.
async fn compare(name: &str, mut one: impl AsyncFnMut(Way) -> Result<()>) -> Result<()> {
    let (mut raw, mut handle) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let order = if pair % 2 == 0 { [Way::Raw, Way::Handle] } else { [Way::Handle, Way::Raw] };
        for way in order {
            one(way).await?;
            let start = Instant::now();
            for _ in 0..TIMES {
                one(way).await?;
            }
            let took = start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
            if way == Way::Raw { raw.push(took) } else { handle.push(took) }
        }
    }
    let mut ratios: Vec<f64> = handle.iter().zip(&raw).map(|(handle, raw)| handle / raw).collect();
    for list in [&mut ratios, &mut raw, &mut handle] {
        list.sort_by(f64::total_cmp);
    }
    println!(
        "| {name} | {:.0} | {:.0} | {:.2} | {:.2} |",
        at(&raw, 0.5),
        at(&handle, 0.5),
        at(&handle, 0.1) / at(&raw, 0.1),
        at(&ratios, 0.5)
    );
    Ok(())
}

async fn sqlx_pools() -> Result<()> {
    let db = open::<SqlxPostgres>().await?;
    let options = sqlx::postgres::PgPoolOptions::new().test_before_acquire(false);
    let raw = options.connect(&db.database_url()).await?;
    let pool = |way| if way == Way::Raw { &raw } else { db.handle() };
    compare("sqlx, one row", async |way| {
        let word: String = sqlx::query_scalar(SELECT).bind(1).fetch_one(pool(way)).await?;
        assert_eq!(word, "word");
        Ok(())
    })
    .await?;
    compare("sqlx, one insert", async |way| {
        sqlx::query(INSERT).bind("more").execute(pool(way)).await?;
        Ok(())
    })
    .await?;
    raw.close().await;
    Ok(db.close().await?)
}

async fn sea_orm_connections() -> Result<()> {
    let db = open::<SeaOrmPostgres>().await?;
    let mut options = ConnectOptions::new(db.database_url());
    options.test_before_acquire(false).sqlx_logging(false);
    let raw = Database::connect(options).await?;
    let connection = |way| if way == Way::Raw { &raw } else { db.handle() };
    compare("SeaORM, one row", async |way| {
        let select = Statement::from_sql_and_values(DbBackend::Postgres, SELECT, [1.into()]);
        let row = connection(way).query_one_raw(select).await?.ok_or("a row")?;
        assert_eq!(row.try_get::<String>("", "word")?, "word");
        Ok(())
    })
    .await?;
    compare("SeaORM, one insert", async |way| {
        let insert = Statement::from_sql_and_values(DbBackend::Postgres, INSERT, ["more".into()]);
        connection(way).execute_raw(insert).await?;
        Ok(())
    })
    .await?;
    raw.close().await?;
    Ok(db.close().await?)
}

async fn diesel_pools() -> Result<()> {
    let db = open::<DieselPostgres>().await?;
    let manager = ConnectionManager::<diesel::PgConnection>::new(db.database_url());
    let raw = Pool::builder().min_idle(Some(0)).test_on_check_out(false).build(manager)?;
    let pool = |way| if way == Way::Raw { &raw } else { db.handle() };
    compare("Diesel, one row", async |way| {
        let select = diesel::sql_query(SELECT).bind::<Integer, _>(1);
        let found: Word = select.get_result(&mut pool(way).get()?)?;
        assert_eq!(found.word, "word");
        Ok(())
    })
    .await?;
    compare("Diesel, one insert", async |way| {
        diesel::sql_query(INSERT).bind::<Text, _>("more").execute(&mut pool(way).get()?)?;
        Ok(())
    })
    .await?;
    drop(raw);
    Ok(db.close().await?)
}

async fn diesel_async_pools() -> Result<()> {
    let db = open::<DieselAsyncPostgres>().await?;
    let mut config = ManagerConfig::<diesel_async::AsyncPgConnection>::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(db.database_url(), config);
    let raw = bb8::Pool::builder().build(manager).await?;
    let pool = |way| if way == Way::Raw { &raw } else { db.handle() };
    compare("diesel-async, one row", async |way| {
        let select = diesel::sql_query(SELECT).bind::<Integer, _>(1);
        let found: Word = diesel_async::RunQueryDsl::get_result(select, &mut pool(way).get().await?).await?;
        assert_eq!(found.word, "word");
        Ok(())
    })
    .await?;
    compare("diesel-async, one insert", async |way| {
        let insert = diesel::sql_query(INSERT).bind::<Text, _>("more");
        diesel_async::RunQueryDsl::execute(insert, &mut pool(way).get().await?).await?;
        Ok(())
    })
    .await?;
    drop(raw);
    Ok(db.close().await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    println!("| | raw, µs | handle, µs | ratio of p10 | median ratio |");
    println!("| --- | --- | --- | --- | --- |");
    sqlx_pools().await?;
    sea_orm_connections().await?;
    diesel_pools().await?;
    diesel_async_pools().await
}
