//! What the processes do that the tests start, and how both say to each other how far they are: by
//! files in a folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbtest_sqlx::{Fixture, Probe, Strategy, TestDb, conformance::Op};

/// How long a process may take to get somewhere, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Tells a process what to do.
const TOLD: &str = "DBTEST_TEST_FAULT";
/// The folder with the signs.
const SIGNS: &str = "DBTEST_TEST_FAULT_SIGNS";

/// What a process is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) task: Task,
    /// All four where it is empty.
    pub(crate) strategy: &'a str,
    pub(crate) project: &'a str,
    /// Of its migrations.
    pub(crate) version: &'a str,
    /// Bytes of a seed row.
    pub(crate) size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// A few tests under each strategy, then the end.
    Suite,
    /// The same without end; says `round` after each.
    Rounds,
    /// One test: waits for `open`, says `body`, waits for `close`, says `closed`. Its seed says `seed`
    /// and waits for `seeded`.
    Test,
    /// The same, after a test of another project has left its connections open, and said `warm`.
    Warm,
    /// The same, after a test of this project.
    Again,
}

impl Order<'_> {
    fn words(&self) -> String {
        let Self { task, strategy, project, version, size } = self;
        format!("{task:?},{strategy},{project},{version},{size}")
    }
}

/// What this process was told, if a test started it.
fn told() -> Option<(Task, Vec<String>, PathBuf)> {
    let told = std::env::var(TOLD).ok()?;
    let mut words = told.split(',').map(str::to_owned);
    let task = match words.next()?.as_str() {
        "Suite" => Task::Suite,
        "Rounds" => Task::Rounds,
        "Warm" => Task::Warm,
        "Again" => Task::Again,
        _ => Task::Test,
    };
    Some((task, words.collect(), PathBuf::from(std::env::var_os(SIGNS)?)))
}

fn say(signs: &Path, sign: &str) {
    std::fs::write(signs.join(sign), "").expect("a sign");
}

