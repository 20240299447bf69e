//! One client of a sandbox: from its startup to its end, and the transaction it believes in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::task::JoinHandle;

use crate::extended::{Portal, Prepared};
use crate::handshake::{self, Opening, Startup};
use crate::message::{self, Report};
use crate::runtime::{By, Look};
use crate::sandbox;
use crate::session::{self, DOUBT, SET_READ_ONLY, Want};
use crate::settings::Settings;
use crate::shared::{Denied, Notification, Peer, Shared, Turn};
use crate::special::Before;
use crate::statement::{self, Kind};
use crate::wire::{Frame, Malformed, Stream, Wire, frame_length, take_frame};

/// How much of a client's input is read ahead while its statement runs.
const AHEAD: usize = 256 * 1024;

/// So much of a result goes to the client in one piece, if it comes quickly.
const PIECE: usize = 32 * 1024;

/// How much may wait for a client before it is asked for more.
const MOST_UNREAD: usize = 256 * 1024;

/// The longest answer to a request for a password, as Postgres has it.
const LONGEST_PASSWORD: usize = 65_535;

/// How long a cancel request has before it is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// How much COPY data may wait for the server.
const MOST_COPIED: usize = 256 * 1024;

/// Why a client's connection ends.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is gone, or said goodbye.
    Gone,
    /// It is told why.
    Fatal(Report),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Fatal(Report::fatal("08P01", malformed.to_string()))
    }
}

/// The transaction as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tx {
    Idle,
    Open,
    Failed,
}

impl Tx {
    fn status(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}

/// How a statement of the client went. The client knows already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    Well,
    Wrong,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Arc<Peer>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    pub(crate) turn: Option<Turn>,
    /// It is another client's, who waits for its application.
    pub(crate) borrowed: bool,
    pub(crate) tx: Tx,
    /// Something ran since the transaction, or the block that is none, began.
    pub(crate) entered: bool,
    /// The transaction may not write.
    pub(crate) read_only: bool,
    /// After an error everything up to Sync is dropped.
    pub(crate) skip: bool,
    pub(crate) statements: BTreeMap<Bytes, Arc<Prepared>>,
    pub(crate) unnamed: Option<Arc<Prepared>>,
    pub(crate) portals: BTreeMap<Bytes, Portal>,
    pub(crate) settings: Settings,
    /// Cursors that outlive their transaction.
    pub(crate) held_cursors: BTreeSet<String>,
    /// Temporary tables that each commit empties.
    pub(crate) emptied: BTreeSet<String>,
    /// What the transaction's commit has to do.
    pub(crate) at_commit: AtCommit,
    /// What runs is noted when it is over: a SET, a PREPARE.
    pub(crate) noting: bool,
    /// Its text has other statements, and not only of the session.
    pub(crate) several: bool,
    /// Nobody reads what is written.
    gone: bool,
    /// The client sends nothing more. It may still read.
    ended: bool,
    cancelling: Option<JoinHandle<io::Result<()>>>,
}

/// What has to be done when a client's transaction commits, and is dropped when it does not.
#[derive(Debug, Default)]
pub(crate) struct AtCommit {
    /// In order, with the savepoints between them.
    pub(crate) pending: Vec<Pending>,
    /// Cursors that end with the transaction.
    pub(crate) cursors: BTreeSet<String>,
    /// RESET ALL came before these.
    pub(crate) reset: bool,
    /// Parameters that SET changed: their new values are the client's from here on.
    pub(crate) changed: BTreeSet<String>,
    /// Those among them that are back to what they were at first.
    pub(crate) default: BTreeSet<String>,
    /// Parameters that SET LOCAL changed, with their values before.
    pub(crate) local: BTreeMap<String, String>,
}

/// What waits for the commit.
#[derive(Debug)]
pub(crate) enum Pending {
    Listen(String),
    Unlisten(Option<String>),
    Notify(Notification),
    /// A temporary table that was made with ON COMMIT.
    Temporary {
        table: String,
        drop: bool,
    },
    /// A savepoint stands here.
    Savepoint(String),
}

