//! The extended protocol: statements and portals by name, and series of messages up to Sync.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::client::{Client, Stop, Tx, Went, aborted};
use crate::message::{self, Report};
use crate::session::Want;
use crate::special::{Before, no_statement};
use crate::statement::{self, Kind, Statement};
use crate::wire::{Fields, Frame, Malformed, take_frame};

/// A series that is longer is worked on before its Sync has come.
const SERIES: usize = 256 * 1024;

/// A prepared statement of a client.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its name on the server; empty for the unnamed one.
    pub(crate) server: String,
    pub(crate) kind: Kind,
    shown: String,
    schema_change: bool,
    constant: bool,
    copies: bool,
    /// The Parse message, for when another client's unnamed statement took its place.
    parse: Bytes,
}

impl Prepared {
    /// One that PREPARE made.
    pub(crate) fn sql(server: String) -> Self {
        let (shown, parse) = (String::new(), Bytes::new());
        Self { server, kind: Kind::Write, shown, schema_change: false, constant: false, copies: false, parse }
    }
}

/// A portal of a client.
#[derive(Clone, Debug)]
pub(crate) struct Portal {
    /// Its name on the server; empty for the unnamed one.
    pub(crate) server: String,
    prepared: Arc<Prepared>,
    parameters: Vec<Option<String>>,
    /// What followed the names in its Bind message.
    rest: Bytes,
    /// It controls the session or its transaction, and has done so.
    done: bool,
}

/// A Bind message, read.
struct Bind {
    portal: Bytes,
    statement: Bytes,
    /// All that follows the names.
    rest: Bytes,
}

impl Client {
    /// Works on a message and on those behind it that are there, up to Sync or Flush.
    pub(crate) async fn extended(&mut self, first: Frame) -> Result<(), Stop> {
        let mut series = vec![first];
        let mut bytes = 0;
        while let Some(last) = series.last()
            && !matches!(last.tag(), b'S' | b'H')
            && bytes < SERIES
        {
            bytes += last.bytes.len();
            match self.wire.input.first() {
                Some(b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'S') => {}
                _ => break,
            }
            match take_frame(&mut self.wire.input)? {
                Some(frame) => series.push(frame),
                None => break,
            }
        }
        let ends = series.last().is_some_and(|frame| frame.tag() == b'S');
        if !self.skip && ends && self.touches_nothing(&series)? {
            self.borrow(shown_of(&series)).await;
        }
        let fresh = !self.skip && !self.borrowed && self.tx == Tx::Idle && !self.entered && ends;
        let want = if fresh { self.wanted(&series)? } else { Want::Write };
        // Whoever may not write is told so.
        if want != Want::Read || self.settings.read_only {
            return self.series(&series, want).await;
        }
        // It may turn out to write: then everything is forgotten and done again.
        let mark = self.wire.output.len();
        let unnamed = self.unnamed.clone();
        let named = self.named(&series)?;
        let bound = self.first_bound(&series)?;
        let shown = bound.as_ref().map_or_else(|| shown_of(&series), |prepared| &prepared.shown);
        if self.enter(want, shown).await? == Went::Well
            && let Some(turn) = &mut self.turn
        {
            turn.start();
            turn.may_retry = true;
        }
        self.series(&series, want).await?;
        if let Some(turn) = &mut self.turn
            && std::mem::take(&mut turn.answer.refused)
        {
            turn.undo();
            turn.unnamed = None;
            // Outside a transaction there were no portals before.
            self.portals.clear();
            self.unnamed = unnamed;
            for name in named {
                self.statements.remove(&name);
            }
            self.entered = false;
            self.skip = false;
            self.wire.output.truncate(mark);
            return self.series(&series, Want::Write).await;
        }
        Ok(())
    }

    /// The statements that a series prepares and that were not there before.
    fn named(&self, series: &[Frame]) -> Result<Vec<Bytes>, Stop> {
        let mut named = Vec::new();
        for frame in series.iter().filter(|frame| frame.tag() == b'P') {
            let name = Fields(frame.body()).string()?;
            if !name.is_empty() && !self.statements.contains_key(name) {
                named.push(frame.bytes.slice_ref(name));
            }
        }
        Ok(named)
    }

