//! Rows of which a test says only what matters to it.

use dbtest_factory::Factory;
use todo_diesel::schema;

/// A list; with items in line, `.items([…])`.
#[derive(Clone, Debug, Factory)]
#[factory(table = schema::list, diesel(sqlite), has_many(items = Item, by = list_id))]
pub(crate) struct List {
    pub(crate) id: i64,
    pub(crate) name: String,
}

/// An item, in a list that is made for it unless the test gives one.
#[derive(Clone, Debug, Factory)]
#[factory(table = schema::item, diesel(sqlite))]
#[factory(variant(urgent, priority = "high"), variant(finished, done = true))]
pub(crate) struct Item {
    pub(crate) id: i64,
    #[factory(belongs_to = List)]
    pub(crate) list_id: i64,
    pub(crate) title: String,
    #[factory(default = "normal")]
    pub(crate) priority: String,
    pub(crate) done: bool,
    pub(crate) remind_at: Option<i64>,
}