/// Serves a client to its end.
pub(crate) async fn serve(stream: Stream, peer: Arc<Peer>, shared: Arc<Shared>) {
    let mut client = Client {
        peer,
        shared,
        wire: Wire::new(stream),
        turn: None,
        borrowed: false,
        tx: Tx::Idle,
        entered: false,
        read_only: false,
        skip: false,
        statements: BTreeMap::new(),
        unnamed: None,
        portals: BTreeMap::new(),
        settings: Settings::default(),
        held_cursors: BTreeSet::new(),
        emptied: BTreeSet::new(),
        at_commit: AtCommit::default(),
        noting: false,
        several: false,
        gone: false,
        ended: false,
        cancelling: None,
    };
    let stop = match client.live().await {
        Ok(never) => match never {},
        Err(stop) => stop,
    };
    if let Stop::Fatal(report) = stop {
        report.write(&mut client.wire.output);
    }
    // Nothing of what is cleared away now is for the client, and its last words have time.
    let last = std::mem::take(&mut client.wire.output);
    let reads = !std::mem::replace(&mut client.gone, true);
    client.abandon().await;
    client.shared.leave(client.peer.id);
    if reads {
        client.wire.output = last;
        client.wire.shut().await;
    }
}

impl Client {
    async fn live(&mut self) -> Result<std::convert::Infallible, Stop> {
        let startup = self.log_in().await?;
        self.greet(startup)?;
        loop {
            let frame = self.frame().await?;
            match frame.tag() {
                b'Q' => self.simple(&frame).await?,
                b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'S' => self.extended(frame).await?,
                b'F' => self.function_call(&frame).await?,
                b'X' => return Err(Stop::Gone),
                // For a COPY that was executed and that nobody has asked about yet.
                b'd' | b'c' | b'f' if self.turn.as_ref().is_some_and(|turn| turn.waits()) => {
                    let rest = std::mem::replace(&mut self.wire.input, BytesMut::from(&frame.bytes[..]));
                    self.wire.input.unsplit(rest);
                    self.flush_messages().await?;
                }
                // What is left of a COPY that failed.
                b'd' | b'c' | b'f' => {}
                tag => {
                    return Err(Stop::Fatal(Report::fatal(
                        "08P01",
                        format!("invalid frontend message type {tag}"),
                    )));
                }
            }
        }
    }

    async fn log_in(&mut self) -> Result<Startup, Stop> {
        let startup = loop {
            let packet = self.packet().await?;
            match handshake::read(&packet)? {
                Opening::Encryption => {
                    self.wire.output.extend_from_slice(b"N");
                    self.wire.flush().await?;
                }
                Opening::Cancel { id, secret } => {
                    if let Some(peer) = self.shared.find(id, secret) {
                        peer.cancel();
                    }
                    return Err(Stop::Gone);
                }
                Opening::Startup(startup) => break startup,
            }
        };
        if startup.replication {
            return Err(Stop::Fatal(Report::fatal("0A000", "a sandbox has no replication")));
        }
        message::authentication(&mut self.wire.output, 3);
        let frame = self.password().await?;
        let password = frame.body().strip_suffix(b"\0").unwrap_or_default();
        let right = frame.tag() == b'p'
            && startup.user == self.shared.user
            && constant_time_eq(password, self.shared.password.as_bytes());
        if !right {
            let words = format!("password authentication failed for user \"{}\"", startup.user);
            let hint = "dbtest: connect with the URL that TestDb::url gives; it ends with its test";
            return Err(Stop::Fatal(Report::fatal("28P01", words).hint(hint)));
        }
        let database = startup.database.as_ref().unwrap_or(&startup.user);
        if *database != self.shared.database {
            let words = format!("database \"{database}\" is not the one of this sandbox");
            let hint = format!("dbtest: the sandbox has {} and no other", self.shared.database);
            return Err(Stop::Fatal(Report::fatal("3D000", words).hint(hint)));
        }
        Ok(startup)
    }

    /// The message after the startup. Nobody may send much before it is known who it is.
    async fn password(&mut self) -> Result<Frame, Stop> {
        loop {
            if frame_length(&self.wire.input).is_some_and(|length| length.is_ok_and(|l| l > LONGEST_PASSWORD))
            {
                return Err(Malformed("message length").into());
            }
            if let Some(frame) = take_frame(&mut self.wire.input)? {
                return Ok(frame);
            }
            self.wait_for_input().await?;
        }
    }

    async fn packet(&mut self) -> Result<BytesMut, Stop> {
        loop {
            if let Some(length) = handshake::packet_length(&self.wire.input) {
                let length = length?;
                if self.wire.input.len() >= length {
                    return Ok(self.wire.input.split_to(length));
                }
            }
            self.wait_for_input().await?;
        }
    }

