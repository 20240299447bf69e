//! What happens to a server in a container. They run where Docker has the images.

use std::marker::PhantomData;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dbtest_sqlx::{Engine, Probe};

use crate::child::{Order, PATIENCE, Process, Task};
use crate::scene::{SUITE, TEST, assert_says, child_command, folder};

crate::tests!(;
    killed_while_a_container_starts,
    a_container_is_removed_under_a_running_suite,
    a_container_is_paused_under_a_test,
    a_container_loses_its_network
);

/// A container that nobody else has, since no other has its idle time.
struct Home<B> {
    folder: tempfile::TempDir,
    idle: String,
    backend: PhantomData<B>,
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn image(engine: Engine) -> &'static str {
    if engine == Engine::Postgres { "postgres:18" } else { "mariadb:11.8" }
}

impl<B: Probe> Home<B> {
    /// `None` where there is no such image, and says so.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let image = image(B::ENGINE);
        let has_it = Command::new("docker").args(["image", "inspect", image]).output();
        if !has_it.is_ok_and(|output| output.status.success()) {
            crate::scene::missing(
                &format!("no Docker with the image {image} here"),
                "start Docker and pull the image",
            );
            return None;
        }
        let idle = 1_000_000 + std::process::id() * 100 + NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self { folder: folder(), idle: idle.to_string(), backend: PhantomData })
    }

    fn start(&self, order: Order<'_>) -> Process {
        let mut command = child_command::<B>(self.folder.path());
        command.env("DBTEST_SERVER", "container").env("DBTEST_IDLE", &self.idle);
        command.env("DBTEST_POSTGRES_IMAGE", image(Engine::Postgres));
        command.env("DBTEST_MYSQL_IMAGE", image(Engine::MySql));
        Process::start(command, order, &[])
    }

    /// Those that were created here; with `running`, of those the ones that run.
    fn containers(&self, running: bool) -> Vec<String> {
        let status = if running { "status=running" } else { "label=dbtest.server" };
        let format = "{{.ID}} {{.Command}}";
        let all = [
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            "label=dbtest.server",
            "--filter",
            status,
            "--format",
            format,
        ];
        let all = docker(&all);
        let word = format!(" {} ", self.idle);
        let ours = all.lines().filter(|line| line.contains(&word));
        ours.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    fn green(&self) {
        let (passed, said, _) = self.start(SUITE).ended();
        assert!(passed, "{said}");
    }

    /// The next run is green, and there is one container in the end. One that was created and not
    /// started may be about to be, and goes two minutes later.
    fn recovers(&self) {
        self.green();
        self.green();
        assert_eq!(self.containers(true).len(), 1);
    }

    /// A test that is in its body when this happens to its container: it fails in time and in words.
    /// (What it asks by itself would be waited for as long as its driver waits.)
    fn under_a_running_test(&self, fault: impl Fn(&str), why: &str) {
        let mut process = self.start(TEST);
        process.tell("open").tell("seeded").reaches("body");
        fault(&self.containers(true)[0]);
        process.tell("close");
        let (passed, said, took) = process.ended();
        assert!(!passed, "it ended well without a server");
        assert_says(&said, &[why, "dbtest_s_"]);
        assert!(took < Duration::from_secs(60), "{took:?}: {said}");
    }
}

impl<B> Drop for Home<B> {
    fn drop(&mut self) {
        let label = [
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            "label=dbtest.server",
            "--format",
            "{{.ID}} {{.Command}}",
        ];
        let output =
            Command::new("docker").args(label).output().map(|output| output.stdout).unwrap_or_default();
        let word = format!(" {} ", self.idle);
        for line in String::from_utf8_lossy(&output).lines().filter(|line| line.contains(&word)) {
            let id = line.split(' ').next().unwrap_or_default();
            // It may be removing itself.
            let _ = Command::new("docker").args(["rm", "--force", "--volumes", id]).output();
        }
    }
}

async fn killed_while_a_container_starts<B: Probe>() {
    let Some(home) = Home::<B>::new() else { return };
    let mut process = home.start(SUITE);
    let start = Instant::now();
    while home.containers(false).is_empty() {
        assert!(process.is_alive(), "{}", process.said());
        assert!(start.elapsed() < PATIENCE, "{}", process.said());
    }
    process.kill();
    home.recovers();
}

async fn a_container_is_removed_under_a_running_suite<B: Probe>() {
    let Some(home) = Home::<B>::new() else { return };
    let mut suite = home.start(Order { task: Task::Rounds, ..SUITE });
    suite.reaches("round");
    docker(&["rm", "--force", "--volumes", &home.containers(true)[0]]);
    let (passed, said, _) = suite.ended();
    assert!(!passed, "it ran on without a server");
    assert!(said.contains("panicked"), "{said}");
    home.recovers();
}

/// Nobody will wake it, so the next run gives it up for another.
async fn a_container_is_paused_under_a_test<B: Probe>() {
    let Some(home) = Home::<B>::new() else { return };
    home.under_a_running_test(
        |id| {
            docker(&["pause", id]);
        },
        "no answer within",
    );
    home.recovers();
}

async fn a_container_loses_its_network<B: Probe>() {
    let Some(home) = Home::<B>::new() else { return };
    home.under_a_running_test(
        |id| {
            docker(&["network", "disconnect", "--force", "bridge", id]);
            // Docker ends what it has forwarded, or lets it hang: both are errors.
        },
        "cannot ",
    );
    home.recovers();
}
