//! What dbtest made, as a person looks at it: the servers that are there, what is on each, and
//! what of it may be dropped. `cargo dbtest` is written over this.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backend::Backend;
use crate::engine::{self, Engine, Found, Holder, PlaceForm, Places};
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;
use crate::server::{self, Connect, Entry, Running, Server};
use crate::{runtime, sweep};

/// One server that is there, and what dbtest made on it. Looking starts no server and makes
/// nothing, and every name that it shows is one that dbtest made.
///
/// ```
/// use dbtest_core::{Backend, Inventory, Result};
///
/// /// The tests whose databases were kept.
/// async fn failed<B: Backend>() -> Result<Vec<String>> {
///     let mut tests = Vec::new();
///     for server in Inventory::all::<B>().await {
///         let places = server?.list().await?;
///         tests.extend(places.into_iter().filter_map(|place| Some(place.kept?.test)));
///     }
///     Ok(tests)
/// }
/// ```
pub struct Inventory {
    engine: Engine,
    place: String,
    origin: String,
    started: bool,
    /// Set where dbtest can end it.
    entry: Option<Entry>,
    places: Vec<(PlaceForm, Arc<dyn Places>)>,
}

/// A database, schema or file that dbtest made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: PlaceKind,
    /// What it is on its server.
    pub form: PlaceForm,
    /// The fingerprint of the setup it belongs to.
    pub setup: String,
    /// The crate or fixture of that setup. `None` where it is half-made: whoever made it is still at
    /// it, or died.
    pub label: Option<String>,
    /// When it was made.
    pub made: Option<SystemTime>,
    /// Why it was kept, where it was.
    pub kept: Option<KeptNote>,
    /// A living process holds it.
    pub held: bool,
    /// Who does, as far as that can be known.
    pub holder: Option<Holder>,
    /// Its size in bytes, where the user may know it.
    pub size: Option<u64>,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceKind {
    /// Built once, and copied.
    Template,
    /// Leased by one test at a time.
    Slot,
    /// One test's own.
    Clone,
    /// For tools, under a name that stays: [`Fixture::stable`](crate::Fixture::stable).
    Stable,
}

/// Why a place was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptNote {
    /// The test that had it.
    pub test: String,
    /// That test passed, and `DBTEST_KEEP=1` or [`TestDb::keep`](crate::TestDb::keep) kept it; else it failed.
    pub passed: bool,
    /// The strategy it ran under.
    pub strategy: String,
    /// When that was.
    pub at: SystemTime,
    /// A person asked to keep it, whatever fails after it: [`Inventory::keep`].
    pub pinned: bool,
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inventory({}, {})", self.place, self.origin)
    }
}

impl Inventory {
    /// The servers of the backend's engine that are there: the one that `DBTEST_POSTGRES_URL`,
    /// `DBTEST_MYSQL_URL` or `DATABASE_URL` names, and those that dbtest started for this user. For
    /// SQLite, the folder in `DBTEST_DIR`.
    ///
    /// # Errors
    /// Of each server: it is named but refused as no test server, can't be reached, or lets us in
    /// no more.
    pub async fn all<B: Backend>() -> Vec<Result<Self>> {
        runtime::run(Box::pin(async {
            let connect = server::watched::connect::<B>();
            let mut all = Vec::new();
            for running in server::present(B::ENGINE, &connect).await {
                all.push(match running {
                    Ok(running) => Self::of(&running, &connect).await,
                    Err(error) => Err(error),
                });
            }
            all
        }))
        .await
    }

    /// The server that a test would have, started if it has to be.
    ///
    /// # Errors
    /// None can be had: which were tried, why each could not be had, and the next step.
    pub async fn up<B: Backend>() -> Result<Self> {
        runtime::run(Box::pin(async {
            let connect = server::watched::connect::<B>();
            let running = server::find(&Server::auto(), B::ENGINE, &connect).await?;
            Self::of(&running, &connect).await
        }))
        .await
    }