    fn greet(&mut self, startup: Startup) -> Result<(), Stop> {
        let out = &mut self.wire.output;
        if startup.newer || !startup.unknown.is_empty() {
            let unknown: Vec<_> = startup.unknown.iter().map(String::as_str).collect();
            message::negotiate(out, &unknown);
        }
        message::authentication(out, 0);
        let parameters = &self.shared.parameters;
        for (name, value) in parameters {
            let value = match name.as_str() {
                // Whether a statement may write is our affair.
                "default_transaction_read_only" | "in_hot_standby" => "off",
                "client_encoding" if wants_utf8(&startup) => "UTF8",
                _ => startup.settings.get(&name.to_ascii_lowercase()).unwrap_or(value),
            };
            message::parameter(out, name, value);
        }
        message::key(out, self.peer.id, self.peer.secret);
        message::ready(out, b'I');
        self.settings = Settings::new(startup.settings);
        Ok(())
    }

    /// The next message. While there is none, the client hears of notifications and of the end.
    async fn frame(&mut self) -> Result<Frame, Stop> {
        loop {
            if let Some(frame) = take_frame(&mut self.wire.input)? {
                return Ok(frame);
            }
            self.wait_for_input().await?;
        }
    }

    async fn wait_for_input(&mut self) -> Result<(), Stop> {
        let mut parked = false;
        let serves = self.turn.as_ref().is_some_and(|turn| turn.waits());
        if let Some(turn) = &self.turn {
            self.shared.holds(self.peer.id, self.settings.application(), &turn.running, true);
            if turn.lends()
                && let Some(turn) = self.turn.take()
            {
                parked = true;
                self.shared.park(turn);
            }
        }
        let waited = self.wait(parked).await;
        if parked {
            self.turn = Some(self.shared.unpark().await);
        }
        if serves {
            // What failed meanwhile: the rest up to Sync is dropped.
            self.answered();
        }
        waited
    }

