use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use todo_diesel::store::{self, MIGRATIONS, Pool};

// An empty database of the test's own, to do with as it likes: this one changes the schema.
#[dbtest_diesel::test(migrations = false, strategy = "template")]
async fn lists_from_before_reminders_are_still_there(pool: Pool) -> diesel::migration::Result<()> {
    let mut connection = pool.get()?;
    connection.run_next_migration(MIGRATIONS)?;
    diesel::sql_query("INSERT INTO list (name) VALUES ('Old')").execute(&mut connection)?;

    connection.run_pending_migrations(MIGRATIONS)?;
    drop(connection);

    let lists = store::lists(&pool).await.expect("lists");
    assert_eq!(lists.len(), 1);
    store::add_item(&pool, lists[0].id, "New", "normal", Some(0)).await.expect("an item with a reminder");
    Ok(())
}
