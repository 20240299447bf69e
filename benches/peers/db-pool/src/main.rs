//! db-pool as a contender: for each line that it reads it runs a test, and it writes how long that took
//! in nanoseconds: until the database was clean, opening the handle, the body, the end.

use std::io::BufRead;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use db_pool::r#async::{DatabasePoolBuilderTrait, SqlxMySQLBackend, SqlxPostgresBackend};
use sqlx::Executor;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(serde::Deserialize)]
struct Task {
    engine: String,
    url: String,
    script: String,
    first: String,
    body: Vec<String>,
    /// So many tests, from so many threads at once, instead: writes the seconds.
    suite: Option<(usize, usize)>,
}

macro_rules! tests {
    ($backend:expr, $task:expr) => {{
        let (backend, task) = ($backend, Arc::new($task));
        // Another contender's process has databases, too.
        let backend = backend.drop_previous_databases(false);
        let databases = Arc::new(backend.create_database_pool().await.expect("a database pool"));
        let test = {
            let task = Arc::clone(&task);
            move || {
                let (task, databases) = (Arc::clone(&task), Arc::clone(&databases));
                async move {
                    let start = Instant::now();
                    let pool = databases.pull_immutable().await;
                    let lease = start.elapsed();
                    let start = Instant::now();
                    let mut connection = (&**pool).acquire().await.expect("a connection");
                    sqlx::query(&task.first).execute(&mut *connection).await.expect("an answer");
                    let connect = start.elapsed();
                    let start = Instant::now();
                    for sql in &task.body {
                        let done = sqlx::query(sql).execute(&mut *connection).await.expect("rows");
                        assert_eq!(done.rows_affected(), 5, "the place was not clean");
                    }
                    let body = start.elapsed();
                    let start = Instant::now();
                    drop(connection);
                    drop(pool);
                    [lease, connect, body, start.elapsed()].map(|took| took.as_nanos().to_string())
                }
            }
        };
        if let Some((tests, threads)) = task.suite {
            let (left, start) = (Arc::new(AtomicUsize::new(tests)), Instant::now());
            let one_less = |left: usize| left.checked_sub(1);
            let mut all = Vec::new();
            for _ in 0..threads {
                let (left, test) = (Arc::clone(&left), test.clone());
                all.push(tokio::spawn(async move {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                        test().await;
                    }
                }));
            }
            for thread in all {
                thread.await?;
            }
            println!("{}", start.elapsed().as_secs_f64());
            return Ok(());
        }
        println!("ready");
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{}", test().await.join(" "));
        }
        Ok(())
    }};
}

async fn run(task: Task) -> Result<()> {
    let script = task.script.clone();
    if task.engine == "postgres" {
        let backend = SqlxPostgresBackend::new(
            PgConnectOptions::from_str(&task.url)?,
            || PgPoolOptions::new().max_connections(10),
            || PgPoolOptions::new().max_connections(2),
            move |mut connection| {
                let script = script.clone();
                Box::pin(async move {
                    connection.execute(script.as_str()).await.expect("the schema");
                    connection
                })
            },
        );
        return tests!(backend, task);
    }
    let backend = SqlxMySQLBackend::new(
        MySqlConnectOptions::from_str(&task.url)?,
        || MySqlPoolOptions::new().max_connections(10),
        || MySqlPoolOptions::new().max_connections(2),
        move |mut connection| {
            let script = script.clone();
            Box::pin(async move {
                connection.execute(script.as_str()).await.expect("the schema");
            })
        },
    );
    tests!(backend, task)
}

fn main() -> Result<()> {
    let task = std::env::args().nth(1).ok_or("the task as JSON is the argument")?;
    // db-pool drops its databases on a runtime with more than one thread only.
    tokio::runtime::Runtime::new()?.block_on(run(serde_json::from_str(&task)?))
}
