//! What the clients of one sandbox share: whose turn it is, who listens, who is to be cancelled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::message::Report;
use crate::session::Session;

/// The clients of one sandbox, and the session that one of them has at a time.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) session: Arc<tokio::sync::Mutex<Session>>,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    /// What the server said of itself when we connected.
    pub(crate) parameters: BTreeMap<String, String>,
    /// How long a client waits for one that does nothing.
    pub(crate) wait: Duration,
    /// A client has listened.
    listened: AtomicBool,
    state: Mutex<State>,
    /// The session of a holder that waits for its client: others may borrow it for what touches
    /// no data.
    parked: Mutex<Option<Turn>>,
    returned: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    stopping: bool,
    /// What a task said that panicked.
    panicked: Option<String>,
    clients: BTreeMap<u32, Arc<Peer>>,
    holder: Option<Holder>,
}

/// What others may do to a client.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: u32,
    pub(crate) secret: u32,
    /// Woken when there is a notification, a cancel request, or the end.
    pub(crate) wake: Notify,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    channels: BTreeSet<String>,
    notifications: VecDeque<Notification>,
    cancelled: bool,
    stopped: bool,
}

/// A notification on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) from: u32,
    pub(crate) channel: String,
    pub(crate) payload: String,
}

/// Who has the session, and since when nothing comes from there.
#[derive(Clone, Debug)]
struct Holder {
    id: u32,
    name: String,
    last: String,
    idle_since: Option<Instant>,
}

/// Why a client did not get the session.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The holder waits for something too, and it can only be this client or its test.
    Deadlock(Report),
    /// The client's own cancel request.
    Cancelled,
    /// The sandbox ends.
    Stopped,
}

pub(crate) type Turn = OwnedMutexGuard<Session>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub(crate) fn cancelled(&self) -> bool {
        std::mem::take(&mut lock(&self.inbox).cancelled)
    }

    pub(crate) fn stopped(&self) -> bool {
        lock(&self.inbox).stopped
    }

    pub(crate) fn cancel(&self) {
        lock(&self.inbox).cancelled = true;
        self.wake.notify_one();
    }

    pub(crate) fn listen(&self, channel: String) {
        lock(&self.inbox).channels.insert(channel);
    }

    pub(crate) fn unlisten(&self, channel: Option<&str>) {
        let channels = &mut lock(&self.inbox).channels;
        match channel {
            Some(channel) => {
                channels.remove(channel);
            }
            None => channels.clear(),
        }
    }

    pub(crate) fn notification(&self) -> Option<Notification> {
        lock(&self.inbox).notifications.pop_front()
    }

    /// Whether there is something to do for it; notifications wait for the end of its transaction.
    pub(crate) fn has_news(&self, delivers: bool) -> bool {
        let inbox = lock(&self.inbox);
        inbox.stopped || (delivers && !inbox.notifications.is_empty())
    }
}

impl Shared {
    pub(crate) fn new(session: Session, password: String, wait: Duration) -> Self {
        let server = session.upstream.server.clone();
        let parameters = session.upstream.parameters.clone();
        Self {
            session: Arc::new(tokio::sync::Mutex::new(session)),
            user: server.user,
            password,
            database: server.database,
            parameters,
            wait,
            listened: AtomicBool::new(false),
            state: Mutex::default(),
            parked: Mutex::default(),
            returned: Notify::new(),
        }
    }

    /// The holder waits for its client.
    pub(crate) fn park(&self, turn: Turn) {
        *lock(&self.parked) = Some(turn);
        self.returned.notify_waiters();
    }

    /// The holder goes on, after whoever borrows the session.
    pub(crate) async fn unpark(&self) -> Turn {
        loop {
            let returned = self.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if let Some(turn) = lock(&self.parked).take() {
                return turn;
            }
            returned.await;
        }
    }

    /// The parked session, if it has what the borrower wants.
    fn borrow(&self, wanted: &BTreeMap<String, String>) -> Option<Turn> {
        let mut parked = lock(&self.parked);
        parked.take_if(|turn| turn.lends() && turn.applied == *wanted)
    }

    /// A new client. `None` if the sandbox ends.
    pub(crate) fn join(&self, secret: u32) -> Option<Arc<Peer>> {
        let mut state = lock(&self.state);
        if state.stopping {
            return None;
        }
        state.next += 1;
        let id = state.next;
        let peer = Arc::new(Peer { id, secret, wake: Notify::new(), inbox: Mutex::default() });
        state.clients.insert(id, Arc::clone(&peer));
        Some(peer)
    }

    pub(crate) fn leave(&self, id: u32) {
        lock(&self.state).clients.remove(&id);
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        lock(&self.state).clients.len()
    }

    /// A task panicked.
    pub(crate) fn panicked(&self, words: &str) {
        lock(&self.state).panicked.get_or_insert_with(|| words.to_owned());
    }

