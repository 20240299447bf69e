//! Claims: places that one test at a time has. Slots are leased, reset and reused; clones are a
//! test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Boundary, Place};
use crate::description::{Kept as KeptNote, now};
use crate::engine::{Attached, Hold, Sandboxing, Settle, Settled};
use crate::error::{Error, Result};
use crate::ground::Ground;
use crate::name::Name;
use crate::report::{Phase, healed, timed};
#[cfg(feature = "sandbox")]
use crate::sandbox::Wire;
use crate::server::budget::Share;
use crate::{progress, run, sweep};

/// How long the server may take to notice that the process of the test before this one has ended.
const LEAVING: Duration = Duration::from_millis(500);

/// A place that one test has, and the crash-safe claim on it: it ends when this process does,
/// however it does.
#[derive(Debug)]
pub struct Claim {
    ground: Arc<Ground>,
    name: Name,
    held: Held,
    max_connections: u32,
    restart_identity: bool,
    /// Identity values are at their start too.
    exact: bool,
    /// When it was put back.
    idle_since: Instant,
    #[cfg(feature = "sandbox")]
    wire: Wire,
    /// Its sandbox left it at its baseline.
    clean: bool,
    /// The test passed, so if it is kept, it is not for a failure.
    passed: bool,
    /// Its part of the connections that all tests may have.
    share: Share,
}

/// No server is restarted in less, and few tests wait so long for the next of their process.
const RESTED: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Held {
    /// Reset and reused.
    Slot(Box<dyn Attached>),
    /// Dropped.
    Clone(Box<dyn Hold>),
}

/// A place that was kept for a person to look at.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// The command that opens it. It holds no password.
    pub command: String,
    /// The server wants a password, so the command asks for it: `cargo dbtest shell NAME` knows it.
    pub asks_for_a_password: bool,
}

impl Kept {
    fn new(name: String, command: String, url: &str) -> Self {
        Self { name, command, asks_for_a_password: crate::url::has_password(url) }
    }

    /// How a person opens it. Nobody knows the password of a server that dbtest started, so our own program
    /// comes first; it does not know a server that only a fixture's code names, so the client follows.
    pub(crate) fn opened(&self) -> String {
        let Self { name, command, asks_for_a_password } = self;
        if *asks_for_a_password {
            format!("  cargo dbtest shell {name}\nor, with the server's password:\n  {command}")
        } else {
            format!("  {command}")
        }
    }
}

/// What a claim must offer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) max_connections: u32,
    /// How many of them are the server's.
    pub(crate) pool: u32,
    pub(crate) restart_identity: bool,
}

impl Claim {
    /// Where the test works, with any number of connections and its own transactions.
    pub fn place(&self) -> Place {
        Place::new(self.name.to_string(), self.ground.places.url(&self.name), self.max_connections)
    }

    /// The same place, opened inside one transaction that is never committed. On Postgres
    /// that is a server of our own, and the place's URL is that server's.
    ///
    /// # Errors
    /// The place can't have such a transaction.
    pub async fn sandboxed(&mut self) -> Result<Place> {
        match self.ground.places.sandbox(&self.name)? {
            Sandboxing::Handle(sandbox) => {
                Ok(Place { sandbox: Some(sandbox), max_connections: 1, ..self.place() })
            }
            #[cfg(feature = "sandbox")]
            Sandboxing::Wire(guard) => {
                let place = self.place();
                let url = self.wire.open(&place.url, guard).await?;
                Ok(Place { url, ..place })
            }
        }
    }

    /// Ends the transaction of [`sandboxed`](Claim::sandboxed) where it is not the handle's own.
    /// With `keep`, what the test committed stays for a person to look at.
    pub async fn end_sandbox(&mut self, keep: bool) -> Option<Boundary> {
        #[cfg(feature = "sandbox")]
        if let Some(ended) = self.wire.close(keep).await {
            self.clean = ended.clean;
            return Some(match ended.lost {
                None => Boundary::Intact,
                Some(why) => Boundary::Broken(crate::backend::DbError::connection(None, why)),
            });
        }
        let _ = keep;
        None
    }

    /// The test has passed.
    pub(crate) fn passed(&mut self) {
        self.passed = true;
    }

    /// The test is over, and its handle is about to be closed.
    pub(crate) fn closing(&mut self) {
        if let Held::Slot(attached) = &mut self.held {
            attached.closing();
        }
    }

    /// Ends what is still connected to the place from here.
    async fn close_wire(&mut self) {
        #[cfg(feature = "sandbox")]
        {
            self.wire.close(false).await;
            self.wire.cool();
        }
    }

