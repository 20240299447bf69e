use axum::http::StatusCode;
use dbtest_seaorm::{Db, SeaOrmSqlite, TestDb};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, Database};
use serde_json::json;
use todo_seaorm::entity::priority;
use todo_seaorm::store::{self, Migrator};

use crate::{Client, fixtures};

// Seeds are files beside the test, SQL or rows of a table. They are loaded into the database that this
// test has got, before it begins, and undone with the rest of it.
#[dbtest_seaorm::test(migrations = Migrator, seeds("seeds/errands.sql"))]
async fn the_most_important_item_comes_first(Db(pool): Db<SeaOrmSqlite>) {
    let (status, items) = Client::new(&pool).get("/lists/1/items").await;

    assert_eq!(status, StatusCode::OK);
    let titles: Vec<_> = items.as_array().expect("a list").iter().map(|item| &item["title"]).collect();
    assert_eq!(titles, ["Passport", "Bread", "Library books"]);
}

// A test may change what the seeds wrote, and what a migration wrote into a reference table.
// The next one finds it as it was.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "truncate", seeds("seeds/errands.sql"))]
async fn the_weight_of_a_priority_decides(Db(pool): Db<SeaOrmSqlite>) {
    let heavy = priority::ActiveModel { code: Set("low".to_owned()), weight: Set(9) };
    heavy.update(&pool).await.expect("updated");

    let (_, items) = Client::new(&pool).get("/lists/1/items").await;

    assert_eq!(items[0]["title"], "Library books");
}

#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback", seeds("seeds/errands.sql"))]
async fn an_unknown_priority_is_refused(Db(pool): Db<SeaOrmSqlite>) {
    let item = json!({ "title": "Tea", "priority": "urgent" });
    let (status, answer) = Client::new(&pool).post("/lists/1/items", item).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["error"], r#"there is no priority "urgent""#);
}

// A test may return a `Result`; an `Err` fails it, as with every other test.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback", seeds("seeds/errands.sql"))]
async fn what_is_completed_is_written_down(Db(pool): Db<SeaOrmSqlite>) -> todo_seaorm::Result<()> {
    store::complete(&pool, 1).await?;

    assert_eq!(store::activity(&pool, 1).await?, ["completed"]);
    assert_eq!(store::statistics(&pool, 1).await?.done, 1);
    Ok(())
}

// `complete` writes first and finds out afterwards that it must not have: the service's own
// rollback works in here as it does in production.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback", seeds("seeds/errands.sql"))]
async fn what_is_completed_twice_is_written_down_once(Db(pool): Db<SeaOrmSqlite>) {
    let client = Client::new(&pool);
    assert_eq!(client.post("/items/1/complete", json!({})).await.0, StatusCode::NO_CONTENT);

    let (status, _) = client.post("/items/1/complete", json!({})).await;

    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(client.get("/items/1/activity").await.1, json!(["completed"]));
}

// Several connections need a strategy that gives them: this test is wrong under any other, so
// it says `require`, and `DBTEST_STRATEGY` does not apply to it.
#[dbtest_seaorm::test(
    migrations = Migrator,
    require = "truncate",
    seeds("seeds/errands.sql"),
    flavor = "multi_thread",
    worker_threads = 2,
    max_connections = 4
)]
async fn of_eight_clients_one_completes_the_item(Db(pool): Db<SeaOrmSqlite>) {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = Client::new(&pool);
        clients.spawn(async move { client.post("/items/2/complete", json!({})).await.0 });
    }

    let statuses = clients.join_all().await;

    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::NO_CONTENT).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 7);
}

// What seeds can't say, a function does: see `fixtures.rs`.
#[dbtest_seaorm::test(fixture = fixtures::busy_team)]
async fn statistics_weigh_what_is_open(Db(pool): Db<SeaOrmSqlite>) {
    let (_, statistics) = Client::new(&pool).get("/lists/1/statistics").await;
    assert_eq!(statistics, json!({ "items": 30, "done": 10, "open_weight": 10 * 2 + 10 * 5 }));
}

// The whole `TestDb` instead of its pool: it knows the URL, for what connects by itself.
#[dbtest_seaorm::test(require = "truncate", fixture = fixtures::busy_team)]
async fn another_process_sees_what_was_committed(db: TestDb<SeaOrmSqlite>) {
    store::complete(db.handle(), 2).await.expect("completed");

    let other = Database::connect(db.url()).await.expect("a second pool");

    assert_eq!(store::activity(&other, 2).await.expect("activity"), ["completed"]);
    // It has to be gone before the database is put back.
    other.close().await.expect("closed");
}
