//! What belongs to a connection and not to the database: settings, temporary tables, locks,
//! prepared statements.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::conformance::case::{Case, Checked, ensure};
use crate::conformance::probe::{Op, Probe};
use crate::conformance::schema;
use crate::engine::Engine;

pub(crate) async fn session_settings_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let (set, show) = match B::ENGINE {
        Engine::Postgres => {
            ("SET statement_timeout = '12345ms'", "SELECT current_setting('statement_timeout')::text AS v")
        }
        Engine::MySql => (
            "SET SESSION sql_mode = 'ANSI_QUOTES', @mine = 'here'",
            "SELECT CAST(CONCAT(@@SESSION.sql_mode, ' ', COALESCE(@mine, 'none')) AS CHAR) AS v",
        ),
        Engine::Sqlite => {
            ("PRAGMA cache_size = -12345", "SELECT CAST(cache_size AS TEXT) AS v FROM pragma_cache_size")
        }
    };
    let read =
        |answer: Option<&crate::conformance::Column>| answer.and_then(|column| column.first().cloned());
    let (before, during) = case
        .test(async |db| {
            // All over one connection, which is then the one that could reach the next test.
            let answers = db.run([Op::query(show), Op::execute(set), Op::query(show)]).await?;
            Ok((read(answers.first()), read(answers.get(1))))
        })
        .await?;
    ensure!(before != during, "the setting does not change ({before:?}), so nothing is tested");
    case.test(async |db| {
        // Some backends may have several warm connections: ask more than one.
        for _ in 0..3 {
            let after = read(db.run([Op::query(show)]).await?.first());
            ensure!(after == before, "the next test's connection has {after:?}, where {before:?} is usual");
        }
        db.clean().await
    })
    .await
}

pub(crate) async fn temporary_tables_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    for _ in 0..2 {
        case.test(async |db| {
            let count = schema::select(B::ENGINE, "count(*)", "FROM scratch");
            // Making it a second time fails if the first one is still there.
            let answers = db
                .run([
                    Op::execute("CREATE TEMPORARY TABLE scratch (id int)"),
                    Op::execute("INSERT INTO scratch VALUES (1)"),
                    Op::query(count),
                ])
                .await?;
            ensure!(answers == [[Some("1".to_owned())]], "the temporary table has {answers:?} rows, not 1");
            Ok(())
        })
        .await?;
    }
    // One that hides a real table is worse.
    case.test(async |db| {
        let copy = match B::ENGINE {
            Engine::Postgres => "CREATE TEMPORARY TABLE kind (code varchar(20), label varchar(100))",
            Engine::MySql => "CREATE TEMPORARY TABLE kind (code VARCHAR(20), label VARCHAR(100))",
            Engine::Sqlite => "CREATE TEMPORARY TABLE kind (code TEXT, label TEXT)",
        };
        db.execute(copy).await
    })
    .await?;
    case.next_is_clean().await
}

pub(crate) async fn locks_of_the_application_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    // Servers share such locks between databases, so the key is this case's in this process.
    let mut hasher = DefaultHasher::new();
    (&case.test, &case.salt, std::process::id()).hash(&mut hasher);
    let key = hasher.finish() >> 2;
    let ops: Vec<Op> = match B::ENGINE {
        Engine::Postgres => vec![Op::query(format!("SELECT pg_try_advisory_lock({key})::text AS v"))],
        Engine::MySql => vec![Op::query(format!("SELECT CAST(GET_LOCK('c{key}', 0) AS CHAR) AS v"))],
        // There are no such locks; a connection can keep the writers' one of the file.
        Engine::Sqlite => {
            let begin = case.promises.raw_commit.then(|| Op::execute("BEGIN IMMEDIATE"));
            let write = Op::execute("INSERT INTO keyless VALUES ('locked')");
            begin.into_iter().chain([write, Op::query("SELECT '1' AS v")]).collect()
        }
    };
    for round in ["first", "second", "third"] {
        case.test(async |db| {
            db.clean().await?;
            let answers = db.run(&ops).await?;
            let taken = answers.first().and_then(|column| column.first().cloned().flatten());
            ensure!(
                matches!(taken.as_deref(), Some("true" | "1")),
                "the {round} test cannot take the lock: the answer is {taken:?}"
            );
            Ok(())
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn prepared_statements_do_not_leak<B: Probe>(case: &Case<B>) -> Checked {
    let (make, meet) = match B::ENGINE {
        Engine::Postgres => ("PREPARE mine AS SELECT 1", "EXECUTE mine"),
        Engine::MySql => ("PREPARE mine FROM 'SELECT 1'", "EXECUTE mine"),
        // It has none in SQL; an attached database belongs to the connection in the same way.
        Engine::Sqlite => ("ATTACH DATABASE ':memory:' AS mine", "CREATE TABLE mine.t (x int)"),
    };
    for _ in 0..2 {
        case.test(async |db| db.run([Op::execute(make), Op::execute(meet)]).await.map(drop)).await?;
    }
    case.test(async |db| {
        // The error would end a transaction that it is not alone in.
        let in_vain = Op::transaction([Op::fails(meet)], crate::conformance::Finish::Rollback);
        db.run([in_vain]).await.map(drop)
    })
    .await
}
