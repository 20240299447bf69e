//! SQLite: files in a folder as places. A clone is a copy of the file; a lease is a file lock.

use std::collections::{HashMap, HashSet};
use std::fs::{File, FileTimes, Metadata, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::{
    Attached, Details, Engine, Found, Hold, Holder, Places, Sandboxing, Settle, Settled, sqlite_log,
};
use crate::backend::{Check, DbError, Sandbox};
use crate::config::patient;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::name::Name;
use crate::server::Connect;

const PATIENCE: Duration = Duration::from_secs(20);

/// Files in one folder.
#[derive(Debug)]
pub(crate) struct Files {
    hub: Arc<Hub>,
    folder: PathBuf,
    /// The shared locks of the templates that this process uses.
    protected: Mutex<Vec<File>>,
}

/// `url` is `sqlite:///path/to/folder`.
pub(crate) async fn places(url: String, connect: Connect) -> Result<Arc<dyn Places>> {
    let folder = PathBuf::from(crate::url::shown(&url));
    std::fs::create_dir_all(&folder)
        .map_err(|error| Error::system(format!("create the folder {}", folder.display()), error))?;
    Ok(Arc::new(Files {
        hub: Hub::new(Engine::Sqlite, url, connect, None),
        folder,
        protected: Mutex::default(),
    }))
}

impl Files {
    fn path(&self, name: &Name, extension: &str) -> PathBuf {
        self.folder.join(format!("{name}.{extension}"))
    }

    fn description(&self, name: &Name) -> Option<Description> {
        Description::from_json(&std::fs::read_to_string(self.path(name, "json")).ok()?)
    }

    fn remove(&self, name: &Name, extensions: &[&str]) -> Result<()> {
        for extension in extensions {
            let path = self.path(name, extension);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::system(format!("remove {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens a lock file, making it where it is not.
fn lock_file(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Error::system(format!("open the lock file {}", path.display()), error))
}

/// Takes the lock if nobody has it.
fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::system(format!("lock {}", path.display()), error)),
    }
}

/// Whether the open file is still the one at the path.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        matches!((file.metadata(), std::fs::metadata(path)), (Ok(open), Ok(there)) if open.ino() == there.ino())
    }
    #[cfg(not(unix))]
    {
        // An open file can't be removed here.
        let _ = (file, path);
        true
    }
}

/// Whether somebody has the lock. Does not make the file.
fn is_locked(path: &Path) -> bool {
    match File::options().write(true).open(path) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// The process that holds a lock on the file, as Linux lists all locks.
#[cfg(unix)]
fn lock_holder(locks: &str, file: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let dev = file.dev();
    let (major, minor) = ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00));
    let file = format!("{major:02x}:{minor:02x}:{}", file.ino());
    locks.lines().find_map(|line| {
        // "7: FLOCK ADVISORY WRITE 4242 00:1a:77 0 EOF"; one that waits has "->" after its number.
        let words: Vec<&str> = line.split_whitespace().collect();
        let holds = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file.as_str());
        words.get(4)?.parse().ok().filter(|process| holds && *process > 0)
    })
}

#[cfg(not(unix))]
fn lock_holder(_locks: &str, _file: &std::fs::Metadata) -> Option<u32> {
    None
}

/// Runs file system work where it can't hold up anybody else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// All files of a database but its locks.
const CONTENT: &[&str] = &["db", "db-wal", "db-shm", "db-journal", LOG, "json"];

/// The second name of a slot's write-ahead log, by which it outlives the connections that wrote it.
const LOG: &str = "db-log";

#[async_trait]
impl Places for Files {
    fn shown(&self) -> String {
        self.folder.display().to_string()
    }

    fn version(&self) -> &str {
        "sqlite 3"
    }

    fn url(&self, name: &Name) -> String {
        format!("sqlite://{}", self.path(name, "db").display())
    }

    fn command(&self, name: &Name) -> String {
        format!("sqlite3 {}", self.path(name, "db").display())
    }

    fn is_remote(&self) -> bool {
        false
    }

    async fn survey(&self) -> Result<Vec<Found>> {
        let entries = std::fs::read_dir(&self.folder)
            .map_err(|error| Error::system(format!("read the folder {}", self.folder.display()), error))?;
        // Any file of a place, also one that whoever died while dropping it left behind.
        let names: HashSet<Name> = entries
            .flatten()
            .filter_map(|entry| Name::parse(entry.file_name().to_string_lossy().split('.').next()?))
            .collect();
        let mut found = Vec::new();
        for name in names {
            let description = self.description(&name);
            let held = is_locked(&self.path(&name, "hold")) || is_locked(&self.path(&name, "lease"));
            found.push(Found { name, description, held });
        }
        Ok(found)
    }

