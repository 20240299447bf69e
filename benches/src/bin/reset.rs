//! What putting a slot back costs under the strategy `truncate`, beside what the engine needs at
//! least: BEGIN and ROLLBACK around the same writes, of the same client.
//!
//! ```text
//! cargo run --release --bin reset -- mysql 10,50,150,500
//! ```
//!
//! A test writes five rows into each of three tables. Its pool is closed before the clock starts, so
//! that only the reset is measured. One line a size; all sizes are measured in turn.

use std::time::Instant;

use dbtest_sqlx::{Fixture, SqlxMySql, SqlxPostgres, SqlxSqlite, Strategy};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tables with two indexes and a reference each; every tenth has ten rows of its own.
fn schema(engine: &str, tables: usize) -> String {
    let id = match engine {
        "postgres" => "id bigserial PRIMARY KEY",
        "mysql" => "id bigint AUTO_INCREMENT PRIMARY KEY",
        _ => "id integer PRIMARY KEY AUTOINCREMENT",
    };
    let mut sql = String::new();
    for table in 0..tables {
        let parent = if table == 0 { 0 } else { table - 1 };
        sql.push_str(&format!(
            "CREATE TABLE t{table} ({id}, parent bigint, word varchar(100), other int, \
             FOREIGN KEY (parent) REFERENCES t{parent} (id) ON DELETE CASCADE);\n\
             CREATE INDEX t{table}_word ON t{table} (word);\nCREATE INDEX t{table}_other ON t{table} (other);\n"
        ));
    }
    for table in (0..tables).step_by(10) {
        let rows: Vec<_> = (0..10).map(|row| format!("('seed {row}', {row})")).collect();
        sql.push_str(&format!("INSERT INTO t{table} (word, other) VALUES {};\n", rows.join(", ")));
    }
    sql
}

/// What a test writes: three tables that lie apart.
fn writes(tables: usize) -> Vec<String> {
    let insert = |table| format!("INSERT INTO t{table} (word, other) VALUES ('x', 1)");
    [1, tables / 2, tables - 1].into_iter().flat_map(|table| vec![insert(table); 5]).collect()
}

fn at(list: &mut [f64], share: f64) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(((list.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

#[derive(Default)]
struct Took {
    floor: Vec<f64>,
    reset: Vec<f64>,
    open: Vec<f64>,
}

macro_rules! engine {
    ($name:ident, $backend:ident, $connection:ty) => {
        async fn $name(sizes: &[usize], rounds: usize) -> Result<()> {
            use sqlx::Connection;
            let engine = stringify!($name);
            let fixture = |tables: usize| {
                Fixture::<$backend>::new()
                    .label(&format!("reset{tables}"))
                    .sql("schema.sql", schema(engine, tables))
                    .require(Strategy::Truncate)
            };
            let mut all = Vec::new();
            for tables in sizes {
                // Its database stays open: the floor is measured in it.
                let beside = fixture(*tables).open_for("floor").await?;
                let raw = <$connection>::connect(&beside.database_url()).await?;
                all.push((*tables, raw, beside, Took::default()));
            }
            for round in 0..rounds {
                for (tables, raw, _, took) in &mut all {
                    let writes = writes(*tables);
                    let start = Instant::now();
                    sqlx::raw_sql("BEGIN").execute(&mut *raw).await?;
                    let mut floor = start.elapsed();
                    for sql in &writes {
                        sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).execute(&mut *raw).await?;
                    }
                    let start = Instant::now();
                    sqlx::raw_sql("ROLLBACK").execute(&mut *raw).await?;
                    floor += start.elapsed();

                    let start = Instant::now();
                    let db = fixture(*tables).open_for("reset").await?;
                    let open = start.elapsed();
                    for sql in &writes {
                        sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).execute(db.handle()).await?;
                    }
                    db.handle().clone().close().await;
                    let start = Instant::now();
                    db.close().await?;
                    let reset = start.elapsed();
                    // The first are warming up.
                    if round >= rounds / 10 {
                        took.floor.push(floor.as_secs_f64() * 1e6);
                        took.reset.push(reset.as_secs_f64() * 1e6);
                        took.open.push(open.as_secs_f64() * 1e6);
                    }
                }
            }
            println!("| {engine}, tables | floor, µs | reset, µs | p95 | ratio | the first tenth, µs | the last | open, µs |");
            println!("|---|---|---|---|---|---|---|---|");
            for (tables, raw, beside, mut took) in all {
                let tenth = took.reset.len() / 10;
                let first = at(&mut took.reset[..tenth].to_vec(), 0.5);
                let last = at(&mut took.reset[took.reset.len() - tenth..].to_vec(), 0.5);
                let (floor, reset) = (at(&mut took.floor, 0.5), at(&mut took.reset, 0.5));
                println!(
                    "| {tables} | {floor:.0} | {reset:.0} | {:.0} | {:.1} | {first:.0} | {last:.0} | {:.0} |",
                    at(&mut took.reset, 0.95),
                    reset / floor,
                    at(&mut took.open, 0.5)
                );
                raw.close().await?;
                beside.close().await?;
            }
            Ok(())
        }
    };
}

engine!(postgres, SqlxPostgres, sqlx::PgConnection);
engine!(mysql, SqlxMySql, sqlx::MySqlConnection);
engine!(sqlite, SqlxSqlite, sqlx::SqliteConnection);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let engine = arguments.next().unwrap_or_else(|| "postgres".to_owned());
    let sizes = arguments.next().unwrap_or_else(|| "10,50,150,500".to_owned());
    let sizes = sizes.split(',').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()?;
    let rounds = arguments.next().map_or(Ok(200), |rounds| rounds.parse())?;
    match engine.as_str() {
        "postgres" => postgres(&sizes, rounds).await,
        "mysql" => mysql(&sizes, rounds).await,
        "sqlite" => sqlite(&sizes, rounds).await,
        other => Err(format!("{other} is none of postgres, mysql and sqlite").into()),
    }
}
