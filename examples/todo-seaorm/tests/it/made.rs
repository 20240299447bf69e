use axum::http::StatusCode;
use dbtest_seaorm::{Db, SeaOrmSqlite, TestDb};
use serde_json::json;
use todo_seaorm::store::{self, Migrator};

use crate::Client;
use crate::rows::{Item, List};

// What the test is about stands in it, and nothing else: no list's name, no item's title.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
async fn what_is_finished_weighs_nothing(Db(pool): Db<SeaOrmSqlite>) -> Result<(), dbtest_factory::Error> {
    let items = [Item::factory().urgent(), Item::factory(), Item::factory().urgent().finished()];
    let list = List::factory().items(items).create(&pool).await?;

    let (_, statistics) = Client::new(&pool).get(&format!("/lists/{}/statistics", list.id)).await;

    assert_eq!(statistics, json!({ "items": 3, "done": 1, "open_weight": 5 + 2 }));
    Ok(())
}

// An item needs a list: it is made, and nobody has to say so.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
async fn a_finished_item_is_not_completed_again(
    Db(pool): Db<SeaOrmSqlite>,
) -> Result<(), dbtest_factory::Error> {
    let item = Item::factory().finished().create(&pool).await?;
    let (status, _) = Client::new(&pool).post(&format!("/items/{}/complete", item.id), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    Ok(())
}

// A thousand rows are one INSERT.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
async fn a_long_list_is_shown_whole(Db(pool): Db<SeaOrmSqlite>) -> Result<(), dbtest_factory::Error> {
    let list = List::factory().create(&pool).await?;
    Item::factory().list(&list).create_many(1_000, &pool).await?;
    let (_, items) = Client::new(&pool).get(&format!("/lists/{}/items", list.id)).await;
    assert_eq!(items.as_array().map(Vec::len), Some(1_000));
    Ok(())
}

// All that a call wrote, and nothing that it should not have.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "truncate")]
async fn completing_writes_two_rows(db: TestDb<SeaOrmSqlite>) -> Result<(), Box<dyn std::error::Error>> {
    let item = Item::factory().title("Bread").remind_at(7).create(db.handle()).await?;
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
#[dbtest_seaorm::test(migrations = Migrator)]
async fn the_schema_takes_what_the_factories_make(Db(pool): Db<SeaOrmSqlite>) {
    let all = [List::factory().lint(&pool).await, Item::factory().lint(&pool).await];
    dbtest_factory::Refused::all(all).expect("no factory is refused");
}