    async fn wait(&mut self, parked: bool) -> Result<(), Stop> {
        let mut look = Look::new(By::Client);
        loop {
            if self.peer.stopped() {
                let words = "terminating connection: the test of this sandbox is over";
                return Err(Stop::Fatal(Report::fatal("57P01", words)));
            }
            // A cancel request that comes while nothing runs is no one's.
            if self.peer.cancelled()
                && let Some(turn) = &self.turn
                && turn.works_for_client()
                && self.cancelling.as_ref().is_none_or(JoinHandle::is_finished)
            {
                self.cancelling = Some(sandbox::cancel(turn));
            }
            let delivers = self.tx == Tx::Idle && self.turn.is_none() && !parked;
            if delivers {
                self.deliver();
            }
            let (peer, wire, turn) = (&self.peer, &mut self.wire, &mut self.turn);
            let mut woken = std::pin::pin!(peer.wake.notified());
            let read = std::future::poll_fn(|cx| {
                loop {
                    // A server works on what it has, and says what its buffer does not hold, before
                    // it is told to by a Sync.
                    if let Some(turn) = turn
                        && turn.waits()
                        && let Poll::Ready(Err(error)) = turn.poll(cx, &mut wire.output)
                    {
                        return Poll::Ready(Err(server_gone(error)));
                    }
                    if let Poll::Ready(Err(error)) = wire.poll_write(cx) {
                        return Poll::Ready(Err(Stop::from(error)));
                    }
                    // Who does not read its answers is asked for nothing more.
                    let asks = wire.output.len() <= MOST_UNREAD;
                    if asks && let Poll::Ready(read) = wire.poll_read(cx) {
                        return Poll::Ready(read.map(Some).map_err(Stop::from));
                    }
                    if woken.as_mut().poll(cx).is_ready() || peer.has_news(delivers) {
                        return Poll::Ready(Ok(None));
                    }
                    if !asks || look.finds(cx, || wire.look()).is_none() {
                        return Poll::Pending;
                    }
                }
            })
            .await?;
            match read {
                Some(0) => return Err(Stop::Gone),
                Some(_) => return Ok(()),
                None => {}
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(notification) = self.peer.notification() {
            let Notification { from, channel, payload } = &notification;
            message::notification(&mut self.wire.output, *from, channel, payload);
        }
    }

    /// Tells the client that it may go on.
    pub(crate) fn ready(&mut self) {
        if self.tx == Tx::Idle {
            self.deliver();
        }
        message::ready(&mut self.wire.output, self.tx.status());
    }

    /// Takes the turn, if it is not this client's, and prepares the server for what comes.
    pub(crate) async fn enter(&mut self, want: Want, running: &str) -> Result<Went, Stop> {
        if self.borrowed {
            return Ok(Went::Well);
        }
        if self.turn.is_none() {
            match self.take_turn(running, false).await {
                Ok(()) => {}
                Err(Denied::Deadlock(report)) => return Ok(self.fail(&report)),
                Err(Denied::Cancelled) => {
                    let words = "canceling statement due to user request";
                    return Ok(self.fail(&Report::error("57014", words)));
                }
                Err(Denied::Stopped) => {
                    let words = "terminating connection: the test of this sandbox is over";
                    return Err(Stop::Fatal(Report::fatal("57P01", words)));
                }
            }
        }
        let Some(turn) = &mut self.turn else { return Ok(Went::Wrong) };
        turn.running.clear();
        turn.running.push_str(running);
        self.shared.holds(self.peer.id, self.settings.application(), running, false);
        if let Some(reason) = &turn.lost {
            let words = format!("dbtest: the transaction of this test's sandbox is gone: {reason}");
            return Err(Stop::Fatal(Report::fatal("57P01", words)));
        }
        if self.entered {
            return Ok(Went::Well);
        }
        if turn.stale {
            turn.renew().await.map_err(server_gone)?;
        }
        // What the last statement was answered is not this one's.
        turn.start();
        turn.listened |= self.shared.listened();
        if turn.applied != *self.settings.wanted() {
            let wanted = self.settings.wanted().clone();
            if let Some(sql) = Settings::switch(&turn.applied, &wanted) {
                turn.enter(Want::Session);
                turn.start();
                if turn.run(&sql).await.map_err(server_gone)?.is_err() {
                    turn.undo();
                    let out = &mut self.wire.output;
                    turn.blame_own(out);
                    return Err(Stop::Gone);
                }
                turn.keep();
            }
            turn.applied = wanted;
        }
        let read_only = self.read_only || (self.tx == Tx::Idle && self.settings.read_only);
        turn.enter(want);
        self.entered = true;
        // A read has done so itself.
        if read_only && turn.begun() && want != Want::Read {
            turn.send_own(SET_READ_ONLY);
        }
        Ok(Went::Well)
    }

    async fn take_turn(&mut self, running: &str, borrows: bool) -> Result<(), Denied> {
        let borrows = borrows.then(|| self.settings.wanted());
        let name = self.settings.application();
        let (turn, borrowed) = self.shared.turn(&self.peer, name, running, borrows).await?;
        (self.turn, self.borrowed) = (Some(turn), borrowed);
        Ok(())
    }

    /// Takes the turn for what touches no data. If it is another client's, a savepoint keeps
    /// whatever fails here from that client's transaction.
    pub(crate) async fn borrow(&mut self, running: &str) {
        if self.turn.is_some() || self.tx != Tx::Idle {
            return;
        }
        // What is denied here is denied again where it can be said.
        if self.take_turn(running, true).await.is_ok()
            && self.borrowed
            && let Some(turn) = &mut self.turn
        {
            turn.start();
            turn.send_own("SAVEPOINT _dbtest_borrow");
        }
    }

    /// Gives a borrowed turn back, as it was.
    async fn give_back(&mut self) -> Result<(), Stop> {
        let Some(mut turn) = self.turn.take() else { return Ok(()) };
        self.borrowed = false;
        for portal in std::mem::take(&mut self.portals).into_values() {
            turn.send_close(b'P', &portal.server, true);
        }
        if turn.unsynced {
            turn.send_sync();
        }
        let sql = "ROLLBACK TO SAVEPOINT _dbtest_borrow; RELEASE SAVEPOINT _dbtest_borrow";
        let ran = turn.run(sql).await;
        self.shared.park(turn);
        ran.map(drop).map_err(server_gone)
    }

    /// Runs the server until it has answered all that was sent, with the client reading along.
    pub(crate) async fn pump(&mut self) -> Result<(), Stop> {
        let mut look = Look::new(By::Server);
        let Self { turn, wire, peer, gone, ended, cancelling, tx, shared, settings, borrowed, .. } = self;
        let Some(turn) = turn else { return Ok(()) };
        let (mut stopped, mut cancelled, mut idle) = (false, false, false);
        let mut again = None;
        let mut copy_failed = false;
        loop {
            let mut woken = std::pin::pin!(peer.wake.notified());
            let done = std::future::poll_fn(|cx| {
                loop {
                    loop {
                        if let Poll::Ready(ready) = turn.poll(cx, &mut wire.output) {
                            return Poll::Ready(ready.map(|()| true));
                        }
                        // From here on the client has seen some of it.
                        if turn.may_retry && wire.output.len() > DOUBT {
                            turn.may_retry = false;
                            continue;
                        }
                        // At the end nobody waits for a client that does not read.
                        *gone |= stopped && wire.output.len() > MOST_UNREAD;
                        if *gone {
                            if !wire.output.is_empty() {
                                wire.output.clear();
                                continue;
                            }
                        } else if !(turn.may_retry || look.looks() && wire.output.len() < PIECE) {
                            let before = wire.output.len();
                            if let Poll::Ready(Err(_)) = wire.poll_write(cx) {
                                *gone = true;
                                continue;
                            }
                            if before > wire.output.len() {
                                continue;
                            }
                        }
                        let full = turn.copy_in && turn.upstream.wire.output.len() > MOST_COPIED;
                        // A piece of a copy is handed on when all of it is there.
                        let ahead = match frame_length(&wire.input) {
                            Some(Ok(length)) if turn.copy_in => length.max(AHEAD),
                            _ => AHEAD,
                        };
                        if !*gone && !*ended && !full && wire.input.len() < ahead {
                            match wire.poll_read(cx) {
                                Poll::Ready(Ok(0)) => *ended = true,
                                Poll::Ready(Err(_)) => *gone = true,
                                Poll::Ready(Ok(_)) => {}
                                Poll::Pending => {
                                    if turn.copy_in
                                        && copy(turn, wire, *gone || *ended || stopped, &mut copy_failed)
                                    {
                                        continue;
                                    }
                                    break;
                                }
                            }
                            if turn.copy_in {
                                copy(turn, wire, *gone || *ended || stopped, &mut copy_failed);
                            }
                            continue;
                        }
                        if turn.copy_in && copy(turn, wire, *gone || *ended || stopped, &mut copy_failed) {
                            continue;
                        }
                        break;
                    }
                    // Whoever leaves an open transaction behind wants nothing of it done.
                    let leaves = (*gone || (*ended && wire.input.is_empty())) && *tx != Tx::Idle;
                    let insists = leaves || stopped;
                    cancelled |= peer.cancelled();
                    // Never our own statements: a savepoint would be missing.
                    let works = turn.works_for_client();
                    // Each request counts: the server forgets one that comes before the statement.
                    let asked = cancelled && cancelling.as_ref().is_none_or(JoinHandle::is_finished);
                    if works && (asked || (insists && cancelling.is_none())) {
                        cancelled = false;
                        *cancelling = Some(sandbox::cancel(turn));
                    }
                    // The server forgets a request that comes before the statement does.
                    while insists && again.get_or_insert_with(pause).as_mut().poll(cx).is_ready() {
                        if works && cancelling.as_ref().is_none_or(JoinHandle::is_finished) {
                            *cancelling = Some(sandbox::cancel(turn));
                        }
                        again = None;
                    }
                    if !stopped && peer.stopped() {
                        return Poll::Ready(Ok(false));
                    }
                    // Who waits for the turn must know whether it is the server or this client that
                    // makes nothing of it.
                    let sent = turn.upstream.wire.output.is_empty();
                    let waits = !*gone && (wire.output.len() > MOST_UNREAD || (turn.copy_in && sent));
                    if waits != idle && !*borrowed {
                        idle = waits;
                        shared.holds(peer.id, settings.application(), &turn.running, idle);
                    }
                    if woken.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(false));
                    }
                    if turn.copy_in {
                        // It is the client's turn to send, and it may wait for what is held back.
                        look.give_up();
                    } else if look.finds(cx, || turn.upstream.wire.look()).is_some() {
                        continue;
                    }
                    if !look.looks() && !*gone && !turn.may_retry && wire.output.len() < PIECE {
                        // What was held back for a larger piece goes now: nothing wakes us for it.
                        if let Poll::Ready(Err(_)) = wire.poll_write(cx) {
                            *gone = true;
                            cx.waker().wake_by_ref();
                        }
                    }
                    return Poll::Pending;
                }
            })
            .await
            .map_err(server_gone)?;
            stopped |= peer.stopped();
            if done {
                break;
            }
        }
        turn.may_retry = false;
        if let Some(cancelling) = cancelling.take() {
            // The signal must not meet what the next client runs.
            let _ = cancelling.await;
        }
        if *gone { Err(Stop::Gone) } else { Ok(()) }
    }

