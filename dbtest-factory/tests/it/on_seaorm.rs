//! The same factories on SeaORM's entities.

use dbtest_factory::Factory;

mod author {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Factory)]
    #[sea_orm(table_name = "author")]
    #[factory(seaorm, has_many(books = super::book::Model, by = author_id))]
    #[factory(variant(editor, role = "editor"), variant(wrong, role = "pope"))]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[factory(fake = dbtest_factory::fake::faker::name::en::Name())]
        pub name: String,
        #[factory(sequence = "author{n}@example.com")]
        pub email: String,
        #[factory(default = "writer")]
        pub role: String,
        pub born: Option<i64>,
        #[factory(generated)]
        pub kept: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(mut self, _: &C, _: bool) -> Result<Self, DbErr> {
            if self.name.try_as_ref().is_some_and(|name| name == "spaces ") {
                self.name = sea_orm::Set("spaces".to_owned());
            }
            Ok(self)
        }
    }
}

mod book {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Factory)]
    #[sea_orm(table_name = "book")]
    #[factory(seaorm)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[factory(belongs_to = super::author::Model)]
        pub author_id: i64,
        pub title: String,
        #[factory(default = title.to_lowercase().replace(' ', "-"))]
        pub slug: String,
        pub pages: i64,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A factory for an entity of another crate, which can't derive it: the fields are its fields.
#[derive(Factory)]
#[factory(row = book::Model, seaorm)]
struct Thick {
    id: i64,
    #[factory(belongs_to = author::Model)]
    author_id: i64,
    title: String,
    #[factory(sequence = "thick-{n}")]
    slug: String,
    #[factory(default = 1000)]
    pages: i64,
}

macro_rules! on {
    ($engine:ident, $backend:ident) => {
        pub(crate) mod $engine {
            use dbtest_seaorm::{Db, Fixture, $backend};
            use sea_orm::{EntityTrait, PaginatorTrait, QueryOrder, TransactionTrait};

            use super::{Thick, author, book};

            fn library() -> Fixture<$backend> {
                Fixture::new().sql("library", crate::schema::library(stringify!($engine)))
            }

            #[dbtest_seaorm::test(fixture = library)]
            async fn what_the_test_gives_wins(Db(db): Db<$backend>) {
                let author = author::Model::factory().name("spaces ").create(&db).await.expect("an author");
                // The entity's own behaviour applies.
                assert_eq!(
                    (author.name.as_str(), author.kept.as_str(), author.born),
                    ("spaces", "yes", None)
                );
                let book = book::Model::factory()
                    .author(&author)
                    .title("Dune Messiah")
                    .create(&db)
                    .await
                    .expect("a book");
                assert_eq!((book.slug.as_str(), book.author_id), ("dune-messiah", author.id));
                assert_eq!(book::Entity::find().all(&db).await.expect("books"), [book]);
                let author = author::Model::factory().id(70).kept("no").create(&db).await.expect("an author");
                assert_eq!((author.id, author.kept.as_str()), (70, "no"));
                let thick = Thick::factory().create(&db).await.expect("a book");
                assert_eq!((thick.pages, thick.slug.as_str()), (1000, "thick-1"));
            }

            #[dbtest_seaorm::test(fixture = library)]
            async fn many_rows_with_their_parents_and_children(Db(db): Db<$backend>) {
                let books = book::Model::factory().create_many(50, &db).await.expect("books");
                let stored =
                    book::Entity::find().order_by_asc(book::Column::Id).all(&db).await.expect("books");
                assert_eq!(books, stored);
                let authors =
                    author::Entity::find().order_by_asc(author::Column::Id).all(&db).await.expect("authors");
                assert_eq!((authors.len(), authors[49].kept.as_str()), (50, "yes"));
                assert!(books.iter().zip(&authors).all(|(book, author)| book.author_id == author.id));
                let two = [book::Model::factory(), book::Model::factory()];
                author::Model::factory().editor().books(two).create(&db).await.expect("an author with books");
                assert_eq!(book::Entity::find().count(&db).await.expect("a number"), 52);
                assert_eq!(author::Entity::find().count(&db).await.expect("a number"), 51);
            }

            #[dbtest_seaorm::test(fixture = library)]
            async fn a_refusal_says_whose_field_and_which_constraint(Db(db): Db<$backend>) {
                author::Model::factory().email("a@b.c").create(&db).await.expect("the first");
                let error = author::Model::factory().email("a@b.c").create(&db).await.expect_err("twice");
                assert_eq!(error.field(), Some("email"), "{error}");
                let refused = author::Model::factory().lint(&db).await.expect_err("one is wrong");
                let names: Vec<_> = refused.iter().map(|(name, error)| (name, error.constraint())).collect();
                assert_eq!(names, [("Model.wrong()", Some("role_is_known"))], "{refused}");
            }

            #[dbtest_seaorm::test(fixture = library)]
            async fn a_transaction_will_do(Db(db): Db<$backend>) {
                let transaction = db.begin().await.expect("begun");
                book::Model::factory().create(&transaction).await.expect("a book");
                transaction.rollback().await.expect("rolled back");
                assert_eq!(author::Entity::find().count(&db).await.expect("a number"), 0);
            }
        }
    };
}

on!(sqlite, SeaOrmSqlite);
on!(postgres, SeaOrmPostgres);
on!(mysql, SeaOrmMySql);
