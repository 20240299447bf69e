use std::time::Duration;

use serde_json::json;
use todo_diesel_async::clock::Clock;
use todo_diesel_async::reminders;
use todo_diesel_async::store::Pool;
use tokio::time::{Instant, sleep};

use crate::Client;

const HOUR: Duration = Duration::from_secs(3600);

// tokio's clock is paused: an hour passes in no time, and a query takes none of it, although
// the database is real.
#[dbtest_diesel::asynchronous::test(start_paused = true, seeds("seeds/errands.sql"))]
async fn a_reminder_comes_once_when_its_hour_has_come(pool: Pool) {
    let clock = Clock::system();
    let client = Client(todo_diesel_async::router(pool.clone(), clock));
    let worker = tokio::spawn(reminders::run(pool.clone(), clock));
    let item = json!({ "title": "Tea", "remind_in_seconds": HOUR.as_secs() });
    let (_, item) = client.post("/lists/1/items", item).await;
    let activity = format!("/items/{}/activity", item["id"]);

    sleep(HOUR - reminders::PERIOD).await;
    assert_eq!(client.get(&activity).await.1, json!([]), "too early");

    sleep(2 * reminders::PERIOD).await;
    assert_eq!(client.get(&activity).await.1, json!(["reminded"]));

    sleep(24 * HOUR).await;
    assert_eq!(client.get(&activity).await.1, json!(["reminded"]), "once");
    // It holds the pool, and would go on for ever.
    worker.abort();
}

#[dbtest_diesel::asynchronous::test(start_paused = true, strategy = "rollback", seeds("seeds/errands.sql"))]
async fn nobody_is_reminded_of_what_is_done(pool: Pool) {
    let begun = Instant::now();
    let client = Client::new(&pool);
    let (_, item) = client.post("/lists/1/items", json!({ "title": "Tea", "remind_in_seconds": 60 })).await;
    let id = &item["id"];
    client.post(&format!("/items/{id}/complete"), json!({})).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "queries take no virtual time");
    let worker = tokio::spawn(reminders::run(pool, Clock::system()));

    sleep(HOUR).await;

    worker.abort();
    assert_eq!(client.get(&format!("/items/{id}/activity")).await.1, json!(["completed"]));
}
