use axum::http::StatusCode;
use dbtest_seaorm::{Db, SeaOrmSqlite};
use serde_json::json;
use todo_seaorm::store::{self, Migrator};

use crate::Client;

// The whole of it: an attribute, and an argument. The migrator is applied once for all tests; the
// type of the argument says which database it is, since SeaORM's connection does not.
#[dbtest_seaorm::test(migrations = Migrator)]
async fn a_list_that_was_made_is_there(Db(pool): Db<SeaOrmSqlite>) {
    let client = Client::new(&pool);

    let (status, list) = client.post("/lists", json!({ "name": "Errands" })).await;
    assert_eq!(status, StatusCode::CREATED);

    assert_eq!(client.get("/lists").await, (StatusCode::OK, json!([list])));
}

// And no other test sees it, also while both run.
#[dbtest_seaorm::test(migrations = Migrator)]
async fn without_lists_there_are_none(Db(pool): Db<SeaOrmSqlite>) {
    assert_eq!(Client::new(&pool).get("/lists").await, (StatusCode::OK, json!([])));
}

// The cheapest strategy: the test runs inside a transaction that is rolled back, and the
// service's own transactions are savepoints in it.
#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
async fn the_same_name_twice_is_a_conflict(Db(pool): Db<SeaOrmSqlite>) {
    let client = Client::new(&pool);
    client.post("/lists", json!({ "name": "Errands" })).await;

    let (status, answer) = client.post("/lists", json!({ "name": "Errands" })).await;

    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"], r#"there is a "Errands" already"#);
    // The refused statement did not harm the transaction around it.
    assert_eq!(client.get("/lists").await.1.as_array().map(Vec::len), Some(1));
}

#[dbtest_seaorm::test(migrations = Migrator, strategy = "rollback")]
async fn a_name_of_spaces_is_refused(Db(pool): Db<SeaOrmSqlite>) {
    let (status, answer) = Client::new(&pool).post("/lists", json!({ "name": "  " })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["error"], "name is empty");
}

// A panic is how this one passes. It keeps no database: only a failure does.
#[dbtest_seaorm::test(migrations = Migrator)]
#[should_panic(expected = "a list has a name")]
async fn the_store_leaves_it_to_its_caller_to_check_a_name(Db(pool): Db<SeaOrmSqlite>) {
    let _ = store::create_list(&pool, "").await;
}

// Two arguments are two databases. Each can have an attribute of its own.
#[dbtest_seaorm::test(migrations = Migrator)]
async fn two_services_share_nothing(
    Db(home): Db<SeaOrmSqlite>,
    #[db(strategy = "template")] Db(work): Db<SeaOrmSqlite>,
) {
    let (home, work) = (Client::new(&home), Client::new(&work));

    home.post("/lists", json!({ "name": "Errands" })).await;
    let (status, _) = work.post("/lists", json!({ "name": "Errands" })).await;

    // No conflict: this is another database, although it has the same setup.
    assert_eq!(status, StatusCode::CREATED);
    work.post("/lists", json!({ "name": "Release" })).await;
    assert_eq!(home.get("/lists").await.1.as_array().map(Vec::len), Some(1));
}
