//! Several at the same time on one server: two checkouts of a project, two projects, and people with
//! names like ours.

use dbtest_sqlx::{Engine, Probe};

use crate::child::{Order, Task};
use crate::scene::{SUITE, Scene, TEST};

crate::tests!(
    two_checkouts_with_different_migrations,
    two_projects_at_the_same_time,
    look_alikes_survive_everything_that_is_asked_for;
    a_schema_of_a_person_among_ours
);

/// Both run until the other has run several times.
async fn together<B: Probe>(one: Order<'_>, other: Order<'_>) {
    const ROUNDS: usize = 3;
    let scene = Scene::<B>::new().await;
    let mut both = [one, other].map(|order| scene.start(Order { task: Task::Rounds, ..order }, &[]));
    for _ in 0..ROUNDS {
        for process in &mut both {
            process.reaches("round").forget("round");
        }
    }
    for mut process in both {
        assert!(process.is_alive(), "{}", process.said());
        process.kill();
    }
    scene.green(one);
    scene.green(other);
    scene.recovers().await;
}

async fn two_checkouts_with_different_migrations<B: Probe>() {
    together::<B>(SUITE, Order { version: "v2", ..SUITE }).await;
}

async fn two_projects_at_the_same_time<B: Probe>() {
    together::<B>(SUITE, Order { project: "library", ..SUITE }).await;
}

/// Fresh templates, kept databases, a third version that makes the first superfluous, and the sweep of
/// all of that.
async fn look_alikes_survive_everything_that_is_asked_for<B: Probe>() {
    let scene = Scene::<B>::new().await;
    for (version, set) in [
        ("v1", ("DBTEST_KEEP", "1")),
        ("v1", ("DBTEST_FRESH", "1")),
        ("v2", ("DBTEST_KEEP", "0")),
        ("v3", ("DBTEST_FRESH", "1")),
        ("v4", ("DBTEST_KEEP_MAX", "1")),
    ] {
        let (passed, said) = scene.run(Order { version, ..SUITE }, &[set]);
        assert!(passed, "{set:?}: {said}");
        scene.neighbours_are_unharmed().await;
    }
    // Two versions stay of the setup, and two of those that were built fresh.
    scene.recovers_to(16).await;
}

/// Under the strategy `schema` on Postgres all are in one database; on MySQL dbtest's notes are in one.
async fn a_schema_of_a_person_among_ours<B: Probe>() {
    let scene = Scene::<B>::new().await;
    scene.green(SUITE);
    let (home, names) = match B::ENGINE {
        Engine::Postgres => {
            ("dbtest_home", ["dbtest_s_0123456789ab_0_old", "dbtest_s_0123456789AB_0_0123456789ab"])
        }
        _ => ("dbtest_meta", ["dbtest_t_0123456789ab", "place_old"]),
    };
    let url = scene.server.as_ref().expect("a server").url();
    let url = url.replace("/information_schema?", "/postgres?").replace("/postgres?", &format!("/{home}?"));
    let mut session = B::session(&url).await.expect("a session");
    for name in names {
        let sql = if B::ENGINE == Engine::Postgres {
            format!("CREATE SCHEMA \"{name}\"; CREATE TABLE \"{name}\".mine AS SELECT '{name}' AS what")
        } else {
            format!("CREATE TABLE `{name}` AS SELECT '{name}' AS what")
        };
        session.execute(&sql).await.expect("their own");
    }
    scene.in_the_body(Order { strategy: "schema", ..TEST }).kill();
    scene.green(Order { version: "v2", ..SUITE });
    scene.recovers().await;
    for name in names {
        let table = match B::ENGINE {
            Engine::Postgres => format!("\"{name}\".mine"),
            _ => format!("`{name}`"),
        };
        let rows = session.query(&format!("SELECT what FROM {table}")).await.expect("their rows");
        assert_eq!(rows, [[Some(name.to_owned())]]);
    }
    session.close().await;
}
