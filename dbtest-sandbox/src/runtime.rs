//! The thread that all sandboxes of a process run on, and how it waits.
//!
//! A query through a sandbox passes this thread twice. Waking a thread costs more than all that
//! is done here, so for some microseconds after each message the thread looks for the next one
//! itself instead of sleeping, as long as that finds something.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How long the thread looks for the next message before it sleeps.
const LOOK: Duration = Duration::from_micros(100);

/// For how long nobody looks after it was in vain. It doubles each time in a row.
const REST: [Duration; 2] = [Duration::from_millis(2), Duration::from_secs(1)];

static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Sockets are looked at after every task, or looking for messages would see none.
        .event_interval(1)
        .build()
        .unwrap_or_else(|error| panic!("dbtest cannot start the sandbox's runtime: {error}"));
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("dbtest-sandbox".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .unwrap_or_else(|error| panic!("dbtest cannot start the sandbox's thread: {error}"));
    handle
});

/// Does the work here, with sockets and tasks that belong to the sandboxes' thread.
pub(crate) fn enter<T>(work: impl FnOnce() -> T) -> T {
    let _entered = RUNTIME.enter();
    work()
}

/// Runs the future on the sandboxes' thread. Awaiting its end is safe on every runtime.
pub(crate) async fn run<T: Send + 'static>(future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    match RUNTIME.spawn(future).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("the sandbox's runtime ended early: {error}"),
        },
    }
}

thread_local! {
    /// How many of the thread's tasks look for a message.
    static LOOKING: Cell<u32> = const { Cell::new(0) };
    /// Until when nobody looks, and for how long it will be the next time: at clients, at servers.
    static RESTING: [Cell<(Option<Instant>, Duration)>; 2] = const { [const { Cell::new((None, REST[0])) }; 2] };
}

/// Who is to send the next message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Client,
    Server,
}

/// One wait for a message.
///
/// Looking pays while it finds. In vain it is a processor that others could have had: the very
/// thread that is to send the message, where there are more of them than processors.
#[derive(Debug)]
pub(crate) struct Look {
    from: By,
    /// Set once it looks.
    until: Option<Instant>,
    given_up: bool,
}

impl Look {
    pub(crate) fn new(from: By) -> Self {
        Self { from, until: None, given_up: false }
    }

    /// Whether the thread still looks.
    pub(crate) fn looks(&self) -> bool {
        !self.given_up
    }

    /// Called when nothing is there: looks whether `found` something comes, which may be all that
    /// the thread does if nobody else looks. Otherwise it asks to be polled again at once, or gives
    /// up and lets the thread sleep.
    pub(crate) fn finds(
        &mut self,
        cx: &mut Context<'_>,
        mut found: impl FnMut() -> Option<()>,
    ) -> Option<()> {
        while self.goes_on() {
            if let Some(()) = found() {
                RESTING.with(|resting| resting[self.from as usize].set((None, REST[0])));
                return Some(());
            }
            if LOOKING.get() > 1 {
                cx.waker().wake_by_ref();
                return None;
            }
            std::thread::yield_now();
        }
        None
    }

    /// Whether to look once more.
    fn goes_on(&mut self) -> bool {
        if self.given_up {
            return false;
        }
        let now = Instant::now();
        let (resting, rest) = RESTING.with(|resting| resting[self.from as usize].get());
        match self.until {
            Some(until) if now < until => return true,
            Some(_) => {
                let next = (Some(now + rest), (rest * 2).min(REST[1]));
                RESTING.with(|resting| resting[self.from as usize].set(next));
            }
            None if resting.is_none_or(|until| now >= until) => {
                self.until = Some(now + LOOK);
                LOOKING.set(LOOKING.get() + 1);
                return true;
            }
            None => {}
        }
        self.give_up();
        false
    }

    /// Looks no more.
    pub(crate) fn give_up(&mut self) {
        if self.until.is_some() && !self.given_up {
            LOOKING.set(LOOKING.get() - 1);
        }
        self.given_up = true;
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.give_up();
    }
}
