//! What tests start from where the attribute's own words do not suffice.

use dbtest_diesel::asynchronous::{DieselAsyncSqlite, Fixture};
use todo_diesel_async::Result;
use todo_diesel_async::store::{self, Pool};

/// A team in the middle of a release.
pub(crate) fn busy_team() -> Fixture<DieselAsyncSqlite> {
    Fixture::new().migrations(store::MIGRATIONS).seed(release)
}

/// A list of thirty items: ten each of what is low and done, normal, and high. This runs once,
/// when the database is built that all tests are cloned from.
async fn release(pool: Pool) -> Result<()> {
    let list = store::create_list(&pool, "Release").await?;
    for number in 0..30 {
        let priority = ["low", "normal", "high"][number % 3];
        let item = store::add_item(&pool, list.id, &format!("Step {number}"), priority, None).await?;
        if priority == "low" {
            store::complete(&pool, item.id).await?;
        }
    }
    Ok(())
}
