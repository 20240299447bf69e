//! What putting a slot back costs under the strategies `truncate` and `rollback`, beside what the engine
//! needs at least: BEGIN and ROLLBACK around the same writes, of the same client.
//!
//! ```text
//! cargo run --release --bin reset -- mysql truncate 10,50,150,500
//! cargo run --release --bin reset -- postgres,mysql,sqlite truncate,rollback 50 10000    # does it stay flat?
//! ```
//!
//! A test writes five rows into each of three tables. Under `truncate` its pool is closed before the clock
//! starts, so that only the reset is measured. One line a size; all sizes are measured in turn. The size of the
//! database is what its tables take in front of a test: after the first tenth of them, and of the last.

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
    /// Bytes.
    size: Vec<i64>,
}

/// The first rounds warm up.
const WARM: usize = 20;

macro_rules! engine {
    ($name:ident, $backend:ident, $connection:ty, $size:literal) => {
        async fn $name(name: &str, sizes: &[usize], rounds: usize) -> Result<()> {
            use sqlx::Connection;
            let engine = stringify!($name);
            let strategy = match name {
                "truncate" => Strategy::Truncate,
                "rollback" => Strategy::Rollback,
                other => return Err(format!("{other} is none of truncate and rollback").into()),
            };
            let fixture = |tables: usize, strategy: Strategy| {
                Fixture::<$backend>::new()
                    .label(&format!("reset{tables}"))
                    .sql("schema.sql", schema(engine, tables))
                    .require(strategy)
            };
            let mut all = Vec::new();
            for tables in sizes {
                // Its database stays open: the floor is measured in it.
                let beside = fixture(*tables, Strategy::Truncate).open_for("floor").await?;
                let raw = <$connection>::connect(&beside.database_url()).await?;
                all.push((*tables, raw, beside, Took::default()));
            }
            let tenth = rounds / 10;
            for round in 0..WARM + rounds {
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
                    let db = fixture(*tables, strategy.clone()).open_for("reset").await?;
                    let open = start.elapsed();
                    if [tenth, rounds].contains(&(round + 1).saturating_sub(WARM)) {
                        took.size.push(sqlx::query_scalar($size).fetch_one(db.handle()).await?);
                    }
                    for sql in &writes {
                        sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).execute(db.handle()).await?;
                    }
                    // Of a pool that has one connection the transaction would end with it.
                    if name == "truncate" {
                        db.handle().clone().close().await;
                    }
                    let start = Instant::now();
                    db.close().await?;
                    let reset = start.elapsed();
                    if round >= WARM {
                        took.floor.push(floor.as_secs_f64() * 1e6);
                        took.reset.push(reset.as_secs_f64() * 1e6);
                        took.open.push(open.as_secs_f64() * 1e6);
                    }
                }
            }
            for (tables, raw, beside, mut took) in all {
                let both: Vec<f64> = took.open.iter().zip(&took.reset).map(|(open, reset)| open + reset).collect();
                let first = at(&mut both[..tenth].to_vec(), 0.5);
                let last = at(&mut both[both.len() - tenth..].to_vec(), 0.5);
                let (floor, reset) = (at(&mut took.floor, 0.5), at(&mut took.reset, 0.5));
                println!(
                    "| {engine}, {name} | {tables} | {floor:.0} | {reset:.0} | {:.0} | {:.1} | {:.0} | {first:.0} | {last:.0} | {} |",
                    at(&mut took.reset, 0.95),
                    reset / floor,
                    at(&mut took.open, 0.5),
                    took.size.iter().map(|size| format!("{:.1}", *size as f64 / 1e6)).collect::<Vec<_>>().join(" → "),
                );
                raw.close().await?;
                beside.close().await?;
            }
            Ok(())
        }
    };
}

engine!(postgres, SqlxPostgres, sqlx::PgConnection, "SELECT pg_database_size(current_database())");
engine!(
    mysql,
    SqlxMySql,
    sqlx::MySqlConnection,
    "SELECT CAST(SUM(DATA_LENGTH + INDEX_LENGTH) AS SIGNED) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
);
engine!(
    sqlite,
    SqlxSqlite,
    sqlx::SqliteConnection,
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let engines = next("postgres");
    let strategies = next("truncate");
    let sizes = next("10,50,150,500");
    let sizes = sizes.split(',').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()?;
    let rounds = next("200").parse()?;
    println!(
        "| | tables | floor, µs | reset, µs | p95 | ratio | open, µs | both, the first tenth | the last tenth | size, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for engine in engines.split(',') {
        for strategy in strategies.split(',') {
            match engine {
                "postgres" => postgres(strategy, &sizes, rounds).await?,
                "mysql" => mysql(strategy, &sizes, rounds).await?,
                "sqlite" => sqlite(strategy, &sizes, rounds).await?,
                other => return Err(format!("{other} is none of postgres, mysql and sqlite").into()),
            }
        }
    }
    Ok(())
}
