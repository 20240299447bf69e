//! Rows: whatever a test writes, changes or deletes, the next one finds the setup's rows.

use crate::conformance::case::{Case, Checked, ensure, until};
use crate::conformance::probe::{Op, Probe};
use crate::conformance::schema;
use crate::engine::Engine;

pub(crate) async fn inserted_rows_do_not_leak_to_the_next_test<B: Probe>(case: &Case<B>) -> Checked {
    case.leaves_nothing([
        Op::execute("INSERT INTO author (name) VALUES ('Eve')"),
        Op::execute("INSERT INTO book (author_id, title) VALUES (2, 'Gamma')"),
        Op::query("INSERT INTO keyless (note) VALUES ('prepared')"),
    ])
    .await
}

pub(crate) async fn updated_seed_rows_come_back<B: Probe>(case: &Case<B>) -> Checked {
    case.leaves_nothing([
        Op::execute("UPDATE author SET name = 'Eve' WHERE id = 1"),
        Op::execute("UPDATE kind SET label = 'Changed'"),
        Op::execute("UPDATE book SET title = 'Changed' WHERE id = 2"),
    ])
    .await
}

pub(crate) async fn deleted_seed_rows_come_back<B: Probe>(case: &Case<B>) -> Checked {
    case.leaves_nothing([Op::execute("DELETE FROM book WHERE id = 2")]).await
}