    /// Query: one or more statements.
    async fn simple(&mut self, frame: &Frame) -> Result<(), Stop> {
        // After an error in a series without Sync the server would never answer it.
        if self.skip || self.synchronize().await? == Went::Wrong {
            return Ok(());
        }
        let text = frame.body().strip_suffix(b"\0").ok_or(Malformed("string in message"))?;
        if text.contains(&0) {
            return Err(Malformed("message format").into());
        }
        self.unnamed = None;
        let lexable = statement::lexable(text);
        let statements = statement::statements(&lexable);
        if statements.is_empty() {
            message::empty_query(&mut self.wire.output);
            self.ready();
            return Ok(());
        }
        let plain = statements.iter().all(|s| matches!(s.kind, Kind::Read | Kind::Write));
        if statements.iter().all(|s| s.constant) {
            self.borrow(&lexable).await;
        }
        let mut went = Went::Well;
        if plain && self.tx != Tx::Failed {
            let reads = statements.iter().all(|s| s.kind == Kind::Read);
            let changes = statements.iter().any(|s| s.schema_change);
            let want = if reads && self.tx == Tx::Idle { Want::Read } else { Want::Write };
            went = self.query(&frame.bytes, &lexable, want, changes).await?;
        } else {
            self.several = statements.len() > 1 && !statements.iter().all(|s| s.kind.of_the_session());
            for statement in &statements {
                let one = &text[statement.range.clone()];
                let shown = &lexable[statement.range.clone()];
                went = self.one(one, shown, statement).await?;
                if went == Went::Wrong {
                    break;
                }
            }
            self.several = false;
            if self.tx == Tx::Idle && !self.entered {
                self.read_only = false;
            }
        }
        if went == Went::Well && self.tx == Tx::Idle {
            self.commit_block().await?;
        }
        self.settle().await?;
        self.ready();
        Ok(())
    }