    /// Ends the server, with all that is on it. The next test that needs it starts it again.
    ///
    /// # Errors
    /// dbtest did not start it, or a living process holds something on it; or the system's own.
    pub async fn down(self) -> Result<()> {
        let Some(entry) = self.entry.clone() else {
            return Err(Error::refused(
                format!("dbtest did not start {} ({})", self.place, self.origin),
                "end it as it was started",
            ));
        };
        let list = self.list().await?;
        if let Some(place) = list.iter().find(|place| place.held) {
            return Err(held(&place.name));
        }
        // Our own sessions go first.
        let Self { origin, places, .. } = self;
        drop(places);
        runtime::run(Box::pin(async move { server::end(&entry, &origin).await })).await
    }

    async fn of(running: &Running, connect: &Connect) -> Result<Self> {
        let (url, connect) = (running.url.clone(), Arc::clone(connect));
        let places = match running.engine {
            Engine::Postgres => {
                let first = running.session(&connect).await?;
                engine::postgres::existing(url, connect, Some(first)).await?
            }
            Engine::MySql => {
                let first = running.session(&connect).await?;
                let places = engine::mysql::existing(url, connect, Some(first)).await?;
                places.into_iter().map(|places| (PlaceForm::Database, places)).collect()
            }
            Engine::Sqlite => vec![(PlaceForm::File, engine::sqlite::places(url, connect).await?)],
        };
        Ok(Self {
            engine: running.engine,
            place: crate::url::shown(&running.url),
            origin: running.origin.clone(),
            started: running.started,
            entry: running.entry.clone(),
            places,
        })
    }

    /// The engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where it is, without user and password: `postgres at localhost:5432`, a socket, a folder.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Where it came from: the variable that names it, `container postgres:18`, `installed …`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// dbtest started it.
    pub fn started(&self) -> bool {
        self.started
    }

    /// All that dbtest made on this server, kept ones first and the newest of them before the
    /// others; then by setup and name.
    ///
    /// # Errors
    /// The server's own.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let places = self.places.clone();
        runtime::run(Box::pin(async move {
            let mut all = Vec::new();
            for (form, places) in places {
                let found = places.survey().await?;
                // Best effort: one may be dropped while it is measured.
                let mut details = places.details().await.unwrap_or_default();
                for found in found {
                    let details = details.remove(&found.name).unwrap_or_default();
                    // The survey decides who holds what; it may be newer by now.
                    let holder = details.holder.filter(|_| found.held);
                    all.push(Listed { size: details.size, holder, ..listed(form, found) });
                }
            }
            all.sort_by(|a, b| {
                let kept = |listed: &Listed| listed.kept.as_ref().map(|kept| kept.at);
                kept(b).cmp(&kept(a)).then_with(|| key(a).cmp(&key(b)))
            });
            Ok(all)
        }))
        .await
    }

    /// The URL that opens a place of this server. It may hold a password.
    pub fn url(&self, listed: &Listed) -> Option<String> {
        let (name, places) = self.place_of(listed).ok()?;
        Some(places.url(&name))
    }

    /// Keeps a place that was kept for its failed test until somebody drops it: later failures do not
    /// push it out.
    ///
    /// # Errors
    /// It is not one that dbtest made on this server and kept; or the server's own.
    pub async fn keep(&self, listed: &Listed) -> Result<()> {
        let (name, places) = self.place_of(listed)?;
        let shown = listed.name.clone();
        runtime::run(Box::pin(async move {
            let Some(hold) = places.hold(&name.to_string(), false).await? else { return Err(held(&shown)) };
            let pinned = pin(&*places, &name).await;
            hold.release().await;
            pinned
        }))
        .await
    }

    /// Drops a kept place or a template, under the locks that the sweep takes.
    ///
    /// # Errors
    /// It is not one that dbtest made on this server, is neither kept nor a template, or somebody holds
    /// it; or the server's own.
    pub async fn remove(&self, listed: &Listed) -> Result<()> {
        let (name, places) = self.place_of(listed)?;
        let shown = listed.name.clone();
        runtime::run(Box::pin(async move {
            let found = places.survey().await?;
            let Some(place) = found.iter().find(|place| place.name == name) else {
                return Err(no_such(&shown));
            };
            if place.held || sweep::is_in_use(&found, &name) {
                return Err(held(&shown));
            }
            if !place.is_kept() && !matches!(name, Name::Template { .. } | Name::Stable { .. }) {
                return Err(Error::refused(
                    format!("{shown} is neither kept nor a template, but a place that the next test reuses"),
                    "`cargo dbtest clean` drops all of these that nobody holds",
                ));
            }
            if sweep::drop_free(&*places, &name).await? { Ok(()) } else { Err(held(&shown)) }
        }))
        .await
    }

    /// What [`clean`](Inventory::clean) would drop now.
    ///
    /// # Errors
    /// The server's own.
    pub async fn free(&self, kept: bool) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for (form, places) in self.places.clone() {
            let found = runtime::run(Box::pin(async move { places.survey().await })).await?;
            let free = sweep::free(&found, kept);
            let free = found.into_iter().filter(|place| free.contains(&place.name));
            all.extend(free.map(|place| listed(form, place)));
        }
        all.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(all)
    }

    /// Drops what no living process holds, under the locks that the sweep takes: templates, slots,
    /// clones, what was left half-made; with `kept` also what was kept. Returns what was dropped.
    ///
    /// What somebody takes in the meantime stays.
    ///
    /// # Errors
    /// The server's own, at the first place that can't be dropped.
    pub async fn clean(&self, kept: bool) -> Result<Vec<String>> {
        let all: Vec<_> = self.places.iter().map(|(_, places)| Arc::clone(places)).collect();
        runtime::run(Box::pin(async move {
            let mut dropped = Vec::new();
            for places in all {
                for name in sweep::free(&places.survey().await?, kept) {
                    // Since the last look it may have been leased, and kept.
                    let still = sweep::free(&places.survey().await?, kept).contains(&name);
                    if still && sweep::drop_free(&*places, &name).await? {
                        dropped.push(name.to_string());
                    }
                }
            }
            Ok(dropped)
        }))
        .await
    }

    fn place_of(&self, listed: &Listed) -> Result<(Name, Arc<dyn Places>)> {
        let places = self.places.iter().find(|(form, _)| *form == listed.form);
        // A `Listed` may be changed by its owner; only a name of ours is ever dropped.
        match (Name::parse(&listed.name), places) {
            (Some(name), Some((_, places))) => Ok((name, Arc::clone(places))),
            _ => Err(no_such(&listed.name)),
        }
    }
}

