//! For random schemas: what factories create satisfies all constraints, or the one that it can't
//! is reported.

use dbtest_factory::Seed;

/// Random numbers that are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 += 1;
        dbtest_seed::hash(&[b"random schemas", &self.0.to_le_bytes()]) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// Something that a table may have beside its columns: a column that no field knows, or a constraint.
/// What the rows break is reported, with the factory and one of these words.
struct Rule {
    table: &'static str,
    sql: &'static str,
    broken: &'static [&'static str],
}

const fn fine(table: &'static str, sql: &'static str) -> Rule {
    Rule { table, sql, broken: &[] }
}

const fn broken(table: &'static str, sql: &'static str, words: &'static [&'static str]) -> Rule {
    Rule { table, sql, broken: words }
}

const RULES: &[Rule] = &[
    fine("country", "CONSTRAINT country_name UNIQUE (name)"),
    fine("country", "area bigint NOT NULL DEFAULT 7"),
    fine("author", "CONSTRAINT author_name UNIQUE (name)"),
    fine("author", "CONSTRAINT long_enough CHECK (length(name) < 100)"),
    fine("author", "CONSTRAINT author_weight UNIQUE (weight)"),
    fine("author", "CONSTRAINT heavy CHECK (weight > 0)"),
    fine("author", "CONSTRAINT known CHECK (role IN ('same', 'other'))"),
    fine("author", "CONSTRAINT role_and_name UNIQUE (role, name)"),
    fine("author", "extra varchar(9) NOT NULL DEFAULT 'x'"),
    fine("author", "CONSTRAINT author_country FOREIGN KEY (country_id) REFERENCES country (id)"),
    fine("book", "CONSTRAINT book_author FOREIGN KEY (author_id) REFERENCES author (id) ON DELETE CASCADE"),
    fine("book", "CONSTRAINT book_translator FOREIGN KEY (translator_id) REFERENCES author (id)"),
    fine("book", "CONSTRAINT book_sequel FOREIGN KEY (sequel_id) REFERENCES book (id)"),
    fine("book", "CONSTRAINT book_title UNIQUE (title)"),
    fine("book", "CONSTRAINT pages_once UNIQUE (pages)"),
    fine("book", "CONSTRAINT author_and_title UNIQUE (author_id, title)"),
    fine("book", "CONSTRAINT not_its_own CHECK (sequel_id IS NULL OR sequel_id <> pages)"),
    fine("tag", "CONSTRAINT tag_name UNIQUE (name)"),
    fine("book_tag", "CONSTRAINT tagged_once UNIQUE (book_id, tag_id)"),
    fine("book_tag", "CONSTRAINT link_book FOREIGN KEY (book_id) REFERENCES book (id)"),
    fine("book_tag", "CONSTRAINT link_tag FOREIGN KEY (tag_id) REFERENCES tag (id)"),
    broken("country", "capital bigint NOT NULL", &["capital"]),
    broken("author", "CONSTRAINT role_once UNIQUE (role)", &["role"]),
    broken("author", "CONSTRAINT strange CHECK (role <> 'same')", &["strange"]),
    broken("author", "CONSTRAINT short CHECK (length(name) < 4)", &["short"]),
    broken("author", "lacking bigint NOT NULL", &["lacking"]),
    broken(
        "book",
        "CONSTRAINT placed FOREIGN KEY (pages) REFERENCES elsewhere (id)",
        &["placed", "foreign key"],
    ),
    broken("book", "CONSTRAINT noted CHECK (note IS NOT NULL)", &["noted"]),
    broken("book", "missing varchar(9) NOT NULL", &["missing"]),
    broken("book", "CONSTRAINT large CHECK (pages > 1000)", &["large"]),
];

/// The tables in an order in which they can be made, and their columns beside `id`.
const TABLES: &[(&str, &str)] = &[
    ("elsewhere", "word varchar(9)"),
    ("country", "name varchar(100) NOT NULL"),
    (
        "author",
        "country_id bigint NOT NULL, name varchar(100) NOT NULL, role varchar(100) NOT NULL, weight bigint NOT NULL",
    ),
    (
        "book",
        "author_id bigint NOT NULL, translator_id bigint, sequel_id bigint, title varchar(100) NOT NULL, \
         pages bigint NOT NULL, note varchar(100)",
    ),
    ("tag", "name varchar(100) NOT NULL"),
    ("book_tag", "book_id bigint NOT NULL, tag_id bigint NOT NULL"),
];

