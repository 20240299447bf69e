//! What is kept for a person to look at.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::conformance::case::{Case, Checked, Ran, ensure, until};
use crate::conformance::probe::{Op, Probe};
use crate::conformance::schema;

/// Only a handful of places is kept on a server, so cases that look at kept ones take turns
/// there, in all processes.
pub(super) async fn alone<B: Probe>(case: &Case<B>) -> Checked<File> {
    // What is left of a URL without the place's name is the server.
    let server = case.test(async |db| Ok(db.0.database_url().replace(db.0.name(), ""))).await?;
    let mut hasher = DefaultHasher::new();
    server.hash(&mut hasher);
    let path = std::env::temp_dir().join(format!("dbtest-conformance-{:016x}.lock", hasher.finish()));
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// A test that writes a row and fails; returns the URL of its place.
async fn failing<B: Probe>(case: &Case<B>, test: &str, word: &str) -> Checked<String> {
    let url = Mutex::new(String::new());
    let ran = case.ran(test, async |mut db| {
        *url.lock().unwrap_or_else(PoisonError::into_inner) = db.database_url();
        B::run(db.handle_mut(), &[Op::execute(format!("INSERT INTO keyless VALUES ('{word}')"))]).await?;
        Err("on purpose".to_owned())
    });
    ensure!(matches!(ran, Ran::Failed), "a test that returned an error ended like this: {ran:?}");
    Ok(url.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn notes<B: Probe>() -> String {
    schema::select(B::ENGINE, "note", "FROM keyless")
}

pub(crate) async fn a_failed_test_keeps_its_place<B: Probe>(case: &Case<B>) -> Checked {
    let _alone = alone(case).await?;
    let url = failing(case, &case.test, "evidence").await?;
    let released = case.released(&case.test).await?;
    if case.promises.keeps {
        let Some(kept) = released.kept else {
            return Err(format!("a test failed, and its place {} was not kept", released.place).into());
        };
        ensure!(kept.name == released.place, "{} was kept, and {} was the test's", kept.name, released.place);
        ensure!(!kept.command.is_empty(), "there is no command to open the kept place with");
        let found = case.look(&url, &notes::<B>()).await?;
        ensure!(found == ["evidence"], "the kept place has the notes {found:?}");
    } else {
        ensure!(released.kept.is_none(), "a place was kept in which there is nothing to see: {released:?}");
    }
    case.next_is_clean().await?;
    if case.promises.keeps {
        case.test(async |db| {
            ensure!(db.0.name() != released.place, "a place that is kept was given to another test");
            Ok(())
        })
        .await?;
        let found = case.look(&url, &notes::<B>()).await?;
        ensure!(found == ["evidence"], "later tests changed the kept place: its notes are {found:?}");
    }
    Ok(())
}

pub(crate) async fn only_the_latest_failure_of_a_test_is_kept<B: Probe>(case: &Case<B>) -> Checked {
    let _alone = alone(case).await?;
    let first = failing(case, &case.test, "first").await?;
    let second = failing(case, &case.test, "second").await?;
    if !case.promises.keeps {
        // Nothing is, and the place of both is clean again.
        return case.next_is_clean().await;
    }
    ensure!(first != second, "the second failure happened in the place that was kept of the first");
    until("the place of the earlier failure is dropped", async || {
        Ok(case.is_gone(&first).await.then_some(()))
    })
    .await?;
    let found = case.look(&second, &notes::<B>()).await?;
    ensure!(found == ["second"], "the place of the latest failure has the notes {found:?}");
    case.next_is_clean().await
}

pub(crate) async fn a_test_may_keep_its_place<B: Probe>(case: &Case<B>) -> Checked {
    let _alone = alone(case).await?;
    let url = case
        .test(async |db| {
            db.execute("INSERT INTO keyless VALUES ('evidence')").await?;
            // Under a sandbox this commits.
            db.0.keep();
            Ok(db.0.database_url())
        })
        .await?;
    let released = case.released(&case.test).await?;
    ensure!(released.kept.is_some(), "the test asked for its place to be kept, and it was not: {released:?}");
    let found = case.look(&url, &notes::<B>()).await?;
    ensure!(found == ["evidence"], "the kept place has the notes {found:?}");
    case.next_is_clean().await
}

pub(crate) async fn the_url_leads_to_the_tests_own_database<B: Probe>(case: &Case<B>) -> Checked {
    case.test(async |db| {
        db.execute("INSERT INTO keyless VALUES ('mine')").await?;
        let found = case.look(db.0.url(), &notes::<B>()).await?;
        // What another process sees under a sandbox is the baseline.
        let expected: &[&str] = if case.promises.raw_commit { &["mine"] } else { &[] };
        ensure!(found == expected, "another connection sees the notes {found:?}, not {expected:?}");
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}
