//! Resets, many of them: after whatever a test writes into whatever schema, the next one finds the
//! baseline; and a slot that was reset often is no larger for it.
//!
//! The same schemas every time, so that a red run is the change's fault. `DBTEST_RESETS_SECONDS` tries
//! others, for so long on each engine; `DBTEST_RESETS_SEED` says with which one to begin,
//! `DBTEST_RESETS` how often a slot is reset.

mod rng;
mod schema;
mod writes;

use std::time::{Duration, Instant};

use rng::Rng;
use schema::Schema;

/// How often one schema is written to.
const TESTS: usize = 6;

/// How many schemas are tried, where no time is given.
const SCHEMAS: u64 = 16;

/// The first of them; another each time where a time is given.
fn first_seed() -> u64 {
    number("DBTEST_RESETS_SEED").unwrap_or_else(|| match number("DBTEST_RESETS_SECONDS") {
        None => 0,
        Some(_) => std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs() % 1_000_000 * 1_000),
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ty, $id:literal, $size:literal) => {
        mod $engine {
            use dbtest_sqlx::{$backend, Backend, Fixture, Server, Strategy};
            use sqlx::AssertSqlSafe;

            use super::*;

            async fn look(pool: &$pool, schema: &Schema, word: &str) -> Vec<Vec<Option<String>>> {
                let mut seen = Vec::new();
                for sql in &schema.looks {
                    let rows = sqlx::query_scalar(AssertSqlSafe(sql.as_str())).fetch_all(pool).await;
                    seen.push(rows.unwrap_or_else(|error| panic!("{word}: {sql}: {error}")));
                }
                seen
            }

            /// One schema, and tests that write into it one after the other.
            pub(super) async fn writes_leave_nothing(seed: u64, server: Server) {
                let mut rng = Rng::new(seed);
                let schema = Schema::random($backend::ENGINE, &mut rng);
                // One schema can't keep two apart.
                let one = seed % 4 == 3 && !schema.sql.contains("CREATE SCHEMA");
                let strategy = if one { Strategy::Schema } else { Strategy::Truncate };
                let fixture = || {
                    Fixture::<$backend>::new()
                        .label("resets")
                        .server(server.clone())
                        .sql("schema.sql", schema.sql.clone())
                        .require(strategy.clone())
                };
                let word = format!("DBTEST_RESETS_SEED={seed}");
                let open = async || {
                    let opened = fixture().open_for("resets").await;
                    opened.unwrap_or_else(|error| panic!("{word}: {error}\n{}", schema.sql))
                };
                let db = open().await;
                let baseline = look(db.handle(), &schema, &word).await;
                db.close().await.expect("closed");
                let mut done: Vec<String> = Vec::new();
                for test in 0..TESTS {
                    let db = open().await;
                    let found = look(db.handle(), &schema, &word).await;
                    for ((sql, found), baseline) in schema.looks.iter().zip(&found).zip(&baseline) {
                        assert_eq!(
                            found,
                            baseline,
                            "{word}, in its test {test}: {sql}\nafter {}\nin {}",
                            done.join(";\n"),
                            schema.sql
                        );
                    }
                    done = writes::random(&schema, &mut rng);
                    let mut connection = db.handle().acquire().await.expect("a connection");
                    for sql in &done {
                        // Some are refused, as the schema happens to be.
                        let _ = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *connection).await;
                    }
                    drop(connection);
                    db.close().await.unwrap_or_else(|error| panic!("{word}: {error}\nafter {}", done.join(";\n")));
                }
            }

            #[tokio::test]
            async fn whatever_is_written_the_next_test_finds_the_baseline() {
                let first = first_seed();
                let seconds = number("DBTEST_RESETS_SECONDS").map(Duration::from_secs);
                let (begun, mut seed) = (Instant::now(), first);
                while seconds.map_or(seed < first + SCHEMAS, |time| seed == first || begun.elapsed() < time) {
                    writes_leave_nothing(seed, Server::auto()).await;
                    seed += 1;
                }
                println!("{} schemas, from DBTEST_RESETS_SEED={first}", seed - first);
            }

            /// Rows that are deleted take room, and so do those that are rolled back.
            async fn does_not_grow(strategy: Strategy) {
                let rounds = number("DBTEST_RESETS").unwrap_or(300);
                let schema = concat!("CREATE TABLE grows (id ", $id, ", word varchar(200), n integer); \
                    CREATE INDEX grows_word ON grows (word); INSERT INTO grows (word, n) VALUES ('seed', 1), ('seed', 2); \
                    CREATE TABLE log (word varchar(200))");
                // Nobody reads these, nor looks for their key, so that nothing on the way gives room back.
                let unread = vec!["('a word that takes a little room')"; 100].join(", ");
                let unread = format!("INSERT INTO log (word) VALUES {unread}");
                let mut sizes: Vec<i64> = Vec::new();
                for round in 0..=rounds {
                    let fixture = Fixture::<$backend>::new().label("grows").sql("schema.sql", schema);
                    let db = fixture.require(strategy.clone()).open_for("grows").await.expect("a database");
                    for sql in [
                        "INSERT INTO grows (word, n) VALUES ('a word that takes a little room', 1), ('another', 2), ('more', 3)",
                        "UPDATE grows SET word = 'changed' WHERE word = 'seed'",
                        &unread,
                    ] {
                        sqlx::query(AssertSqlSafe(sql)).execute(db.handle()).await.expect("written");
                    }
                    if round == rounds / 3 || round == rounds {
                        sizes.push(sqlx::query_scalar($size).fetch_one(db.handle()).await.expect("a size"));
                    }
                    db.close().await.expect("closed");
                }
                // What is lost is given back now and then, so it goes up and down by a little.
                const LITTLE: i64 = 512 << 10;
                assert!(sizes[1] <= sizes[0] + LITTLE, "it grew: {sizes:?} bytes");
            }

            #[tokio::test]
            async fn a_slot_does_not_grow_with_its_resets() {
                does_not_grow(Strategy::Truncate).await;
            }

            #[tokio::test]
            async fn a_slot_does_not_grow_with_what_is_rolled_back() {
                does_not_grow(Strategy::Rollback).await;
            }
        }
    };
}