pub(crate) async fn rows_that_a_cascade_deleted_come_back<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        db.execute("DELETE FROM author WHERE name = 'Ada'").await?;
        let books = db.list(&schema::select(B::ENGINE, "id", "FROM book")).await?;
        ensure!(books.is_empty(), "the foreign key does not cascade, so nothing is tested: books {books:?}");
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn an_emptied_table_comes_back<B: Probe>(case: &Case<B>) -> Checked {
    let table = schema::name(B::ENGINE, "Mixed Case");
    let truncate = match B::ENGINE {
        Engine::Sqlite => format!("DELETE FROM {table}"),
        _ => format!("TRUNCATE TABLE {table}"),
    };
    if case.takes_ddl() {
        return case.leaves_nothing([Op::execute(truncate)]).await;
    }
    // TRUNCATE commits on MySQL, so it is refused and the test goes on.
    case.test(async |db| {
        db.run([Op::fails(truncate), Op::execute("INSERT INTO keyless VALUES ('still here')")]).await?;
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn triggers_of_the_application_do_not_fire_during_a_reset<B: Probe>(
    case: &Case<B>,
) -> Checked {
    case.test(async |db| {
        db.execute("INSERT INTO author (name) VALUES ('Eve')").await?;
        let noted = db.list(&schema::select(B::ENGINE, "what", "FROM audit")).await?;
        ensure!(noted == ["INSERT author"], "the trigger does not fire for the test itself: {noted:?}");
        Ok(())
    })
    .await?;
    // A reset that deletes the author with its trigger would leave a note of that.
    case.next_is_clean().await
}

pub(crate) async fn rows_of_a_table_without_a_key_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    case.leaves_nothing([
        Op::execute("INSERT INTO keyless VALUES ('twice')"),
        Op::execute("INSERT INTO keyless VALUES ('twice')"),
        Op::execute("INSERT INTO keyless VALUES (NULL)"),
    ])
    .await
}

pub(crate) async fn rows_of_partitions_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    match B::ENGINE {
        Engine::Postgres => {
            case.leaves_nothing([Op::execute("INSERT INTO part VALUES (1, 'low'), (101, 'high')")]).await?;
            case.leaves_nothing([Op::execute("INSERT INTO part_high VALUES (102, 'direct')")]).await
        }
        Engine::MySql => {
            case.leaves_nothing([Op::execute("INSERT INTO part VALUES (1, 'low'), (101, 'high')")]).await
        }
        Engine::Sqlite => {
            case.test(async |db| {
                db.run([Op::fails("CREATE TABLE part (id INTEGER) PARTITION BY RANGE (id)")]).await?;
                Ok(())
            })
            .await?;
            case.next_is_clean().await
        }
    }
}

pub(crate) async fn rows_of_inherited_tables_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    if case.is(Engine::Postgres) {
        case.leaves_nothing([Op::execute("INSERT INTO descendant VALUES ('both', 'extra')")]).await?;
        // Written through the parent, changed in the child.
        return case
            .leaves_nothing([
                Op::execute("INSERT INTO descendant VALUES ('old', 'extra')"),
                Op::execute("UPDATE ancestor SET note = 'new'"),
            ])
            .await;
    }
    case.test(async |db| {
        db.run([Op::fails("CREATE TABLE child (x int) INHERITS (keyless)")]).await?;
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn rows_of_tables_with_other_storage_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    // MyISAM on MySQL, where a rollback forgets nothing; UNLOGGED, WITHOUT ROWID elsewhere.
    case.leaves_nothing([Op::execute("INSERT INTO odd VALUES ('written')")]).await?;
    case.leaves_nothing([Op::execute("INSERT INTO odd VALUES ('written')")]).await
}

pub(crate) async fn generated_columns_and_identities_are_restored<B: Probe>(case: &Case<B>) -> Checked {
    // author.id is GENERATED ALWAYS where the engine has that, book.shout is computed.
    case.leaves_nothing([
        Op::execute("DELETE FROM book"),
        Op::execute("DELETE FROM author"),
        Op::execute("INSERT INTO author (name) VALUES ('Eve')"),
    ])
    .await?;
    case.test(async |db| {
        let shout = db.value("shout", "FROM book WHERE id = 1").await?;
        ensure!(shout == "ALPHA", "the computed column of a restored row is {shout}");
        db.execute("UPDATE book SET title = 'delta' WHERE id = 1").await?;
        let shout = db.value("shout", "FROM book WHERE id = 1").await?;
        ensure!(shout == "DELTA", "the column of a restored row is no longer computed: {shout}");
        Ok(())
    })
    .await
}

pub(crate) async fn quoted_names_are_restored<B: Probe>(case: &Case<B>) -> Checked {
    let name = |name| schema::name(B::ENGINE, name);
    let (table, key, value) = (name("Mixed Case"), name("Key"), name("Quoted \"Value\""));
    case.leaves_nothing([
        Op::execute(format!("UPDATE {table} SET {value} = 'changed' WHERE {key} = 1")),
        Op::execute(format!("INSERT INTO {table} ({key}, {value}) VALUES (2, 'it''s')")),
    ])
    .await
}

pub(crate) async fn many_rows_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    const MANY: usize = 10_000;
    let numbers = match B::ENGINE {
        Engine::Postgres => format!("SELECT 'row ' || i FROM generate_series(1, {MANY}) AS n (i)"),
        // No recursion: MySQL ends one after a thousand steps.
        Engine::MySql => {
            let digit = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
                UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
            format!(
                "SELECT CONCAT('row ', a.d, b.d, c.d, e.d) FROM {digit} AS a, {digit} AS b, {digit} AS c, {digit} AS e"
            )
        }
        Engine::Sqlite => format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT 'row ' || i FROM n"
        ),
    };
    case.test(async |db| {
        db.execute(&format!("INSERT INTO keyless (note) {numbers}")).await?;
        let count = db.value("count(*)", "FROM keyless").await?;
        ensure!(count == MANY.to_string(), "{count} rows were written, not {MANY}");
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn rows_that_refer_to_each_other_come_back<B: Probe>(case: &Case<B>) -> Checked {
    // book 1 now refers to its own child: no order of deleting suits both.
    case.leaves_nothing([Op::execute("UPDATE book SET parent_id = 2 WHERE id = 1")]).await?;
    case.leaves_nothing([
        Op::execute("UPDATE book SET parent_id = 2 WHERE id = 1"),
        Op::execute("DELETE FROM book WHERE id = 1"),
    ])
    .await
}

pub(crate) async fn rows_of_upserts_and_selects_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let upsert = match B::ENGINE {
        Engine::MySql => {
            "INSERT INTO kind VALUES ('novel', 'x'), ('essay', 'Essay') ON DUPLICATE KEY UPDATE label = 'Upserted'"
        }
        _ => {
            "INSERT INTO kind VALUES ('novel', 'x'), ('essay', 'Essay') \
             ON CONFLICT (code) DO UPDATE SET label = 'Upserted'"
        }
    };
    let hidden = match B::ENGINE {
        // The write hides in a query.
        Engine::Postgres => {
            "WITH gone AS (DELETE FROM book WHERE id = 2 RETURNING title) SELECT title::text AS v FROM gone"
        }
        Engine::Sqlite => "DELETE FROM book WHERE id = 2 RETURNING title AS v",
        Engine::MySql => "DELETE book FROM book JOIN author ON author.id = book.author_id WHERE book.id = 2",
    };
    case.leaves_nothing([
        Op::execute(upsert),
        Op::query(hidden),
        Op::execute("INSERT INTO keyless (note) SELECT name FROM author"),
    ])
    .await
}

pub(crate) async fn a_place_is_reused_or_dropped<B: Probe>(case: &Case<B>) -> Checked {
    let mut places: Vec<(String, String)> = Vec::new();
    for round in 0..6 {
        let place = case
            .test(async |db| {
                db.execute("INSERT INTO keyless VALUES ('some row')").await?;
                if round % 2 == 1 && case.takes_ddl() {
                    db.execute("CREATE TABLE extra (id int)").await?;
                }
                Ok((db.0.name().to_owned(), db.0.database_url()))
            })
            .await?;
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let last = case.test(async |db| Ok(db.0.name().to_owned())).await?;
    places.retain(|(name, _)| *name != last);
    for (name, url) in &places {
        until(&format!("{name}, which is not used again, is dropped"), async || {
            Ok(case.is_gone(url).await.then_some(()))
        })
        .await?;
    }
    Ok(())
}