    /// The statement that a series binds first, where it was prepared before.
    fn first_bound(&self, series: &[Frame]) -> Result<Option<Arc<Prepared>>, Stop> {
        let bind = series.iter().find(|frame| matches!(frame.tag(), b'P' | b'B'));
        let Some(bind) = bind.filter(|frame| frame.tag() == b'B') else { return Ok(None) };
        let mut fields = Fields(bind.body());
        fields.string()?;
        Ok(match fields.string()? {
            b"" => self.unnamed.clone(),
            name => self.statements.get(name).cloned(),
        })
    }

    /// What a series that ends with Sync may do, all in all.
    fn wanted(&self, series: &[Frame]) -> Result<Want, Stop> {
        let mut parsed: Vec<(&[u8], Kind)> = Vec::new();
        let mut bound: Vec<(&[u8], Kind)> = Vec::new();
        let mut want = Want::Read;
        for frame in series {
            let mut fields = Fields(frame.body());
            match frame.tag() {
                b'P' => {
                    let (name, text) = (fields.string()?, fields.string()?);
                    let kind = first_statement(&statement::lexable(text)).kind;
                    parsed.push((name, kind));
                }
                b'B' => {
                    let (portal, name) = (fields.string()?, fields.string()?);
                    let kind = match parsed.iter().rev().find(|(parsed, _)| *parsed == name) {
                        Some((_, kind)) => Some(kind),
                        None if name.is_empty() => self.unnamed.as_ref().map(|prepared| &prepared.kind),
                        None => self.statements.get(name).map(|prepared| &prepared.kind),
                    };
                    bound.push((portal, kind.cloned().unwrap_or(Kind::Read)));
                }
                b'E' => {
                    let name = fields.string()?;
                    let kind = bound.iter().rev().find(|(portal, _)| *portal == name).map(|(_, kind)| kind);
                    match kind {
                        Some(Kind::Read) => {}
                        Some(kind) if kind.of_the_session() && bound.len() == 1 => want = Want::Session,
                        _ => return Ok(Want::Write),
                    }
                }
                _ => {}
            }
        }
        Ok(want)
    }