    async fn details(&self) -> Result<HashMap<Name, Details>> {
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let details = |found: Found| {
            let size = ["db", "db-wal"]
                .iter()
                .filter_map(|end| Some(std::fs::metadata(self.path(&found.name, end)).ok()?.len()))
                .reduce(|all, size| all + size);
            let process = ["lease", "hold"]
                .iter()
                .find_map(|end| lock_holder(&locks, &std::fs::metadata(self.path(&found.name, end)).ok()?));
            let holder = process.map(|process| Holder { process: Some(process), ..Holder::default() });
            (found.name, Details { size, holder })
        };
        Ok(self.survey().await?.into_iter().map(details).collect())
    }

    async fn hold(&self, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
        let (path, content) =
            (self.folder.join(format!("{name}.hold")), self.folder.join(format!("{name}.db")));
        loop {
            let file = if wait {
                let path = path.clone();
                blocking(move || {
                    let file = lock_file(&path)?;
                    file.lock().map_err(|error| Error::system(format!("lock {}", path.display()), error))?;
                    Ok(Some(file))
                })
                .await?
            } else {
                try_lock(&path)?
            };
            let Some(file) = file else { return Ok(None) };
            // Whoever had it before us may have removed the file that we waited for.
            if is_at(&file, &path) {
                return Ok(Some(Box::new(Held { path, content, _lock: file })));
            }
        }
    }

    async fn protect(&self, name: &Name) -> Result<bool> {
        let path = self.path(name, "lease");
        let file = lock_file(&path)?;
        // Only a sweeper takes this one alone.
        if file.try_lock_shared().is_err() {
            return Ok(false);
        }
        if is_at(&file, &path) && self.path(name, "db").exists() {
            self.protected.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            return Ok(true);
        }
        Ok(false)
    }

    async fn create(&self, name: &Name) -> Result<()> {
        let path = self.path(name, "db");
        // An empty file is an empty database.
        File::create_new(&path)
            .map(drop)
            .map_err(|error| Error::system(format!("create the database {}", path.display()), error))
    }