    /// One statement of a text that has others, or that means something here.
    async fn one(
        &mut self,
        text: &[u8],
        shown: &str,
        statement: &statement::Statement,
    ) -> Result<Went, Stop> {
        if let Some(turn) = &mut self.turn {
            turn.release_held(&mut self.wire.output);
        }
        let mark = self.wire.output.len();
        match self.before(&statement.kind, shown, &[]).await? {
            Before::Replied(went) => {
                // The last answer of a text waits for the commit, also where it is our own.
                if went == Went::Well
                    && self.tx == Tx::Idle
                    && self.entered
                    && let Some(turn) = &mut self.turn
                {
                    turn.hold(self.wire.output.split_off(mark.min(self.wire.output.len())));
                }
                Ok(went)
            }
            Before::Run(want, rewritten) => {
                let mut frame = BytesMut::new();
                match &rewritten {
                    Some((range, name)) => {
                        let start = statement.range.start;
                        let (from, to) = (range.start - start, range.end - start);
                        simple_query(&[&text[..from], name.as_bytes(), &text[to..]].concat(), &mut frame);
                    }
                    None => simple_query(text, &mut frame),
                }
                self.noting = statement.kind.special();
                let went = self.query(&frame, shown, want, statement.schema_change).await?;
                self.noting = false;
                if went == Went::Well {
                    self.after(&statement.kind, rewritten.map(|(_, name)| name), &[]);
                }
                Ok(went)
            }
        }
    }

    /// Sends a Query and passes its answer on.
    async fn query(&mut self, frame: &[u8], shown: &str, want: Want, changes: bool) -> Result<Went, Stop> {
        let first = !self.entered;
        let mark = self.wire.output.len();
        if self.enter(want, shown).await? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        if let Some(turn) = &self.turn
            && frame.starts_with(b"Q")
            && frame.contains(&b'\\')
            && frame.contains(&b';')
            && let Some(why) = turn.unclear()
        {
            // A COMMIT could hide in what was taken for a string.
            let words = format!("a sandbox does not take a text with both ; and \\ while {why}");
            let hint =
                "dbtest: send its statements one by one, or use the strategy \"template\" for this test";
            let went = self.fail(&Report::error("0A000", words).hint(hint));
            self.pump().await?;
            return Ok(went);
        }
        let alone = first && self.tx == Tx::Idle;
        let Some(turn) = &mut self.turn else { return Ok(Went::Wrong) };
        turn.start();
        turn.may_retry = alone && want == Want::Read && !self.settings.read_only;
        turn.hold_complete = self.tx == Tx::Idle && want == Want::Write && turn.begun();
        if changes {
            turn.schema_changed();
        }
        turn.send_query(frame);
        self.pump().await?;
        let Some(turn) = &mut self.turn else { return Ok(Went::Wrong) };
        if turn.answer.refused {
            turn.undo();
            self.entered = false;
            self.wire.output.truncate(mark);
            return Box::pin(self.query(frame, shown, Want::Write, changes)).await;
        }
        if turn.answer.error.is_some() || turn.answer.own_error.is_some() {
            // Said once: a series after this one has errors of its own.
            if turn.answer.error.take().is_none() {
                turn.blame_own(&mut self.wire.output);
            }
            turn.answer.own_error = None;
            return Ok(self.failed());
        }
        Ok(Went::Well)
    }

