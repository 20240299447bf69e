//! A file that was put back is its template, byte for byte, whatever was written into it and how.

use std::path::{Path, PathBuf};

use dbtest_sqlx::{Fixture, SqlxSqlite, Strategy, TestDb};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

fn fixture(name: &str) -> Fixture<SqlxSqlite> {
    let schema = "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL UNIQUE, text TEXT); \
        CREATE INDEX book_text ON book (text);";
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
        INSERT INTO book SELECT i, 'title ' || i, hex(zeroblob(100)) FROM n";
    Fixture::new()
        .label("pages")
        .apart(format!("pages {name}"))
        .sql("schema.sql", schema)
        .seed_sql("books.sql", rows)
        .require(Strategy::Truncate)
}

fn file(db: &TestDb<SqlxSqlite>) -> PathBuf {
    let url = db.database_url();
    PathBuf::from(url.trim_start_matches("sqlite://").split('?').next().expect("a path"))
}

fn template(file: &Path) -> PathBuf {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    file.with_file_name(format!("dbtest_t_{}.db", name.split('_').nth(2).expect("a fingerprint")))
}

async fn own(db: &TestDb<SqlxSqlite>) -> SqliteConnection {
    SqliteConnection::connect(&db.database_url()).await.expect("a connection")
}

async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Runs the texts through the test's handle, each on a connection of its own that stays open.
async fn through_the_handle(name: &str, texts: &[&str]) {
    for _ in 0..2 {
        let db = fixture(name).open().await.expect("a database");
        let mut connections = Vec::new();
        for sql in texts {
            let mut connection = db.handle().acquire().await.expect("a connection");
            run(&mut connection, sql).await;
            connections.push(connection);
        }
        drop(connections);
        is_put_back(db).await;
    }
}

async fn is_put_back(db: TestDb<SqlxSqlite>) {
    let file = file(&db);
    db.close().await.expect("closed");
    let read =
        |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(read(&file) == read(&template(&file)), "{} is not its template", file.display());
    assert!(!file.with_extension("db-log").exists(), "the log's second name stays");
}

const LITTLE: &str = "UPDATE book SET title = 'other' WHERE id = 300; DELETE FROM book WHERE id > 450; \
    INSERT INTO book VALUES (1000, 'new', 'x')";
const MUCH: &str = "WITH RECURSIVE n (i) AS (SELECT 2001 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
    INSERT INTO book SELECT i, 'title ' || i, hex(randomblob(400)) FROM n";

#[tokio::test]
async fn nothing_was_written() {
    through_the_handle("nothing", &["SELECT * FROM book"]).await;
}

#[tokio::test]
async fn rows_were_written() {
    through_the_handle("rows", &[LITTLE, "DELETE FROM book WHERE id < 200", "UPDATE book SET text = id"])
        .await;
}

#[tokio::test]
async fn the_file_grew_by_more_than_the_log_holds() {
    through_the_handle("grew", &[LITTLE, MUCH, "DELETE FROM book WHERE id = 1"]).await;
}

#[tokio::test]
async fn the_schema_was_changed() {
    through_the_handle(
        "schema",
        &["CREATE TABLE other (x); INSERT INTO other VALUES (1)", "DROP INDEX book_text"],
    )
    .await;
}

#[tokio::test]
async fn the_file_was_made_anew() {
    through_the_handle("vacuum", &["DELETE FROM book WHERE id > 50; VACUUM", LITTLE]).await;
}

#[tokio::test]
async fn the_log_was_begun_anew() {
    let again = "UPDATE book SET title = 'third' WHERE id = 3; PRAGMA wal_checkpoint(TRUNCATE); \
        UPDATE book SET title = 'fifth' WHERE id = 5";
    through_the_handle("checkpoint", &[LITTLE, again]).await;
}

#[tokio::test]
async fn there_is_no_log() {
    through_the_handle("journal", &["PRAGMA journal_mode = DELETE; DELETE FROM book WHERE id > 400"]).await;
}

#[tokio::test]
async fn pages_have_another_size() {
    let sql = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = WAL; \
        DELETE FROM book WHERE id > 400";
    through_the_handle("size", &[sql]).await;
}

/// The first of them writes its log into the file, and the second begins another.
#[tokio::test]
async fn connections_were_closed_before_the_end() {
    for _ in 0..10 {
        let db = fixture("closed").open().await.expect("a database");
        for sql in [LITTLE, "UPDATE book SET title = 'third' WHERE id = 3"] {
            let mut connection = own(&db).await;
            run(&mut connection, sql).await;
            connection.close().await.expect("closed");
        }
        sqlx::raw_sql("DELETE FROM book WHERE id = 450").execute(db.handle()).await.expect("a row less");
        is_put_back(db).await;
    }
}

/// It keeps the file that it has, and the next test gets another.
#[tokio::test]
async fn a_connection_stays_open() {
    let db = fixture("open").open().await.expect("a database");
    let mut connection = own(&db).await;
    sqlx::raw_sql(LITTLE).execute(db.handle()).await.expect("rows");
    run(&mut connection, "UPDATE book SET title = 'third' WHERE id = 3").await;
    let file = file(&db);
    is_put_back(db).await;
    run(&mut connection, "UPDATE book SET title = 'fourth' WHERE id = 4").await;
    connection.close().await.expect("closed");
    let next = fixture("open").open().await.expect("a database");
    assert_eq!(file, self::file(&next));
    is_put_back(next).await;
}

/// As after a run of another process: its pages are not those that the slot was copied from.
#[tokio::test]
async fn the_template_was_built_anew() {
    let db = fixture("anew").open().await.expect("a database");
    let template = template(&file(&db));
    is_put_back(db).await;
    let mut connection =
        SqliteConnection::connect(&format!("sqlite://{}", template.display())).await.expect("a connection");
    run(&mut connection, "UPDATE book SET text = hex(randomblob(100)); VACUUM").await;
    connection.close().await.expect("closed");
    through_the_handle("anew", &[LITTLE]).await;
}
