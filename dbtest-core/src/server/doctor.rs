//! What [`Server::auto`] would do here, and why. Looks, and starts nothing.

use std::path::Path;
use std::sync::Arc;

use super::{Connect, Running, Server, at_url, container, installed, registry, spread, sqlite};
use crate::backend::Backend;
use crate::config::{Config, ServerChoice, config, image_for, url_for};
use crate::engine::{self, Engine};
use crate::error::{Error, Result, START_DOCKER};
use crate::hub::Hub;
use crate::runtime;

/// What [`Server::auto`] would take for one engine, and what was found on the way.
///
/// ```
/// use dbtest_core::{Backend, Diagnosis};
///
/// async fn tell<B: Backend>() {
///     let diagnosis = Diagnosis::of::<B>().await;
///     for finding in diagnosis.findings {
///         println!("{}: {}", finding.about, finding.what);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The engine.
    pub engine: Engine,
    /// The server that a test would have: `DATABASE_URL`, `container postgres:18`, `installed …`, a
    /// folder. `None` where it would have none.
    pub server: Option<String>,
    /// What was looked at, in the order in which `auto` does.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub what: String,
    /// What to do about it, where there is something to do.
    pub next: Option<String>,
}

/// How a thing is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// As it should be.
    Good,
    /// Not there, or not at its best; tests run without it.
    Note,
    /// Tests fail.
    Bad,
}

impl Finding {
    pub(crate) fn good(about: &'static str, what: impl Into<String>) -> Self {
        Self { about, health: Health::Good, what: what.into(), next: None }
    }

    pub(crate) fn note(about: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { about, health: Health::Note, what: what.into(), next: Some(next.into()) }
    }

    fn of(about: &'static str, health: Health, error: &Error) -> Self {
        Self { about, health, what: error.what().to_owned(), next: Some(error.next().to_owned()) }
    }
}

impl Diagnosis {
    /// Looks at what there is for the backend's engine, and starts nothing.
    pub async fn of<B: Backend>() -> Self {
        runtime::run(Box::pin(async {
            let connect = super::watched::connect::<B>();
            let mut diagnosis = Self { engine: B::ENGINE, server: None, findings: Vec::new() };
            let looked = match config() {
                Ok(config) if B::ENGINE == Engine::Sqlite => diagnosis.files(config),
                Ok(config) => diagnosis.servers(config, &connect).await,
                Err(error) => Err(error),
            };
            if let Err(error) = looked {
                diagnosis.findings.push(Finding::of("settings", Health::Bad, &error));
            }
            diagnosis
        }))
        .await
    }

    /// A test that asked for a server would have one that works.
    pub fn is_well(&self) -> bool {
        self.server.is_some() && self.findings.iter().all(|finding| finding.health != Health::Bad)
    }

    fn files(&mut self, config: &Config) -> Result<()> {
        // Where it is missing it is made by the first test; only the folder above can be looked at.
        let folder = config.dir.join("sqlite");
        if folder.is_dir() {
            sqlite(&Server::auto())?;
        }
        self.server = Some(folder.display().to_string());
        self.folder(config)
    }