    /// What the first task said that panicked.
    pub(crate) fn panic(&self) -> Option<String> {
        lock(&self.state).panicked.clone()
    }

    /// Lets go of the session if a holder that is no more had parked it.
    pub(crate) fn reclaim(&self) {
        drop(lock(&self.parked).take());
    }

    /// Tells every client that the sandbox ends.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopping = true;
        for peer in state.clients.values() {
            lock(&peer.inbox).stopped = true;
            peer.wake.notify_one();
        }
    }

    /// The client with this key.
    pub(crate) fn find(&self, id: u32, secret: u32) -> Option<Arc<Peer>> {
        lock(&self.state).clients.get(&id).filter(|peer| peer.secret == secret).cloned()
    }

    /// A client listens: what functions notify is of interest from here on.
    pub(crate) fn listen(&self) {
        self.listened.store(true, Ordering::Release);
    }

    /// Whether a client has listened.
    pub(crate) fn listened(&self) -> bool {
        self.listened.load(Ordering::Acquire)
    }

    /// Delivers notifications to all who listen.
    pub(crate) fn notify(&self, notifications: Vec<Notification>) {
        let state = lock(&self.state);
        for notification in notifications {
            for peer in state.clients.values() {
                let mut inbox = lock(&peer.inbox);
                if inbox.channels.contains(&notification.channel) {
                    inbox.notifications.push_back(notification.clone());
                    drop(inbox);
                    peer.wake.notify_one();
                }
            }
        }
    }

    /// The holder begins to run something, or waits for its client.
    pub(crate) fn holds(&self, id: u32, name: &str, last: &str, idle: bool) {
        let mut state = lock(&self.state);
        let idle_since = idle.then(Instant::now);
        match &mut state.holder {
            Some(holder) if holder.id == id && holder.last == last => holder.idle_since = idle_since,
            holder => {
                *holder = Some(Holder { id, name: name.to_owned(), last: last.to_owned(), idle_since });
            }
        }
    }

    pub(crate) fn let_go(&self) {
        lock(&self.state).holder = None;
    }

    /// Whether somebody has the session.
    pub(crate) fn busy(&self) -> bool {
        self.session.try_lock().is_err()
    }

    /// Waits for the session as for a lock. Who wants to have these parameters and touches no
    /// data may also borrow it from a holder that waits for its client (`true`).
    pub(crate) async fn turn(
        &self,
        me: &Peer,
        name: &str,
        wants: &str,
        borrows: Option<&BTreeMap<String, String>>,
    ) -> Result<(Turn, bool), Denied> {
        if let Ok(turn) = Arc::clone(&self.session).try_lock_owned() {
            return Ok((turn, false));
        }
        let since = Instant::now();
        let waiting = Arc::clone(&self.session).lock_owned();
        tokio::pin!(waiting);
        loop {
            let returned = self.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if let Some(turn) = borrows.and_then(|wanted| self.borrow(wanted)) {
                return Ok((turn, true));
            }
            let idle = lock(&self.state).holder.as_ref().map(|holder| {
                let idle = holder.idle_since.map_or(Duration::ZERO, |idle| idle.max(since).elapsed());
                (idle, holder.clone())
            });
            let left = match idle {
                Some((idle, holder)) if idle >= self.wait => {
                    return Err(Denied::Deadlock(self.deadlock(me, name, wants, &holder)));
                }
                Some((idle, _)) => self.wait - idle,
                None => self.wait,
            };
            tokio::select! {
                turn = &mut waiting => return Ok((turn, false)),
                () = &mut returned => {}
                () = me.wake.notified() => {
                    if me.stopped() {
                        return Err(Denied::Stopped);
                    }
                    if me.cancelled() {
                        return Err(Denied::Cancelled);
                    }
                }
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    fn deadlock(&self, me: &Peer, name: &str, wants: &str, holder: &Holder) -> Report {
        let wait = self.wait;
        Report::error(
            "40P01",
            format!(
                "deadlock in the test's sandbox: connection {} waits for connection {}, which has an open \
                 transaction and has sent nothing for {wait:?}",
                shown(me.id, name),
                shown(holder.id, &holder.name),
            ),
        )
        .detail(format!(
            "Connection {} wants to run: {}\nConnection {} ran last: {}",
            me.id,
            excerpt(wants),
            holder.id,
            excerpt(&holder.last)
        ))
        .hint(
            "dbtest: under the strategy \"rollback\" one transaction runs at a time. Commit or drop the first \
             before, or use the strategy \"template\" or \"truncate\" for this test.",
        )
    }
}

fn shown(id: u32, name: &str) -> String {
    if name.is_empty() { id.to_string() } else { format!("{id} ({name})") }
}

/// A statement short enough for a message, on one line.
pub(crate) fn excerpt(statement: &str) -> String {
    const MOST: usize = 200;
    let mut line = String::new();
    for word in statement.split_whitespace() {
        if line.chars().count() + word.chars().count() > MOST {
            line.push_str(" …");
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
