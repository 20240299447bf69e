use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::MigrationHarness;
use todo_diesel_async::store::{self, MIGRATIONS, Pool};

// An empty database of the test's own, to do with as it likes: this one changes the schema.
// diesel-async's harness wants a runtime with threads.
#[dbtest_diesel::asynchronous::test(migrations = false, strategy = "template", flavor = "multi_thread")]
async fn lists_from_before_reminders_are_still_there(
    pool: Pool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut harness = AsyncMigrationHarness::new(pool.get_owned().await?);
    harness.run_next_migration(MIGRATIONS)?;
    diesel::sql_query("INSERT INTO list (name) VALUES ('Old')").execute(&mut *pool.get().await?).await?;

    harness.run_pending_migrations(MIGRATIONS)?;

    let lists = store::lists(&pool).await.expect("lists");
    assert_eq!(lists.len(), 1);
    store::add_item(&pool, lists[0].id, "New", "normal", Some(0)).await.expect("an item with a reminder");
    Ok(())
}