    /// The client's statement failed, and the client has been told.
    pub(crate) fn failed(&mut self) -> Went {
        if let Some(turn) = &mut self.turn {
            turn.hold_complete = false;
        }
        if self.tx == Tx::Idle {
            self.take_back();
        } else {
            self.tx = Tx::Failed;
        }
        Went::Wrong
    }

    /// Tells the client of an error.
    pub(crate) fn fail(&mut self, report: &Report) -> Went {
        report.write(&mut self.wire.output);
        self.failed()
    }

    /// What ran since the transaction or block began is taken back.
    pub(crate) fn take_back(&mut self) {
        if self.entered
            && let Some(turn) = &mut self.turn
        {
            turn.undo();
        }
        self.entered = false;
        self.read_only = false;
        self.portals.clear();
        self.at_commit = AtCommit::default();
    }

    /// Commits what ran outside a transaction of the client's.
    pub(crate) async fn commit_block(&mut self) -> Result<Went, Stop> {
        let went = if self.entered { self.commit().await? } else { Went::Well };
        if let Some(turn) = &mut self.turn {
            turn.release_held(&mut self.wire.output);
        }
        Ok(went)
    }

    /// Commits: checks what is deferred, then does what waited for it. The client hears of an
    /// error, and of nothing else.
    pub(crate) async fn commit(&mut self) -> Result<Went, Stop> {
        // After ROLLBACK AND CHAIN what is to be taken back is still there: no time to look.
        let turn = if self.entered { self.turn.as_mut() } else { None };
        let Some(turn) = turn else {
            self.commit_pending();
            self.take_back();
            return Ok(Went::Well);
        };
        if turn.check_deferred().await.map_err(server_gone)?.is_err() {
            turn.blame_own(&mut self.wire.output);
            self.tx = Tx::Idle;
            self.take_back();
            return Ok(Went::Wrong);
        }
        for portal in std::mem::take(&mut self.portals).into_values() {
            if !portal.server.is_empty() {
                turn.send_close(b'P', &portal.server, true);
            }
        }
        if turn.unsynced {
            turn.send_sync();
        }
        if self.commit_session().await? == Went::Wrong || self.commit_temporary().await? == Went::Wrong {
            self.tx = Tx::Idle;
            self.take_back();
            return Ok(Went::Wrong);
        }
        self.hear();
        self.commit_pending();
        if let Some(turn) = &mut self.turn {
            turn.keep();
        }
        self.entered = false;
        self.read_only = false;
        self.at_commit = AtCommit::default();
        if self.turn.as_ref().is_some_and(|turn| turn.waits()) {
            self.pump().await?;
        }
        Ok(Went::Well)
    }

    /// What functions have notified waits for the commit.
    pub(crate) fn hear(&mut self) {
        let Some(turn) = self.turn.as_mut().filter(|_| !self.borrowed) else { return };
        for (channel, payload) in std::mem::take(&mut turn.notified) {
            let notification = Notification { from: self.peer.id, channel, payload };
            self.at_commit.pending.push(Pending::Notify(notification));
        }
    }

    pub(crate) fn commit_pending(&mut self) {
        let mut notifications = Vec::new();
        for pending in std::mem::take(&mut self.at_commit.pending) {
            match pending {
                Pending::Listen(channel) => self.peer.listen(channel),
                Pending::Unlisten(channel) => self.peer.unlisten(channel.as_deref()),
                // The same twice in one transaction is delivered once.
                Pending::Notify(notification) => {
                    if !notifications.contains(&notification) {
                        notifications.push(notification);
                    }
                }
                Pending::Temporary { .. } | Pending::Savepoint(_) => {}
            }
        }
        self.shared.notify(notifications);
    }

    /// Lets the next client have its turn, if this one has nothing open.
    pub(crate) async fn settle(&mut self) -> Result<(), Stop> {
        if self.borrowed {
            return self.give_back().await;
        }
        if self.tx == Tx::Idle && !self.entered && self.turn.is_some() {
            self.shared.let_go();
            self.turn = None;
        }
        Ok(())
    }

    /// FunctionCall, which libpq's large object functions use.
    async fn function_call(&mut self, frame: &Frame) -> Result<(), Stop> {
        // After an error in a series without Sync the server would never answer it.
        if self.skip || self.synchronize().await? == Went::Wrong {
            return Ok(());
        }
        let went = if self.tx == Tx::Failed {
            self.fail(&aborted())
        } else {
            self.query(&frame.bytes, "a function call", Want::Write, false).await?
        };
        if went == Went::Well && self.tx == Tx::Idle {
            self.commit_block().await?;
        }
        self.settle().await?;
        self.ready();
        Ok(())
    }

