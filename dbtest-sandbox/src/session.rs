//! The one server connection of a sandbox: its transaction, and what the server's messages answer.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;

use crate::message::{self, ServerError};
use crate::notify::{self, Heard};
use crate::runtime::{By, Look};
use crate::server::Upstream;
use crate::settings::OURSELVES;
use crate::wire::{Fields, frame_length};

/// The savepoint that stands before what a client may have to take back.
const SAVEPOINT: &str = "_dbtest";

/// What makes a client's transaction, or a read outside one, READ ONLY.
pub(crate) const SET_READ_ONLY: &str = "SET LOCAL transaction_read_only = on";

/// So much of a result is held back while its statement may still turn out to write. It is time
/// that the client waits; a statement that has read so much and then writes fails.
pub(crate) const DOUBT: usize = 64 * 1024;

/// How much may wait for a client that does not read before the server has to wait too.
const MOST_WAITING: usize = 256 * 1024;

/// A row of our own queries, as text.
pub(crate) type Row = Vec<Option<String>>;

/// A message sent to the server that it has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    what: What,
    /// The client does not know of it.
    own: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Query, FunctionCall.
    Query,
    Sync,
    /// With the client's name of the statement.
    Parse(Option<Bytes>),
    /// With the client's name of the portal.
    Bind(Option<Bytes>),
    Describe,
    Execute,
    Close,
}

/// What stands before a client's next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// The savepoint, and nothing after it.
    Fresh,
    /// The savepoint, and reads that could write nothing.
    Reads,
    /// The savepoint, and changes that stay.
    Writes,
    /// The savepoint, and what must be taken back.
    Undo,
}

/// What a client's next statement may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// It reads. Where it writes, the server refuses it, and it is run again as a write.
    Read,
    /// It changes the session only. Without a transaction it needs none.
    Session,
    /// Anything.
    Write,
}

/// Deferrable constraints as SET CONSTRAINTS names them, and those that begin deferred.
pub(crate) type Deferrable = [Vec<String>; 2];

/// How the outer transaction ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The answer of the check, if all before it went well.
    pub(crate) checked: Option<String>,
    /// The session is as it was when it was new.
    pub(crate) fresh: bool,
}

/// What came back since [`Session::start`].
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The client's statement failed.
    pub(crate) error: Option<ServerError>,
    /// It failed because it would have written, and the client has not been told.
    pub(crate) refused: bool,
    /// One of our own statements failed.
    pub(crate) own_error: Option<ServerError>,
    /// The ErrorResponse of that, for the client.
    own_error_body: BytesMut,
    /// The rows of our own queries.
    pub(crate) rows: Vec<Row>,
    /// How many of our own queries had no answer yet when one failed, which is among them.
    failed_at: Vec<usize>,
    /// Parameters that our own statements changed, as the client would be told.
    statuses: BytesMut,
    /// Statements and portals that were not made, by the client's names.
    pub(crate) unmade_statements: Vec<Bytes>,
    /// The unnamed statement among them.
    pub(crate) unmade_unnamed: bool,
    pub(crate) unmade_portals: Vec<Bytes>,
}

/// The server connection of a sandbox.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) upstream: Upstream,
    /// What else opens the outer transaction.
    guard: String,
    /// A read that writes after all is refused, whatever it writes. Servers before 16 let large
    /// objects be written: there even a read waits for the outer transaction.
    refuses_writes: bool,
    replies: VecDeque<Reply>,
    /// Bytes of a long row that go to the client as they come.
    passing: usize,
    status: u8,
    /// The outer transaction was begun.
    outer: bool,
    base: Base,
    pub(crate) answer: Answer,
    /// Errors that tell of a write may still be hidden from the client.
    pub(crate) may_retry: bool,
    /// CommandComplete waits for the check of deferred constraints.
    pub(crate) hold_complete: bool,
    /// The one that waits.
    held: BytesMut,
    /// Messages were sent that end with a Sync, and it was not.
    pub(crate) unsynced: bool,
    /// The server waits for the client's COPY data.
    pub(crate) copy_in: bool,
    /// What is set beyond the session's defaults.
    pub(crate) applied: BTreeMap<String, String>,
    /// A client changes the session without a transaction.
    loose: bool,
    /// Such a change was not to stay.
    pub(crate) stale: bool,
    /// The client whose unnamed statement the server has.
    pub(crate) unnamed: Option<u32>,
    deferrable: Option<Deferrable>,
    /// They may have changed since what stands was kept.
    schema_changes: bool,
    /// A client listens: what functions notify is to be told.
    pub(crate) listened: bool,
    /// It was tried to be told.
    asked: bool,
    /// It is told.
    pub(crate) overhears: bool,
    /// What functions notified, each channel with its payload, and nobody took yet.
    pub(crate) notified: Vec<(String, String)>,
    /// What a client runs, for messages.
    pub(crate) running: String,
    /// Why the transaction is gone.
    pub(crate) lost: Option<String>,
    next_name: u64,
}