    /// Whether a series only prepares statements, or runs some that select literals.
    fn touches_nothing(&self, series: &[Frame]) -> Result<bool, Stop> {
        let mut constant = false;
        for frame in series {
            let mut fields = Fields(frame.body());
            match frame.tag() {
                b'P' => {
                    fields.string()?;
                    constant = first_statement(&statement::lexable(fields.string()?)).constant;
                }
                b'B' => {
                    fields.string()?;
                    let name = fields.string()?;
                    if let Some(prepared) = self.statements.get(name) {
                        constant = prepared.constant;
                    }
                }
                b'E' if !constant => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }

    async fn series(&mut self, series: &[Frame], want: Want) -> Result<(), Stop> {
        for (at, frame) in series.iter().enumerate() {
            if self.skip && frame.tag() != b'S' {
                continue;
            }
            let copies = frame.tag() == b'E' && self.copies(frame)?;
            match frame.tag() {
                b'P' => self.parse(frame, want).await?,
                b'B' => self.bind(frame, want).await?,
                b'D' => self.describe(frame, want).await?,
                b'E' => self.execute(frame, want).await?,
                b'C' => self.close(frame).await?,
                b'H' => self.flush_messages().await?,
                _ => self.sync().await?,
            }
            if copies && self.turn.as_ref().is_some_and(|turn| turn.waits()) {
                // While it copies, the server ends the connection on any other message: what
                // follows is looked at when it is known whether it does.
                let rest: Vec<&[u8]> = series[at + 1..].iter().map(|frame| &frame.bytes[..]).collect();
                let input = std::mem::replace(&mut self.wire.input, BytesMut::from(&rest.concat()[..]));
                self.wire.input.unsplit(input);
                return self.flush_messages().await;
            }
        }
        // A long series is worked on as it comes.
        if self.turn.as_ref().is_some_and(|turn| turn.waits() && turn.upstream.wire.output.len() > SERIES) {
            self.flush_messages().await?;
        }
        Ok(())
    }

    /// Whether an Execute runs a COPY.
    fn copies(&self, frame: &Frame) -> Result<bool, Stop> {
        let name = Fields(frame.body()).string()?;
        Ok(self.portals.get(name).is_some_and(|portal| portal.prepared.copies))
    }

    /// An error of our own, in its place behind the answers to what came before.
    async fn refuse(&mut self, report: &Report) -> Result<(), Stop> {
        if self.synchronize().await? == Went::Well {
            self.fail(report);
            self.skip = true;
        }
        Ok(())
    }

    /// Waits until the server has answered all so far. `Wrong` if something failed: the client
    /// knows, and everything up to its Sync is dropped.
    pub(crate) async fn synchronize(&mut self) -> Result<Went, Stop> {
        let Some(turn) = &mut self.turn else { return Ok(Went::Well) };
        if !turn.unsynced && !turn.waits() {
            return Ok(Went::Well);
        }
        turn.send_sync();
        self.pump().await?;
        Ok(self.answered())
    }

    /// Draws the conclusions from the server's answers.
    pub(crate) fn answered(&mut self) -> Went {
        let Some(turn) = &mut self.turn else { return Went::Well };
        for name in std::mem::take(&mut turn.answer.unmade_statements) {
            self.statements.remove(&name);
        }
        if std::mem::take(&mut turn.answer.unmade_unnamed) {
            // The server may have the one before it, which nobody looked at for this Bind.
            turn.unnamed = None;
            self.unnamed = None;
        }
        for name in std::mem::take(&mut turn.answer.unmade_portals) {
            self.portals.remove(&name);
        }
        let own = turn.answer.own_error.take().is_some();
        if own && turn.answer.error.is_none() {
            turn.blame_own(&mut self.wire.output);
        }
        let wrong = own | turn.answer.error.take().is_some() | turn.answer.refused;
        if wrong {
            self.failed();
            self.skip = true;
            return Went::Wrong;
        }
        Went::Well
    }

    async fn enter_series(&mut self, want: Want, shown: &str) -> Result<Went, Stop> {
        let fresh = !self.entered;
        let waits = self.turn.as_ref().is_some_and(|turn| turn.waits() || turn.unsynced);
        if fresh && waits {
            // Between two series nothing is on its way.
            self.synchronize().await?;
        }
        if self.enter(want, shown).await? == Went::Wrong {
            self.skip = true;
            return Ok(Went::Wrong);
        }
        Ok(Went::Well)
    }

    async fn parse(&mut self, frame: &Frame, want: Want) -> Result<(), Stop> {
        let mut fields = Fields(frame.body());
        let (name, text) = (fields.string()?, fields.string()?);
        let rest = fields.0;
        let name = frame.bytes.slice_ref(name);
        let lexable = statement::lexable(text);
        let Statement { kind, schema_change, constant, copies, .. } = first_statement(&lexable);
        let ends = matches!(kind, Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_));
        if name.is_empty() {
            // Also where this one fails.
            self.unnamed = None;
        }
        if self.tx == Tx::Failed && !ends {
            return self.refuse(&aborted()).await;
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            let words = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(&name));
            return self.refuse(&Report::error("42P05", words)).await;
        }
        if self.enter_series(want, &lexable).await? == Went::Wrong {
            return Ok(());
        }
        // A name that stands in the text is replaced by the server's.
        let mut text = std::borrow::Cow::Borrowed(text);
        let named = match &kind {
            Kind::Execute(range, name) | Kind::Deallocate(Some((range, name))) => {
                match self.server_name(&kind, name) {
                    Ok(server) => Some((range.clone(), server)),
                    // That there is none is an error when it runs. Names of the server's are another's.
                    Err(_)
                        if !self.statements.contains_key(name.as_bytes()) && !name.starts_with("dbtest_") =>
                    {
                        None
                    }
                    Err(report) => return self.refuse(&report).await,
                }
            }
            _ => None,
        };
        if let Some((range, server)) = named {
            text = [&text[..range.start], server.as_bytes(), &text[range.end..]].concat().into();
        }
        let Some(turn) = &mut self.turn else { return Ok(()) };
        let server = if name.is_empty() { String::new() } else { turn.name() };
        let mut message = BytesMut::new();
        rename(&mut message, b'P', &[server.as_bytes(), &text], rest);
        let message = message.freeze();
        turn.send_parse(&message, (!name.is_empty()).then(|| name.clone()), false);
        let shown = lexable.into_owned();
        let prepared = Prepared { server, kind, shown, schema_change, constant, copies, parse: message };
        let prepared = Arc::new(prepared);
        if name.is_empty() {
            turn.unnamed = Some(self.peer.id);
            self.unnamed = Some(prepared);
        } else {
            self.statements.insert(name, prepared);
        }
        Ok(())
    }