    /// The client is gone: what it left is taken back, and the next has its turn.
    async fn abandon(&mut self) {
        if let Some(turn) = &mut self.turn {
            let synced = !turn.unsynced;
            if turn.waits() || turn.unsynced {
                if turn.copy_in {
                    let _ = frontend::copy_fail("the client is gone", &mut turn.upstream.wire.output);
                    turn.copy_in = false;
                }
                // What was sent without Sync is only answered after one.
                if turn.unsynced {
                    turn.send_sync();
                }
                // An error means that the server is gone as well, and the session says so.
                let _ = self.pump().await;
            }
            // Whoever left while a statement ran outside a transaction wanted it done if it was. What
            // no Sync came for is taken back, as it is by the server. So is a SET that nobody noted:
            // it was this client's alone.
            let done = self.tx == Tx::Idle
                && synced
                && !self.noting
                && self.turn.as_ref().is_some_and(|turn| {
                    turn.answer.error.is_none() && turn.answer.own_error.is_none() && !turn.answer.refused
                });
            if done && self.entered {
                let _ = self.commit().await;
            }
            self.take_back();
        }
        self.tx = Tx::Idle;
        self.entered = false;
        if let Some(turn) = &mut self.turn {
            if !self.borrowed {
                for prepared in std::mem::take(&mut self.statements).into_values() {
                    turn.send_close(b'S', &prepared.server, true);
                }
            }
            if turn.unsynced {
                turn.send_sync();
                let _ = self.pump().await;
            }
        }
        // If this fails, the server is gone, and the session says so.
        let _ = self.settle().await;
    }
}

fn pause() -> Pin<Box<tokio::time::Sleep>> {
    Box::pin(tokio::time::sleep(AGAIN))
}

/// UTF-8 in one of the ways that Postgres takes it.
fn wants_utf8(startup: &Startup) -> bool {
    startup.settings.get("client_encoding").is_none_or(|name| {
        // Postgres looks at letters and digits only.
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        matches!(name.to_ascii_lowercase().as_str(), "utf8" | "unicode")
    })
}

/// The server's connection broke: every client is told the same.
pub(crate) fn server_gone(error: io::Error) -> Stop {
    let words = format!("dbtest: the server ended the connection of this test's sandbox: {error}");
    Stop::Fatal(Report::fatal("57P01", words))
}

/// What a failed transaction answers to everything but its end.
pub(crate) fn aborted() -> Report {
    Report::error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

fn simple_query(text: &[u8], out: &mut BytesMut) {
    match std::str::from_utf8(text) {
        Ok(text) => session::query(text, out),
        Err(_) => {
            out.extend_from_slice(b"Q");
            out.extend_from_slice(&(text.len() as u32 + 5).to_be_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\0");
        }
    }
}

/// Hands COPY data to the server. `true` if there was some.
fn copy(turn: &mut Turn, wire: &mut Wire, gone: bool, failed: &mut bool) -> bool {
    let mut some = false;
    loop {
        if wire.input.first() == Some(&b'X') {
            // The goodbye is heard when the copy has ended.
            let _ = frontend::copy_fail("the client is gone", &mut turn.upstream.wire.output);
            turn.copy_in = false;
            return true;
        }
        let taken = take_frame(&mut wire.input);
        if gone && !*failed && matches!(taken, Ok(None)) {
            *failed = true;
            let _ = frontend::copy_fail("the client is gone", &mut turn.upstream.wire.output);
            turn.copy_in = false;
            return true;
        }
        match taken {
            Ok(Some(frame)) => match frame.tag() {
                b'd' | b'c' | b'f' => {
                    turn.upstream.wire.output.extend_from_slice(&frame.bytes);
                    some = true;
                    if frame.tag() != b'd' {
                        turn.copy_in = false;
                        if turn.unsynced {
                            // The client's Sync may be a long way off.
                            turn.send_flush();
                        }
                        return true;
                    }
                }
                // The server takes no notice of these while it copies.
                b'H' | b'S' => {}
                // The server itself would end the connection, which is not this client's alone.
                tag => {
                    let words = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
                    let _ = frontend::copy_fail(&words, &mut turn.upstream.wire.output);
                    turn.copy_in = false;
                    return true;
                }
            },
            Ok(None) => return some,
            Err(_) => {
                wire.input.advance(wire.input.len());
                let _ = frontend::copy_fail("a malformed message", &mut turn.upstream.wire.output);
                turn.copy_in = false;
                return true;
            }
        }
    }
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