impl Session {
    pub(crate) fn new(upstream: Upstream, guard: String) -> Self {
        let deferrable = upstream.deferrable.clone();
        let version = upstream.parameters.get("server_version").map_or("", String::as_str);
        let major = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|word| word.parse().ok());
        Self {
            upstream,
            guard,
            refuses_writes: major.is_some_and(|major: u32| major >= 16),
            replies: VecDeque::new(),
            passing: 0,
            status: b'I',
            outer: false,
            base: Base::Fresh,
            answer: Answer::default(),
            may_retry: false,
            hold_complete: false,
            held: BytesMut::new(),
            unsynced: false,
            copy_in: false,
            applied: BTreeMap::new(),
            loose: false,
            stale: false,
            unnamed: None,
            deferrable,
            schema_changes: false,
            listened: false,
            asked: false,
            overhears: false,
            notified: Vec::new(),
            running: String::new(),
            lost: None,
            next_name: 0,
        }
    }

    /// Whether another client may use it between two statements of the one that has it.
    pub(crate) fn lends(&self) -> bool {
        self.status == b'T' && self.lost.is_none() && self.replies.is_empty() && !self.unsynced
    }

    /// Whether the outer transaction was begun.
    pub(crate) fn begun(&self) -> bool {
        self.outer
    }

    /// Whether all since the savepoint only read.
    pub(crate) fn only_read(&self) -> bool {
        self.base == Base::Reads
    }

    /// Why the server may see a statement's end where the text was not cut, if it may.
    pub(crate) fn unclear(&self) -> Option<&'static str> {
        let is = |name: &str, values: &[&str]| {
            self.upstream.parameters.get(name).is_some_and(|value| values.contains(&value.as_str()))
        };
        if is("standard_conforming_strings", &["off"]) {
            return Some("standard_conforming_strings is off");
        }
        // In these a backslash may be half of a letter.
        let encodings = ["BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"];
        is("client_encoding", &encodings)
            .then_some("client_encoding is one of BIG5, GB18030, GBK, JOHAB, SJIS, UHC")
    }

    /// A name for a statement or portal that no other has.
    pub(crate) fn name(&mut self) -> String {
        self.next_name += 1;
        format!("dbtest_{}", self.next_name)
    }

    /// The SQL that must run before a client's statement, and what stands then.
    fn before(&mut self, want: Want) -> String {
        let mut sql = String::new();
        if !self.outer {
            // What only reads may notify.
            if want == Want::Session || (want == Want::Read && self.refuses_writes && !self.listened) {
                self.loose |= want == Want::Session;
                return sql;
            }
            self.outer = true;
            self.base = Base::Fresh;
            sql.push_str("BEGIN READ WRITE; ");
            sql.push_str(&self.guard);
            self.overhear(&mut sql);
            sql.push_str("; SAVEPOINT _dbtest");
            if want == Want::Write {
                return sql;
            }
        }
        if self.may_overhear() {
            // Beneath the savepoint, so that no client takes it back.
            sql.push_str(&self.proof());
            self.overhear(&mut sql);
            sql.push_str("; SAVEPOINT _dbtest");
            self.base = Base::Fresh;
        }
        match (self.base, want) {
            (Base::Reads, Want::Read) | (Base::Fresh, Want::Write | Want::Session) => return sql,
            (Base::Fresh, Want::Read) => {}
            (Base::Undo, _) => sql.push_str("ROLLBACK TO SAVEPOINT _dbtest"),
            (Base::Reads | Base::Writes, _) => {
                sql.push_str("RELEASE SAVEPOINT _dbtest; SAVEPOINT _dbtest");
            }
        }
        self.base = Base::Fresh;
        if want == Want::Read {
            if !sql.is_empty() {
                sql.push_str("; ");
            }
            sql.push_str(SET_READ_ONLY);
            self.base = Base::Reads;
        }
        sql
    }

    /// Whether it is time to ask to be told what functions notify. Who is somebody else may not.
    fn may_overhear(&self) -> bool {
        let is = |name: &str, own: &str| self.applied.get(name).is_none_or(|value| value == own);
        self.listened
            && !self.asked
            && is("role", "none")
            && is("session_authorization", &self.upstream.server.user)
    }

    fn overhear(&mut self, sql: &mut String) {
        if self.may_overhear() {
            self.asked = true;
            sql.push_str("; ");
            sql.push_str(notify::OVERHEAR);
        }
    }

    /// Prepares the server for a client's statement; what it takes is sent along with it.
    pub(crate) fn enter(&mut self, want: Want) {
        let sql = self.before(want);
        if !sql.is_empty() {
            self.send_own(&sql);
        }
    }

    /// What ran since [`enter`](Session::enter) stays.
    pub(crate) fn keep(&mut self) {
        self.schema_changes = false;
        self.loose = false;
        if self.outer && self.base == Base::Fresh {
            self.base = Base::Writes;
        }
    }

    /// What ran since [`enter`](Session::enter) is taken back before anything else runs.
    pub(crate) fn undo(&mut self) {
        if std::mem::take(&mut self.schema_changes) {
            self.deferrable = None;
        }
        self.notified.clear();
        if self.outer {
            self.base = Base::Undo;
        }
        self.stale |= std::mem::take(&mut self.loose);
    }

    /// Takes back what was set without a transaction.
    pub(crate) async fn renew(&mut self) -> io::Result<()> {
        self.stale = false;
        if !self.outer && self.run(&format!("{OURSELVES}; RESET ALL")).await?.is_ok() {
            self.applied.clear();
        }
        Ok(())
    }

    /// Takes it back now.
    pub(crate) async fn undo_now(&mut self, client: &mut BytesMut) -> io::Result<()> {
        self.undo();
        if self.outer {
            let sql = self.before(Want::Write);
            let _ = self.run(&sql).await?;
            client.extend_from_slice(&self.answer.statuses);
        }
        Ok(())
    }

    pub(crate) fn send_own(&mut self, sql: &str) {
        query(sql, &mut self.upstream.wire.output);
        // The server forgets it with every Query, also with ours.
        self.unnamed = None;
        self.replies.push_back(Reply { what: What::Query, own: true });
    }

    /// Runs our own SQL, without a client.
    pub(crate) async fn run(&mut self, sql: &str) -> io::Result<Result<Vec<Row>, ServerError>> {
        self.start();
        self.send_own(sql);
        self.finish().await?;
        Ok(match self.answer.own_error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.answer.rows)),
        })
    }

    /// Waits for the answers to our own SQL, without a client.
    async fn finish(&mut self) -> io::Result<()> {
        let mut nobody = BytesMut::new();
        let mut look = Look::new(By::Server);
        std::future::poll_fn(|cx| {
            loop {
                match self.poll(cx, &mut nobody) {
                    // What a client left on its way is for nobody.
                    Poll::Pending if !nobody.is_empty() => nobody.clear(),
                    Poll::Pending => match look.finds(cx, || self.upstream.wire.look()) {
                        Some(()) => {}
                        None => return Poll::Pending,
                    },
                    ready => return ready,
                }
            }
        })
        .await
    }

    /// Forgets the last answer, and that there was a doubt about it.
    pub(crate) fn start(&mut self) {
        self.may_retry = false;
        self.answer = Answer::default();
    }

    /// Sends a client's Query or FunctionCall as it is.
    pub(crate) fn send_query(&mut self, frame: &[u8]) {
        self.unnamed = None;
        self.push(frame, What::Query, false);
    }

    pub(crate) fn send_parse(&mut self, frame: &[u8], name: Option<Bytes>, own: bool) {
        self.push(frame, What::Parse(name), own);
    }

    pub(crate) fn send_bind(&mut self, frame: &[u8], name: Option<Bytes>, own: bool) {
        self.push(frame, What::Bind(name), own);
    }

    pub(crate) fn send_describe(&mut self, variant: u8, name: &str) {
        if frontend::describe(variant, name, &mut self.upstream.wire.output).is_ok() {
            self.unsynced = true;
            self.replies.push_back(Reply { what: What::Describe, own: false });
        }
    }

    pub(crate) fn send_execute(&mut self, portal: &str, rows: i32) {
        if frontend::execute(portal, rows, &mut self.upstream.wire.output).is_ok() {
            self.unsynced = true;
            self.replies.push_back(Reply { what: What::Execute, own: false });
        }
    }

    pub(crate) fn send_close(&mut self, variant: u8, name: &str, own: bool) {
        if frontend::close(variant, name, &mut self.upstream.wire.output).is_ok() {
            self.unsynced = true;
            self.replies.push_back(Reply { what: What::Close, own });
        }
    }

    pub(crate) fn send_flush(&mut self) {
        frontend::flush(&mut self.upstream.wire.output);
    }

    pub(crate) fn send_sync(&mut self) {
        frontend::sync(&mut self.upstream.wire.output);
        self.unsynced = false;
        self.replies.push_back(Reply { what: What::Sync, own: true });
    }

    fn push(&mut self, frame: &[u8], what: What, own: bool) {
        self.upstream.wire.output.extend_from_slice(frame);
        self.unsynced |= what != What::Query;
        self.replies.push_back(Reply { what, own });
    }

    /// Whether the server is at work for the client, and not for us: our own statements before
    /// the client's have been answered.
    pub(crate) fn works_for_client(&self) -> bool {
        self.replies.front().is_some_and(|reply| !reply.own)
    }

    /// Whether the server has not yet answered all.
    pub(crate) fn waits(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Writes and reads until the server has answered all, or waits for COPY data, or the
    /// client must read first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, client: &mut BytesMut) -> Poll<io::Result<()>> {
        let polled = self.poll_all(cx, client);
        if let Poll::Ready(Err(error)) = &polled
            && self.lost.is_none()
        {
            let said = self.answer.error.as_ref().or(self.answer.own_error.as_ref());
            let why = said.map_or_else(|| error.to_string(), |said| said.message.clone());
            self.lost = Some(format!("the server's connection broke ({why}) while it ran: {}", self.running));
        }
        polled
    }

    fn poll_all(&mut self, cx: &mut Context<'_>, client: &mut BytesMut) -> Poll<io::Result<()>> {
        loop {
            let written = self.upstream.wire.poll_write(cx)?;
            self.answers(client)?;
            if self.replies.is_empty() && written.is_ready() {
                return Poll::Ready(Ok(()));
            }
            // Whoever polls takes some of it, or the doubt, and polls again.
            if client.len() > if self.may_retry { DOUBT } else { MOST_WAITING } {
                return Poll::Pending;
            }
            match self.upstream.wire.poll_read(cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sorts what the server sent: what the client asked for goes to the client.
    fn answers(&mut self, client: &mut BytesMut) -> io::Result<()> {
        loop {
            let input = &mut self.upstream.wire.input;
            if self.passing > 0 {
                let length = self.passing.min(input.len());
                if length == 0 {
                    return Ok(());
                }
                self.passing -= length;
                pass(input, length, client);
                continue;
            }
            let own = self.replies.front().is_none_or(|reply| reply.own);
            // Most of all bytes are rows: as many as there are go in one piece.
            let mut rows = 0;
            while !own
                && self.held.is_empty()
                && input.get(rows).is_some_and(|tag| matches!(tag, b'D' | b'd'))
            {
                let Some(length) = frame_length(&input[rows..]) else { break };
                let length = length.map_err(io::Error::other)?;
                rows += length;
                if rows >= input.len() {
                    self.passing = rows - input.len();
                    rows = input.len();
                    break;
                }
            }
            if rows > 0 {
                pass(input, rows, client);
                continue;
            }
            let Some(length) = frame_length(input) else { return Ok(()) };
            let length = length.map_err(io::Error::other)?;
            if input.len() < length {
                return Ok(());
            }
            let frame = input.split_to(length);
            self.answered(frame, own, client)?;
        }
    }

    fn answered(&mut self, frame: BytesMut, own: bool, client: &mut BytesMut) -> io::Result<()> {
        let tag = frame[0];
        let what = self.replies.front().map(|reply| reply.what.clone());
        match tag {
            b'S' => {
                let mut fields = Fields(&frame[5..]);
                if let (Ok(name), Ok(value)) = (fields.string(), fields.string()) {
                    let name = String::from_utf8_lossy(name).into_owned();
                    // Whether a statement may write is our affair, and no client's.
                    if !matches!(name.as_str(), "default_transaction_read_only" | "in_hot_standby") {
                        match own {
                            true => self.answer.statuses.extend_from_slice(&frame),
                            // What is held back is no answer to it.
                            false => client.extend_from_slice(&frame),
                        }
                    }
                    self.upstream.parameters.insert(name, String::from_utf8_lossy(value).into_owned());
                }
            }
            b'N' => match notify::heard(&frame[5..]) {
                Some(Heard::Ready) => self.overhears = true,
                Some(Heard::Notify(channel, payload)) => self.notified.push((channel, payload)),
                None if own => {}
                None => self.pass(&frame, client),
            },
            // Notifications are delivered at the clients' own commits.
            b'A' => {}
            b'E' => self.failed(&frame, own, client),
            b'Z' => {
                self.status = frame[5];
                self.replies.pop_front();
                self.copy_in = false;
                if self.outer != (self.status != b'I') && self.lost.is_none() {
                    self.lost = Some(match self.outer {
                        true => format!("it was ended by: {}", self.running),
                        false => format!("another was begun by: {}", self.running),
                    });
                }
            }
            b'G' => {
                self.copy_in = true;
                self.unsynced |= matches!(what, Some(What::Execute));
                // While it copies, the server takes no notice of a Sync that is there already.
                self.replies.retain({
                    let mut first = true;
                    move |reply| std::mem::take(&mut first) || reply.what != What::Sync
                });
                self.pass(&frame, client);
            }
            b'C' => {
                let execute = what == Some(What::Execute);
                self.copy_in = false;
                if !own {
                    if self.hold_complete {
                        client.extend_from_slice(&self.held);
                        self.held = frame;
                    } else {
                        self.pass(&frame, client);
                    }
                }
                if execute {
                    self.replies.pop_front();
                }
            }
            b'1' | b'2' | b'3' | b'n' | b's' => {
                if !own {
                    self.pass(&frame, client);
                }
                self.replies.pop_front();
            }
            b'T' => {
                if !own {
                    self.pass(&frame, client);
                }
                if what == Some(What::Describe) {
                    self.replies.pop_front();
                }
            }
            b'I' => {
                if !own {
                    self.pass(&frame, client);
                }
                if what == Some(What::Execute) {
                    self.replies.pop_front();
                }
            }
            b'D' if own => self.answer.rows.push(row(&frame[5..]).unwrap_or_default()),
            _ => {
                if !own {
                    self.pass(&frame, client);
                }
            }
        }
        Ok(())
    }

    fn failed(&mut self, frame: &BytesMut, own: bool, client: &mut BytesMut) {
        let error = ServerError::read(&frame[5..]);
        self.copy_in = false;
        if own {
            self.answer.failed_at.push(self.replies.len());
            if self.answer.own_error.is_none() {
                self.answer.own_error_body = BytesMut::from(&frame[..]);
                self.answer.own_error = Some(error);
            }
        } else if self.may_retry && error.code == "25006" {
            self.answer.refused = true;
        } else {
            // What is held back belongs to a statement before this one.
            self.pass(&[], client);
            match hint(&error.code) {
                Some(hint) => message::with_hint(client, &frame[5..], hint),
                None => client.extend_from_slice(frame),
            }
            self.answer.error.get_or_insert(error);
        }
        // After an error the server takes no notice of anything before Sync.
        while let Some(reply) = self.replies.front()
            && !matches!(reply.what, What::Query | What::Sync)
        {
            match self.replies.pop_front().map(|reply| reply.what) {
                Some(What::Parse(Some(name))) => self.answer.unmade_statements.push(name),
                Some(What::Parse(None)) => self.answer.unmade_unnamed = true,
                Some(What::Bind(Some(name))) => self.answer.unmade_portals.push(name),
                _ => {}
            }
        }
    }

    /// Hands a message to the client, and before it what was held back.
    fn pass(&mut self, frame: &[u8], client: &mut BytesMut) {
        if !self.held.is_empty() {
            client.extend_from_slice(&std::mem::take(&mut self.held));
        }
        client.extend_from_slice(frame);
    }

    /// Holds this back like the server's own CommandComplete.
    pub(crate) fn hold(&mut self, answer: BytesMut) {
        self.held = answer;
    }

    /// Hands over what was held back.
    pub(crate) fn release_held(&mut self, client: &mut BytesMut) {
        self.hold_complete = false;
        client.extend_from_slice(&std::mem::take(&mut self.held));
    }

    /// Drops what was held back, and tells the client of our own statement's error instead.
    pub(crate) fn blame_own(&mut self, client: &mut BytesMut) {
        self.hold_complete = false;
        self.held.clear();
        client.extend_from_slice(&std::mem::take(&mut self.answer.own_error_body));
    }

    /// The schema may have changed: what is known of its constraints is not known any more.
    pub(crate) fn schema_changed(&mut self) {
        self.deferrable = None;
        self.schema_changes = true;
    }

    /// Whether a commit has constraints to check.
    pub(crate) async fn defers(&mut self) -> io::Result<bool> {
        if self.deferrable.is_none() {
            let rows = self.run(DEFERRABLE).await?.unwrap_or_default();
            self.deferrable = Some(deferrable(&rows));
        }
        Ok(self.deferrable.as_ref().is_some_and(|[all, _]| !all.is_empty()))
    }

    /// Checks deferred constraints as a commit does. What only read can't have broken any.
    pub(crate) async fn check_deferred(&mut self) -> io::Result<Result<(), ServerError>> {
        if !self.outer || self.base == Base::Reads || !self.defers().await? {
            return Ok(Ok(()));
        }
        let Some([all, deferred]) = &self.deferrable else { return Ok(Ok(())) };
        let mut sql = format!("SET CONSTRAINTS {} IMMEDIATE", all.join(", "));
        if !deferred.is_empty() {
            sql.push_str(&format!("; SET CONSTRAINTS {} DEFERRED", deferred.join(", ")));
        }
        Ok(self.run(&sql).await?.map(drop))
    }

    /// Brings to an end what a client left that is no more.
    pub(crate) fn wind_up(&mut self) {
        if std::mem::take(&mut self.copy_in) {
            let _ = frontend::copy_fail("the client is gone", &mut self.upstream.wire.output);
        }
        if self.unsynced {
            self.send_sync();
        }
    }

    /// Proves that the outer transaction is still there: then nothing of what clients did is open.
    fn proof(&self) -> String {
        let back = match self.base {
            Base::Undo => format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}; "),
            _ => String::new(),
        };
        format!("{back}RELEASE SAVEPOINT {SAVEPOINT}")
    }

    /// Rolls the outer transaction back, after it has proved that it is still there, makes the session
    /// as it was when it was new, and asks the check. All in one go.
    pub(crate) async fn discard(&mut self, last: &str, check: &str) -> io::Result<Result<Ended, String>> {
        if let Some(reason) = &self.lost {
            return Ok(Err(reason.clone()));
        }
        self.start();
        // What a client left on its way is answered first.
        let before = self.replies.len();
        let outer = self.outer;
        if outer {
            self.send_own(&self.proof());
            // Whoever the clients were.
            self.send_own(&format!("{OURSELVES}; {last}"));
            self.outer = false;
            self.send_own(&format!("ROLLBACK; {RENEW}"));
        } else {
            self.send_own(RENEW);
        }
        self.send_own(check);
        // What no transaction of a client has changed.
        let asks = self.upstream.deferrable.is_none() && self.deferrable.is_some();
        if asks {
            self.send_own(DEFERRABLE);
        }
        let sent = self.replies.len();
        self.finish().await?;
        let answer = std::mem::take(&mut self.answer);
        let failed: Vec<usize> =
            answer.failed_at.iter().filter_map(|left| (sent - left).checked_sub(before)).collect();
        let error = answer.own_error.unwrap_or_default();
        if outer && failed.contains(&0) {
            return Ok(Err(error.message));
        }
        if self.status != b'I' {
            return Ok(Err("it could not be ended".to_owned()));
        }
        self.lost = None;
        // A class of SQLSTATE: a constraint that is checked at COMMIT.
        if outer && failed.first() == Some(&1) && error.code.starts_with("23") {
            return Ok(Err(error.message));
        }
        let renewed = if outer { 2 } else { 0 };
        let fresh = !failed.contains(&renewed);
        if asks && failed.is_empty() {
            let rows: Vec<Row> = answer.rows.iter().rev().take_while(|row| row.len() == 2).cloned().collect();
            self.upstream.deferrable = Some(deferrable(&rows));
        }
        let checked = match failed.is_empty() && !check.is_empty() {
            true => {
                answer.rows.into_iter().rfind(|row| row.len() == 1).and_then(|row| row.into_iter().next()?)
            }
            false => None,
        };
        Ok(Ok(Ended { checked, fresh }))
    }

    /// Commits the outer transaction after `allow`, if it is still there.
    pub(crate) async fn commit(&mut self, allow: &str) -> io::Result<Result<Ended, String>> {
        if let Some(reason) = &self.lost {
            return Ok(Err(reason.clone()));
        }
        if self.outer {
            if let Err(error) = self.run(&self.proof()).await? {
                return Ok(Err(error.message));
            }
            self.outer = false;
            let put_back = if self.overhears { notify::PUT_BACK } else { "" };
            let ended = self.run(&format!("{put_back}; {allow}; COMMIT")).await?;
            if self.status != b'I' {
                return Ok(Err("it could not be ended".to_owned()));
            }
            self.lost = None;
            if let Err(error) = ended {
                return Ok(Err(error.message));
            }
        }
        let fresh = self.run("DISCARD ALL").await?.is_ok();
        Ok(Ok(Ended { checked: None, fresh }))
    }
}

/// What DISCARD ALL does to a session, but for the plans: without those each end would plan its
/// queries anew.
const RENEW: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DEALLOCATE ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

fn deferrable(rows: &[Row]) -> Deferrable {
    let mut lists = Deferrable::default();
    for row in rows {
        if let [Some(name), Some(deferred)] = &row[..] {
            lists[0].push(name.clone());
            if deferred == "t" {
                lists[1].push(name.clone());
            }
        }
    }
    lists
}

/// Moves bytes to the client, without a copy where there are many and none before them.
fn pass(input: &mut BytesMut, length: usize, client: &mut BytesMut) {
    const MANY: usize = 8 * 1024;
    if length >= MANY && client.is_empty() {
        *client = input.split_to(length);
    } else {
        client.extend_from_slice(&input[..length]);
        bytes::Buf::advance(input, length);
    }
}

/// A Query message. Its text comes from here and has no NUL.
pub(crate) fn query(sql: &str, out: &mut BytesMut) {
    let sent = frontend::query(sql, out);
    debug_assert!(sent.is_ok(), "{sql}");
}

/// What to do about an error that a client gets only because of the sandbox.
fn hint(code: &str) -> Option<&'static str> {
    match code {
        "25001" | "2D000" => Some(
            "dbtest: under the strategy \"rollback\" every statement runs inside one transaction; \
             use the strategy \"template\" or \"truncate\" for this test",
        ),
        "P0DBT" => Some("dbtest: under the strategy \"rollback\" nothing is committed for real"),
        _ => None,
    }
}

/// Deferrable constraints, but for our own guard.
const DEFERRABLE: &str = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.conname), \
     c.condeferred FROM pg_catalog.pg_constraint c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
     WHERE c.condeferrable AND n.nspname <> '_dbtest' AND c.conparentid = 0";

fn row(body: &[u8]) -> Option<Row> {
    let mut fields = Fields(body);
    let columns = fields.u16().ok()?;
    let mut row = Vec::new();
    for _ in 0..columns {
        let length = fields.i32().ok()?;
        row.push(match usize::try_from(length) {
            Ok(length) => Some(String::from_utf8_lossy(fields.bytes(length).ok()?).into_owned()),
            Err(_) => None,
        });
    }
    Some(row)
}
