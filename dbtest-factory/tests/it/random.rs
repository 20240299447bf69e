//! For random schemas: what a factory creates satisfies all constraints, or the one that it can't
//! is reported. On SQLite without dbtest, which is how others use it too.

use dbtest_factory::{Error, Factory, Seed};
use sqlx::{Connection, SqliteConnection};

#[derive(Factory)]
#[factory(table = "parent", sqlx(sqlite), has_many(children = Child, by = parent_id))]
struct Parent {
    id: i64,
    name: String,
    #[factory(default = "same")]
    role: String,
    weight: i64,
}

#[derive(Factory)]
#[factory(table = "child", sqlx(sqlite))]
struct Child {
    id: i64,
    #[factory(belongs_to = Parent)]
    parent_id: i64,
    name: String,
    other: i64,
    note: Option<String>,
}

/// Random numbers that are the same on every machine.
struct Dice(u64);

impl Dice {
    fn one_in(&mut self, sides: u64) -> bool {
        self.0 += 1;
        dbtest_seed::hash(&[b"random schemas", &self.0.to_le_bytes()]).is_multiple_of(sides)
    }
}

/// A constraint that may be there: on which table, its SQL in a column's or the table's place, and
/// the factory and the word that are reported where the rows break it.
struct Rule {
    table: &'static str,
    column: &'static str,
    sql: &'static str,
    broken: Option<&'static str>,
}

const fn fine(table: &'static str, column: &'static str, sql: &'static str) -> Rule {
    Rule { table, column, sql, broken: None }
}

const fn broken(table: &'static str, column: &'static str, sql: &'static str, word: &'static str) -> Rule {
    Rule { table, column, sql, broken: Some(word) }
}

const RULES: &[Rule] = &[
    fine("parent", "name", "UNIQUE"),
    fine("parent", "name", "CONSTRAINT long_enough CHECK (length(name) < 100)"),
    fine("parent", "weight", "UNIQUE"),
    fine("parent", "weight", "CONSTRAINT heavy CHECK (weight > 0)"),
    fine("parent", "role", "CONSTRAINT known CHECK (role IN ('same', 'other'))"),
    fine("parent", "", "UNIQUE (role, name)"),
    fine("parent", "", "extra INTEGER NOT NULL DEFAULT 7"),
    fine("child", "name", "UNIQUE"),
    fine("child", "other", "UNIQUE"),
    fine("child", "", "UNIQUE (parent_id, name)"),
    fine("child", "parent_id", "REFERENCES parent (id)"),
    broken("parent", "role", "UNIQUE", "role"),
    broken("parent", "role", "CONSTRAINT unknown CHECK (role <> 'same')", "unknown"),
    broken("parent", "name", "CONSTRAINT short CHECK (length(name) < 4)", "short"),
    broken("parent", "", "lacking INTEGER NOT NULL", "lacking"),
    broken("child", "other", "REFERENCES elsewhere (id)", "foreign key"),
    broken("child", "note", "CONSTRAINT noted CHECK (note IS NOT NULL)", "noted"),
    broken("child", "", "missing TEXT NOT NULL", "missing"),
    broken("child", "other", "CONSTRAINT large CHECK (other > 1000)", "large"),
];

fn table(name: &str, columns: &[(&str, &str)], rules: &[&Rule]) -> String {
    let of = |column: &str| {
        let own = rules.iter().filter(move |rule| rule.table == name && rule.column == column);
        own.map(|rule| rule.sql).collect::<Vec<_>>()
    };
    let columns = columns.iter().map(|(column, ty)| format!("{column} {ty} {}", of(column).join(" ")));
    let mut rest = of("");
    // Columns stand before what is said of the whole table.
    rest.sort_by_key(|sql| sql.starts_with("UNIQUE"));
    let all: Vec<_> = columns.chain(rest.into_iter().map(str::to_owned)).collect();
    format!("CREATE TABLE {name} ({})", all.join(", "))
}

async fn made(db: &mut SqliteConnection) -> Result<(), Error> {
    Parent::factory().create_many(2, &mut *db).await?;
    Child::factory().create_many(2, &mut *db).await?;
    Parent::factory().children([Child::factory(), Child::factory()]).create(&mut *db).await?;
    Ok(())
}

#[tokio::test]
async fn every_constraint_is_satisfied_or_the_one_that_is_not_is_reported() {
    let mut dice = Dice(0);
    let (mut satisfied, mut reported) = (0, 0);
    for round in 0..400 {
        let rules: Vec<_> =
            RULES.iter().filter(|rule| dice.one_in(if rule.broken.is_some() { 12 } else { 2 })).collect();
        let parent = [
            ("id", "INTEGER PRIMARY KEY"),
            ("name", "TEXT NOT NULL"),
            ("role", "TEXT NOT NULL"),
            ("weight", "INTEGER NOT NULL"),
        ];
        let child = [
            ("id", "INTEGER PRIMARY KEY"),
            ("parent_id", "INTEGER NOT NULL"),
            ("name", "TEXT NOT NULL"),
            ("other", "INTEGER NOT NULL"),
            ("note", "TEXT"),
        ];
        let mut db = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        let tables = [
            "CREATE TABLE elsewhere (id INTEGER PRIMARY KEY)".to_owned(),
            table("parent", &parent, &rules),
            table("child", &child, &rules),
        ];
        for sql in &tables {
            sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
                .execute(&mut db)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let seed = Seed::of(&format!("round {round}"));
        let result = {
            let _entered = seed.enter();
            made(&mut db).await
        };
        let wrong: Vec<_> = rules.iter().filter(|rule| rule.broken.is_some()).collect();
        match result {
            Ok(()) => {
                assert!(wrong.is_empty(), "{tables:?} were satisfied");
                let rows: (i64, i64) =
                    sqlx::query_as("SELECT (SELECT COUNT(*) FROM parent), (SELECT COUNT(*) FROM child)")
                        .fetch_one(&mut db)
                        .await
                        .expect("two numbers");
                assert_eq!(rows, (2 + 2 + 1, 2 + 2), "{tables:?}");
                let orphans = "SELECT COUNT(*) FROM child WHERE parent_id NOT IN (SELECT id FROM parent)";
                assert_eq!(
                    sqlx::query_scalar::<_, i64>(orphans).fetch_one(&mut db).await.expect("a number"),
                    0
                );
                let sound: String =
                    sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut db).await.expect("a word");
                assert_eq!(sound, "ok", "{tables:?}");
                satisfied += 1;
            }
            Err(error) => {
                let factory = error.factory().to_lowercase();
                let named = wrong.iter().any(|rule| {
                    rule.table == factory && rule.broken.is_some_and(|word| error.to_string().contains(word))
                });
                assert!(named, "{tables:?} are reported as: {error}");
                reported += 1;
            }
        }
    }
    assert!(satisfied > 50 && reported > 50, "{satisfied} and {reported} say little");
}
