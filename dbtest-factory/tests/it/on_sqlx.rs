//! One definition, on each engine.

macro_rules! on {
    ($engine:ident, $backend:ident, $pool:ty) => {
        pub(crate) mod $engine {
            use dbtest_factory::Factory;
            use dbtest_sqlx::{$backend, Fixture};

            #[derive(Clone, Debug, PartialEq, Factory)]
            #[factory(table = "author", sqlx($engine))]
            #[factory(has_many(books = Book, by = author_id))]
            #[factory(variant(editor, role = "editor"), variant(aged, born = Some(1900 + n as i64)))]
            #[factory(variant(wrong, role = "pope"))]
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

            #[derive(Clone, Debug, PartialEq, Factory)]
            #[factory(table = "book", sqlx($engine))]
            #[factory(many_to_many(tags = Tag, through = BookTag, by = (book_id, tag_id)))]
            #[factory(variant(by_an_editor, author = Author::factory().editor()))]
            struct Book {
                id: i64,
                #[factory(belongs_to = Author)]
                author_id: i64,
                title: String,
                #[factory(default = title.to_lowercase().replace(' ', "-"))]
                slug: String,
                pages: i64,
            }

            #[derive(Clone, Debug, PartialEq, Factory)]
            #[factory(table = "tag", sqlx($engine))]
            struct Tag {
                id: i64,
                name: String,
            }

            #[derive(Clone, Debug, PartialEq, Factory)]
            #[factory(table = "book_tag", sqlx($engine))]
            struct BookTag {
                #[factory(belongs_to = Book)]
                book_id: i64,
                #[factory(belongs_to = Tag)]
                tag_id: i64,
            }

            #[derive(Clone, Debug, PartialEq, Factory)]
            #[factory(table = "category", sqlx($engine))]
            struct Category {
                id: i64,
                name: String,
                #[factory(belongs_to = Category)]
                parent_id: Option<i64>,
            }

            fn library() -> Fixture<$backend> {
                Fixture::new().sql("library", crate::schema::library(stringify!($engine)))
            }

            async fn list(db: &$pool, select: &str) -> Vec<String> {
                sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_all(db).await.expect("rows")
            }

            async fn count(db: &$pool, table: &str) -> i64 {
                let count = format!("SELECT COUNT(*) FROM {table}");
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(db).await.expect("a number")
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn what_the_test_gives_wins(db: $pool) {
                let book = Book::factory().title("Dune Messiah").create(&db).await.expect("a book");
                assert_eq!((book.title.as_str(), book.slug.as_str(), book.pages), ("Dune Messiah", "dune-messiah", 1));
                assert_eq!(list(&db, "SELECT slug FROM book").await, ["dune-messiah"]);
                // Its parent was made, and what the database wrote was read.
                assert_eq!(list(&db, "SELECT email FROM author").await, ["author1@example.com"]);
                let author = Author::factory().create(&db).await.expect("an author");
                assert_eq!((author.kept.as_str(), author.role.as_str(), author.born), ("yes", "writer", None));
                assert!(author.id > book.author_id, "{author:?}");
                let author = Author::factory().id(70).kept("no").create(&db).await.expect("an author");
                assert_eq!((author.id, author.kept.as_str()), (70, "no"));
                assert_eq!(list(&db, "SELECT kept FROM author WHERE id = 70").await, ["no"]);
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn a_parent_is_made_given_or_shared(db: $pool) {
                let author = Author::factory().name("Frank").create(&db).await.expect("an author");
                let book = Book::factory().author(&author).create(&db).await.expect("a book");
                assert_eq!((book.author_id, count(&db, "author").await), (author.id, 1));
                let book = Book::factory().author(Author::factory().name("Ursula")).create(&db).await.expect("a book");
                assert_eq!((book.author_id > author.id, count(&db, "author").await), (true, 2));
                let shared = Author::factory().shared();
                let books = Book::factory().author(&shared).create_many(3, &db).await.expect("books");
                let more = Book::factory().author(&shared).create(&db).await.expect("a book");
                assert!(books.iter().all(|book| book.author_id == more.author_id), "{books:?}");
                assert_eq!(shared.row().map(|author| author.id), Some(more.author_id));
                assert_eq!(count(&db, "author").await, 3);
                let books = Book::factory().create_many(2, &db).await.expect("books");
                assert_ne!(books[0].author_id, books[1].author_id);
                let book = Book::factory().by_an_editor().create(&db).await.expect("a book");
                let of = format!("SELECT role FROM author WHERE id = {}", book.author_id);
                assert_eq!(list(&db, &of).await, ["editor"]);
                let book = Book::factory().author(&author).by_an_editor().create(&db).await.expect("a book");
                assert_eq!(book.author_id, author.id);
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn children_and_others_come_along(db: $pool) {
                let known = Tag::factory().name("known").create(&db).await.expect("a tag");
                Author::factory()
                    .books([
                        Book::factory().title("One").tags([Tag::factory().name("new"), Tag::factory()]),
                        Book::factory().title("Two").tags([Tag::factory().name("newer")]),
                    ])
                    .create(&db)
                    .await
                    .expect("an author with books");
                Book::factory().title("Three").tags([&known]).create(&db).await.expect("a book with a tag");
                assert_eq!(list(&db, "SELECT title FROM book ORDER BY title").await, ["One", "Three", "Two"]);
                assert_eq!(count(&db, "author").await, 2);
                let tagged = "SELECT tag.name FROM tag JOIN book_tag ON tag.id = tag_id JOIN book ON book.id = book_id \
                              WHERE title = ";
                let mut names = list(&db, &format!("{tagged}'One'")).await;
                names.sort();
                assert_eq!(names, ["name 3", "new"]);
                assert_eq!(list(&db, &format!("{tagged}'Three'")).await, ["known"]);
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn many_rows_are_one_insert_each_with_its_own_numbers(db: $pool) {
                let authors = Author::factory().editor().aged().create_many(100, &db).await.expect("authors");
                assert_eq!(authors.len(), 100);
                let stored: Vec<(i64, String, String, Option<i64>, String)> =
                    sqlx::query_as("SELECT id, name, email, born, role FROM author ORDER BY id")
                        .fetch_all(&db)
                        .await
                        .expect("rows");
                let made: Vec<_> = authors
                    .into_iter()
                    .map(|author| (author.id, author.name, author.email, author.born, author.role))
                    .collect();
                assert_eq!(stored, made);
                assert_eq!((made[99].2.as_str(), made[99].3), ("author100@example.com", Some(2000)));
                let several = [Tag::factory().name("a"), Tag::factory().id(500), Tag::factory().name("c")];
                let tags = Tag::create_all(several, &db).await.expect("tags");
                assert_eq!((tags[1].id, tags[0].name.as_str(), tags[2].name.as_str()), (500, "a", "c"));
                assert_eq!(Tag::factory().create_many(0, &db).await.expect("none"), []);
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn a_row_may_refer_to_its_like(db: $pool) {
                let top = Category::factory().create(&db).await.expect("a category");
                assert_eq!(top.parent_id, None);
                let below = Category::factory().parent(&top).create(&db).await.expect("a category");
                assert_eq!(below.parent_id, Some(top.id));
                let deep = Category::factory().parent(Category::factory().parent(&below)).create(&db).await;
                assert!(deep.expect("a category").parent_id > below.parent_id);
                assert_eq!(count(&db, "category").await, 4);
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn a_refusal_says_whose_field_and_which_constraint(db: $pool) {
                Author::factory().email("a@b.c").create(&db).await.expect("the first");
                let error = Author::factory().email("a@b.c").create(&db).await.expect_err("twice");
                assert_eq!((error.factory(), error.field()), ("Author", Some("email")));
                for part in ["factory of `Author`", "`author`", "unique constraint", "next step: give another `.email(…)`"] {
                    assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
                }
                let error = Author::factory().wrong().create(&db).await.expect_err("no such role");
                assert_eq!(error.constraint(), Some("role_is_known"), "{error}");
                let error = Book::factory().author_id(12_345).create(&db).await.expect_err("no such author");
                assert!(error.to_string().contains("foreign key"), "{error}");
                assert_eq!((count(&db, "author").await, count(&db, "book").await), (1, 0));
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn lint_reports_what_the_schema_refuses(db: $pool) {
                Book::factory().lint(&db).await.expect("all are fine");
                let results = [Author::factory().lint(&db).await, Tag::factory().lint(&db).await];
                let refused = dbtest_factory::Refused::all(results).expect_err("one is wrong");
                let names: Vec<_> = refused.iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["Author.wrong()"]);
                assert!(refused.to_string().contains("role_is_known"), "{refused}");
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn a_transaction_or_a_connection_will_do(db: $pool) {
                let mut transaction = db.begin().await.expect("begun");
                Tag::factory().create(&mut transaction).await.expect("a tag");
                transaction.rollback().await.expect("rolled back");
                assert_eq!(count(&db, "tag").await, 0);
                let mut connection = db.acquire().await.expect("a connection");
                Tag::factory().create(&mut *connection).await.expect("a tag");
                Tag::factory().create(&mut connection).await.expect("a tag");
                drop(connection);
                assert_eq!(count(&db, "tag").await, 2);
            }
        }
    };
}

on!(sqlite, SqlxSqlite, sqlx::SqlitePool);
on!(postgres, SqlxPostgres, sqlx::PgPool);
on!(mysql, SqlxMySql, sqlx::MySqlPool);
