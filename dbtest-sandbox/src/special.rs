//! Statements that mean something else inside one long transaction: what is done before and
//! after them, or in their place. The same for both protocols.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::client::{AtCommit, Client, Pending, Stop, Tx, Went, aborted, server_gone};
use crate::extended::Prepared;
use crate::message::{self, Report};
use crate::session::{Row, SET_READ_ONLY, Want};
use crate::settings::{self, IDENTITY, OURSELVES};
use crate::shared::Notification;
use crate::statement::{self, ANY_SETTING, Kind, Modes, Setting, Text};

/// The parameters of a Bind, those that are text.
pub(crate) type Parameters = [Option<String>];

/// What to do with a statement.
#[derive(Debug)]
pub(crate) enum Before {
    /// The client has its answer.
    Replied(Went),
    /// The server runs it; the bytes at the range are replaced by the name first.
    Run(Want, Option<(Range<usize>, String)>),
}

/// How the names of our own savepoints begin.
const OWN: &str = "_dbtest";

const RUN: Before = Before::Run(Want::Write, None);

impl Client {
    /// Called before a statement runs.
    pub(crate) async fn before(
        &mut self,
        kind: &Kind,
        shown: &str,
        parameters: &Parameters,
    ) -> Result<Before, Stop> {
        let ends = matches!(kind, Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_));
        if self.tx == Tx::Failed && !ends {
            return Ok(Before::Replied(self.fail(&aborted())));
        }
        let replied = match kind {
            Kind::Read | Kind::Write | Kind::Notify(..) | Kind::PgNotify(..) | Kind::OnCommit { .. } => {
                return Ok(RUN);
            }
            Kind::Begin(modes) => self.begin(*modes, shown).await?,
            Kind::Commit { chain } => self.commit_statement(*chain).await?,
            Kind::Rollback { chain } => self.rollback_statement(*chain).await?,
            Kind::Savepoint(_) | Kind::Release(_) | Kind::RollbackTo(_) => {
                if self.tx != Tx::Idle
                    && let Kind::Savepoint(name) | Kind::Release(name) | Kind::RollbackTo(name) = kind
                    && name.starts_with(OWN)
                {
                    // Theirs would stand before ours, and ours is not theirs to release.
                    let report = match kind {
                        Kind::Savepoint(_) => {
                            let words = format!("savepoints that begin with {OWN} are the sandbox's own");
                            Report::error("42939", words)
                        }
                        _ => Report::error("3B001", format!("savepoint \"{name}\" does not exist")),
                    };
                    return Ok(Before::Replied(self.fail(&report)));
                }
                if self.tx != Tx::Idle {
                    // Before anything ran in the transaction, the savepoint is the first.
                    return Ok(RUN);
                }
                let word = match kind {
                    Kind::Savepoint(_) => "SAVEPOINT",
                    Kind::Release(_) => "RELEASE SAVEPOINT",
                    _ => "ROLLBACK TO SAVEPOINT",
                };
                self.only_in_a_transaction(word)
            }
            Kind::SetTransaction(modes) => {
                self.warn_alone("SET TRANSACTION");
                self.set_transaction(*modes, shown, "SET").await?
            }
            Kind::SetOfTransaction(modes) => self.set_transaction(*modes, shown, "SET").await?,
            Kind::SetConstraints => {
                self.warn_alone("SET CONSTRAINTS");
                return Ok(RUN);
            }
            Kind::ShowReadOnly => {
                if self.enter(Want::Write, shown).await? == Went::Wrong {
                    return Ok(Before::Replied(Went::Wrong));
                }
                // The server's own is our guard. This says what the client has, and decides nothing.
                let value = if self.settings.read_only { "on" } else { "off" };
                let sql = format!("SET LOCAL {} = {value}", settings::READ_ONLY);
                if !self.at_commit.changed.contains(settings::READ_ONLY)
                    && self.run_or_fail(&sql).await? == Went::Wrong
                {
                    return Ok(Before::Replied(Went::Wrong));
                }
                return Ok(RUN);
            }
            Kind::Set(list) => return self.before_set(list, shown, parameters).await,
            Kind::ResetAll => return Ok(Before::Run(self.session(), None)),
            Kind::Listen(channel) => {
                self.shared.listen();
                self.channel(Pending::Listen(channel.clone()), "LISTEN")
            }
            Kind::Unlisten(channel) => self.channel(Pending::Unlisten(channel.clone()), "UNLISTEN"),
            Kind::Prepare(range, name) => {
                if self.statements.contains_key(name.as_bytes()) {
                    let words = format!("prepared statement \"{name}\" already exists");
                    return Ok(Before::Replied(self.fail(&Report::error("42P05", words))));
                }
                if self.enter(Want::Write, shown).await? == Went::Wrong {
                    return Ok(Before::Replied(Went::Wrong));
                }
                let Some(turn) = &mut self.turn else { return Ok(Before::Replied(Went::Wrong)) };
                return Ok(Before::Run(Want::Write, Some((range.clone(), turn.name()))));
            }
            Kind::Execute(range, name) | Kind::Deallocate(Some((range, name))) => {
                match self.server_name(kind, name) {
                    Ok(server) => return Ok(Before::Run(Want::Write, Some((range.clone(), server)))),
                    Err(report) => self.fail(&report),
                }
            }
            Kind::Deallocate(None) => self.deallocate_all(shown).await?,
            Kind::Declare { hold, .. } => {
                if *hold || !self.alone() {
                    return Ok(RUN);
                }
                self.only_in_a_transaction("DECLARE CURSOR")
            }
            Kind::DiscardAll => self.discard_all(shown).await?,
            Kind::Refused(what) => {
                let words = format!("{what} would end or hand over the transaction of this test's sandbox");
                let hint = "dbtest: use the strategy \"template\" or \"truncate\" for this test";
                self.fail(&Report::error("0A000", words).hint(hint))
            }
        };
        Ok(Before::Replied(replied))
    }

    /// The server's name for the statement that EXECUTE or DEALLOCATE names.
    pub(crate) fn server_name(&self, kind: &Kind, name: &str) -> Result<String, Report> {
        match self.statements.get(name.as_bytes()) {
            Some(prepared) if prepared.kind.special() && matches!(kind, Kind::Execute(..)) => {
                Err(not_executed(name))
            }
            Some(prepared) => Ok(prepared.server.clone()),
            None => Err(no_statement(name)),
        }
    }

    /// Called when a statement ran well, under the server's name where it was given one.
    pub(crate) fn after(&mut self, kind: &Kind, server: Option<String>, parameters: &Parameters) {
        let text = |text: &Text| match text {
            Text::Literal(text) => Some(text.clone()),
            Text::Parameter(n) => parameters.get(usize::from(*n) - 1).cloned().flatten(),
        };
        self.hear();
        match kind {
            Kind::Savepoint(name) => self.at_commit.pending.push(Pending::Savepoint(name.clone())),
            Kind::Release(name) => {
                if let Some(at) = self.savepoint(name) {
                    self.at_commit.pending.remove(at);
                }
            }
            Kind::RollbackTo(name) => {
                self.tx = Tx::Open;
                // They may be taken back with this.
                self.at_commit.default.clear();
                if self.at_commit.reset {
                    // It may be taken back with this: only the server knows what is set now.
                    self.at_commit.changed.insert(ANY_SETTING.to_owned());
                }
                if let Some(at) = self.savepoint(name) {
                    self.at_commit.pending.truncate(at + 1);
                }
            }
            // Where functions are overheard, this one was.
            Kind::PgNotify(..) if self.turn.as_ref().is_some_and(|turn| turn.overhears) => {}
            Kind::Notify(channel, payload) | Kind::PgNotify(channel, payload) => {
                if let Some((channel, payload)) = text(channel).zip(text(payload)) {
                    let notification = Notification { from: self.peer.id, channel, payload };
                    self.at_commit.pending.push(Pending::Notify(notification));
                }
            }
            Kind::Set(list) => {
                for setting in list.iter().filter(|setting| !setting.local) {
                    if let Some(name) = text(&setting.name) {
                        for name in settings::with_role(name.to_ascii_lowercase()) {
                            // What SET LOCAL changed before it is not put back.
                            self.at_commit.local.remove(&name);
                            match setting.default && settings::identity(&name).is_none() {
                                true => self.at_commit.default.insert(name.clone()),
                                false => self.at_commit.default.remove(&name),
                            };
                            self.at_commit.changed.insert(name);
                        }
                    }
                }
            }
            Kind::ResetAll => self.reset_all(),
            Kind::Prepare(_, name) => {
                if let Some(server) = server {
                    let name = Bytes::copy_from_slice(name.as_bytes());
                    self.statements.insert(name, Arc::new(Prepared::sql(server)));
                }
            }
            Kind::Deallocate(Some((_, name))) => {
                self.statements.remove(name.as_bytes());
            }
            Kind::OnCommit { table, drop } => {
                self.at_commit.pending.push(Pending::Temporary { table: table.clone(), drop: *drop });
            }
            Kind::Declare { name, hold } => {
                let cursors = if *hold { &mut self.held_cursors } else { &mut self.at_commit.cursors };
                cursors.insert(name.clone());
            }
            _ => {}
        }
    }

    /// What a change of the session wants: what follows in its transaction or text may write.
    fn session(&self) -> Want {
        if self.alone() { Want::Session } else { Want::Write }
    }

    /// Whether what runs is its own transaction.
    fn alone(&self) -> bool {
        self.tx == Tx::Idle && !self.several
    }

    fn warn_alone(&mut self, what: &str) {
        if self.alone() {
            self.warn("25P01", &format!("{what} can only be used in transaction blocks"));
        }
    }

    /// All parameters are as they were at first, if the transaction commits, but for who one is.
    fn reset_all(&mut self) {
        self.at_commit.reset = true;
        self.at_commit.changed.retain(|name| settings::identity(name).is_some());
        self.at_commit.default.clear();
        self.at_commit.local.retain(|name, _| settings::identity(name).is_some());
    }

    fn savepoint(&self, wanted: &str) -> Option<usize> {
        let named = |pending: &Pending| matches!(pending, Pending::Savepoint(name) if name == wanted);
        self.at_commit.pending.iter().rposition(named)
    }

    fn reply(&mut self, tag: &str) -> Went {
        message::complete(&mut self.wire.output, tag);
        Went::Well
    }

    fn warn(&mut self, code: &'static str, words: &str) {
        Report::warning(code, words).write(&mut self.wire.output);
    }

    fn only_in_a_transaction(&mut self, what: &str) -> Went {
        self.fail(&Report::error("25P01", format!("{what} can only be used in transaction blocks")))
    }

    async fn begin(&mut self, modes: Modes, shown: &str) -> Result<Went, Stop> {
        let tag = if statement::begins(shown, "start") { "START TRANSACTION" } else { "BEGIN" };
        if self.tx == Tx::Open {
            self.warn("25001", "there is already a transaction in progress");
            return self.set_transaction(modes, shown, tag).await;
        }
        // What ran before it in the same message is part of it from here on.
        self.tx = Tx::Open;
        let read_only = modes.read_only.unwrap_or(self.read_only || self.settings.read_only);
        if read_only && self.entered && self.restrict(shown).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        self.read_only = read_only;
        Ok(self.reply(tag))
    }

    /// Makes the open transaction READ ONLY.
    async fn restrict(&mut self, shown: &str) -> Result<Went, Stop> {
        if self.enter(Want::Write, shown).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        self.run_or_fail(SET_READ_ONLY).await
    }

    async fn commit_statement(&mut self, chain: bool) -> Result<Went, Stop> {
        match self.tx {
            Tx::Idle if chain => return Ok(self.only_in_a_transaction("COMMIT AND CHAIN")),
            Tx::Idle => self.warn("25P01", "there is no transaction in progress"),
            Tx::Failed => return self.rollback_statement(chain).await,
            Tx::Open => {}
        }
        let read_only = self.read_only;
        self.tx = Tx::Idle;
        if self.commit().await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        if chain {
            self.tx = Tx::Open;
            self.read_only = read_only;
        }
        Ok(self.reply("COMMIT"))
    }

    async fn rollback_statement(&mut self, chain: bool) -> Result<Went, Stop> {
        match self.tx {
            Tx::Idle if chain => return Ok(self.only_in_a_transaction("ROLLBACK AND CHAIN")),
            Tx::Idle => self.warn("25P01", "there is no transaction in progress"),
            Tx::Open | Tx::Failed => {}
        }
        // A failed transaction hands its mode on to none.
        let read_only = if self.tx == Tx::Failed { self.settings.read_only } else { self.read_only };
        let changed = !self.at_commit.changed.is_empty();
        self.tx = Tx::Idle;
        let entered = self.entered;
        self.take_back();
        if let Some(turn) = &mut self.turn
            && entered
            && changed
        {
            // The client must hear of the parameters' old values.
            turn.undo_now(&mut self.wire.output).await.map_err(server_gone)?;
        }
        if chain {
            self.tx = Tx::Open;
            self.read_only = read_only;
        }
        Ok(self.reply("ROLLBACK"))
    }

    async fn set_transaction(&mut self, modes: Modes, shown: &str, tag: &str) -> Result<Went, Stop> {
        if self.alone() {
            return Ok(self.reply(tag));
        }
        match modes.read_only {
            Some(true) if self.entered && self.restrict(shown).await? == Went::Wrong => {
                return Ok(Went::Wrong);
            }
            Some(false) if self.entered && self.read_only => {
                let words = "transaction read-write mode must be set before any query";
                return Ok(self.fail(&Report::error("25001", words)));
            }
            _ => {}
        }
        // One that is set behind a savepoint ends with it, on the server.
        let behind = self.at_commit.pending.iter().any(|pending| matches!(pending, Pending::Savepoint(_)));
        if !behind {
            self.read_only = modes.read_only.unwrap_or(self.read_only);
        }
        Ok(self.reply(tag))
    }

    /// Notes what SET LOCAL changes: its end is the client's transaction, not the sandbox's.
    async fn before_set(
        &mut self,
        list: &[Setting],
        shown: &str,
        parameters: &Parameters,
    ) -> Result<Before, Stop> {
        let local: Vec<String> = list
            .iter()
            .filter(|setting| setting.local)
            .filter_map(|setting| match &setting.name {
                Text::Literal(name) => Some(name.clone()),
                Text::Parameter(n) => parameters.get(usize::from(*n) - 1).cloned().flatten(),
            })
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| settings::is_kept(name))
            .flat_map(settings::with_role)
            .filter(|name| !self.at_commit.local.contains_key(name))
            .collect();
        // While another client has a transaction open, what is set waits until it is needed: a pool
        // sets something on every new connection.
        if self.session() == Want::Session && !self.entered && self.turn.is_none() && self.shared.busy() {
            let simple = |setting: &Setting| match (&setting.name, &setting.value) {
                (Text::Literal(name), Some(value)) if !setting.local && settings::is_kept(name) => {
                    Some((name.clone(), value.clone()))
                }
                _ => None,
            };
            if let Some(all) = list.iter().map(simple).collect::<Option<Vec<_>>>() {
                for (name, value) in all {
                    self.settings.set(&name, Some(value));
                }
                return Ok(Before::Replied(self.reply("SET")));
            }
        }
        let want = if statement::begins(shown, "select") { Want::Write } else { self.session() };
        if self.enter(want, shown).await? == Went::Wrong {
            return Ok(Before::Replied(Went::Wrong));
        }
        if !local.is_empty()
            && let Some(turn) = &mut self.turn
            && turn.begun()
            && let Ok(rows) = turn.run(&settings::read(local.iter())).await.map_err(server_gone)?
        {
            for row in rows {
                if let [Some(name), value] = &row[..] {
                    self.at_commit.local.insert(name.clone(), value.clone().unwrap_or_default());
                }
            }
        }
        Ok(Before::Run(want, None))
    }

    /// At a commit: what SET changed is the client's, what SET LOCAL changed is put back, and
    /// cursors end. Where one of these fails the commit does, and the client was told.
    pub(crate) async fn commit_session(&mut self) -> Result<Went, Stop> {
        let pending = std::mem::take(&mut self.at_commit.pending);
        let later = AtCommit { pending, ..AtCommit::default() };
        let AtCommit { cursors, reset, changed, default, local, .. } =
            std::mem::replace(&mut self.at_commit, later);
        let mut local: Vec<_> = local.into_iter().collect();
        local.sort_by_key(|(name, _)| settings::identity(name));
        let put_back: Vec<_> = local.iter().map(|(name, value)| settings::set(name, value)).collect();
        if !put_back.is_empty() && self.run_own(&put_back.join("; ")).await?.is_none() {
            return Ok(Went::Wrong);
        }
        if let Some(turn) = &mut self.turn
            && reset
        {
            self.settings.reset();
            turn.applied.retain(|name, _| settings::identity(name).is_some());
        }
        if !changed.is_empty() {
            let mut sql = settings::read(changed.iter());
            if changed.contains(ANY_SETTING) {
                sql.push_str(" UNION ALL SELECT name, setting FROM pg_catalog.pg_settings ");
                sql.push_str("WHERE source = 'session' AND name <> 'default_transaction_read_only'");
            }
            let Some(rows) = self.run_own(&sql).await? else { return Ok(Went::Wrong) };
            let Some(turn) = &mut self.turn else { return Ok(Went::Wrong) };
            for row in rows {
                if let [Some(name), value] = &row[..]
                    && name != ANY_SETTING
                    && settings::is_kept(name)
                {
                    match default.contains(name) {
                        true => self.settings.back(name),
                        false => self.settings.set(name, value.clone()),
                    }
                    match value {
                        // It is our own again in a moment.
                        _ if name == settings::READ_ONLY => {}
                        Some(value) => drop(turn.applied.insert(name.clone(), value.clone())),
                        None => drop(turn.applied.remove(name)),
                    }
                }
            }
            let guard = "SET default_transaction_read_only = on";
            if changed.contains(settings::READ_ONLY) && self.run_own(guard).await?.is_none() {
                return Ok(Went::Wrong);
            }
        }
        if !cursors.is_empty() {
            let open = "SELECT pg_catalog.quote_ident(name), name FROM pg_catalog.pg_cursors";
            let Some(rows) = self.run_own(open).await? else { return Ok(Went::Wrong) };
            for row in rows {
                if let [Some(quoted), Some(name)] = &row[..]
                    && cursors.contains(name)
                    && self.run_own(&format!("CLOSE {quoted}")).await?.is_none()
                {
                    return Ok(Went::Wrong);
                }
            }
        }
        Ok(Went::Well)
    }

    /// At a commit: temporary tables that were made with ON COMMIT are dropped or emptied. Where
    /// that fails the commit does, and the client was told.
    pub(crate) async fn commit_temporary(&mut self) -> Result<Went, Stop> {
        let mut drops = BTreeSet::new();
        for pending in &self.at_commit.pending {
            if let Pending::Temporary { table, drop } = pending {
                let tables = if *drop { &mut drops } else { &mut self.emptied };
                tables.insert(table.clone());
            }
        }
        let reads = self.turn.as_ref().is_some_and(|turn| turn.only_read());
        if reads || (drops.is_empty() && self.emptied.is_empty()) {
            return Ok(Went::Well);
        }
        let names: Vec<_> = drops.union(&self.emptied).map(|name| settings::literal(name)).collect();
        let there = format!(
            "SELECT pg_catalog.quote_ident(relname), relname FROM pg_catalog.pg_class \
             WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relname IN ({})",
            names.join(", ")
        );
        let Some(rows) = self.run_own(&there).await? else { return Ok(Went::Wrong) };
        let (mut dropped, mut emptied) = (Vec::new(), Vec::new());
        for row in rows {
            if let [Some(quoted), Some(name)] = &row[..] {
                let tables = if drops.contains(name) { &mut dropped } else { &mut emptied };
                tables.push(format!("pg_temp.{quoted}"));
            }
        }
        let mut sql = Vec::new();
        if !dropped.is_empty() {
            sql.push(format!("DROP TABLE {} CASCADE", dropped.join(", ")));
        }
        if !emptied.is_empty() {
            sql.push(format!("TRUNCATE {}", emptied.join(", ")));
        }
        if sql.is_empty() {
            return Ok(Went::Well);
        }
        // A READ ONLY transaction writes to temporary tables too, and its end may write.
        if let Some(turn) = &mut self.turn {
            turn.keep();
            turn.enter(Want::Write);
        }
        // The server asks nobody for the right to, whoever the client is by now.
        let who = self.settings.identity();
        if !who.is_empty() {
            sql.insert(0, OURSELVES.to_owned());
            sql.extend(who);
        }
        Ok(if self.run_own(&sql.join("; ")).await?.is_some() { Went::Well } else { Went::Wrong })
    }

    fn channel(&mut self, pending: Pending, tag: &str) -> Went {
        self.at_commit.pending.push(pending);
        if self.tx == Tx::Idle && !self.entered {
            // Outside a transaction it holds at once.
            self.commit_pending();
        }
        self.reply(tag)
    }

    async fn deallocate_all(&mut self, shown: &str) -> Result<Went, Stop> {
        if !self.statements.is_empty() && self.deallocate_quietly(self.session(), shown).await? == Went::Wrong
        {
            return Ok(Went::Wrong);
        }
        Ok(self.reply("DEALLOCATE ALL"))
    }

    async fn discard_all(&mut self, shown: &str) -> Result<Went, Stop> {
        if !self.alone() {
            let words = "DISCARD ALL cannot run inside a transaction block";
            return Ok(self.fail(&Report::error("25001", words)));
        }
        if self.deallocate_quietly(Want::Write, shown).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        let rest = "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";
        if self.run_or_fail(&format!("{OURSELVES}; RESET ALL; {rest}")).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        self.reset_all();
        if let Some(turn) = &self.turn {
            let was = IDENTITY.into_iter().filter(|name| turn.applied.contains_key(*name));
            self.at_commit.changed.extend(was.map(str::to_owned));
        }
        self.emptied.clear();
        self.at_commit.pending.push(Pending::Unlisten(None));
        Ok(self.reply("DISCARD ALL"))
    }

    /// Forgets every prepared statement. The client is told nothing but an error.
    async fn deallocate_quietly(&mut self, want: Want, shown: &str) -> Result<Went, Stop> {
        if self.enter(want, shown).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        let forget: Vec<_> = std::mem::take(&mut self.statements)
            .into_values()
            .map(|prepared| format!("DEALLOCATE {}", prepared.server))
            .collect();
        if forget.is_empty() {
            return Ok(Went::Well);
        }
        self.run_or_fail(&forget.join("; ")).await
    }

    /// Runs our own SQL as a part of the client's statement, which fails with it.
    async fn run_or_fail(&mut self, sql: &str) -> Result<Went, Stop> {
        Ok(if self.run_own(sql).await?.is_some() { Went::Well } else { self.failed() })
    }

    /// Runs our own SQL. `None` if it failed, and the client was told.
    async fn run_own(&mut self, sql: &str) -> Result<Option<Vec<Row>>, Stop> {
        let Some(turn) = &mut self.turn else { return Ok(None) };
        let ran = turn.run(sql).await.map_err(server_gone)?;
        if ran.is_err() {
            turn.blame_own(&mut self.wire.output);
        }
        Ok(ran.ok())
    }
}

/// What is said of a prepared statement that is not there.
pub(crate) fn no_statement(name: &str) -> Report {
    let words = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    Report::error("26000", words)
}

/// What is said of EXECUTE where the statement was prepared by the protocol and is not for the
/// server: a COMMIT, a SET.
fn not_executed(name: &str) -> Report {
    let words =
        format!("a sandbox does not EXECUTE \"{name}\", which controls the session or its transaction");
    Report::error("0A000", words).hint("dbtest: bind it, as its driver does, or send its text")
}