    async fn filled(&self, name: &Name, _description: &mut Description) -> Result<()> {
        let shown = name.to_string();
        let failed = |error: DbError| Error::database("close a template", &shown, error);
        let mut session = self.hub.open(self.url(name)).await?;
        let deadline = Instant::now() + patient(PATIENCE);
        // A copy of the file must have everything, so nothing may be left in the log; a copy
        // opens in the mode that the file was in.
        let closed = loop {
            let result = session.query("PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)").await;
            match result {
                Ok(rows) => {
                    let checkpoint = rows.last().and_then(|row| row.first().cloned().flatten());
                    if checkpoint.as_deref() == Some("0") {
                        break Ok(());
                    }
                }
                Err(error) if error.code.as_deref() != Some("5") => break Err(failed(error)),
                Err(_) => {}
            }
            if Instant::now() > deadline {
                break Err(Error::cleanup(&name.to_string(), "a connection of the setup stays open"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        session.close().await;
        closed
    }

    async fn copy(&self, template: &Name, _description: &Description, name: &Name) -> Result<()> {
        let (from, to) = (self.path(template, "db"), self.path(name, "db"));
        blocking(move || {
            std::fs::copy(&from, &to)
                .map(drop)
                .map_err(|error| Error::system(format!("copy the template {}", from.display()), error))
        })
        .await
    }

    async fn prepare(&self, name: &Name) -> Result<()> {
        let template = std::fs::metadata(self.path(&Name::template(name.fingerprint()), "db"));
        mark(&self.path(name, "db"), &template.map(|meta| copied_from(&meta)).unwrap_or(UNTOUCHED))
    }

    async fn describe(&self, name: &Name, description: &Description) -> Result<()> {
        let (path, part) = (self.path(name, "json"), self.path(name, "json-part"));
        std::fs::write(&part, description.to_json())
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|error| Error::system(format!("write {}", path.display()), error))
    }

    /// The system frees the locks of a process before it tells anybody that it has ended, so there is
    /// nothing to be patient for.
    async fn attach(
        &self,
        name: &Name,
        how: Settle,
        _patience: Duration,
        _note: Option<&str>,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>> {
        let path = self.path(name, "lease");
        let Some(lock) = try_lock(&path)? else { return Ok(None) };
        if !self.path(name, "db").exists() {
            // Dropped since the survey; the lock file is ours alone.
            let _ = std::fs::remove_file(&path);
            return Ok(None);
        }
        if self.description(name).is_none_or(|description| description.kept.is_some()) {
            return Ok(None);
        }
        let template = self.path(&Name::template(name.fingerprint()), "db");
        let mut slot = Slot { template, file: self.path(name, "db"), log: None, _lock: lock };
        let settled = slot.settle(how).await?;
        Ok(Some((Box::new(slot), settled)))
    }

    async fn destroy(&self, name: &Name) -> Result<bool> {
        let lease = self.path(name, "lease");
        let Some(lock) = try_lock(&lease)? else { return Ok(false) };
        self.remove(name, CONTENT)?;
        // The lock on the name is its holder's to remove, if it has one.
        let hold = self.path(name, "hold");
        if hold.exists() && try_lock(&hold)?.is_some() {
            self.remove(name, &["hold"])?;
        }
        self.remove(name, &["lease"])?;
        drop(lock);
        Ok(true)
    }

    fn sandbox(&self, _name: &Name) -> Result<Sandboxing> {
        Ok(Sandboxing::Handle(Sandbox {
            before: String::new(),
            begin: "BEGIN".to_owned(),
            after: "SAVEPOINT _dbtest".to_owned(),
            checks: vec![
                Check::Empty(DEFERRED.to_owned()),
                Check::Succeeds("RELEASE SAVEPOINT _dbtest".to_owned()),
            ],
            rollback: "ROLLBACK".to_owned(),
            commit: "COMMIT".to_owned(),
            // SQLite has no SQL that refuses a COMMIT.
            refuse_commit: true,
        }))
    }

    fn explain(&self, error: &DbError) -> (String, &'static str) {
        const OTHER: &str =
            "use the ORM's own transactions, or the strategy \"truncate\" or \"template\" for this test";
        let lost = error.message.contains("no such savepoint") || error.message.contains("no transaction");
        let why = if lost {
            "it was ended by a COMMIT or ROLLBACK that was not the ORM's own; what came after ran without it"
                .to_owned()
        } else {
            error.message.clone()
        };
        (why, OTHER)
    }
}

/// What a COMMIT would refuse. It looks at all rows, so only where it may find something.
const DEFERRED: &str = "SELECT f.* FROM pragma_foreign_keys k CROSS JOIN pragma_defer_foreign_keys d \
    CROSS JOIN pragma_foreign_key_check f WHERE k.foreign_keys AND (d.defer_foreign_keys \
    OR EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND sql LIKE '%DEFERR%'))";

/// The lock on a name. Its file goes with the database.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    content: PathBuf,
    _lock: File,
}

impl Held {
    fn remove_with_content(&self) {
        if !self.content.exists() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[async_trait]
impl Hold for Held {
    async fn drop_place(&mut self, places: &dyn Places, name: &Name) -> Result<()> {
        places.destroy(name).await?;
        self.remove_with_content();
        Ok(())
    }

    async fn release(self: Box<Self>) {
        self.remove_with_content();
    }
}

/// The second of last change that a copy gets, long ago. Whoever writes to the file changes it.
const UNTOUCHED: Duration = Duration::from_secs(1_000_000_000);

/// The time of last change of a copy of this template. Its fraction of the second tells the template
/// from one that was built anew since, which has the same rows but perhaps not the same pages.
fn copied_from(template: &Metadata) -> Duration {
    let mut hash = DefaultHasher::new();
    (template.len(), template.modified().ok()).hash(&mut hash);
    #[cfg(unix)]
    std::os::unix::fs::MetadataExt::ino(template).hash(&mut hash);
    // Not zero, which is what a file system without fractions says.
    UNTOUCHED + Duration::from_nanos(hash.finish() % 999_999_999 + 1)
}

/// Notes in the file itself that it is a copy to which nobody wrote.
fn mark(file: &Path, at: &Duration) -> Result<()> {
    File::options()
        .write(true)
        .open(file)
        .and_then(|file| set_mark(&file, at))
        .map_err(|error| Error::system(format!("mark {}", file.display()), error))
}

fn set_mark(file: &File, at: &Duration) -> std::io::Result<()> {
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + *at))
}

/// A leased file.
#[derive(Debug)]
struct Slot {
    template: PathBuf,
    file: PathBuf,
    /// The log has its second name, and all that the test wrote was in it and not in the file, which
    /// had this mark.
    log: Option<Duration>,
    _lock: File,
}

impl Slot {
    /// The file's mark, if nobody wrote to it since it was copied.
    fn marked(&self) -> Option<Duration> {
        let modified = std::fs::metadata(&self.file).and_then(|file| file.modified()).ok()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since).filter(|since| since.as_secs() == UNTOUCHED.as_secs())
    }

    /// The same, and nothing waits beside it.
    fn is_untouched(&self) -> bool {
        let waits =
            |end: &str| std::fs::metadata(self.file.with_extension(end)).is_ok_and(|file| file.len() > 0);
        self.marked().is_some() && !waits("db-wal") && !waits("db-journal")
    }

    /// Puts the template's pages in the place of those that the test wrote, as its log lists them.
    /// `false` if that can't be known.
    fn take_back(&self, mark: &Duration) -> std::io::Result<bool> {
        let path = self.file.with_extension(LOG);
        let log = File::open(&path)?;
        let is_last = sqlite_log::is_last(&log, &self.file);
        std::fs::remove_file(&path)?;
        if self.is_untouched() {
            return Ok(true);
        }
        if !is_last? || !was_closed(&self.file) {
            return Ok(false);
        }
        let template = File::open(&self.template)?;
        if copied_from(&template.metadata()?) != *mark {
            return Ok(false);
        }
        let Some(pages) = sqlite_log::pages(&log, &template)? else { return Ok(false) };
        let file = File::options().write(true).open(&self.file)?;
        sqlite_log::restore(&pages, &template, &file)?;
        set_mark(&file, mark)?;
        Ok(true)
    }

    /// Puts a copy of the template in the file's place.
    async fn copy_anew(&self) -> Result<()> {
        let (template, file) = (self.template.clone(), self.file.clone());
        blocking(move || {
            if !was_closed(&file) {
                // Somebody may still have it open, and shall not write to what the next test has.
                for extension in ["db", "db-wal", "db-shm", "db-journal"] {
                    let path = file.with_extension(extension);
                    match std::fs::remove_file(&path) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(Error::system(format!("remove {}", path.display()), error));
                        }
                        _ => {}
                    }
                }
            }
            let of = overwrite(&template, &file)
                .map_err(|error| Error::system(format!("copy the template {}", template.display()), error))?;
            mark(&file, &copied_from(&of))
        })
        .await
    }
}

