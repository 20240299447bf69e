//! Identity values and sequences.

use crate::conformance::case::{Case, Checked, Db, ensure};
use crate::conformance::probe::{Op, Probe};
use crate::engine::Engine;
use crate::fixture::Fixture;

async fn next_author<B: Probe>(db: &mut Db<B>, name: &str) -> Checked<u64> {
    db.execute(&format!("INSERT INTO author (name) VALUES ('{name}')")).await?;
    let id = db.value("id", &format!("FROM author WHERE name = '{name}'")).await?;
    id.parse().map_err(|_| crate::conformance::case::Fault(format!("{id} is not an identity value")))
}

/// The values that three tests in a row get first.
async fn firsts<B: Probe>(case: &Case<B>, fixture: &Fixture<B>) -> Checked<Vec<u64>> {
    let mut firsts = Vec::new();
    for round in 1..=3 {
        let first = case
            .test_of(fixture.clone(), async |db| {
                let first = next_author(db, &format!("first {round}")).await?;
                let second = next_author(db, &format!("second {round}")).await?;
                ensure!(second > first, "identity values run backwards: {first}, {second}");
                Ok(first)
            })
            .await?;
        firsts.push(first);
    }
    Ok(firsts)
}

pub(crate) async fn identity_values_start_where_the_setup_left_them<B: Probe>(case: &Case<B>) -> Checked {
    let found = firsts(case, &case.fixture()).await?;
    if case.promises.identity {
        ensure!(found == [3, 3, 3], "the setup used 1 and 2; three tests in a row began with {found:?}");
    } else {
        // Not promised: values may go on, but never meet those of the setup.
        ensure!(found.iter().all(|id| *id > 2), "a value of the setup was given out again: {found:?}");
    }
    Ok(())
}

pub(crate) async fn identity_values_restart_where_the_fixture_says_so<B: Probe>(case: &Case<B>) -> Checked {
    let fixture = case.fixture().restart_identity(true);
    // A place of before, whose values moved on.
    case.test(async |db| next_author(db, "before").await).await?;
    let found = firsts(case, &fixture).await?;
    ensure!(found == [3, 3, 3], "the setup used 1 and 2; three tests in a row began with {found:?}");
    Ok(())
}

pub(crate) async fn sequences_start_where_the_setup_left_them<B: Probe>(case: &Case<B>) -> Checked {
    match B::ENGINE {
        Engine::Postgres => {
            for _ in 0..2 {
                case.test(async |db| {
                    let first = db.value("nextval('ticket')", "").await?;
                    let second = db.value("nextval('ticket')", "").await?;
                    ensure!(
                        !case.promises.identity || (first == "100" && second == "101"),
                        "the sequence starts at 100; the test got {first} and {second}"
                    );
                    // Set, also far away and in what is rolled back.
                    db.execute("SELECT setval('ticket', 5000)").await?;
                    db.execute("ALTER SEQUENCE audit_id_seq RESTART WITH 77").await
                })
                .await?;
            }
            Ok(())
        }
        Engine::Sqlite => {
            case.test(async |db| db.execute("UPDATE sqlite_sequence SET seq = 5000").await).await?;
            let found = firsts(case, &case.fixture()).await?;
            ensure!(
                !case.promises.identity || found == [3, 3, 3],
                "the setup used 1 and 2; three tests in a row began with {found:?}"
            );
            Ok(())
        }
        Engine::MySql => {
            // An id of the test's own choice moves the counter.
            let fixture = case.fixture().restart_identity(true);
            case.test_of(fixture.clone(), async |db| {
                db.run([Op::execute("INSERT INTO author (id, name) VALUES (5000, 'far')")]).await.map(drop)
            })
            .await?;
            let found = firsts(case, &fixture).await?;
            ensure!(found == [3, 3, 3], "the setup used 1 and 2; three tests in a row began with {found:?}");
            Ok(())
        }
    }
}