    /// Ends the claim. The place stays as it is, clean, for whoever leases it next.
    async fn let_go(mut self) {
        self.close_wire().await;
        match self.held {
            Held::Slot(attached) => attached.detach().await,
            Held::Clone(hold) => hold.release().await,
        }
    }

    fn spared(&self) -> Option<i32> {
        #[cfg(feature = "sandbox")]
        return self.wire.spared();
        #[cfg(not(feature = "sandbox"))]
        None
    }

    /// Ends every other connection to the place, puts it back to its baseline, and gives it to
    /// the next test. A place that can't be put back (the test changed the schema) is dropped
    /// and made anew. `rolled_back` says that the test's transaction was rolled back, so that
    /// only what a rollback leaves behind is to be cared for.
    ///
    /// # Errors
    /// The reset failed. The place is then retired.
    pub async fn recycle(mut self, leaked: usize, rolled_back: bool) -> Result<()> {
        // Nothing is left of it if the strategy ended it.
        self.end_sandbox(false).await;
        let spared = self.spared();
        let how = Settle { leaked, rolled_back, restart_identity: self.restart_identity, spared };
        let settled = match &mut self.held {
            Held::Slot(_) if std::mem::take(&mut self.clean) => Ok(Settled::Clean),
            Held::Slot(attached) => timed(Phase::Reset, attached.settle(how)).await,
            Held::Clone(_) => return self.discard().await,
        };
        if run::is_shared()
            && let Held::Slot(attached) = &self.held
            && let Some(note) = attached.note()
        {
            self.ground.note_slot(&self.name, Some(note));
        }
        match settled {
            Ok(Settled::Clean) => {
                self.exact = self.restart_identity;
                self.idle_since = Instant::now();
                self.share.shrink();
                let ground = Arc::clone(&self.ground);
                let wanted = ground.budget.as_ref().is_some_and(|budget| budget.is_wanted());
                ground.put_idle(self);
                if wanted {
                    // Another test, of whatever process, waits for the connections of what is idle here.
                    for claim in crate::ground::take_all_idle() {
                        claim.let_go().await;
                    }
                }
                Ok(())
            }
            Ok(Settled::Rebuild(why)) => {
                healed(&why);
                self.retire();
                Ok(())
            }
            Err(error) => {
                self.retire();
                Err(error)
            }
        }
    }

    /// Whether nothing stayed of a sandbox whose connection was closed before anybody could ask it
    /// ([`Boundary::Closed`](crate::Boundary::Closed)).
    pub(crate) async fn left_nothing(&mut self) -> Result<bool> {
        match &mut self.held {
            Held::Slot(attached) => attached.left_nothing().await,
            // Nobody has it after this test.
            Held::Clone(_) => Ok(true),
        }
    }

    /// Drops the place.
    ///
    /// # Errors
    /// It could not be dropped; the next run sweeps it.
    pub async fn discard(mut self) -> Result<()> {
        self.close_wire().await;
        let Self { ground, name, held, .. } = self;
        timed(Phase::Drop, async {
            match held {
                Held::Slot(attached) => {
                    attached.detach().await;
                    ground.places.destroy(&name).await.map(drop)
                }
                // What it holds ends with it.
                Held::Clone(mut hold) => hold.drop_place(&*ground.places, &name).await,
            }
        })
        .await
    }

    /// Keeps the place as it is and ends the claim. Of each test only the latest is kept, and
    /// of all a handful (`DBTEST_KEEP_MAX`).
    ///
    /// # Errors
    /// The place could not be marked; it is then swept.
    pub async fn keep(mut self, test: &str, strategy: &str) -> Result<Kept> {
        self.close_wire().await;
        let Self { ground, name, held, passed, .. } = self;
        let mut description = ground.describe();
        description.kept = Some(KeptNote {
            test: test.to_owned(),
            strategy: strategy.to_owned(),
            at: now(),
            passed,
            pinned: false,
        });
        ground.places.describe(&name, &description).await?;
        match held {
            Held::Slot(attached) => attached.detach().await,
            Held::Clone(hold) => hold.release().await,
        }
        let found = ground.places.survey().await?;
        for old in sweep::kept_too_long(&found, ground.config.keep_max) {
            ground.places.destroy(&old).await?;
        }
        Ok(Kept::new(name.to_string(), ground.places.command(&name), &ground.places.url(&name)))
    }