#[cfg(feature = "sqlite")]
engine!(
    sqlite,
    SqlxSqlite,
    sqlx::SqlitePool,
    "integer PRIMARY KEY AUTOINCREMENT",
    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
);
#[cfg(feature = "postgres")]
engine!(
    postgres,
    SqlxPostgres,
    sqlx::PgPool,
    "serial PRIMARY KEY",
    "SELECT pg_database_size(current_database())"
);
#[cfg(feature = "mysql")]
engine!(
    mysql,
    SqlxMySql,
    sqlx::MySqlPool,
    "integer AUTO_INCREMENT PRIMARY KEY",
    "SELECT CAST(SUM(DATA_LENGTH + INDEX_LENGTH) AS SIGNED) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
);

/// Users who may only make databases: no superuser, no look at what the server counts.
macro_rules! poor {
    ($module:ident, $engine:ident, $backend:ident, $home:literal, $make:ident, $owned:ident, $drop:ident) => {
        mod $module {
            use dbtest_sqlx::{Fixture, Server, Strategy, $backend};
            use sqlx::AssertSqlSafe;

            use crate::bad_input::as_user;
            use crate::budget::{$drop, $make, $owned};

            #[tokio::test]
            async fn whatever_is_written_the_next_test_finds_the_baseline() {
                let db = Fixture::<$backend>::new().empty().open().await.expect("a database");
                let user = format!("dbtest_resets_{}", std::process::id());
                for sql in $make(&user) {
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db.handle()).await.expect("a user");
                }
                let server = Server::url(as_user(&db.database_url(), &user, $home));
                for seed in (super::first_seed()..).take(8) {
                    super::$engine::writes_leave_nothing(seed, server.clone()).await;
                }
                let begun = std::time::Instant::now();
                loop {
                    let owned: Vec<String> = sqlx::query_scalar(AssertSqlSafe($owned(&user)))
                        .fetch_all(db.handle())
                        .await
                        .expect("databases");
                    if owned.is_empty() {
                        break;
                    }
                    for name in owned {
                        let drop = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                        // One that could not be put back is being dropped at this moment.
                        let dropped = sqlx::raw_sql(drop).execute(db.handle()).await;
                        assert!(dropped.is_ok() || begun.elapsed().as_secs() < 60, "{dropped:?}");
                    }
                }
                // Its schemas are where those of all users are.
                let home = Fixture::<$backend>::new().empty().require(Strategy::Schema);
                let home = home.open().await.expect("a schema");
                sqlx::raw_sql(AssertSqlSafe($drop(&user))).execute(home.handle()).await.expect("dropped");
                home.close().await.expect("closed");
                db.close().await.expect("closed");
            }
        }
    };
}

#[cfg(feature = "postgres")]
poor!(poor_postgres, postgres, SqlxPostgres, "postgres", make_postgres, owned_postgres, drop_postgres);
#[cfg(feature = "mysql")]
poor!(poor_mysql, mysql, SqlxMySql, "information_schema", make_mysql, owned_mysql, drop_mysql);