    async fn bind(&mut self, frame: &Frame, want: Want) -> Result<(), Stop> {
        let bind = read_bind(frame)?;
        let prepared = if bind.statement.is_empty() {
            self.unnamed.clone()
        } else {
            self.statements.get(&bind.statement).cloned()
        };
        let Some(prepared) = prepared else {
            return self.refuse(&no_statement(&String::from_utf8_lossy(&bind.statement))).await;
        };
        let ends = matches!(prepared.kind, Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_));
        if self.tx == Tx::Failed && !ends {
            return self.refuse(&aborted()).await;
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            let words = format!("cursor \"{}\" already exists", String::from_utf8_lossy(&bind.portal));
            return self.refuse(&Report::error("42P03", words)).await;
        }
        if self.enter_series(want, &prepared.shown).await? == Went::Wrong {
            return Ok(());
        }
        let id = self.peer.id;
        let Some(turn) = &mut self.turn else { return Ok(()) };
        if bind.statement.is_empty() && turn.unnamed != Some(id) {
            turn.send_parse(&prepared.parse, None, true);
            turn.unnamed = Some(id);
        }
        // The unnamed portal of a borrowed turn is its owner's, and a query of our own would end it
        // before a statement that needs one has run.
        let unnamed = bind.portal.is_empty() && !self.borrowed && !prepared.kind.special();
        // A portal has the client's name for it, since SQL can name it too: MOVE, FETCH. Only one
        // client has portals at a time.
        let server = match std::str::from_utf8(&bind.portal) {
            _ if unnamed => String::new(),
            Ok(name) if !name.is_empty() && !self.borrowed && !prepared.kind.special() => name.to_owned(),
            _ => turn.name(),
        };
        let mut message = BytesMut::new();
        rename(&mut message, b'B', &[server.as_bytes(), prepared.server.as_bytes()], &bind.rest);
        turn.send_bind(&message, (!bind.portal.is_empty()).then(|| bind.portal.clone()), false);
        let parameters = match prepared.kind {
            Kind::Set(_) | Kind::PgNotify(..) => parameters(&bind.rest)?,
            _ => Vec::new(),
        };
        if let Some(old) = self
            .portals
            .insert(bind.portal, Portal { server, prepared, parameters, rest: bind.rest, done: false })
            && !old.server.is_empty()
        {
            turn.send_close(b'P', &old.server, true);
        }
        Ok(())
    }

    async fn describe(&mut self, frame: &Frame, want: Want) -> Result<(), Stop> {
        let (variant, name) = target(frame)?;
        let server = match variant {
            b'S' if name.is_empty() => {
                let id = self.peer.id;
                let Some(prepared) = self.unnamed.clone() else {
                    return self.refuse(&no_statement("")).await;
                };
                if self.enter_series(want, &prepared.shown).await? == Went::Wrong {
                    return Ok(());
                }
                if let Some(turn) = &mut self.turn
                    && turn.unnamed != Some(id)
                {
                    turn.send_parse(&prepared.parse, None, true);
                    turn.unnamed = Some(id);
                }
                String::new()
            }
            b'S' => match self.statements.get(name) {
                Some(prepared) => prepared.server.clone(),
                None => return self.refuse(&no_statement(&String::from_utf8_lossy(name))).await,
            },
            _ => match self.portals.get(name) {
                Some(portal) => portal.server.clone(),
                // A cursor that DECLARE made is a portal too.
                None => match std::str::from_utf8(name) {
                    Ok(name) if self.at_commit.cursors.contains(name) || self.held_cursors.contains(name) => {
                        name.to_owned()
                    }
                    _ => return self.refuse(&no_portal(name)).await,
                },
            },
        };
        let prepared = match variant {
            b'S' if name.is_empty() => self.unnamed.as_ref(),
            b'S' => self.statements.get(name),
            _ => self.portals.get(name).map(|portal| &portal.prepared),
        };
        let ends = prepared.is_some_and(|prepared| {
            matches!(prepared.kind, Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_))
        });
        if self.tx == Tx::Failed && !ends {
            return self.refuse(&aborted()).await;
        }
        if self.enter_series(want, "a description").await? == Went::Wrong {
            return Ok(());
        }
        if let Some(turn) = &mut self.turn {
            turn.send_describe(variant, &server);
        }
        Ok(())
    }

    async fn execute(&mut self, frame: &Frame, want: Want) -> Result<(), Stop> {
        let mut fields = Fields(frame.body());
        let (name, rows) = (fields.string()?, fields.i32()?);
        let Some(portal) = self.portals.get(name).cloned() else {
            return self.refuse(&no_portal(name)).await;
        };
        let prepared = &portal.prepared;
        if !prepared.kind.special() {
            if self.tx == Tx::Failed {
                return self.refuse(&aborted()).await;
            }
            if self.enter_series(want, &prepared.shown).await? == Went::Wrong {
                return Ok(());
            }
            if let Some(turn) = &mut self.turn {
                if prepared.schema_change {
                    turn.schema_changed();
                }
                turn.send_execute(&portal.server, rows);
            }
            return Ok(());
        }
        if self.synchronize().await? == Went::Wrong {
            return Ok(());
        }
        if portal.done {
            // One with rows is at its end; others can't be run again.
            if statement::begins(&prepared.shown, "select") {
                message::complete(&mut self.wire.output, "SELECT 0");
                return Ok(());
            }
            let words = format!("portal \"{}\" cannot be run", String::from_utf8_lossy(name));
            return self.refuse(&Report::error("55000", words)).await;
        }
        if let Some(portal) = self.portals.get_mut(name) {
            portal.done = true;
        }
        // It is bound again before it runs. One that was bound in a failed transaction must not be
        // there when that is rolled back.
        if let Some(turn) = &mut self.turn
            && !portal.server.is_empty()
        {
            turn.send_close(b'P', &portal.server, true);
        }
        match self.before(&prepared.kind, &prepared.shown, &portal.parameters).await? {
            Before::Replied(Went::Well) => {}
            Before::Replied(Went::Wrong) => self.skip = true,
            Before::Run(want, rewritten) => {
                if self.enter_series(want, &prepared.shown).await? == Went::Wrong {
                    return Ok(());
                }
                let id = self.peer.id;
                let Some(turn) = &mut self.turn else { return Ok(()) };
                turn.start();
                match &rewritten {
                    // PREPARE got its name just now: it runs as a query of its own.
                    Some((range, server)) if matches!(prepared.kind, Kind::Prepare(..)) => {
                        let shown = &prepared.shown;
                        let text = [&shown[..range.start], server, &shown[range.end..]].concat();
                        let mut message = BytesMut::new();
                        crate::session::query(&text, &mut message);
                        turn.send_query(&message);
                    }
                    _ => {
                        // What we ran in between may have ended its portal: it is bound again.
                        let again = turn.name();
                        if prepared.server.is_empty() {
                            // The unnamed statement may be another by now, of this client too.
                            let same = self.unnamed.as_ref().is_some_and(|now| Arc::ptr_eq(now, prepared));
                            if !same || turn.unnamed != Some(id) {
                                turn.send_parse(&prepared.parse, None, true);
                                turn.unnamed = same.then_some(id);
                            }
                        }
                        let mut message = BytesMut::new();
                        let names = [again.as_bytes(), prepared.server.as_bytes()];
                        rename(&mut message, b'B', &names, &portal.rest);
                        turn.send_bind(&message, None, true);
                        turn.send_execute(&again, rows);
                        turn.send_sync();
                    }
                }
                self.noting = true;
                self.pump().await?;
                self.noting = false;
                if self.answered() == Went::Well {
                    let server = rewritten.map(|(_, server)| server);
                    self.after(&prepared.kind, server, &portal.parameters);
                }
            }
        }
        Ok(())
    }

    async fn close(&mut self, frame: &Frame) -> Result<(), Stop> {
        let (variant, name) = target(frame)?;
        let server = match variant {
            b'S' if name.is_empty() => {
                self.unnamed = None;
                None
            }
            b'S' => self.statements.remove(name).map(|prepared| prepared.server.clone()),
            _ => self.portals.remove(name).map(|portal| portal.server),
        };
        let server = server.filter(|server| !server.is_empty());
        match server {
            // Closing needs no transaction, but its place among the answers.
            Some(server) if self.tx != Tx::Failed => {
                if self.enter_series(Want::Session, "a close").await? == Went::Well
                    && let Some(turn) = &mut self.turn
                {
                    turn.send_close(variant, &server, false);
                }
            }
            _ => {
                if self.synchronize().await? == Went::Well {
                    message::close_complete(&mut self.wire.output);
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn flush_messages(&mut self) -> Result<(), Stop> {
        if let Some(turn) = &mut self.turn
            && turn.waits()
        {
            turn.send_flush();
            self.pump().await?;
            let prepares = self.tx == Tx::Idle && self.portals.is_empty() && !self.borrowed;
            if self.answered() == Went::Well && prepares && self.synchronize().await? == Went::Well {
                // Statements were prepared and nothing ran: others need not wait for the Sync.
                self.commit_block().await?;
                self.settle().await?;
            }
        }
        self.wire.flush().await?;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Stop> {
        let went = self.synchronize().await?;
        let refused = self.turn.as_ref().is_some_and(|turn| turn.answer.refused);
        if refused {
            // The whole series is done again.
            return Ok(());
        }
        if went == Went::Well && !self.skip && self.tx == Tx::Idle {
            self.commit_block().await?;
        }
        self.skip = false;
        self.settle().await?;
        self.ready();
        Ok(())
    }
}

fn shown_of(series: &[Frame]) -> &str {
    let text = series.iter().find(|frame| frame.tag() == b'P').and_then(|frame| {
        let mut fields = Fields(frame.body());
        fields.string().ok()?;
        std::str::from_utf8(fields.string().ok()?).ok()
    });
    text.unwrap_or("a prepared statement")
}

/// The statement of a Parse. Of several the server says that there may be only one.
fn first_statement(text: &str) -> Statement {
    let mut statements = statement::statements(text);
    if statements.len() == 1 {
        return statements.remove(0);
    }
    Statement { range: 0..text.len(), kind: Kind::Read, schema_change: false, constant: false, copies: false }
}

/// A message with other strings at its head.
fn rename(out: &mut BytesMut, tag: u8, strings: &[&[u8]], rest: &[u8]) {
    let length = 4 + strings.iter().map(|string| string.len() + 1).sum::<usize>() + rest.len();
    out.reserve(length + 1);
    out.extend_from_slice(&[tag]);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    for string in strings {
        out.extend_from_slice(string);
        out.extend_from_slice(&[0]);
    }
    out.extend_from_slice(rest);
}

fn read_bind(frame: &Frame) -> Result<Bind, Malformed> {
    let mut fields = Fields(frame.body());
    let portal = frame.bytes.slice_ref(fields.string()?);
    let statement = frame.bytes.slice_ref(fields.string()?);
    Ok(Bind { portal, statement, rest: frame.bytes.slice_ref(fields.0) })
}

/// The parameters of a Bind that are UTF-8: text has the same bytes in both formats.
fn parameters(rest: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    let mut fields = Fields(rest);
    let formats = fields.u16()?;
    fields.bytes(usize::from(formats) * 2)?;
    let count = fields.u16()?;
    let mut parameters = Vec::new();
    for _ in 0..count {
        let length = fields.i32()?;
        parameters.push(match usize::try_from(length) {
            Ok(length) => String::from_utf8(fields.bytes(length)?.to_vec()).ok(),
            Err(_) => None,
        });
    }
    Ok(parameters)
}

/// What Describe and Close speak of.
fn target(frame: &Frame) -> Result<(u8, &[u8]), Malformed> {
    let mut fields = Fields(frame.body());
    let [variant] = fields.take::<1>()?;
    if !matches!(variant, b'S' | b'P') {
        return Err(Malformed("target of DESCRIBE or CLOSE"));
    }
    Ok((variant, fields.string()?))
}

fn no_portal(name: &[u8]) -> Report {
    Report::error("34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
}
