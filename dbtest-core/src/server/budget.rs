//! How many connections the tests of all processes may have open on one server at once. They
//! are counted in files that are locked while somebody has them, so that a share ends with its
//! holder, however that ends, and costs no round trip.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::registry::private;
use crate::config::patient;
use crate::error::{Error, Result};
use crate::{hash, progress};

/// How many connections one file stands for.
const TOKEN: u32 = 2;

/// How many tokens dbtest's own sessions take for each place: the reset session, the sandbox's, and
/// two on the maintenance database.
const OWN: usize = 2;

/// How many of them an idle place keeps.
const IDLE: usize = 1;

/// How long a test waits for its share before that is an error.
const PATIENCE: Duration = Duration::from_secs(120);

/// The threads of this process go through the gate one by one.
static HERE: Mutex<()> = Mutex::new(());

/// The connections of one server that tests may have.
#[derive(Debug)]
pub(crate) struct Budget {
    folder: PathBuf,
    /// The server, for messages.
    server: String,
    connections: u32,
    patience: Duration,
}

/// What one test has of it. It ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    tokens: Vec<File>,
}

impl Budget {
    /// The budget of a server that lets us have so many connections. `set` is what
    /// `DBTEST_CONNECTIONS` says.
    pub(crate) fn new(dir: &Path, server: &str, allowed: u32, set: Option<u32>) -> Result<Self> {
        // Some are left for people, and for the server's own.
        let connections = set.unwrap_or_else(|| allowed.saturating_sub((allowed / 20).max(4)));
        let place = server.rsplit(" at ").next().unwrap_or(server);
        // A user with a limit of its own has a budget of its own.
        let folder = dir.join("connections").join(hash::word(&[place, &connections.to_string()]));
        // Looking at three folders costs more than all that a warm test counts there.
        static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let mut seen = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if !(seen.contains(&folder) && folder.is_dir()) {
            for made in [dir, &dir.join("connections"), &folder] {
                private(made)?;
            }
            seen.insert(folder.clone());
        }
        Ok(Self { folder, server: server.to_owned(), connections, patience: patient(PATIENCE) })
    }

    fn tokens(&self) -> usize {
        (self.connections / TOKEN).max(1) as usize
    }

    /// How many tokens a test takes whose pool opens so many connections. One that wants more
    /// than there is at all gets all.
    fn wanted(&self, pool: u32) -> usize {
        (OWN + pool.div_ceil(TOKEN) as usize).min(self.tokens())
    }

    /// A share large enough for a pool of so many connections, and for dbtest's own. Waits while
    /// other tests have them, and says so. Whoever waits must have nothing of the budget, or two
    /// would wait for each other: `let_go` gives up what is idle.
    ///
    /// # Errors
    /// They were not to be had in two minutes: who has them, and what raises the number.
    pub(crate) async fn take(&self, pool: u32, test: &str, let_go: impl AsyncFnOnce()) -> Result<Share> {
        let mut share = Share::default();
        if self.grow(&mut share, pool, test)? {
            return Ok(share);
        }
        let missing = self.wanted(pool) as u32 * TOKEN;
        let what =
            format!("{test} waits for {missing} of {} connections to {}", self.connections, self.server);
        let waits = async {
            // Others see it, and keep nothing idle.
            let waiting = self.open("waiting").and_then(|file| file.lock_shared().map(|()| file));
            let _waiting = waiting.map_err(|error| self.failed(error))?;
            let_go().await;
            self.wait(pool, test).await
        };
        progress::while_waiting(&what, waits).await
    }

