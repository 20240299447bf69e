//! A small application on SeaORM: two entities and their migrations.

// The trait's own methods are written so, and an `async_trait` must be as its trait is.
#![allow(elided_lifetimes_in_paths)]

use sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QueryOrder};
use sea_orm_migration::prelude::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, Table};
use sea_orm_migration::{async_trait, schema};

pub(crate) mod author {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "authors")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        #[sea_orm(unique)]
        pub(crate) name: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod book {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "books")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i32,
        pub(crate) author_id: i32,
        #[sea_orm(unique)]
        pub(crate) title: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Titles of all books, by name.
pub(crate) async fn titles<C: ConnectionTrait>(db: &C) -> Result<Vec<String>, DbErr> {
    let books = book::Entity::find().order_by_asc(book::Column::Title).all(db).await?;
    Ok(books.into_iter().map(|book| book.title).collect())
}

/// Adds a book of the author whom the migrations add.
pub(crate) async fn add<C: ConnectionTrait>(db: &C, title: &str) -> Result<book::Model, DbErr> {
    let book = book::ActiveModel { author_id: Set(1), title: Set(title.to_owned()), ..Default::default() };
    book.insert(db).await
}

#[derive(Debug)]
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_authors::Migration), Box::new(m0002_books::Migration)]
    }
}

pub(crate) mod m0001_authors {
    use super::*;

    pub(crate) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m0001_authors"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let table = Table::create()
                .table(author::Entity)
                .col(schema::pk_auto(author::Column::Id))
                .col(schema::string_uniq(author::Column::Name))
                .to_owned();
            manager.create_table(table).await?;
            let herbert = author::ActiveModel { id: Set(1), name: Set("Frank Herbert".to_owned()) };
            author::Entity::insert(herbert).exec(manager.get_connection()).await.map(drop)
        }
    }
}

pub(crate) mod m0002_books {
    use super::*;

    pub(crate) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m0002_books"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let table = Table::create()
                .table(book::Entity)
                .col(schema::pk_auto(book::Column::Id))
                .col(schema::integer(book::Column::AuthorId))
                .col(schema::string_uniq(book::Column::Title))
                .to_owned();
            manager.create_table(table).await
        }
    }
}
