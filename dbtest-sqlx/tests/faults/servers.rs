//! What happens to a server that dbtest did not start, while tests run on it.

use std::time::Duration;

use dbtest_sqlx::{Engine, Probe, SqlxSqlite};

use crate::child::{Order, Process, Task};
use crate::scene::{SUITE, Scene, TEST, assert_says, child_command, first_column, variable};
use crate::server::{SECRET, fill, is_root, mount, signal, unmount};

/// How long a test may take to say that its server is frozen: ten seconds of silence, ten more without
/// an answer to a new connection, and what a loaded machine adds.
const SAYS_SO: Duration = Duration::from_secs(60);

crate::tests!(
    the_disk_is_full,
    frozen_processes_keep_only_what_they_have;
    restarted_under_a_running_suite,
    restarted_between_two_tests_of_a_process,
    frozen_before_a_run,
    frozen_between_two_tests_of_a_process,
    frozen_at_the_end_of_a_test,
    rights_are_revoked_between_tests,
    others_have_all_connections,
    what_dbtest_made_is_dropped_under_a_running_suite
);

async fn restarted_under_a_running_suite<B: Probe>() {
    let mut scene = Scene::<B>::new().await;
    let mut suite = scene.start(Order { task: Task::Rounds, ..SUITE }, &[]);
    suite.reaches("round");
    scene.server_mut().kill();
    let (passed, said, _) = suite.ended();
    assert!(!passed, "it ran on without a server");
    assert_no_password(&said);
    // What runs while there is none says where it should be.
    let (passed, said) = scene.run(SUITE, &[]);
    assert!(!passed);
    let source = variable(B::ENGINE);
    assert_says(&said, &["cannot connect to", source, "start the server"]);
    scene.server_mut().start_again();
    scene.server.as_ref().expect("a server").is_ready::<B>().await;
    scene.recovers().await;
}

fn assert_no_password(said: &str) {
    assert!(!said.contains(SECRET), "the password is shown: {said}");
}

/// Its sessions are all dead; the next test of the same process opens new ones.
async fn restarted_between_two_tests_of_a_process<B: Probe>() {
    let mut scene = Scene::<B>::new().await;
    for strategy in ["truncate", "template", "rollback", "schema"] {
        let mut process = scene.start(Order { task: Task::Warm, strategy, ..TEST }, &["seeded"]);
        process.reaches("warm");
        scene.server_mut().kill();
        scene.server_mut().start_again();
        scene.server.as_ref().expect("a server").is_ready::<B>().await;
        process.tell("open").tell("close");
        let (passed, said, _) = process.ended();
        assert!(passed, "{strategy}: {said}");
    }
    // A place that was leased when the server ended is nobody's now: it is not used as it is.
    let mut process = scene.start(Order { task: Task::Again, ..TEST }, &["seeded"]);
    process.reaches("warm");
    scene.server_mut().kill();
    scene.server_mut().start_again();
    scene.server.as_ref().expect("a server").is_ready::<B>().await;
    process.tell("open").tell("close");
    let (passed, said, _) = process.ended();
    assert!(passed, "{said}");
    scene.recovers().await;
}

async fn frozen_before_a_run<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let server = scene.server.as_ref().expect("a server");
    server.freeze();
    let (passed, said, took) = Process::start(scene.command(), SUITE, &[]).ended();
    server.thaw();
    assert!(!passed);
    assert_says(&said, &["cannot connect to", variable(B::ENGINE), "no answer within 10 seconds"]);
    assert!(took < SAYS_SO, "{took:?}");
    scene.recovers().await;
}

async fn frozen_between_two_tests_of_a_process<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let server = scene.server.as_ref().expect("a server");
    let mut process = scene.start(Order { task: Task::Warm, ..TEST }, &["seeded"]);
    process.reaches("warm");
    server.freeze();
    process.tell("open");
    let (passed, said, took) = process.ended();
    server.thaw();
    assert!(!passed);
    assert_says(&said, &["no answer within", "frozen or cut off"]);
    assert!(took < SAYS_SO, "{took:?}");
    scene.recovers().await;
}

async fn frozen_at_the_end_of_a_test<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let server = scene.server.as_ref().expect("a server");
    let strategies = ["truncate", "rollback"];
    let processes = strategies.map(|strategy| scene.in_the_body(Order { strategy, ..TEST }));
    server.freeze();
    for mut process in processes {
        process.tell("close");
        let (passed, said, took) = process.ended();
        assert!(!passed);
        assert_says(&said, &["no answer within", "frozen or cut off", "dbtest_s_"]);
        assert!(took < SAYS_SO, "{took:?}");
    }
    server.thaw();
    scene.recovers().await;
}

