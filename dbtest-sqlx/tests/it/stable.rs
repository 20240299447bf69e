//! Databases for tools that check queries while nothing runs.

use dbtest_sqlx::{ErrorKind, Fixture, SqlxSqlite};

macro_rules! engine {
    ($engine:ident, $backend:ident, $pool:ident) => {
        mod $engine {
            use dbtest_sqlx::{Fixture, Server, $backend};
            use sqlx::{Row, $pool};

            /// Each test's are versions of a setup of its own: of one setup, two stay on the server.
            fn fixture(test: &str, table: &str) -> Fixture<$backend> {
                let folder = concat!("tests/it/migrations/", stringify!($engine));
                Fixture::new()
                    .label("stable")
                    .manifest_dir(env!("CARGO_MANIFEST_DIR"))
                    .migrations_dir(folder)
                    .sql(format!("{test}.sql"), format!("CREATE TABLE {table} (x INT)"))
            }

            /// A word that no other test has, also on a server that others use.
            fn word(test: &str) -> String {
                format!("{test}{}", std::process::id())
            }

            async fn run(url: &str, sql: &'static str) -> sqlx::Result<usize> {
                let pool = $pool::connect(url).await?;
                let rows = sqlx::query(sql).fetch_all(&pool).await;
                pool.close().await;
                rows.map(|rows| rows.len())
            }

            async fn stable(fixture: Fixture<$backend>, word: &str) -> String {
                fixture.stable(word).await.expect("a stable database")
            }

            /// Nobody else drops it.
            async fn drop_it(test: &str, url: &str) {
                let name = url.split(['?']).next().expect("a URL").rsplit('/').next().expect("a name");
                let name = name.trim_end_matches(".db");
                assert!(name.starts_with("dbtest_stable_"), "{name}");
                if let Some(path) = url.strip_prefix("sqlite://") {
                    for end in ["db", "json"] {
                        let path = std::path::Path::new(path).with_extension(end);
                        std::fs::remove_file(path).expect("its file");
                    }
                    return;
                }
                let db =
                    fixture(test, "more").open_for("drop_it").await.expect("a database of the same server");
                let sql = sqlx::AssertSqlSafe(format!("DROP DATABASE {name}"));
                // In MySQL its note stays behind, and says nothing without the database.
                sqlx::query(sql).execute(db.handle()).await.expect("it is dropped");
                db.close().await.expect("closed");
            }

            #[tokio::test]
            async fn it_is_migrated_and_stays_as_it_is() {
                let word = word("stays");
                let url = stable(fixture("stays", "more"), &word).await;
                let name = format!("dbtest_stable_{word}");
                assert!(url.contains(&name), "its name is what was asked for");
                let ours = "INSERT INTO books (author_id, title) VALUES (1, 'Dune')";
                run(&url, ours).await.expect("a row");
                // A test of the same setup, whose first look at the server sweeps.
                let db = fixture("stays", "more").open_for("another").await.expect("a database");
                assert_ne!(db.name(), name);
                let books =
                    sqlx::query("SELECT COUNT(*) FROM books").fetch_one(db.handle()).await.expect("rows");
                assert_eq!(books.get::<i64, _>(0), 0, "a test does not see what somebody wrote there");
                db.close().await.expect("closed");
                assert_eq!(stable(fixture("stays", "more"), &word).await, url);
                assert_eq!(run(&url, "SELECT title FROM books").await.expect("rows"), 1);
                drop_it("stays", &url).await;
            }

            #[tokio::test]
            async fn it_follows_the_setup_and_a_failure_leaves_it() {
                let word = word("follows");
                let url = stable(fixture("follows", "first"), &word).await;
                run(&url, "SELECT x FROM first").await.expect("the table of this version");
                let wrong = fixture("follows", "second")
                    .sql("wrong.sql", "CREATE TABLE second (x INT)")
                    .stable(&word)
                    .await;
                let error = wrong.expect_err("a setup that fails").to_string();
                assert!(error.contains("the setup failed in wrong.sql"), "{error}");
                run(&url, "SELECT x FROM first").await.expect("it is still there");
                // Somebody who is connected holds nothing up.
                let editor = $pool::connect(&url).await.expect("a connection");
                let held = editor.acquire().await.expect("a connection");
                assert_eq!(stable(fixture("follows", "second"), &word).await, url);
                drop(held);
                editor.close().await;
                run(&url, "SELECT x FROM second").await.expect("the new version's table");
                run(&url, "SELECT x FROM first").await.expect_err("the old version's is gone");
                run(&url, "SELECT name FROM authors").await.expect("what both have");
                drop_it("follows", &url).await;
            }

            #[tokio::test]
            async fn all_who_ask_at_once_get_it() {
                let word = word("atonce");
                let asking: Vec<_> = (0..4)
                    .map(|_| {
                        let word = word.clone();
                        tokio::spawn(async move { stable(fixture("atonce", "more"), &word).await })
                    })
                    .collect();
                let mut urls = Vec::new();
                for asked in asking {
                    urls.push(asked.await.expect("no panic"));
                }
                urls.dedup();
                assert_eq!(urls.len(), 1);
                run(&urls[0], "SELECT x FROM more").await.expect("the table");
                drop_it("atonce", &urls[0]).await;
            }

            /// As with its URL in `.env`, where dbtest takes it for the server's.
            #[tokio::test]
            async fn its_url_may_be_the_servers_own() {
                if stringify!($engine) == "sqlite" {
                    return; // There, a server's URL is a folder's.
                }
                let word = word("own");
                let url = stable(fixture("own", "first"), &word).await;
                let server = || Server::url(url.as_str());
                let db =
                    fixture("own", "first").server(server()).open_for("beside").await.expect("a database");
                db.close().await.expect("closed");
                let again = stable(fixture("own", "second").server(server()), &word).await;
                run(&again, "SELECT x FROM second").await.expect("the new version's table");
                drop_it("own", &again).await;
            }
        }
    };
}

engine!(sqlite, SqlxSqlite, SqlitePool);
engine!(postgres, SqlxPostgres, PgPool);
engine!(mysql, SqlxMySql, MySqlPool);

#[test]
fn a_word_that_makes_no_name_is_refused() {
    for word in ["", "My", "my-app", "a_b", "x; DROP DATABASE app", &"a".repeat(33)] {
        let error = Fixture::<SqlxSqlite>::new().empty().stable_blocking(word).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("lower-case letters and digits"), "{error}");
    }
}