    async fn wait(&self, pool: u32, test: &str) -> Result<Share> {
        let deadline = Instant::now() + self.patience;
        let mut pause = Duration::from_millis(1);
        let (mut share, mut gate) = (Share::default(), None);
        loop {
            if gate.is_none() {
                gate = self.lock("gate").map_err(|error| self.failed(error))?;
            }
            // With the gate it may keep what it has found: nobody else collects.
            if gate.is_some() && self.collect(&mut share, self.wanted(pool), test)? {
                return Ok(share);
            }
            if Instant::now() > deadline {
                drop(share);
                let missing = self.wanted(pool) as u32 * TOKEN;
                return Err(Error::no_connections(
                    &self.server,
                    test,
                    missing,
                    self.connections,
                    &self.holders(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Makes the share large enough, if it can be had at once.
    pub(crate) fn grow(&self, share: &mut Share, pool: u32, test: &str) -> Result<bool> {
        let wanted = self.wanted(pool);
        if share.tokens.len() >= wanted {
            return Ok(true);
        }
        // One collects at a time: two with half of what they want would wait for ever. Who has what
        // it wants is through in microseconds, who waits is not.
        let _here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gate = None;
        for _ in 0..100 {
            gate = self.lock("gate").map_err(|error| self.failed(error))?;
            if gate.is_some() {
                break;
            }
            std::thread::yield_now();
        }
        if gate.is_none() {
            return Ok(false);
        }
        let had = share.tokens.len();
        let grown = self.collect(share, wanted, test)?;
        if !grown {
            share.tokens.truncate(had);
        }
        Ok(grown)
    }

    /// Whether somebody waits for a share.
    pub(crate) fn is_wanted(&self) -> bool {
        // Where that cannot be said nobody is helped by an error.
        self.lock("waiting").is_ok_and(|free| free.is_none())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::system(format!("count connections in {}", self.folder.display()), error)
    }

    /// Takes what is free, up to what is wanted.
    fn collect(&self, share: &mut Share, wanted: usize, test: &str) -> Result<bool> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Every process begins elsewhere, or all would look at the same ones first.
        let first = std::process::id() as usize * 17 + NEXT.load(Ordering::Relaxed);
        for at in 0..self.tokens() {
            if share.tokens.len() >= wanted {
                break;
            }
            let number = (first + at) % self.tokens();
            let token = self.lock(&number.to_string()).and_then(|token| match token {
                Some(mut file) => {
                    file.set_len(0)?;
                    // As one text, or each of its parts would be written on its own.
                    file.write_all(format!("{test} (process {})", std::process::id()).as_bytes())?;
                    Ok(Some(file))
                }
                None => Ok(None),
            });
            if let Some(token) = token.map_err(|error| self.failed(error))? {
                share.tokens.push(token);
                NEXT.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(share.tokens.len() >= wanted)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.folder.join(name);
        File::options().create(true).truncate(false).read(true).write(true).open(path)
    }

    fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let file = self.open(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Who has how many, the most first.
    fn holders(&self) -> Vec<(String, u32)> {
        let mut holders: Vec<(String, u32)> = Vec::new();
        for number in 0..self.tokens() {
            let path = self.folder.join(number.to_string());
            let Ok(mut file) = File::open(path) else { continue };
            let mut holder = String::new();
            let taken = matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
            if !taken || file.read_to_string(&mut holder).is_err() {
                continue;
            }
            match holders.iter_mut().find(|(name, _)| *name == holder) {
                Some((_, count)) => *count += TOKEN,
                None => holders.push((holder, TOKEN)),
            }
        }
        holders.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        holders
    }
}

impl Share {
    /// Gives back all but what an idle place has: its reset session, and the sandbox's.
    pub(crate) fn shrink(&mut self) {
        self.tokens.truncate(IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn budget(folder: &Path, connections: u32, patience: u64) -> Budget {
        let made = Budget::new(folder, "app at localhost:5432", 0, Some(connections)).expect("a budget");
        Budget { patience: Duration::from_millis(patience), ..made }
    }

    #[test]
    fn some_connections_are_left_for_people() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |allowed, set| {
            Budget::new(folder.path(), "app at localhost", allowed, set).expect("a budget").connections
        };
        assert_eq!((of(97, None), of(500, None), of(97, Some(40)), of(3, None)), (93, 475, 40, 0));
    }

    async fn share(budget: &Budget, pool: u32, test: &str) -> Result<Share> {
        budget.take(pool, test, async || {}).await
    }

    #[tokio::test]
    async fn what_one_has_no_other_gets_and_the_error_says_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        // Two handles, as two processes have them, for two databases of one server.
        let one = budget(folder.path(), 20, 50);
        let other = Budget::new(folder.path(), "other at localhost:5432", 0, Some(20)).expect("a budget");
        let other = Budget { patience: Duration::from_millis(50), ..other };
        let mut first = share(&one, 10, "first").await.expect("a share");
        assert!(!one.is_wanted());
        let error = other.take(10, "second", async || assert!(one.is_wanted())).await.expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::Connect);
        let text = error.to_string();
        for part in ["second", "20", "14 by first (process ", "DBTEST_CONNECTIONS", "DBTEST_MAX_CONNECTIONS"]
        {
            assert!(text.contains(part), "{part:?}: {text}");
        }
        // As soon as it is given back it is to be had; what is idle keeps what is dbtest's own.
        first.shrink();
        let second = share(&other, 10, "second").await.expect("a share");
        assert!(!one.grow(&mut first, 10, "first").expect("files"), "there is no room");
        assert_eq!(first.tokens.len(), IDLE);
        drop(second);
        assert!(one.grow(&mut first, 10, "first").expect("files"));
    }

    #[tokio::test]
    async fn who_wants_more_than_there_is_gets_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let large = share(&budget(folder.path(), 6, 50), 10, "large").await.expect("a share");
        assert_eq!(large.tokens.len(), 3);
    }

    #[tokio::test]
    async fn several_that_want_more_than_half_do_not_wait_for_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = budget(folder.path(), 20, 10_000);
        let run = async |name: &'static str| {
            for _ in 0..20 {
                let held = share(&budget, 10, name).await.expect("a share");
                tokio::task::yield_now().await;
                drop(held);
            }
        };
        tokio::join!(run("one"), run("two"), run("three"));
    }
}
