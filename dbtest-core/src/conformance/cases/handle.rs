//! Other ways to the same place.

use crate::conformance::case::{Case, Checked, Fault, ensure};
use crate::conformance::probe::{Column, Finish, Op, Probe};
use crate::conformance::schema;
use crate::error::ErrorKind;

pub(crate) async fn a_read_only_handle_sees_the_tests_rows_and_cannot_write_or_is_refused<B: Probe>(
    case: &Case<B>,
) -> Checked {
    let note = |text: &str| Op::execute(format!("INSERT INTO keyless (note) VALUES ('{text}')"));
    let refused = || Op::fails("INSERT INTO keyless (note) VALUES ('written')");
    let notes = schema::select(B::ENGINE, "note", "FROM keyless");
    case.test(async |db| {
        db.run([note("before")]).await?;
        if !case.promises.many_connections {
            let Err(error) = db.0.read_only().await else {
                return Err(Fault("it was given out where the test has one connection".to_owned()));
            };
            ensure!(error.kind() == ErrorKind::Unsupported, "the refusal is another error: {error}");
            ensure!(error.to_string().contains("strategy \"truncate\""), "no way out is named: {error}");
            return db.run([note("after")]).await.map(drop);
        }
        let ops = [
            Op::query(notes.as_str()),
            refused(),
            Op::transaction([refused()], Finish::Rollback),
            Op::query(notes.as_str()),
        ];
        let mut answers = B::run(db.0.read_only_mut().await?, &ops).await?;
        if B::POOLED {
            // Every connection of it is one for readers.
            let second = [refused(), Op::query(notes.as_str())];
            answers.extend(B::run_two(db.0.read_only_mut().await?, &[refused()], &second).await?);
        }
        let seen: Column = vec![Some("before".to_owned())];
        for answer in answers.into_iter().filter(|answer| *answer != seen) {
            let words = answer.into_iter().flatten().collect::<String>().to_lowercase();
            ensure!(
                words.contains("read") && words.contains("only"),
                "the database should say that it is read-only, or show the note \"before\"; it says: {words}"
            );
        }
        db.run([note("after")]).await?;
        let later = B::run(db.0.read_only_mut().await?, &[Op::query(notes.as_str())]).await?;
        ensure!(later[0].len() == 2, "it does not see what the test wrote later: {later:?}");
        Ok(())
    })
    .await?;
    case.next_is_clean().await
}