    /// Drops the place in the background. If this process ends first, the next one to lease the
    /// slot finds out again why it must go.
    fn retire(self) {
        crate::runtime::detach(async move {
            if let Err(error) = self.discard().await {
                progress::say(&error.to_string());
            }
        });
    }
}

/// What came of leasing a slot.
enum Taken {
    Clean(Box<dyn Attached>),
    /// It could not be put back, for this reason, and is dropped.
    Spoiled(String),
    /// Somebody else has it, or it is no more.
    BySomebody,
}

impl Ground {
    /// Leases a slot: one that is idle in this process, else one that is free on the server,
    /// else a new one.
    pub(crate) async fn slot(self: &Arc<Self>, wanted: Wanted, test: &str) -> Result<Claim> {
        let settle =
            Settle { leaked: 0, rolled_back: false, restart_identity: wanted.restart_identity, spared: None };
        while let Some(mut claim) = self.take_idle() {
            if let Some(budget) = &self.budget
                && !budget.grow(&mut claim.share, wanted.pool, test)?
            {
                claim.let_go().await;
                break;
            }
            claim.max_connections = wanted.max_connections;
            claim.restart_identity = wanted.restart_identity;
            // A server that was restarted meanwhile knows nothing of the lease, and after a crash
            // perhaps nothing of the last reset.
            let rested = claim.idle_since.elapsed() > RESTED;
            if !rested && (claim.exact || !wanted.restart_identity) {
                return Ok(claim);
            }
            let settle = Settle { spared: claim.spared(), ..settle };
            if let Held::Slot(attached) = &mut claim.held
                && matches!(attached.settle(settle).await, Ok(Settled::Clean))
            {
                claim.exact = wanted.restart_identity;
                return Ok(claim);
            }
            claim.retire();
        }
        let share = self.share(wanted, test).await?;
        if let Some((name, note)) = self.noted_slot()
            && let Taken::Clean(attached) = self.attach_clean(&name, settle, LEAVING, Some(&note)).await?
        {
            return Ok(self.claim(name, Held::Slot(attached), wanted, share));
        }
        let mut numbers: Vec<(u32, Name)> = Vec::new();
        let mut taken = std::collections::HashSet::new();
        for place in self.survey().await? {
            if let Name::Slot { fingerprint, number, .. } = &place.name
                && *fingerprint == self.fingerprint
            {
                let free =
                    !place.held && place.description.is_some_and(|description| description.kept.is_none());
                if free {
                    numbers.push((*number, place.name.clone()));
                } else {
                    taken.insert(*number);
                }
            }
        }
        // Two runs share nextest's numbers, so it is a hint where to look first.
        let hint = self.config.slot_hint;
        numbers.sort_by_key(|(number, _)| (*number != hint, *number));
        for (_, name) in numbers {
            if let Taken::Clean(attached) = self.attach_clean(&name, settle, Duration::ZERO, None).await? {
                self.note_slot(&name, None);
                return Ok(self.claim(name, Held::Slot(attached), wanted, share));
            }
        }
        let number = (hint..).find(|number| !taken.contains(number)).unwrap_or(hint);
        // Whoever makes a slot may lose it to another process before it can lease it.
        let mut spoiled = 0;
        for _ in 0..100 {
            let name = self.make_slot(number, test).await?;
            match self.attach_clean(&name, settle, Duration::ZERO, None).await? {
                Taken::Clean(attached) => {
                    self.note_slot(&name, None);
                    return Ok(self.claim(name, Held::Slot(attached), wanted, share));
                }
                Taken::Spoiled(why) if spoiled == 3 => return Err(Error::cleanup(&name.to_string(), why)),
                Taken::Spoiled(_) => spoiled += 1,
                Taken::BySomebody => {}
            }
        }
        Err(Error::cleanup(&self.places.shown(), "other processes take every slot that is made"))
    }

    /// Leases a slot and puts it back to its baseline. One that can't be put back (its last holder
    /// died, or changed the schema) makes room for a new one.
    async fn attach_clean(
        &self,
        name: &Name,
        how: Settle,
        patience: Duration,
        note: Option<&str>,
    ) -> Result<Taken> {
        match timed(Phase::Lease, self.places.attach(name, how, patience, note)).await? {
            Some((attached, Settled::Clean)) => Ok(Taken::Clean(attached)),
            Some((attached, Settled::Rebuild(why))) => {
                healed(&why);
                attached.detach().await;
                self.places.destroy(name).await?;
                Ok(Taken::Spoiled(why))
            }
            None => Ok(Taken::BySomebody),
        }
    }

