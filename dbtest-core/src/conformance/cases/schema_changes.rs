//! Schema changes of a test, which no other test may see.

use crate::conformance::case::{Case, Checked, ensure};
use crate::conformance::probe::{Op, Probe};
use crate::engine::Engine;

/// A test makes the change, the next one finds the schema of the setup. Where DDL would end the
/// transaction it is refused, and the rest of the test goes on.
async fn change<B: Probe>(case: &Case<B>, ddl: &[&str], dml: &[&str]) -> Checked {
    let before = case.test(async |db| db.catalogue().await).await?;
    if case.takes_ddl() {
        case.test(async |db| {
            for sql in ddl.iter().chain(dml) {
                db.execute(sql).await?;
            }
            ensure!(db.catalogue().await? != before, "the change is not seen, so nothing is tested");
            Ok(())
        })
        .await?;
    } else {
        case.test(async |db| {
            let mut ops: Vec<Op> = vec![Op::execute("INSERT INTO keyless VALUES ('before')")];
            ops.extend(ddl.iter().map(|sql| Op::fails(*sql)));
            db.run(ops).await?;
            let notes = db.value("count(*)", "FROM keyless").await?;
            ensure!(notes == "1", "refusing a schema change lost the test's rows: {notes} of 1 are there");
            Ok(())
        })
        .await?;
    }
    case.test(async |db| {
        let after = db.catalogue().await?;
        let added: Vec<_> = after.iter().filter(|object| !before.contains(object)).collect();
        let lost: Vec<_> = before.iter().filter(|object| !after.contains(object)).collect();
        ensure!(added.is_empty() && lost.is_empty(), "the next test finds {added:?} and misses {lost:?}");
        db.clean().await
    })
    .await
}

pub(crate) async fn an_added_column_does_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    change(
        case,
        &["ALTER TABLE author ADD COLUMN age int", "ALTER TABLE keyless ADD COLUMN more int"],
        // With the columns' names: SQLite's other connections notice by them that the schema is another.
        &["UPDATE author SET age = 36", "INSERT INTO keyless (note, more) VALUES ('note', 1)"],
    )
    .await
}

pub(crate) async fn a_new_table_does_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    change(
        case,
        &["CREATE TABLE extra (id int PRIMARY KEY, author_id bigint REFERENCES author (id))"],
        &["INSERT INTO extra VALUES (1, 1)"],
    )
    .await
}

pub(crate) async fn a_dropped_table_comes_back<B: Probe>(case: &Case<B>) -> Checked {
    change(case, &["DROP VIEW author_name", "DROP TABLE loan"], &[]).await
}

pub(crate) async fn a_renamed_table_comes_back<B: Probe>(case: &Case<B>) -> Checked {
    change(
        case,
        &["ALTER TABLE keyless RENAME TO renamed", "CREATE TABLE keyless (note varchar(200), second int)"],
        &["INSERT INTO renamed VALUES ('row')"],
    )
    .await
}

pub(crate) async fn a_new_index_does_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    change(
        case,
        &["CREATE UNIQUE INDEX only_once ON keyless (note)"],
        &["INSERT INTO keyless VALUES ('once')"],
    )
    .await?;
    // If it did, this would fail.
    case.leaves_nothing([
        Op::execute("INSERT INTO keyless VALUES ('once')"),
        Op::execute("INSERT INTO keyless VALUES ('once')"),
    ])
    .await
}

pub(crate) async fn new_views_and_routines_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let routine = match B::ENGINE {
        Engine::Postgres => "CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT 2 * x'",
        Engine::MySql => "CREATE PROCEDURE twice(IN x INT) SELECT 2 * x",
        Engine::Sqlite => "CREATE VIEW twice AS SELECT 2 * id AS x FROM author",
    };
    change(case, &["CREATE VIEW title_only AS SELECT title FROM book", routine], &[]).await
}

pub(crate) async fn new_and_dropped_triggers_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let ddl: &[&str] = match B::ENGINE {
        Engine::Postgres => &[
            "CREATE TRIGGER extra AFTER INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION note_author()",
            "DROP TRIGGER author_noted ON author",
        ],
        Engine::MySql => &[
            "CREATE TRIGGER extra AFTER INSERT ON keyless FOR EACH ROW INSERT INTO audit (what) VALUES ('extra')",
            "DROP TRIGGER author_added",
        ],
        Engine::Sqlite => &[
            "CREATE TRIGGER extra AFTER INSERT ON keyless BEGIN INSERT INTO audit (what) VALUES ('extra'); END",
            "DROP TRIGGER author_added",
        ],
    };
    change(case, ddl, &["INSERT INTO keyless VALUES ('noted')"]).await
}

pub(crate) async fn a_changed_enum_does_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let ddl: &[&str] = match B::ENGINE {
        Engine::Postgres => &["ALTER TYPE mood ADD VALUE 'sad'"],
        Engine::MySql => {
            &["ALTER TABLE author MODIFY mood ENUM('calm', 'wild', 'sad') NOT NULL DEFAULT 'calm'"]
        }
        // Without enums, a reference table stands for one; a wider one is a new table.
        Engine::Sqlite => &["CREATE TABLE mood (name TEXT PRIMARY KEY)"],
    };
    change(case, ddl, &["INSERT INTO kind VALUES ('essay', 'Essay')"]).await?;
    case.test(async |db| {
        db.run([Op::fails("INSERT INTO author (name, mood) VALUES ('Eve', 'sad')")]).await.map(drop)
    })
    .await
    .or_else(|fault| {
        // Where a failed statement ends the transaction, the refusal of the value is all we need.
        if case.promises.errors_outside_transactions { Err(fault) } else { Ok(()) }
    })
}

pub(crate) async fn a_changed_default_or_constraint_does_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let ddl: &[&str] = match B::ENGINE {
        Engine::Postgres => &[
            "ALTER TABLE author ALTER COLUMN kind SET DEFAULT 'poem'",
            "ALTER TABLE keyless ADD CONSTRAINT short CHECK (length(note) < 10)",
            "CREATE INDEX short_index ON keyless (note)",
        ],
        Engine::MySql => &[
            "ALTER TABLE author ALTER COLUMN kind SET DEFAULT 'poem'",
            "ALTER TABLE keyless ADD CONSTRAINT short CHECK (length(note) < 10)",
            "CREATE INDEX short_index ON keyless (note)",
        ],
        // SQLite changes neither in place: the table is made anew.
        Engine::Sqlite => &[
            "DROP TABLE keyless",
            "CREATE TABLE keyless (note TEXT DEFAULT 'none' CHECK (length(note) < 10))",
        ],
    };
    change(case, ddl, &[]).await?;
    case.test(async |db| {
        db.execute("INSERT INTO keyless VALUES ('a note of more than ten letters')").await?;
        db.execute("INSERT INTO author (name) VALUES ('Eve')").await?;
        let kind = db.value("kind", "FROM author WHERE name = 'Eve'").await?;
        ensure!(kind == "novel", "the default that another test set is still there: {kind}");
        Ok(())
    })
    .await
}