/// The lock on the name is held.
async fn pin(places: &dyn Places, name: &Name) -> Result<()> {
    let found = places.survey().await?.into_iter().find(|place| place.name == *name);
    let Some(mut description) = found.and_then(|place| place.description) else {
        return Err(no_such(&name.to_string()));
    };
    let Some(kept) = &mut description.kept else {
        return Err(Error::refused(
            format!("{name} was not kept for a failed test, and the next test may be in it"),
            "`cargo dbtest status` lists kept ones first; DBTEST_KEEP=1 keeps a test's database also if it passes",
        ));
    };
    kept.pinned = true;
    places.describe(name, &description).await
}

fn no_such(name: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("{name} is not a place that dbtest made on a server it knows of"),
        "`cargo dbtest status` lists those that are",
    )
}

fn held(name: &str) -> Error {
    Error::refused(
        format!("{name} is held by a living process"),
        "wait until its tests are over; `cargo dbtest status` says who holds it",
    )
}

/// Templates before what was made from them.
fn key(listed: &Listed) -> (&str, u8, &str) {
    let kind = match listed.kind {
        PlaceKind::Template => 0,
        PlaceKind::Slot => 1,
        PlaceKind::Clone => 2,
        PlaceKind::Stable => 3,
    };
    (&listed.setup, kind, &listed.name)
}

fn listed(form: PlaceForm, found: Found) -> Listed {
    let time = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let kind = match &found.name {
        Name::Template { .. } => PlaceKind::Template,
        Name::Slot { .. } => PlaceKind::Slot,
        Name::Clone { .. } => PlaceKind::Clone,
        Name::Stable { .. } => PlaceKind::Stable,
    };
    let description = found.description;
    let kept = description.as_ref().and_then(|description| description.kept.clone());
    Listed {
        name: found.name.to_string(),
        kind,
        form,
        setup: found.name.fingerprint().to_owned(),
        made: description.as_ref().map(|description| time(description.made)),
        label: description.map(|description| description.label),
        kept: kept.map(|kept| KeptNote {
            test: kept.test,
            strategy: kept.strategy,
            at: time(kept.at),
            passed: kept.passed,
            pinned: kept.pinned,
        }),
        held: found.held,
        holder: None,
        size: None,
    }
}
