use axum::http::StatusCode;
use dbtest_diesel::asynchronous::{DieselAsyncSqlite, TestDb};
use serde_json::json;
use todo_diesel_async::store::{self, Pool};

use crate::Client;
use crate::rows::{Item, List};

// What the test is about stands in it, and nothing else: no list's name, no item's title.
#[dbtest_diesel::asynchronous::test(strategy = "rollback")]
async fn what_is_finished_weighs_nothing(pool: Pool) -> Result<(), Box<dyn std::error::Error>> {
    let items = [Item::factory().urgent(), Item::factory(), Item::factory().urgent().finished()];
    let list = List::factory().items(items).create(&mut *pool.get().await?).await?;

    let (_, statistics) = Client::new(&pool).get(&format!("/lists/{}/statistics", list.id)).await;

    assert_eq!(statistics, json!({ "items": 3, "done": 1, "open_weight": 5 + 2 }));
    Ok(())
}

// An item needs a list: it is made, and nobody has to say so.
#[dbtest_diesel::asynchronous::test(strategy = "rollback")]
async fn a_finished_item_is_not_completed_again(pool: Pool) -> Result<(), Box<dyn std::error::Error>> {
    let item = Item::factory().finished().create(&mut *pool.get().await?).await?;
    let (status, _) = Client::new(&pool).post(&format!("/items/{}/complete", item.id), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    Ok(())
}

// A thousand rows are one INSERT.
#[dbtest_diesel::asynchronous::test(strategy = "rollback")]
async fn a_long_list_is_shown_whole(pool: Pool) -> Result<(), Box<dyn std::error::Error>> {
    let list = List::factory().create(&mut *pool.get().await?).await?;
    Item::factory().list(&list).create_many(1_000, &mut *pool.get().await?).await?;
    let (_, items) = Client::new(&pool).get(&format!("/lists/{}/items", list.id)).await;
    assert_eq!(items.as_array().map(Vec::len), Some(1_000));
    Ok(())
}

// All that a call wrote, and nothing that it should not have.
#[dbtest_diesel::asynchronous::test(strategy = "truncate")]
async fn completing_writes_two_rows(db: TestDb<DieselAsyncSqlite>) -> Result<(), Box<dyn std::error::Error>> {
    let item = Item::factory().title("Bread").remind_at(7).create(&mut *db.handle().get().await?).await?;
    store::complete(db.handle(), item.id).await?;
    let changed = db.diff().await?.mask("list_id").mask("item_id").to_string();
    assert_eq!(
        changed,
        "activity\n  + id=1 item_id=[masked] what=completed\n\
         item\n  + id=1 list_id=[masked] title=Bread priority=normal done=1 remind_at=NULL\n\
         list\n  + id=1 name=\"name 1\"\n"
    );
    Ok(())
}

// A migration that adds a column without a default breaks this one first.
#[dbtest_diesel::asynchronous::test]
async fn the_schema_takes_what_the_factories_make(pool: Pool) {
    let mut connection = pool.get().await.expect("a connection");
    let all = [List::factory().lint(&mut connection).await, Item::factory().lint(&mut connection).await];
    dbtest_factory::Refused::all(all).expect("no factory is refused");
}
