//! One setup on one server, shared by all tests of a process: the template, the slots that are
//! idle, and why the setup failed, if it did.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::OnceCell;

use crate::backend::{BoxFuture, Place};
use crate::config::Config;
use crate::description::Description;
use crate::engine::{Found, Places};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::report::{Phase, timed};
use crate::server::budget::Budget;
use crate::slot::Claim;
use crate::stock::Stock;
use crate::{progress, run, sweep};

/// Runs the setup in a place.
pub(crate) type Fill = Arc<dyn Fn(Place) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One setup on one server.
pub(crate) struct Ground {
    pub(crate) places: Arc<dyn Places>,
    pub(crate) fingerprint: String,
    pub(crate) label: String,
    pub(crate) identity: String,
    pub(crate) config: &'static Config,
    /// The connections that tests may have, where the server counts them.
    pub(crate) budget: Option<Arc<Budget>>,
    fill: Fill,
    /// The setup that the template starts from a copy of; `fill` is then what comes after it.
    base: Option<Arc<Ground>>,
    template: OnceCell<Template>,
    failed: OnceLock<(Error, String)>,
    swept: OnceCell<()>,
    /// Clean, leased, and ready for the next test of this process.
    pub(crate) idle: Mutex<Vec<Claim>>,
    pub(crate) stock: Mutex<Stock>,
}

/// All grounds of this process.
static GROUNDS: Mutex<Vec<Weak<Ground>>> = Mutex::new(Vec::new());

/// What is idle in this process, of every setup, is no longer.
pub(crate) fn take_all_idle() -> Vec<Claim> {
    let grounds = GROUNDS.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = |ground: Arc<Ground>| {
        std::mem::take(&mut *ground.idle.lock().unwrap_or_else(PoisonError::into_inner))
    };
    grounds.iter().filter_map(Weak::upgrade).flat_map(idle).collect()
}

/// What a setup goes by.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) fingerprint: String,
    pub(crate) label: String,
    pub(crate) identity: String,
}

/// A template that is whole.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) name: Name,
    pub(crate) description: Description,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("fingerprint", &self.fingerprint)
            .field("places", &self.places)
            .finish()
    }
}

