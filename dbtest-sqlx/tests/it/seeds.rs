//! Seed files: SQL, and rows as CSV and JSON.

macro_rules! on {
    ($engine:ident, $backend:ident, $pool:ty, $id:literal, $truth:literal) => {
        mod $engine {
            use dbtest_sqlx::{$backend, ErrorKind, Fixture, Strategy, TestDb};

            const TABLES: &str = concat!(
                "CREATE TABLE author (id ", $id, ", name varchar(50) NOT NULL, born integer, living ", $truth,
                " DEFAULT TRUE); CREATE TABLE book (id ", $id, ", author_id integer NOT NULL, title varchar(50) \
                 UNIQUE, FOREIGN KEY (author_id) REFERENCES author (id))"
            );

            fn tables() -> Fixture<$backend> {
                Fixture::new().sql("tables", TABLES)
            }

            async fn list(db: &$pool, select: &'static str) -> Vec<String> {
                sqlx::query_scalar(select).fetch_all(db).await.expect("rows")
            }

            fn library() -> Fixture<$backend> {
                // The books stand before the authors that they refer to.
                tables()
                    .seed_csv("book.csv", "id,author_id,title\n1,2,\"Dune, first\"\n2,2,It's\n3,1,\n")
                    .seed_json(
                        "seeds/02_author.json",
                        r#"[{"id": 1, "name": "Ursula", "born": 1929, "living": false}, {"id": 2, "name": "back\\slash"}]"#,
                    )
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn rows_are_loaded_in_the_order_of_their_references(db: $pool) {
                let books = "SELECT title FROM book WHERE title IS NOT NULL ORDER BY id";
                assert_eq!(list(&db, books).await, ["Dune, first", "It's"]);
                assert_eq!(list(&db, "SELECT name FROM author WHERE living AND born IS NULL").await, ["back\\slash"]);
                assert_eq!(list(&db, "SELECT name FROM author WHERE NOT living").await, ["Ursula"]);
                // The next number is not one that a file gave.
                sqlx::query("INSERT INTO author (name) VALUES ('next')").execute(&db).await.expect("a third");
                assert_eq!(list(&db, "SELECT name FROM author WHERE id > 2").await, ["next"]);
                // They are the baseline: what a test does to them is undone.
                sqlx::query("DELETE FROM book").execute(&db).await.expect("deleted");
            }

            fn parts() -> Fixture<$backend> {
                tables()
                    .seed_csv("2_book.csv", "author_id,title\n1,Dune\n")
                    .seed_csv("1_author.csv", "id,name\n1,Frank\n")
                    .seed_json("3_author.json", r#"[{"id": 2, "name": "Ursula"}]"#)
            }

            #[dbtest_sqlx::test(fixture = parts)]
            async fn a_table_may_have_several_files(db: $pool) {
                assert_eq!(list(&db, "SELECT name FROM author ORDER BY id").await, ["Frank", "Ursula"]);
            }

            #[dbtest_sqlx::test(fixture = tables, seeds("seeds/book.csv", "seeds/author.json"))]
            async fn the_attribute_takes_files_of_rows(db: $pool) {
                let books = "SELECT title FROM book JOIN author ON author.id = author_id WHERE name = 'Frank'";
                assert_eq!(list(&db, books).await, ["Dune"]);
            }

            #[dbtest_sqlx::test(fixture = tables, require = "truncate", seeds("seeds/book.csv", "seeds/author.json"))]
            async fn the_rows_of_the_attribute_are_the_tests_own(db: TestDb<$backend>) {
                let diff = db.diff().await.expect("a diff").mask("id").mask("living").to_string();
                assert!(diff.contains("name=Frank") && diff.contains("title=Dune"), "{diff}");
                assert!(!diff.contains("~ ") && !diff.contains("- "), "{diff}");
            }

            /// Its slot would be made anew for each test otherwise, since each would make the tables.
            #[tokio::test]
            async fn seeds_without_any_other_setup_are_the_setup() {
                let only = || Fixture::<$backend>::new().seeds_included([("tables.sql", TABLES)]);
                let db = only().require(Strategy::Truncate).open_for("only seeds").await.expect("open");
                assert!(db.diff().await.expect("a diff").is_empty());
                sqlx::query("INSERT INTO author (name) VALUES ('Frank')").execute(db.handle()).await.expect("a row");
                assert!(!db.diff().await.expect("a diff").is_empty());
                db.close().await.expect("closed");
            }

            #[tokio::test]
            async fn files_that_a_test_is_compiled_with_are_its_own() {
                let files = [
                    ("seeds/book.csv", &b"author_id,title\n7,Dune\n"[..]),
                    ("author.json", br#"[{"id": 7, "name": "Frank"}]"#),
                    ("born.sql", b"\xef\xbb\xbfUPDATE author SET born = 1920 WHERE id = 7"),
                ];
                for strategy in [Strategy::Truncate, Strategy::Template, Strategy::Schema, Strategy::Rollback] {
                    let tables = || tables().require(strategy.clone());
                    let with = tables().seeds_included(files).open_for("with files").await.expect("open");
                    let born = "SELECT name FROM author JOIN book ON author.id = author_id WHERE born = 1920";
                    assert_eq!(list(with.handle(), born).await, ["Frank"], "{strategy:?}");
                    with.close().await.expect("closed");
                    let without = tables().open_for("without files").await.expect("open");
                    assert_eq!(list(without.handle(), "SELECT name FROM author").await, [""; 0], "{strategy:?}");
                    without.close().await.expect("closed");
                }
                for (name, content, word) in [
                    ("notes.txt", &b"not a seed"[..], "notes.txt"),
                    ("latin1.sql", b"SELECT 1;\n-- \xe9", "latin1.sql, line 2"),
                ] {
                    let error = tables().seeds_included([(name, content)]).open().await.expect_err(name);
                    assert!(error.to_string().contains(word), "{error}");
                }
            }

            #[dbtest_sqlx::test(fixture = library)]
            async fn the_rows_are_the_baseline_of_every_test(db: $pool) {
                assert_eq!(list(&db, "SELECT name FROM author ORDER BY id").await, ["Ursula", "back\\slash"]);
                sqlx::query("DELETE FROM book").execute(&db).await.expect("deleted");
            }

            #[tokio::test]
            async fn what_is_wrong_in_a_file_is_named_with_its_line() {
                let good = "id,name\n1,a\n2,b\n";
                for (name, author, words) in [
                    ("author.csv", &b"id,name,colour\n1,a,red\n"[..], &["author.csv, line 1", "colour", "id, name"][..]),
                    ("author.csv", b"id,name\n1,a\n2,\n", &["author.csv, line 3"]),
                    ("author.csv", b"id,name\n1,a\n1,b\n", &["author.csv, line 3"]),
                    ("author.csv", b"id,name,born\n1,a,1900\n2,b,never\n", &["author.csv, line 3", "never"]),
                    ("author.csv", b"id,name\n1,a,b\n", &["author.csv, line 2", "3 values for 2 columns"]),
                    ("author.csv", b"id,name\n1,a\n2,\xff\n", &["author.csv, line 3", "not UTF-8"]),
                    ("writer.csv", good.as_bytes(), &["writer.csv", "no table writer"]),
                ] {
                    let fixture = tables().seed_csv(name, author).require(Strategy::Template);
                    let error = fixture.open_for("a test with a wrong file").await.expect_err("refused");
                    assert_eq!(error.kind(), ErrorKind::Setup, "{error}");
                    for word in words {
                        assert!(error.to_string().contains(word), "{word:?} is missing: {error}");
                    }
                }
                let fixture = tables().seed_json("author.json", "[\n{\"id\": 1, \"name\": \"a\"},\n{\"id\": 2}]");
                let error = fixture.open_for("a test with a wrong file").await.expect_err("refused");
                assert!(error.to_string().contains("author.json, line 3"), "{error}");
            }

            #[tokio::test]
            async fn what_groups_of_tests_have_in_common_is_made_once() {
                use std::sync::Arc;
                use std::sync::atomic::{AtomicUsize, Ordering};

                let ran = Arc::new(AtomicUsize::new(0));
                let version = format!("{:?}", std::time::SystemTime::now());
                let common = || {
                    let ran = Arc::clone(&ran);
                    tables()
                        .version(&version)
                        .seed(move |db: $pool| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            async move {
                                sqlx::query("INSERT INTO author (id, name) VALUES (1, 'common')").execute(&db).await.map(drop)
                            }
                        })
                        .base()
                };
                for strategy in [Strategy::Truncate, Strategy::Template, Strategy::Rollback] {
                    for own in ["one", "two"] {
                        let fixture = common().seed_csv("author.csv", format!("id,name\n2,{own}\n"));
                        let db = fixture.require(strategy.clone()).open_for("a test of a group").await.expect("open");
                        assert_eq!(list(db.handle(), "SELECT name FROM author ORDER BY id").await, ["common", own]);
                        sqlx::query("INSERT INTO author (name) VALUES ('next')").execute(db.handle()).await.expect("a row");
                        db.close().await.expect("closed");
                    }
                    let db = common().require(strategy.clone()).open_for("a test without a group").await.expect("open");
                    assert_eq!(list(db.handle(), "SELECT name FROM author ORDER BY id").await, ["common"]);
                    db.close().await.expect("closed");
                }
                assert_eq!(ran.load(Ordering::SeqCst), 1);
            }

            #[tokio::test]
            async fn files_of_a_folder_are_seeds_and_part_of_the_fingerprint() {
                let folder = tempfile::tempdir().expect("a folder");
                let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
                write("1_more.sql", "INSERT INTO author (id, name) VALUES (1, 'sql')");
                write("2_book.csv", "author_id,title\n2,Dune\n");
                write("3_author.csv", "id,name\n2,csv\n");
                write("notes.txt", "not a seed");
                let names = async || {
                    let db = tables().seed_dir(folder.path()).open_for("a test of a folder").await.expect("open");
                    let names = list(db.handle(), "SELECT name FROM author ORDER BY id").await;
                    db.close().await.expect("closed");
                    names
                };
                assert_eq!(names().await, ["sql", "csv"]);
                write("3_author.csv", "id,name\n2,changed\n");
                assert_eq!(names().await, ["sql", "changed"]);
                let error = tables().seed_files([folder.path().join("notes.txt")]).open().await.expect_err("no seed");
                assert!(error.to_string().contains("notes.txt"), "{error}");
                let error = tables().seed_files(["nowhere.csv"]).open().await.expect_err("no file");
                assert!(error.to_string().contains("nowhere.csv"), "{error}");
            }
        }
    };
}

on!(sqlite, SqlxSqlite, sqlx::SqlitePool, "integer PRIMARY KEY", "boolean");
on!(postgres, SqlxPostgres, sqlx::PgPool, "integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "boolean");
on!(mysql, SqlxMySql, sqlx::MySqlPool, "integer AUTO_INCREMENT PRIMARY KEY", "boolean");

mod schemas {
    mod postgres {
        use dbtest_sqlx::{Fixture, SqlxPostgres};

        fn audit() -> Fixture<SqlxPostgres> {
            let tables = "CREATE SCHEMA audit; CREATE TABLE audit.kind (word text PRIMARY KEY); \
                CREATE TABLE audit.event (kind text NOT NULL REFERENCES audit.kind); CREATE TABLE kind (id int)";
            Fixture::new()
                .sql("tables", tables)
                .seed_csv("audit.event.csv", "kind\nlogin\n")
                .seed_csv("audit.kind.csv", "word\nlogin\n")
        }

        #[dbtest_sqlx::test(fixture = audit)]
        async fn tables_of_another_schema_are_loaded_in_the_order_of_their_references(db: sqlx::PgPool) {
            let kinds: Vec<String> =
                sqlx::query_scalar("SELECT kind FROM audit.event").fetch_all(&db).await.expect("rows");
            assert_eq!(kinds, ["login"]);
        }
    }
}