/// Whether the last connection closed the file. It then removes what a file with a write-ahead log
/// has beside it; of a file without one that can't be told.
fn was_closed(file: &Path) -> bool {
    /// Where a file says how it is written, and the word for a write-ahead log.
    const FORMAT: (usize, u8) = (18, 2);
    let mut head = [0; FORMAT.0 + 1];
    File::open(file).and_then(|mut file| file.read_exact(&mut head)).is_ok()
        && head[FORMAT.0] == FORMAT.1
        && !["db-wal", "db-shm", "db-journal"].iter().any(|end| file.with_extension(end).exists())
}

/// Copies into the file that is there, if there is one: its pages in memory are then used again,
/// which takes half the time. Returns what was copied.
fn overwrite(from: &Path, to: &Path) -> std::io::Result<Metadata> {
    let mut from = File::open(from)?;
    let mut to = File::options().create(true).truncate(false).write(true).open(to)?;
    let length = std::io::copy(&mut from, &mut to)?;
    to.set_len(length)?;
    from.metadata()
}

#[async_trait]
impl Attached for Slot {
    /// Closing the last connection writes the log into the file and removes it.
    fn closing(&mut self) {
        let log = self.file.with_extension(LOG);
        let linked = || std::fs::hard_link(self.file.with_extension("db-wal"), &log);
        let linked = linked().or_else(|_| {
            // Of a test whose process died here.
            std::fs::remove_file(&log)?;
            linked()
        });
        // Looked at after it: all that the test wrote before is then in this log.
        self.log = linked.ok().and_then(|()| self.marked());
        if self.log.is_none() {
            let _ = std::fs::remove_file(&log);
        }
    }

    async fn settle(&mut self, how: Settle) -> Result<Settled> {
        let log = self.log.take();
        if how.leaked > 0 {
            return Ok(Settled::Rebuild("a connection to it is still open".to_owned()));
        }
        // What fails in taking back leaves the file without its mark.
        let taken_back = log.is_some_and(|mark| self.take_back(&mark).unwrap_or(false));
        if !taken_back && !self.is_untouched() {
            self.copy_anew().await?;
        }
        Ok(Settled::Clean)
    }

    async fn left_nothing(&mut self) -> Result<bool> {
        Ok(self.is_untouched())
    }

    async fn detach(self: Box<Self>) {}
}
