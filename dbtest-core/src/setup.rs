//! The setup: migrations and seeds, in order, with a fingerprint.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::backend::{Backend, BoxFuture};
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::rows::{Format, RowFile, text};

/// Migrations of an ORM, as a setup runs them.
///
/// # Contract
/// Two values with the same [`fingerprint`](Migrations::fingerprint) leave the same database
/// behind. A template that was built from one serves the other.
pub trait Migrations<B: Backend>: Send + Sync + 'static {
    /// What they are called in messages: a folder, or a type.
    fn name(&self) -> String;

    /// All that shapes the outcome: versions and contents, and [`executable_identity`] where
    /// that is code.
    fn fingerprint(&self) -> Vec<u8>;

    /// The SQL, by name, where there is some to read. Lets dbtest refuse a schema-qualified
    /// statement before it runs, and show the statement that failed.
    fn sql(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Applies all of them to an empty database.
    fn run(&self, handle: B::Handle) -> BoxFuture<'_, Result<(), StepError>>;
}

impl<B: Backend, M: Migrations<B> + ?Sized> Migrations<B> for &'static M {
    fn name(&self) -> String {
        (**self).name()
    }

    fn fingerprint(&self) -> Vec<u8> {
        (**self).fingerprint()
    }

    fn sql(&self) -> Vec<(String, String)> {
        (**self).sql()
    }

    fn run(&self, handle: B::Handle) -> BoxFuture<'_, Result<(), StepError>> {
        (**self).run(handle)
    }
}

/// Why a step of the setup failed.
#[derive(Clone, Debug, Default)]
pub struct StepError {
    /// The file or migration, where it is known better than the step's own name.
    pub step: Option<String>,
    /// The statement, where it is known.
    pub statement: Option<String>,
    /// The database's message, or the code's own.
    pub message: String,
}

type Code<B> = Arc<dyn Fn(<B as Backend>::Handle) -> BoxFuture<'static, Result<(), StepError>> + Send + Sync>;

/// What a step does.
pub(crate) enum Action<B: Backend> {
    /// SQL text that core runs statement by statement.
    Sql(String),
    /// Files of rows, loaded together in the order of their tables' references.
    Rows(Vec<RowFile>),
    /// An ORM's migrations.
    Migrations(Arc<dyn Migrations<B>>),
    /// The user's own code.
    Code(Code<B>),
}

impl<B: Backend> Clone for Action<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Sql(text) => Self::Sql(text.clone()),
            Self::Rows(files) => Self::Rows(files.clone()),
            Self::Migrations(migrations) => Self::Migrations(Arc::clone(migrations)),
            Self::Code(code) => Self::Code(Arc::clone(code)),
        }
    }
}

/// One step: its name for messages, its part of the fingerprint, what it does.
pub(crate) struct Step<B: Backend> {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) action: Action<B>,
}

impl<B: Backend> Clone for Step<B> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), content: self.content.clone(), action: self.action.clone() }
    }
}

/// Migrations and seeds, in the order in which they run.
pub(crate) struct Setup<B: Backend> {
    pub(crate) steps: Vec<Step<B>>,
    /// An empty database is what the user wants.
    pub(crate) empty: bool,
    /// How many steps stand before each place where the database becomes a template of its own.
    pub(crate) bases: Vec<usize>,
}

impl<B: Backend> Default for Setup<B> {
    fn default() -> Self {
        Self { steps: Vec::new(), empty: false, bases: Vec::new() }
    }
}

impl<B: Backend> Clone for Setup<B> {
    fn clone(&self) -> Self {
        Self { steps: self.steps.clone(), empty: self.empty, bases: self.bases.clone() }
    }
}

impl<B: Backend> fmt::Debug for Setup<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.name)).finish()
    }
}

impl<B: Backend> Setup<B> {
    pub(crate) fn migrations(&mut self, migrations: impl Migrations<B>) {
        self.boxed_migrations(Arc::new(migrations));
    }

    pub(crate) fn boxed_migrations(&mut self, migrations: Arc<dyn Migrations<B>>) {
        // Its hash, since a suite of tests that share a fixture asks for its fingerprint once per test.
        let mut hash = Hash::default();
        hash.part(&migrations.fingerprint());
        let content = hash.word().into_bytes();
        let name = format!("migrations {}", migrations.name());
        self.steps.push(Step { name, content, action: Action::Migrations(migrations) });
    }

    pub(crate) fn sql(&mut self, name: impl Into<String>, text: impl Into<String>) {
        let (name, text) = (name.into(), text.into());
        self.steps.push(Step { name, content: text.clone().into_bytes(), action: Action::Sql(text) });
    }

    /// A file of rows. Those that follow each other are one step, so that their order is the
    /// references' and not theirs.
    pub(crate) fn rows(&mut self, file: RowFile) {
        let mut hash = Hash::default();
        hash.part(&file.content);
        let content = hash.word().into_bytes();
        let open = self.bases.last() != Some(&self.steps.len());
        if let Some(Step { name, content: before, action: Action::Rows(files) }) =
            self.steps.last_mut().filter(|_| open)
        {
            name.push_str(&format!(", {}", file.name));
            before.extend(content);
            files.push(file);
            return;
        }
        let name = format!("seed {}", file.name);
        self.steps.push(Step { name, content, action: Action::Rows(vec![file]) });
    }

