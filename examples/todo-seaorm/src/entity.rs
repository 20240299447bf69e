//! The tables, as SeaORM sees them.

/// Lists of items.
pub mod list {
    use sea_orm::entity::prelude::*;
    use serde::Serialize;

    /// A list of items.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize)]
    #[sea_orm(table_name = "list")]
    pub struct Model {
        /// Its number.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// Its name; no two have the same.
        #[sea_orm(unique)]
        pub name: String,
    }

    /// None is followed.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How urgent an item is.
pub mod priority {
    use sea_orm::entity::prelude::*;

    /// A row of the reference table.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "priority")]
    pub struct Model {
        /// `low`, `normal` or `high`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub code: String,
        /// How much an open item counts.
        pub weight: i64,
    }

    /// None is followed.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What is to be done.
pub mod item {
    use sea_orm::entity::prelude::*;

    /// Something to do.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        /// Its number.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// The list that it is on.
        pub list_id: i64,
        /// What is to be done.
        pub title: String,
        /// `low`, `normal` or `high`.
        pub priority: String,
        /// Whether it is done.
        pub done: bool,
        /// When to remind of it, in seconds since 1970.
        pub remind_at: Option<i64>,
    }

    /// What an item belongs to.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        /// Its priority.
        #[sea_orm(
            belongs_to = "super::priority::Entity",
            from = "Column::Priority",
            to = "super::priority::Column::Code"
        )]
        Priority,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What happened to items.
pub mod activity {
    use sea_orm::entity::prelude::*;

    /// One thing that happened.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "activity")]
    pub struct Model {
        /// Its number.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// The item that it happened to.
        pub item_id: i64,
        /// What happened.
        pub what: String,
    }

    /// None is followed.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