/// Waits for the sign.
async fn wait(signs: &Path, sign: &str) {
    let start = Instant::now();
    while !signs.join(sign).exists() {
        assert!(start.elapsed() < PATIENCE, "nobody said {sign}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn strategies(word: &str) -> Vec<Strategy> {
    let all = [
        ("truncate", Strategy::Truncate),
        ("template", Strategy::Template),
        ("schema", Strategy::Schema),
        ("rollback", Strategy::Rollback),
    ];
    all.into_iter().filter(|(name, _)| word.is_empty() || *name == word).map(|(_, one)| one).collect()
}

/// A project's test database, with the migrations of one version of it.
fn fixture<B: Probe>(project: &str, version: &str, size: usize) -> Fixture<B> {
    let size = if B::ENGINE == dbtest_sqlx::Engine::Sqlite { size } else { 0 };
    let seed = format!("{project} {version}");
    Fixture::new()
        .label(project)
        .apart(project)
        .sql(
            "schema.sql",
            format!(
                "CREATE TABLE book (id INT PRIMARY KEY, title VARCHAR(50) NOT NULL);
                 CREATE TABLE only_in_{version} (id INT);
                 CREATE TABLE ballast (what TEXT);
                 INSERT INTO book VALUES (1, '{seed}')"
            ),
        )
        .sql("ballast.sql", ballast(size))
        .version("1")
        .seed(|_handle| async {
            if let Some((Task::Test | Task::Warm | Task::Again, _, signs)) = told() {
                say(&signs, "seed");
                wait(&signs, "seeded").await;
            }
            Ok::<_, String>(())
        })
}

fn ballast(size: usize) -> String {
    let value = if size == 0 { "'none'".to_owned() } else { format!("zeroblob({size})") };
    format!("INSERT INTO ballast VALUES ({value})")
}

/// Sees exactly what the setup made, and changes it.
async fn test<B: Probe>(db: &mut TestDb<B>, project: &str, version: &str) {
    let ops = [
        Op::query("SELECT title AS v FROM book ORDER BY id"),
        Op::query(format!("SELECT '' AS v FROM only_in_{version}")),
        Op::execute("UPDATE book SET title = 'dirty'"),
        Op::execute("INSERT INTO book VALUES (2, 'left behind')"),
    ];
    let seen = B::run(db.handle_mut(), &ops).await.expect("the test's own statements");
    assert_eq!(seen[0], [Some(format!("{project} {version}"))], "not what the setup made");
    assert!(seen[1].is_empty());
}

/// Three tests under each strategy, two of them at once.
async fn suite<B: Probe>(word: &str, project: &str, version: &str, size: usize) {
    for strategy in strategies(word) {
        let open = async || {
            let fixture = fixture::<B>(project, version, size).strategy(strategy.clone());
            fixture.open().await.expect("a database")
        };
        let (mut one, mut two) = (open().await, open().await);
        test(&mut one, project, version).await;
        test(&mut two, project, version).await;
        one.close().await.expect("closed");
        two.close().await.expect("closed");
        let mut three = open().await;
        test(&mut three, project, version).await;
        three.close().await.expect("closed");
    }
}

/// Does what this process was told; without being told, a suite on the server that there is.
async fn act<B: Probe>() {
    let Some((task, words, signs)) = told() else {
        return suite::<B>("", "baseline", "1", 0).await;
    };
    let (word, project, version) = (words[0].as_str(), words[1].as_str(), words[2].as_str());
    let size = words[3].parse().expect("a size");
    match task {
        Task::Suite => suite::<B>(word, project, version, size).await,
        Task::Rounds => loop {
            suite::<B>(word, project, version, size).await;
            say(&signs, "round");
        },
        Task::Test | Task::Warm | Task::Again => {
            if task == Task::Warm {
                let warm = Fixture::<B>::new().label("warm").empty().open().await.expect("a database");
                warm.close().await.expect("closed");
                say(&signs, "warm");
            }
            let strategy = strategies(word).remove(0);
            if task == Task::Again {
                suite::<B>(word, project, version, size).await;
                say(&signs, "warm");
            }
            wait(&signs, "open").await;
            let fixture = fixture::<B>(project, version, size).strategy(strategy);
            let mut db = fixture.open().await.expect("a database");
            test(&mut db, project, version).await;
            say(&signs, "body");
            wait(&signs, "close").await;
            db.close().await.expect("closed");
            say(&signs, "closed");
        }
    }
}

/// A process at work.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    signs: tempfile::TempDir,
}

impl Process {
    /// Starts a process with these signs given already. `command` is its environment.
    pub(crate) fn start(mut command: Command, order: Order<'_>, given: &[&str]) -> Self {
        let signs = tempfile::tempdir().expect("a folder");
        given.iter().for_each(|sign| say(signs.path(), sign));
        let said = File::create(signs.path().join("said")).expect("a file");
        let child = command
            .env(TOLD, order.words())
            .env(SIGNS, signs.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("the same file"))
            .stderr(said)
            .spawn()
            .expect("a process");
        Self { child, signs }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.signs.path().join("said")).expect("what it said")
    }

    /// Waits until the process has said so.
    pub(crate) fn reaches(&mut self, sign: &str) -> &mut Self {
        let start = Instant::now();
        while !self.signs.path().join(sign).exists() {
            assert!(self.is_alive(), "it ended before it said {sign}: {}", self.said());
            assert!(start.elapsed() < PATIENCE, "it never said {sign}: {}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        self
    }

    pub(crate) fn tell(&mut self, sign: &str) -> &mut Self {
        say(self.signs.path(), sign);
        self
    }

    pub(crate) fn forget(&mut self, sign: &str) -> &mut Self {
        std::fs::remove_file(self.signs.path().join(sign)).expect("a sign");
        self
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Waits for its end: whether it passed, what it said, and how long that took.
    pub(crate) fn ended(mut self) -> (bool, String, Duration) {
        let start = Instant::now();
        while self.is_alive() {
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let passed = self.child.wait().expect("a child").success();
        (passed, self.said(), start.elapsed())
    }
}

/// A failed test leaves no process behind.
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, or been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

crate::tests!(a_suite_is_green;);

/// Without a fault; and with other tests' orders, what they start.
async fn a_suite_is_green<B: Probe>() {
    act::<B>().await;
}