    /// A seed file: SQL, or the rows of one table.
    pub(crate) fn seed_file(&mut self, path: &Path) -> Result<()> {
        let content = std::fs::read(path)
            .map_err(|error| Error::system(format!("read the seed file {}", path.display()), error))?;
        self.seed_content(path, content)
    }

    /// The same with what the file holds.
    pub(crate) fn seed_content(&mut self, path: &Path, content: Vec<u8>) -> Result<()> {
        let name = path.display().to_string();
        if let Some(format) = Format::of(path) {
            self.rows(RowFile { name, content, format });
            return Ok(());
        }
        if path.extension().is_none_or(|extension| extension != "sql") {
            return Err(Error::seed_file(path));
        }
        let text = text(&content)
            .map_err(|wrong| Error::setup(&format!("seed {name}, line {}", wrong.line), None, &wrong.why))?;
        self.sql(format!("seed {name}"), text);
        Ok(())
    }

    /// The seed files of a folder, in the order of their names.
    pub(crate) fn seed_folder(&mut self, folder: &Path) -> Result<()> {
        for path in files(folder, &["sql", "csv", "json"])? {
            self.seed_file(&path)?;
        }
        Ok(())
    }

    /// The `.sql` files of a folder, in the order of their names.
    pub(crate) fn sql_folder(&mut self, folder: &Path) -> Result<()> {
        for path in sql_files(folder)? {
            let text = read_text(&path)?;
            self.sql(path.display().to_string(), text);
        }
        Ok(())
    }

    pub(crate) fn code<F, Fut, E>(&mut self, name: String, version: Option<&str>, code: F)
    where
        F: Fn(B::Handle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let content = match version {
            Some(version) => version.as_bytes().to_vec(),
            None => executable_identity(),
        };
        let code: Code<B> = Arc::new(move |handle| {
            let running = code(handle);
            Box::pin(async move {
                running
                    .await
                    .map_err(|error| StepError { message: error.to_string(), ..StepError::default() })
            })
        });
        self.steps.push(Step { name, content, action: Action::Code(code) });
    }

    /// What was added until now becomes a template of its own, if that is anything.
    pub(crate) fn base(&mut self) {
        if !self.steps.is_empty() && self.bases.last() != Some(&self.steps.len()) {
            self.bases.push(self.steps.len());
        }
    }

    /// The setup whose template this one starts from, and the steps that come after it.
    pub(crate) fn split(&self) -> Option<(Self, Self)> {
        let (at, before) = self.bases.split_last()?;
        // What nothing follows is the whole setup.
        if *at == self.steps.len() {
            return Self { bases: before.to_vec(), ..self.clone() }.split();
        }
        let base = Self { steps: self.steps[..*at].to_vec(), empty: self.empty, bases: before.to_vec() };
        let rest = Self { steps: self.steps[*at..].to_vec(), ..Self::default() };
        Some((base, rest))
    }

    /// The names and SQL texts of all steps that have some.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for step in &self.steps {
            match &step.action {
                Action::Sql(text) => texts.push((step.name.clone(), text.clone())),
                Action::Migrations(migrations) => texts.extend(migrations.sql()),
                Action::Code(_) | Action::Rows(_) => {}
            }
        }
        texts
    }

    /// The names of the steps: two setups with the same names are versions of one setup.
    pub(crate) fn identity(&self, label: &str) -> String {
        let mut hash = Hash::default();
        hash.part(label.as_bytes());
        for step in &self.steps {
            hash.part(step.name.as_bytes());
        }
        hash.word()
    }
}

/// The `.sql` files of a folder, in the order of their names.
///
/// # Errors
/// The folder can't be read, or has none.
pub(crate) fn sql_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    files(folder, &["sql"])
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::system(format!("read the folder {}", folder.display()), error))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one))
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Error::empty_folder(folder));
    }
    Ok(files)
}

/// A text file.
///
/// # Errors
/// It can't be read, or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::system(format!("read the SQL file {}", path.display()), error))
}

/// What stands for code that has no version in a [`Migrations::fingerprint`]: the test executable.
///
/// Its size and time of change are read and not its contents, which are too large to hash once
/// per test process.
pub fn executable_identity() -> Vec<u8> {
    let Ok(path) = std::env::current_exe() else { return std::process::id().to_string().into_bytes() };
    let Ok(meta) = std::fs::metadata(&path) else { return path.display().to_string().into_bytes() };
    let changed = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{name}:{}:{changed}", meta.len()).into_bytes()
}

/// The fingerprint of a setup on an engine: the name of its template.
pub(crate) fn fingerprint<B: Backend>(setup: &Setup<B>, version: &str, options: &[&str]) -> String {
    let mut hash = Hash::default();
    // The second word changes when dbtest itself makes templates in another way.
    for part in [B::ENGINE.word(), "dbtest-5", version] {
        hash.part(part.as_bytes());
    }
    for step in &setup.steps {
        hash.part(step.name.as_bytes());
        hash.part(&step.content);
    }
    for option in options {
        hash.part(option.as_bytes());
    }
    hash.word()
}
