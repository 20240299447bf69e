use dbtest_seaorm::{Db, SeaOrmSqlite};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::MigratorTrait;
use todo_seaorm::store::{self, Migrator};

// An empty database of the test's own, to do with as it likes: this one changes the schema.
#[dbtest_seaorm::test(migrations = false, strategy = "template")]
async fn lists_from_before_reminders_are_still_there(Db(pool): Db<SeaOrmSqlite>) -> Result<(), DbErr> {
    Migrator::up(&pool, Some(1)).await?;
    pool.execute_unprepared("INSERT INTO list (name) VALUES ('Old')").await?;

    Migrator::up(&pool, None).await?;

    let lists = store::lists(&pool).await.expect("lists");
    assert_eq!(lists.len(), 1);
    store::add_item(&pool, lists[0].id, "New", "normal", Some(0)).await.expect("an item with a reminder");
    Ok(())
}
