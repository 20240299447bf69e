use sqlx::SqlitePool;
use todo_sqlx::store::{self, MIGRATOR};

// An empty database of the test's own, to do with as it likes: this one changes the schema.
#[dbtest_sqlx::test(migrations = false, strategy = "template")]
async fn lists_from_before_reminders_are_still_there(pool: SqlitePool) -> Result<(), sqlx::Error> {
    MIGRATOR.run_to(1, &pool).await?;
    sqlx::query("INSERT INTO list (name) VALUES ('Old')").execute(&pool).await?;

    MIGRATOR.run(&pool).await?;

    let lists = store::lists(&pool).await.expect("lists");
    assert_eq!(lists.len(), 1);
    store::add_item(&pool, lists[0].id, "New", "normal", Some(0)).await.expect("an item with a reminder");
    Ok(())
}
