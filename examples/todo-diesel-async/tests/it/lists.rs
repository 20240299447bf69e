use axum::http::StatusCode;
use serde_json::json;
use todo_diesel_async::store::{self, Pool};

use crate::Client;

// The whole of it: an attribute, and an argument. The crate's `migrations` folder is found and
// applied, once for all tests; the type of the argument says which database it is.
#[dbtest_diesel::asynchronous::test]
async fn a_list_that_was_made_is_there(pool: Pool) {
    let client = Client::new(&pool);

    let (status, list) = client.post("/lists", json!({ "name": "Errands" })).await;
    assert_eq!(status, StatusCode::CREATED);

    assert_eq!(client.get("/lists").await, (StatusCode::OK, json!([list])));
}

// And no other test sees it, also while both run.
#[dbtest_diesel::asynchronous::test]
async fn without_lists_there_are_none(pool: Pool) {
    assert_eq!(Client::new(&pool).get("/lists").await, (StatusCode::OK, json!([])));
}

// The cheapest strategy: the test runs inside a transaction that is rolled back, and the
// service's own transactions are savepoints in it.
#[dbtest_diesel::asynchronous::test(strategy = "rollback")]
async fn the_same_name_twice_is_a_conflict(pool: Pool) {
    let client = Client::new(&pool);
    client.post("/lists", json!({ "name": "Errands" })).await;

    let (status, answer) = client.post("/lists", json!({ "name": "Errands" })).await;

    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"], r#"there is a "Errands" already"#);
    // The refused statement did not harm the transaction around it.
    assert_eq!(client.get("/lists").await.1.as_array().map(Vec::len), Some(1));
}

#[dbtest_diesel::asynchronous::test(strategy = "rollback")]
async fn a_name_of_spaces_is_refused(pool: Pool) {
    let (status, answer) = Client::new(&pool).post("/lists", json!({ "name": "  " })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["error"], "name is empty");
}

// A panic is how this one passes. It keeps no database: only a failure does.
#[dbtest_diesel::asynchronous::test]
#[should_panic(expected = "a list has a name")]
async fn the_store_leaves_it_to_its_caller_to_check_a_name(pool: Pool) {
    let _ = store::create_list(&pool, "").await;
}

// Two arguments are two databases. Each can have an attribute of its own.
#[dbtest_diesel::asynchronous::test]
async fn two_services_share_nothing(home: Pool, #[db(strategy = "template")] work: Pool) {
    let (home, work) = (Client::new(&home), Client::new(&work));

    home.post("/lists", json!({ "name": "Errands" })).await;
    let (status, _) = work.post("/lists", json!({ "name": "Errands" })).await;

    // No conflict: this is another database, although it has the same setup.
    assert_eq!(status, StatusCode::CREATED);
    work.post("/lists", json!({ "name": "Release" })).await;
    assert_eq!(home.get("/lists").await.1.as_array().map(Vec::len), Some(1));
}
