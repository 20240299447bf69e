//! Says in one line which server the tests of this environment use: `postgres`, `mysql` or
//! `sqlite` is the argument.

use dbtest_sqlx::{Backend, Fixture, SqlxMySql, SqlxPostgres, SqlxSqlite, TestDb};

async fn open<B: Backend>() -> Result<TestDb<B>, Box<dyn std::error::Error>> {
    Ok(Fixture::<B>::new().label("which_server").empty().open_for("which_server").await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = std::env::args().nth(1).unwrap_or_default();
    let (version, origin) = match engine.as_str() {
        "postgres" => {
            let db = open::<SqlxPostgres>().await?;
            let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(db.handle()).await?;
            let origin = db.origin().to_owned();
            db.close().await?;
            (format!("Postgres {}", version.split(' ').next().unwrap_or_default()), origin)
        }
        "mysql" => {
            let db = open::<SqlxMySql>().await?;
            let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(db.handle()).await?;
            let origin = db.origin().to_owned();
            db.close().await?;
            let server = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
            (format!("{server} {}", version.split('-').next().unwrap_or_default()), origin)
        }
        "sqlite" => {
            let db = open::<SqlxSqlite>().await?;
            let version: String =
                sqlx::query_scalar("SELECT sqlite_version()").fetch_one(db.handle()).await?;
            db.close().await?;
            (format!("SQLite {version}"), "in process".to_owned())
        }
        other => return Err(format!("{other:?} is not an engine: say postgres, mysql or sqlite").into()),
    };
    println!("{version} | {origin}");
    Ok(())
}
