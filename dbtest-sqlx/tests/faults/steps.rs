//! A test run is killed at each step: it is made to stop there by somebody who holds what the
//! step needs, and is seen to wait for it.

use std::time::{Duration, Instant};

use dbtest_sqlx::{Engine, Probe, Session};

use crate::child::{Order, PATIENCE, Process, Task};
use crate::scene::{SUITE, Scene, TEST, first_column};

/// Somebody else has what the next step needs.
struct Stall {
    session: Box<dyn Session>,
    waiting: String,
}

impl Stall {
    /// On Postgres a lock on a catalogue; on MySQL all writing stops.
    async fn new<B: Probe>(scene: &Scene<B>, catalogue: &str, mode: &str) -> Self {
        let mut session = scene.session().await;
        let (sql, waiting) = match B::ENGINE {
            Engine::Postgres => (
                format!("BEGIN; LOCK TABLE pg_catalog.{catalogue} IN {mode} MODE"),
                format!(
                    "SELECT pid::text FROM pg_locks WHERE NOT granted AND relation = 'pg_catalog.{catalogue}'::regclass"
                ),
            ),
            _ => (
                "FLUSH TABLES WITH READ LOCK".to_owned(),
                "SELECT CAST(ID AS CHAR) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for %lock'"
                    .to_owned(),
            ),
        };
        session.execute(&sql).await.expect("a lock");
        Self { session, waiting }
    }