async fn the_disk_is_full<B: Probe>() {
    if !is_root() {
        crate::scene::missing("only root can have a small disk", "run this test as root");
        return;
    }
    let full = async |scene: &Scene<B>, running: bool, filled: std::path::PathBuf| {
        let (passed, said) = scene.run(SUITE, &[]);
        std::fs::remove_file(filled).expect("removed");
        assert!(running || !passed, "it needs no space?");
        if !passed {
            assert_says(&said, &["free space"]);
        }
    };
    if B::ENGINE == Engine::Sqlite {
        let scene = Scene::<B>::new().await;
        // The neighbours' files are below the mount, and seen again at the end.
        let small = scene.folder().join("small");
        std::fs::create_dir(&small).expect("a folder");
        mount(&small, 4);
        let run = || {
            let mut command = child_command::<SqlxSqlite>(&small);
            command.env("DBTEST_DIR", &small);
            Process::start(command, SUITE, &[]).ended()
        };
        let filled = fill(&small);
        let (passed, said, _) = run();
        std::fs::remove_file(filled).expect("removed");
        let (passed_then, said_then, _) = run();
        unmount(&small);
        assert!(!passed);
        assert_says(&said, &["free space", "DBTEST_DIR"]);
        assert!(passed_then, "{said_then}");
        return scene.recovers().await;
    }
    let scene = Scene::<B>::on(Some(400)).await;
    let server = scene.server.as_ref().expect("a server");
    full(&scene, false, server.fill()).await;
    scene.recovers().await;
}

async fn rights_are_revoked_between_tests<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let (make, revoke, grant): (&[&str], &[&str], &[&str]) = match B::ENGINE {
        Engine::Postgres => {
            (&["CREATE ROLE me LOGIN CREATEDB"], &["ALTER ROLE me NOCREATEDB"], &["ALTER ROLE me CREATEDB"])
        }
        _ => (
            &[
                "CREATE USER me@localhost IDENTIFIED BY 'hunter2'",
                r"GRANT ALL ON `dbtest\_%`.* TO me@localhost",
            ],
            &[r"REVOKE ALL ON `dbtest\_%`.* FROM me@localhost"],
            &[r"GRANT ALL ON `dbtest\_%`.* TO me@localhost"],
        ),
    };
    let run = async |statements: &[&str]| {
        for sql in statements {
            scene.query(sql).await;
        }
    };
    run(make).await;
    let url = scene.server.as_ref().expect("a server").url_of("me");
    let order = Order { strategy: "template", ..SUITE };
    let suite = |order| scene.run(order, &[(variable(B::ENGINE), &url)]);
    let (passed, said) = suite(order);
    assert!(passed, "{said}");
    run(revoke).await;
    let (passed, said) = suite(order);
    assert!(!passed);
    assert_says(&said, &[if B::ENGINE == Engine::Postgres { "CREATEDB" } else { "GRANT ALL ON" }]);
    run(grant).await;
    let (passed, said) = suite(order);
    assert!(passed, "{said}");
    scene.recovers().await;
}

async fn others_have_all_connections<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let url = scene.server.as_ref().expect("a server").url();
    let mut others = Vec::new();
    while let Ok(session) = B::session(&url).await {
        others.push(session);
    }
    let (passed, said) = scene.run(SUITE, &[]);
    assert!(!passed);
    assert_says(&said, &["cannot connect to", "raise the server's connection limit"]);
    for session in others {
        session.close().await;
    }
    // Until the server has noticed, they are many sessions of somebody else, which is a sign of production.
    let open = match B::ENGINE {
        Engine::Postgres => "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'client backend'",
        _ => "SELECT CAST(ID AS CHAR) FROM information_schema.PROCESSLIST",
    };
    let start = std::time::Instant::now();
    while first_column(scene.query(open).await).len() > 10 {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "sessions do not end");
    }
    scene.recovers().await;
}

/// Somebody cleans up by hand while tests run.
async fn what_dbtest_made_is_dropped_under_a_running_suite<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut process = scene.in_the_body(TEST);
    for name in scene.places().await {
        if B::ENGINE == Engine::Postgres {
            let force = format!("ALTER DATABASE {name} IS_TEMPLATE false");
            scene.query(&force).await;
            scene.query(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        } else {
            scene.query(&format!("DROP DATABASE {name}")).await;
        }
    }
    process.tell("close");
    let (passed, said, _) = process.ended();
    assert_no_password(&said);
    if !passed {
        assert_says(&said, &["dbtest_"]);
    }
    assert!(first_column(scene.query("SELECT '1'").await) == ["1"]);
    scene.recovers().await;
}

/// A laptop's lid, a debugger: what the process holds stays its own, and all others go on.
async fn frozen_processes_keep_only_what_they_have<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut frozen = scene.in_the_body(TEST);
    signal("STOP", &[frozen.id()]);
    scene.green(SUITE);
    let places = scene.places().await;
    signal("CONT", &[frozen.id()]);
    frozen.tell("close");
    let (passed, said, _) = frozen.ended();
    assert!(passed, "what it had was taken from it: {said}\n{places:?}");
    scene.recovers().await;
}
