//! The same factories on Diesel's tables, with and without async.

mod tables {
    diesel::table! {
        author (id) {
            id -> BigInt,
            name -> Text,
            email -> Text,
            role -> Text,
            born -> Nullable<BigInt>,
            kept -> Text,
        }
    }
    diesel::table! {
        book (id) {
            id -> BigInt,
            author_id -> BigInt,
            title -> Text,
            slug -> Text,
            pages -> BigInt,
        }
    }
}

macro_rules! on {
    (
        $engine:ident, $module:ident, $orm:ident, $connection:ty, $fixture:ty,
        #[$($test:ident)::+] ($($asynchronous:ident)?) ($($awaits:tt)*) $dsl:path
    ) => {
        pub(crate) mod $module {
            use dbtest_factory::Factory;
            use diesel::{QueryDsl as _, Queryable};
            use $dsl as _;

            use crate::on_diesel::tables;

            #[derive(Clone, Debug, PartialEq, Queryable, Factory)]
            #[factory(table = tables::author, $orm($engine), has_many(books = Book, by = author_id))]
            #[factory(variant(editor, role = "editor"), variant(wrong, role = "pope"))]
            struct Author {
                id: i64,
                #[factory(fake = dbtest_factory::fake::faker::name::en::Name())]
                name: String,
                #[factory(sequence = "author{n}@example.com")]
                email: String,
                #[factory(default = "writer")]
                role: String,
                born: Option<i64>,
                #[factory(generated)]
                kept: String,
            }

            #[derive(Clone, Debug, PartialEq, Queryable, Factory)]
            #[factory(table = tables::book, $orm($engine))]
            struct Book {
                id: i64,
                #[factory(belongs_to = Author)]
                author_id: i64,
                title: String,
                #[factory(default = title.to_lowercase().replace(' ', "-"))]
                slug: String,
                pages: i64,
            }

            fn library() -> $fixture {
                <$fixture>::new().sql("library", crate::schema::library(stringify!($engine)))
            }

            #[$($test)::+(fixture = library)]
            $($asynchronous)? fn what_the_test_gives_wins(db: &mut $connection) {
                let author = Author::factory().name("Frank").create(db) $($awaits)*.expect("an author");
                assert_eq!((author.kept.as_str(), author.born), ("yes", None));
                let book = Book::factory().author(&author).title("Dune Messiah").create(db) $($awaits)*.expect("a book");
                assert_eq!((book.slug.as_str(), book.author_id), ("dune-messiah", author.id));
                let stored = tables::book::table.load::<Book>(db) $($awaits)*.expect("books");
                assert_eq!(stored, [book]);
                let author = Author::factory().id(70).kept("no").create(db) $($awaits)*.expect("an author");
                assert_eq!((author.id, author.kept.as_str()), (70, "no"));
                let several = [Author::factory(), Author::factory().id(500), Author::factory().kept("no")];
                let authors = Author::create_all(several, db) $($awaits)*.expect("authors");
                let kept: Vec<_> = authors.iter().map(|author| (author.id == 500, author.kept.as_str())).collect();
                assert_eq!(kept, [(false, "yes"), (true, "yes"), (false, "no")]);
            }

            #[$($test)::+(fixture = library)]
            $($asynchronous)? fn many_rows_with_their_parents_and_children(db: &mut $connection) {
                let books = Book::factory().create_many(50, db) $($awaits)*.expect("books");
                let stored = tables::book::table.order(tables::book::id).load::<Book>(db) $($awaits)*.expect("books");
                assert_eq!(books, stored);
                let authors = tables::author::table.order(tables::author::id).load::<Author>(db) $($awaits)*.expect("authors");
                assert!(books.iter().zip(&authors).all(|(book, author)| book.author_id == author.id));
                Author::factory().editor().books([Book::factory(), Book::factory()]).create(db) $($awaits)*.expect("an author");
                let count = tables::book::table.count().get_result::<i64>(db) $($awaits)*.expect("a number");
                assert_eq!((count, authors.len()), (52, 50));
            }

            #[$($test)::+(fixture = library)]
            $($asynchronous)? fn a_refusal_says_whose_field_and_which_constraint(db: &mut $connection) {
                Author::factory().email("a@b.c").create(db) $($awaits)*.expect("the first");
                let error = Author::factory().email("a@b.c").create(db) $($awaits)*.expect_err("twice");
                assert_eq!(error.field(), Some("email"), "{error}");
                let refused = Author::factory().lint(db) $($awaits)*.expect_err("one is wrong");
                let names: Vec<_> = refused.iter().map(|(name, error)| (name, error.constraint())).collect();
                assert_eq!(names, [("Author.wrong()", Some("role_is_known"))], "{refused}");
            }
        }
    };
}

macro_rules! both {
    ($engine:ident, $sync:ty, $backend:ident, $async:ty, $async_backend:ident) => {
        pub(crate) mod $engine {
            on!(
                $engine, sync, diesel, $sync, dbtest_diesel::Fixture<dbtest_diesel::$backend>,
                #[dbtest_diesel::test] () () diesel::RunQueryDsl
            );
            on!(
                $engine, asynchronous, diesel_async, $async,
                dbtest_diesel::Fixture<dbtest_diesel::asynchronous::$async_backend>,
                #[dbtest_diesel::asynchronous::test] (async) (.await) diesel_async::RunQueryDsl
            );
        }
    };
}

both!(
    sqlite,
    diesel::SqliteConnection,
    DieselSqlite,
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>,
    DieselAsyncSqlite
);
both!(postgres, diesel::PgConnection, DieselPostgres, diesel_async::AsyncPgConnection, DieselAsyncPostgres);
both!(mysql, diesel::MysqlConnection, DieselMySql, diesel_async::AsyncMysqlConnection, DieselAsyncMySql);