    /// `DBTEST_DIR`: ours, and in memory.
    fn folder(&mut self, config: &Config) -> Result<()> {
        let shown = config.dir.display();
        if config.dir.is_dir() {
            registry::private(&config.dir)?;
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        self.findings.push(match file_system(&mounts, &config.dir) {
            Some("tmpfs" | "ramfs") => Finding::good("folder", format!("{shown} is in memory")),
            Some(kind) => Finding::note(
                "folder",
                format!("{shown} is on a disk ({kind}), which is slower than memory"),
                "set DBTEST_DIR to a folder on a tmpfs, such as one in /dev/shm",
            ),
            None => Finding::good("folder", format!("{shown}")),
        });
        Ok(())
    }

    /// In the order in which `auto` looks.
    async fn servers(&mut self, config: &Config, connect: &Connect) -> Result<()> {
        let may = |kind| config.server == ServerChoice::Auto || config.server == kind;
        if config.server != ServerChoice::Auto {
            let only = format!("DBTEST_SERVER={} leaves out all other kinds", config.server.word());
            self.findings.push(Finding::good("settings", only));
        }
        if may(ServerChoice::Url) {
            match url_for(self.engine)? {
                Some((variable, text)) => {
                    // Set, it is used or fails: `auto` never skips it.
                    self.server = Some(variable.clone());
                    for url in spread::urls(&text) {
                        match at_url(&variable, url, self.engine, connect).await {
                            Ok(running) => {
                                let place = crate::url::shown(&running.url);
                                self.findings
                                    .push(Finding::good("url", format!("{variable} leads to {place}")));
                                self.server_itself(config, &running, connect).await;
                            }
                            Err(error) => self.findings.push(Finding::of("url", Health::Bad, &error)),
                        }
                    }
                    return Ok(());
                }
                None => self.findings.push(Finding::good("url", "no variable names a server")),
            }
        }
        if may(ServerChoice::Container) {
            let image = image_for(self.engine)?;
            match container::examine(&image).await {
                Ok((version, true)) => {
                    let what = format!("{version} answers, and has the image {image}");
                    self.take(format!("container {image}"), Finding::good("container", what));
                }
                Ok((version, false)) => {
                    let what =
                        format!("{version} answers, but has no image {image}; the first test pulls it");
                    let next = format!("docker pull {image}");
                    self.take(format!("container {image}"), Finding::note("container", what, next));
                }
                Err(error) => self.findings.push(Finding::of("container", Health::Note, &error)),
            }
        }
        if may(ServerChoice::Installed) {
            match installed::examine(self.engine).await {
                Ok((path, version)) => {
                    let finding = Finding::good("installed", format!("{path}: {version}"));
                    self.take(format!("installed {path}"), finding);
                }
                Err(error) => self.findings.push(Finding::of("installed", Health::Note, &error)),
            }
        }
        let Some(server) = self.server.clone() else {
            let what = format!("a test that asks for {} would have no server", self.engine);
            let next = Some(self.engine.server_next_step(START_DOCKER));
            self.findings.push(Finding { about: "server", health: Health::Bad, what, next });
            return Ok(());
        };
        self.folder(config)?;
        for running in super::started(self.engine, connect).await.into_iter().flatten() {
            if running.origin == server {
                self.findings
                    .push(Finding::good("running", format!("it runs: {}", crate::url::shown(&running.url))));
                self.server_itself(config, &running, connect).await;
            }
        }
        Ok(())
    }

    /// The first that can be had is the one.
    fn take(&mut self, server: String, finding: Finding) {
        self.server.get_or_insert(server);
        self.findings.push(finding);
    }

    /// Version, rights and room of a server that runs.
    async fn server_itself(&mut self, config: &Config, running: &Running, connect: &Connect) {
        let examined = async {
            let first = running.session(connect).await?;
            let hub = Hub::new(self.engine, running.url.clone(), Arc::clone(connect), Some(first));
            match self.engine {
                Engine::Postgres => engine::postgres::examine(&hub).await,
                _ => engine::mysql::examine(&hub).await,
            }
        }
        .await;
        match examined {
            Ok((findings, limit)) => {
                self.findings.extend(findings);
                self.findings.push(room(limit, config.max_connections.unwrap_or(10)));
            }
            Err(error) => self.findings.push(Finding::of("server", Health::Bad, &error)),
        }
    }
}

/// Whether the server has a connection for every test that runs at the same time.
fn room(limit: u32, each: u32) -> Finding {
    let threads =
        std::thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(1));
    let most = threads.saturating_mul(each.saturating_add(2));
    let what = format!("it takes {limit} connections; {threads} tests at once may open {most}");
    if most <= limit {
        Finding::good("connections", what)
    } else {
        Finding::note(
            "connections",
            what,
            "raise the server's connection limit, or lower DBTEST_MAX_CONNECTIONS or the number of test threads",
        )
    }
}

/// The kind of file system that the folder is on, as Linux lists what is mounted: the longest path
/// that leads to it, and of those mounted at one path the last.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_says_what_a_folder_is_on() {
        let mounts = "overlay / overlay rw 0 0\ntmpfs /dev tmpfs rw 0 0\nshm /dev/shm ext4 rw 0 0\nshm /dev/shm tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/dev/shm/dbtest-0")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/dev/shmem")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/tmp")), Some("overlay"));
        assert_eq!(file_system("", Path::new("/tmp")), None);
    }

    #[test]
    fn too_few_connections_are_noted_with_what_to_do() {
        assert_eq!(room(u32::MAX, 10).health, Health::Good);
        let few = room(3, 10);
        assert_eq!(few.health, Health::Note);
        assert!(few.next.is_some_and(|next| next.contains("DBTEST_MAX_CONNECTIONS")));
    }
}
