//! Who started what: a state file per server, shared by all processes of this user. It is
//! read without a lock, checked by connecting, and written only under the lock.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::config;
use crate::error::{Error, Result};
use crate::{hash, progress};

/// A server that some process started.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) container: Option<String>,
    /// The folder of an installed server: data, socket, log.
    pub(crate) folder: Option<PathBuf>,
    /// Where it came from, in words. Empty in the files of older versions.
    #[serde(default)]
    pub(crate) origin: String,
}

/// What the state files of this user say, without making the folder where it is not.
pub(crate) fn states() -> Result<Vec<(Entry, State)>> {
    let folder = config()?.dir.join("servers");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    private(&folder)?;
    let entries = fs::read_dir(&folder)
        .map_err(|error| Error::system(format!("read the folder {}", folder.display()), error))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let entries = names.filter_map(|name| {
        let key = name.strip_suffix(".json")?.to_owned();
        let entry = Entry { folder: folder.clone(), key };
        let state = entry.read()?;
        Some((entry, state))
    });
    Ok(entries.collect())
}

/// The place of one kind of server: engine, image or binary, and all of its settings.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    folder: PathBuf,
    key: String,
}

/// While it lives, no other process starts this server. The lock ends with its holder.
pub(crate) struct Lock {
    _held: File,
}

impl Entry {
    /// The entry whose identity is made of all these parts.
    pub(crate) fn new(parts: &[&str]) -> Result<Self> {
        Ok(Self { folder: folder()?, key: hash::word(parts) })
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Where started servers and their caches live.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn state_file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.key))
    }

    /// The state, where there is one that can be read. A broken file is as good as none: the
    /// server is then found by its label, or started.
    pub(crate) fn read(&self) -> Option<State> {
        serde_json::from_slice(&fs::read(self.state_file()).ok()?).ok()
    }

    /// Written beside and renamed, so that a reader never sees half of it.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let write = || -> io::Result<()> {
            // A temporary file is born with mode 0600: it holds a password.
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec(state)?)?;
            file.persist(self.state_file()).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| Error::system(format!("write {}", self.state_file().display()), error))
    }

    pub(crate) fn forget(&self) {
        // It is overwritten by the next start; nothing depends on it being gone.
        let _ = fs::remove_file(self.state_file());
    }

    fn failure_file(&self) -> PathBuf {
        self.folder.join(format!("{}.failed", self.key))
    }

    /// Tells this run's other processes that starting it failed, so that not every test waits
    /// as long for the same. To be called under the lock.
    pub(crate) fn remember_failure(&self, error: &Error) {
        if let Ok(config) = config() {
            // A failure that can't be remembered is met again.
            let _ =
                fs::write(self.failure_file(), format!("{}\n{}\n{}", config.run, error.next(), error.what()));
        }
    }

    /// How starting it failed, if it did in this run. To be called under the lock.
    pub(crate) fn failure(&self) -> Option<Error> {
        let text = fs::read_to_string(self.failure_file()).ok()?;
        let (run, rest) = text.split_once('\n')?;
        // The next step is one line, and what failed may be several.
        let (next, what) = rest.split_once('\n')?;
        (run == config().ok()?.run).then(|| Error::unavailable(what, next))
    }

    /// Waits for the lock, however long another process takes to start this server.
    pub(crate) async fn lock(&self, what: &str) -> Result<Lock> {
        let path = self.folder.join(format!("{}.lock", self.key));
        let shown = path.display().to_string();
        let locked = tokio::task::spawn_blocking(move || -> io::Result<File> {
            let file = File::options().create(true).append(true).open(path)?;
            file.lock()?;
            Ok(file)
        });
        progress::while_waiting(&format!("waiting for the process that starts {what}"), locked)
            .await
            .map_err(io::Error::other)
            .flatten()
            .map(|file| Lock { _held: file })
            .map_err(|error| Error::system(format!("lock {shown}"), error))
    }
}

/// `DBTEST_DIR/servers`, for this user alone. Root's can be passed through, since its servers
/// run as another user.
fn folder() -> Result<PathBuf> {
    let folder = config()?.dir.join("servers");
    private(&config()?.dir)?;
    private(&folder)?;
    if is_root() {
        for folder in [&config()?.dir, &folder] {
            set_mode(folder, 0o711)?;
        }
    }
    Ok(folder)
}

/// Makes the folder for this user alone, and refuses one that somebody else made: its name can
/// be guessed, and it may stand in a folder where everybody may write.
pub(crate) fn private(folder: &Path) -> Result<()> {
    let shown = folder.display();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Error::system(format!("make the folder {shown}"), error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::symlink_metadata(folder)
            .map_err(|error| Error::system(format!("read the folder {shown}"), error))?;
        if own_id().is_some_and(|own| owner.uid() != own) || !owner.is_dir() {
            return Err(Error::refused(
                format!("the folder {shown} belongs to another user, or is none"),
                "set DBTEST_DIR to a folder of your own",
            ));
        }
    }
    Ok(())
}

/// This process's user, read off a file that it makes: std has no other way.
#[cfg(unix)]
fn own_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    static OWN: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    *OWN.get_or_init(|| Some(tempfile::tempfile().ok()?.metadata().ok()?.uid()))
}

pub(crate) fn is_root() -> bool {
    #[cfg(unix)]
    return own_id() == Some(0);
    #[cfg(not(unix))]
    false
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Error::system(format!("set the mode of {}", path.display()), error))
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_path: &Path, _mode: u32) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_a_broken_one_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = Entry { folder: folder.path().to_owned(), key: "k".to_owned() };
        assert!(entry.read().is_none());
        let state =
            State { url: "postgres://h".to_owned(), container: None, folder: None, origin: String::new() };
        entry.write(&state).expect("written");
        assert_eq!(entry.read().expect("a state").url, state.url);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(entry.state_file()).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "it holds a password");
        }
        fs::write(entry.state_file(), "{").expect("broken");
        assert!(entry.read().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_a_link_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).expect("a link");
        private(&link).expect_err("refused");
    }
}