fn table(name: &str, id: &str, columns: &str, rules: &[&Rule]) -> String {
    let mut own: Vec<_> = rules.iter().filter(|rule| rule.table == name).map(|rule| rule.sql).collect();
    // Columns stand before what is said of the whole table.
    own.sort_by_key(|sql| sql.starts_with("CONSTRAINT"));
    let rest: String = own.iter().map(|sql| format!(", {sql}")).collect();
    format!("CREATE TABLE {name} (id {id}, {columns}{rest})")
}

/// How many rows each table has.
type Counts = [i64; 5];

macro_rules! on {
    ($engine:ident, $pool:ty, $id:literal, $test:item) => {
        mod $engine {
            use dbtest_factory::{Error, Factory};

            use super::*;

            #[derive(Factory)]
            #[factory(table = "country", sqlx($engine))]
            struct Country {
                id: i64,
                name: String,
            }

            #[derive(Factory)]
            #[factory(table = "author", sqlx($engine), has_many(books = Book, by = author_id))]
            struct Author {
                id: i64,
                #[factory(belongs_to = Country)]
                country_id: i64,
                name: String,
                #[factory(default = "same")]
                role: String,
                weight: i64,
            }

            #[derive(Factory)]
            #[factory(table = "book", sqlx($engine))]
            #[factory(many_to_many(tags = Tag, through = BookTag, by = (book_id, tag_id)))]
            struct Book {
                id: i64,
                #[factory(belongs_to = Author)]
                author_id: i64,
                #[factory(belongs_to = Author)]
                translator_id: Option<i64>,
                #[factory(belongs_to = Book)]
                sequel_id: Option<i64>,
                title: String,
                pages: i64,
                note: Option<String>,
            }

            #[derive(Factory)]
            #[factory(table = "tag", sqlx($engine))]
            struct Tag {
                id: i64,
                name: String,
            }

            #[derive(Factory)]
            #[factory(table = "book_tag", sqlx($engine))]
            struct BookTag {
                id: i64,
                #[factory(belongs_to = Book)]
                book_id: i64,
                #[factory(belongs_to = Tag)]
                tag_id: i64,
            }

            /// Some of what a test may ask for, and the rows that there are then.
            async fn made(db: &$pool, dice: &mut Dice) -> Result<Counts, Error> {
                let [mut countries, mut authors, mut books, mut tags, mut links] = [0; 5];
                for _ in 0..4 {
                    match dice.roll(6) {
                        0 => {
                            Author::factory().create_many(3, db).await?;
                            (countries, authors) = (countries + 3, authors + 3);
                        }
                        1 => {
                            Book::factory().create_many(2, db).await?;
                            (countries, authors, books) = (countries + 2, authors + 2, books + 2);
                        }
                        2 => {
                            let country = Country::factory().create(db).await?;
                            let author = Author::factory().country(&country).create(db).await?;
                            let first = Book::factory().author(&author).translator(&author).create(db).await?;
                            Book::factory().author(&author).sequel(&first).create(db).await?;
                            (countries, authors, books) = (countries + 1, authors + 1, books + 2);
                        }
                        3 => {
                            let two = [Book::factory(), Book::factory().note("signed")];
                            Author::factory().role("other").books(two).create(db).await?;
                            (countries, authors, books) = (countries + 1, authors + 1, books + 2);
                        }
                        4 => {
                            Book::factory().tags([Tag::factory(), Tag::factory()]).create(db).await?;
                            (countries, authors, books) = (countries + 1, authors + 1, books + 1);
                            (tags, links) = (tags + 2, links + 2);
                        }
                        _ => {
                            BookTag::factory().create_many(2, db).await?;
                            (countries, authors, books) = (countries + 2, authors + 2, books + 2);
                            (tags, links) = (tags + 2, links + 2);
                        }
                    }
                }
                Ok([countries, authors, books, tags, links])
            }

            async fn number(db: &$pool, select: &'static str) -> i64 {
                sqlx::query_scalar(select).fetch_one(db).await.expect(select)
            }

            async fn run(db: &$pool, statements: &[String]) {
                for sql in statements {
                    let statement = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()));
                    statement.execute(db).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
                }
            }

            $test

            async fn rounds(db: &$pool, rounds: u64) {
                let mut dice = Dice(0);
                let (mut satisfied, mut reported) = (0, 0);
                for round in 0..rounds {
                    let rules: Vec<_> = RULES
                        .iter()
                        .filter(|rule| dice.one_in(if rule.broken.is_empty() { 2 } else { 14 }))
                        .collect();
                    let tables: Vec<_> =
                        TABLES.iter().map(|(name, columns)| table(name, $id, columns, &rules)).collect();
                    run(db, &tables).await;
                    let result = {
                        let seed = Seed::of(&format!("round {round}"));
                        let _entered = seed.enter();
                        made(db, &mut dice).await
                    };
                    match result {
                        Ok(counts) => {
                            let found = [
                                number(db, "SELECT COUNT(*) FROM country").await,
                                number(db, "SELECT COUNT(*) FROM author").await,
                                number(db, "SELECT COUNT(*) FROM book").await,
                                number(db, "SELECT COUNT(*) FROM tag").await,
                                number(db, "SELECT COUNT(*) FROM book_tag").await,
                            ];
                            assert_eq!(found, counts, "{tables:?}");
                            // Also where no foreign key says so.
                            for orphans in [
                                "SELECT COUNT(*) FROM author WHERE country_id NOT IN (SELECT id FROM country)",
                                "SELECT COUNT(*) FROM book WHERE author_id NOT IN (SELECT id FROM author) OR \
                                 translator_id NOT IN (SELECT id FROM author) OR sequel_id NOT IN (SELECT id FROM book)",
                                "SELECT COUNT(*) FROM book_tag WHERE book_id NOT IN (SELECT id FROM book) OR tag_id \
                                 NOT IN (SELECT id FROM tag)",
                            ] {
                                assert_eq!(number(db, orphans).await, 0, "{orphans} in {tables:?}");
                            }
                            satisfied += 1;
                        }
                        Err(error) => {
                            let factory = match error.factory() {
                                "BookTag" => "book_tag".to_owned(),
                                name => name.to_lowercase(),
                            };
                            let text = error.to_string();
                            let named = rules.iter().any(|rule| {
                                rule.table == factory
                                    && rule.broken.iter().any(|word| text.to_lowercase().contains(word))
                            });
                            assert!(named, "{tables:?} are reported as: {error}");
                            reported += 1;
                        }
                    }
                    let drops: Vec<_> =
                        TABLES.iter().rev().map(|(name, _)| format!("DROP TABLE {name}")).collect();
                    run(db, &drops).await;
                }
                assert!(satisfied * 5 > rounds && reported * 5 > rounds, "{satisfied} and {reported} say little");
            }
        }
    };
}

on!(
    sqlite,
    sqlx::SqlitePool,
    "integer PRIMARY KEY AUTOINCREMENT",
    // Without dbtest, which is how others use factories too.
    #[tokio::test]
    async fn every_constraint_is_satisfied_or_the_one_that_is_not_is_reported() {
        let one = sqlx::pool::PoolOptions::new().max_connections(1);
        rounds(&one.connect("sqlite::memory:").await.expect("a database"), 400).await;
    }
);
on!(
    postgres,
    sqlx::PgPool,
    "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    #[dbtest_sqlx::test(migrations = false, require = "template")]
    async fn every_constraint_is_satisfied_or_the_one_that_is_not_is_reported(db: sqlx::PgPool) {
        rounds(&db, 100).await;
    }
);
on!(
    mysql,
    sqlx::MySqlPool,
    "bigint AUTO_INCREMENT PRIMARY KEY",
    #[dbtest_sqlx::test(migrations = false, require = "template")]
    async fn every_constraint_is_satisfied_or_the_one_that_is_not_is_reported(db: sqlx::MySqlPool) {
        rounds(&db, 100).await;
    }
);