    /// Waits until somebody waits for it: then the process is at that step.
    async fn is_met_by(&mut self, process: &mut Process) {
        let start = Instant::now();
        while first_column(self.session.query(&self.waiting).await.expect("who waits")).is_empty() {
            assert!(process.is_alive(), "it ended before it was there: {}", process.said());
            assert!(start.elapsed() < PATIENCE, "it does not get there: {}", process.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Kills the process when it is at that step. What it has asked for is done afterwards: nobody
    /// told the server that it is dead.
    async fn kills(mut self, mut process: Process) {
        self.is_met_by(&mut process).await;
        process.kill();
        self.session.close().await;
    }
}

crate::tests!(
    killed_in_the_seed,
    killed_while_sealing_the_template,
    killed_in_the_body,
    killed_while_cloning,
    killed_while_resetting,
    killed_while_sweeping;
    killed_while_creating_the_template,
    killed_while_making_a_slot,
    killed_while_leasing_what_a_dead_process_left
);

async fn killed_in_the_seed<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut process = scene.start(TEST, &["open"]);
    process.reaches("seed");
    process.kill();
    scene.recovers().await;
}

async fn killed_while_sealing_the_template<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut process = scene.start(TEST, &["open"]);
    process.reaches("seed");
    if B::ENGINE == Engine::Sqlite {
        // Who reads the file keeps it from being closed.
        let places = scene.places().await;
        let template = scene.sqlite().join(places.first().expect("a template"));
        let mut reader = B::session(&format!("sqlite://{}", template.display())).await.expect("a session");
        reader.query("BEGIN; SELECT count(*) FROM book").await.expect("a lock");
        process.tell("seeded");
        opens(&mut process, &template.display().to_string()).await;
        process.kill();
        reader.close().await;
    } else {
        let stall = Stall::new(&scene, "pg_shdescription", "EXCLUSIVE").await;
        process.tell("seeded");
        stall.kills(process).await;
    }
    scene.recovers().await;
}

/// Waits until the process has a file of that name open, and nothing else is in the way.
async fn opens(process: &mut Process, name: &str) {
    let start = Instant::now();
    let folder = format!("/proc/{}/fd", process.id());
    loop {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        if files.any(|file| file.to_string_lossy() == name) {
            return;
        }
        assert!(process.is_alive(), "it ended before it was there: {}", process.said());
        assert!(start.elapsed() < PATIENCE, "it does not get there");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn killed_in_the_body<B: Probe>() {
    let scene = Scene::<B>::new().await;
    for strategy in ["truncate", "template", "schema", "rollback"] {
        scene.in_the_body(Order { strategy, ..TEST }).kill();
    }
    scene.recovers().await;
}

async fn killed_while_cloning<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let template = Order { strategy: "template", ..TEST };
    if B::ENGINE == Engine::Sqlite {
        return killed_while_copying(scene, template, "dbtest_c_").await;
    }
    scene.green(Order { strategy: "template", ..SUITE });
    // On MySQL a clone is a slot, and there is one already.
    let holders = [scene.in_the_body(template), scene.in_the_body(template)];
    let stall = Stall::new(&scene, "pg_database", "EXCLUSIVE").await;
    let process = scene.start(template, &["open", "seeded"]);
    stall.kills(process).await;
    for mut holder in holders {
        holder.tell("close");
        let (passed, said, _) = holder.ended();
        assert!(passed, "{said}");
    }
    scene.recovers().await;
}

/// The template is large, so that a copy of it is seen half-made.
async fn killed_while_copying<B: Probe>(scene: Scene<B>, order: Order<'_>, prefix: &str) {
    let order = Order { size: 48 << 20, task: Task::Rounds, ..order };
    let mut process = scene.start(order, &[]);
    process.reaches("round");
    let start = Instant::now();
    let half = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        name.starts_with(prefix) && name.ends_with(".db") && (1..order.size as u64).contains(&size)
    };
    while !std::fs::read_dir(scene.sqlite()).expect("a folder").flatten().any(half) {
        assert!(process.is_alive(), "{}", process.said());
        assert!(start.elapsed() < PATIENCE, "no copy is seen half-made");
    }
    process.kill();
    scene.green(Order { task: Task::Suite, ..order });
    scene.recovers().await;
}

async fn killed_while_resetting<B: Probe>() {
    let scene = Scene::<B>::new().await;
    if B::ENGINE == Engine::Sqlite {
        return killed_while_copying(scene, TEST, "dbtest_s_").await;
    }
    let mut process = scene.in_the_body(TEST);
    let stall = Stall::new(&scene, "pg_db_role_setting", "ACCESS EXCLUSIVE").await;
    process.tell("close");
    stall.kills(process).await;
    scene.recovers().await;
}

async fn killed_while_sweeping<B: Probe>() {
    const LEFT: usize = 300;
    let scene = Scene::<B>::new().await;
    // What somebody left who died half-way.
    let left = |number: usize| format!("dbtest_c_0123456789ab_{number:012x}");
    if B::ENGINE == Engine::Sqlite {
        for number in 0..LEFT {
            std::fs::write(scene.sqlite().join(format!("{}.db", left(number))), "").expect("a file");
        }
        let start = Instant::now();
        let process = scene.start(TEST, &["open", "seeded"]);
        loop {
            let there = scene.places().await.iter().filter(|name| name.starts_with("dbtest_c_")).count();
            assert!(start.elapsed() < PATIENCE, "nothing is swept: {}", process.said());
            if there < LEFT {
                assert!(there > 0, "it was too quick for us");
                break;
            }
        }
        process.kill();
    } else {
        for number in 0..3 {
            scene.query(&format!("CREATE DATABASE {}", left(number))).await;
        }
        // A run before it has made what is dbtest's own, on MySQL.
        let mut process = scene.start(Order { task: Task::Warm, ..TEST }, &["seeded"]);
        process.reaches("warm");
        for number in 0..3 {
            scene.query(&format!("CREATE DATABASE {}", left(number + 3))).await;
        }
        let stall = Stall::new(&scene, "pg_database", "EXCLUSIVE").await;
        process.tell("open");
        stall.kills(process).await;
    }
    scene.recovers().await;
    let places = scene.places().await;
    // Clones of the runs since, made ahead, are the next run's to sweep.
    let left = places.iter().any(|name| name.starts_with("dbtest_c_0123456789ab"));
    assert!(!left, "not swept: {places:?}");
}

async fn killed_while_creating_the_template<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut process = scene.start(Order { task: Task::Warm, ..TEST }, &["seeded"]);
    process.reaches("warm");
    let stall = Stall::new(&scene, "pg_database", "EXCLUSIVE").await;
    process.tell("open");
    stall.kills(process).await;
    scene.recovers().await;
}

async fn killed_while_making_a_slot<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut holder = scene.in_the_body(TEST);
    let stall = Stall::new(&scene, "pg_database", "EXCLUSIVE").await;
    let process = scene.start(TEST, &["open", "seeded"]);
    stall.kills(process).await;
    holder.tell("close");
    let (passed, said, _) = holder.ended();
    assert!(passed, "the other test was hurt: {said}");
    scene.recovers().await;
}

async fn killed_while_leasing_what_a_dead_process_left<B: Probe>() {
    let scene = Scene::<B>::new().await;
    let mut process = scene.start(Order { task: Task::Warm, ..TEST }, &["seeded"]);
    process.reaches("warm");
    scene.in_the_body(TEST).kill();
    let stall = Stall::new(&scene, "pg_db_role_setting", "ACCESS EXCLUSIVE").await;
    process.tell("open");
    stall.kills(process).await;
    scene.recovers().await;
}