    /// The slot in which the last test of this run with this process's number was. Nobody is in it
    /// now, so that nothing needs to be looked for on the server.
    fn noted_slot(&self) -> Option<(Name, String)> {
        if !self.places.is_remote() {
            return None;
        }
        let text = run::read(self.config, &self.slot_note())?;
        let (name, note) = text.split_once('\n')?;
        let name = Name::parse(name)?;
        let is_ours = matches!(name, Name::Slot { .. }) && name.fingerprint() == self.fingerprint;
        is_ours.then(|| (name, note.to_owned()))
    }

    fn note_slot(&self, name: &Name, note: Option<String>) {
        if self.places.is_remote() {
            run::write(self.config, &self.slot_note(), &format!("{name}\n{}", note.unwrap_or_default()));
        }
    }

    fn slot_note(&self) -> String {
        let form = if self.places.copies() { "slot" } else { "schema" };
        format!("{form}-{}-{}", self.fingerprint, self.config.slot_hint)
    }

    /// The test's part of the connections that there are.
    async fn share(&self, wanted: Wanted, test: &str) -> Result<Share> {
        let Some(budget) = &self.budget else { return Ok(Share::default()) };
        let let_go = async || {
            for claim in crate::ground::take_all_idle() {
                claim.let_go().await;
            }
            self.places.rest().await;
        };
        budget.take(wanted.pool, test, let_go).await
    }

    fn claim(self: &Arc<Self>, name: Name, held: Held, wanted: Wanted, share: Share) -> Claim {
        Claim {
            ground: Arc::clone(self),
            name,
            held,
            max_connections: wanted.max_connections,
            restart_identity: wanted.restart_identity,
            exact: true,
            idle_since: Instant::now(),
            #[cfg(feature = "sandbox")]
            wire: Wire::default(),
            clean: false,
            passed: false,
            share,
        }
    }

    async fn make_slot(self: &Arc<Self>, number: u32, test: &str) -> Result<Name> {
        let name = Name::slot(&self.fingerprint, number);
        let hold = self.places.hold(&name.to_string(), false).await?;
        let made = self.make_slot_held(&name, test).await;
        if made.is_err() {
            let _ = self.places.destroy(&name).await;
        }
        if let Some(hold) = hold {
            hold.release().await;
        }
        made.map(|()| name)
    }

    async fn make_slot_held(self: &Arc<Self>, name: &Name, test: &str) -> Result<()> {
        let mut description = self.describe();
        if self.places.copies() {
            let template = self.template(test).await?;
            let copying = self.places.copy(&template.name, &template.description, name);
            timed(Phase::Slot, copying).await?;
        } else {
            // One at a time: setups of several processes would meet in what is not in a schema.
            let lock = Name::template(&self.fingerprint).to_string();
            let hold = self.places.hold(&lock, true).await?;
            let filled = async {
                self.places.create(name).await?;
                let what = format!("filling a slot with the setup of {}", self.label);
                progress::while_waiting(&what, self.fill(name, test)).await?;
                self.places.filled(name, &mut description).await
            }
            .await;
            if let Some(hold) = hold {
                hold.release().await;
            }
            filled?;
        }
        timed(Phase::Slot, async {
            self.places.prepare(name).await?;
            self.places.describe(name, &description).await
        })
        .await
    }

    /// A place of the test's own. Where making and dropping one costs too much, a recycled one
    /// that is proved to be at its baseline, identity values and all.
    pub(crate) async fn own_place(self: &Arc<Self>, wanted: Wanted, test: &str) -> Result<Claim> {
        if !self.places.drops_clones() {
            return self.slot(Wanted { restart_identity: true, ..wanted }, test).await;
        }
        let share = self.share(wanted, test).await?;
        let (name, hold) = self.stocked_or_new(test).await?;
        Ok(self.claim(name, Held::Clone(hold), wanted, share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_password_is_asked_for_the_command_that_knows_it_comes_first() {
        let kept = |url| Kept::new("dbtest_x".into(), "psql -h db dbtest_x".into(), url);
        let opened = kept("postgres://me:secret@db/dbtest_x").opened();
        assert_eq!(
            opened,
            "  cargo dbtest shell dbtest_x\nor, with the server's password:\n  psql -h db dbtest_x"
        );
        for url in ["postgres://me@db/dbtest_x", "sqlite:///tmp/dbtest_x.db"] {
            assert_eq!(kept(url).opened(), "  psql -h db dbtest_x");
        }
    }
}