impl Ground {
    pub(crate) fn new(
        places: Arc<dyn Places>,
        Names { fingerprint, label, identity }: Names,
        config: &'static Config,
        budget: Option<Arc<Budget>>,
        fill: Fill,
        base: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let made = Arc::new(Self {
            places,
            fingerprint,
            label,
            identity,
            config,
            budget,
            fill,
            base,
            template: OnceCell::new(),
            failed: OnceLock::new(),
            swept: OnceCell::new(),
            idle: Mutex::new(Vec::new()),
            stock: Mutex::default(),
        });
        GROUNDS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&made));
        made
    }

    pub(crate) fn describe(&self) -> Description {
        Description::new(&self.label, &self.identity)
    }

    pub(crate) fn take_idle(&self) -> Option<Claim> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn put_idle(&self, claim: Claim) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    }

    /// What is on the server. The first call of a process also sweeps what was abandoned there.
    pub(crate) async fn survey(self: &Arc<Self>) -> Result<Vec<Found>> {
        timed(Phase::Survey, async {
            let found = self.places.survey().await?;
            self.swept.get_or_init(|| sweep::abandoned(&*self.places, &found, self.config.keep_max)).await;
            Ok(found)
        })
        .await
    }

    pub(crate) fn swept_yet(&self) -> bool {
        self.swept.initialized()
    }

    /// The template, built if it is not there: once on this server, whoever asks first.
    pub(crate) async fn template(self: &Arc<Self>, test: &str) -> Result<&Template> {
        self.template.get_or_try_init(|| self.find_or_build(test)).await
    }

    async fn find_or_build(self: &Arc<Self>, test: &str) -> Result<Template> {
        let name = Name::template(&self.fingerprint);
        loop {
            let found = self.whole(&name).await?;
            let is_new = found.is_none();
            let description = match found {
                Some(description) => description,
                None => self.build_once(&name, test).await?,
            };
            // Another process may have swept it since: it has newer versions of the same setup.
            if !self.places.protect(&name).await? {
                tokio::task::yield_now().await;
                continue;
            }
            if is_new {
                // The new version may have made an old one superfluous.
                let found = self.places.survey().await?;
                sweep::abandoned(&*self.places, &found, self.config.keep_max).await;
            }
            return Ok(Template { name, description });
        }
    }

    /// What is written on the template, if it is there and whole.
    async fn whole(&self, name: &Name) -> Result<Option<Description>> {
        let found = self.places.survey().await?;
        Ok(found.into_iter().find(|place| place.name == *name).and_then(|place| place.description))
    }

    /// Builds the template, unless another process does that at this moment.
    async fn build_once(self: &Arc<Self>, name: &Name, test: &str) -> Result<Description> {
        let waiting = format!("waiting for another process that builds the template of {}", self.label);
        let text = name.to_string();
        let holding = progress::while_waiting(&waiting, self.places.hold(&text, true));
        let hold = timed(Phase::Template, holding).await?;
        let built = match self.whole(name).await? {
            Some(description) => Ok(description),
            None => {
                let what = format!("building the template of {} ({})", self.label, self.places.shown());
                progress::while_waiting(&what, self.build(name, test)).await
            }
        };
        if let Some(hold) = hold {
            hold.release().await;
        }
        built
    }

    /// A database that stays as the setup left it: made anew if the setup is another than the one it
    /// was made from, and else not touched.
    pub(crate) async fn stable(self: &Arc<Self>, name: &Name, who: &str) -> Result<()> {
        let hold = self.places.hold(&name.to_string(), true).await?;
        let made = self.make_stable(name, who).await;
        if let Some(hold) = hold {
            hold.release().await;
        }
        made
    }

    /// The lock on the name is held.
    async fn make_stable(self: &Arc<Self>, name: &Name, who: &str) -> Result<()> {
        let mut description = self.describe();
        description.identity.clone_from(&self.fingerprint);
        let current = |found: &Found| {
            let of = found.description.as_ref().map(|description| &description.identity);
            found.name == *name && of == Some(&self.fingerprint)
        };
        if self.places.survey().await?.iter().any(current) {
            return Ok(());
        }
        // First, so that a setup that fails leaves the old one standing.
        let template = self.template(who).await?;
        if !self.places.destroy(name).await? {
            return Err(Error::cleanup(&name.to_string(), "it is in use"));
        }
        self.places.copy(&template.name, &template.description, name).await?;
        // Last: without it, it is half-made, and the next to ask makes it anew.
        self.places.describe(name, &description).await
    }

    /// The lock on the name is held.
    async fn build(&self, name: &Name, test: &str) -> Result<Description> {
        self.already_failed(test)?;
        // Somebody died half-way.
        self.places.destroy(name).await?;
        match &self.base {
            Some(base) => {
                // Boxed, since a base has a base.
                let template = Box::pin(base.template(test)).await?;
                self.places.copy(&template.name, &template.description, name).await?;
            }
            None => self.places.create(name).await?,
        }
        let mut description = self.describe();
        let building = async {
            self.fill(name, test).await?;
            self.places.filled(name, &mut description).await?;
            // The commit marker: from here on it is a template.
            self.places.describe(name, &description).await
        };
        let built = timed(Phase::Template, building).await;
        if built.is_err() {
            // What is left is half-made, and swept if this fails too.
            let _ = self.places.destroy(name).await;
        }
        built.map(|()| description)
    }

    /// Runs the setup in an empty place, unless it failed before.
    pub(crate) async fn fill(&self, name: &Name, test: &str) -> Result<()> {
        self.already_failed(test)?;
        let place = Place::new(name.to_string(), self.places.url(name), 2);
        let filled = (self.fill)(place).await;
        if let Err(error) = &filled {
            let _ = self.failed.set((error.clone(), test.to_owned()));
            // Without it every test of the run shows the whole error.
            run::write(self.config, &self.failed_note(), test);
        }
        filled
    }

    fn failed_note(&self) -> String {
        format!("failed-{}", self.fingerprint)
    }

    /// A setup that failed is not tried again in the same run: the first error was shown, the
    /// others point at it.
    fn already_failed(&self, test: &str) -> Result<()> {
        if let Some((error, first)) = self.failed.get() {
            return Err(if first == test { error.clone() } else { Error::setup_failed_before(first) });
        }
        match run::read(self.config, &self.failed_note()) {
            Some(first) if first != test => Err(Error::setup_failed_before(&first)),
            _ => Ok(()),
        }
    }
}
