//! The thread that all sandboxes of a process run on, and how it waits.
//!
//! A query through a sandbox passes this thread twice. Waking a thread costs more than all that
//! is done here, so for some microseconds after each message the thread looks for the next one
//! itself instead of sleeping, as long as nobody else wants the processor.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How long the thread looks for the next message before it sleeps.
const LOOK: Duration = Duration::from_micros(60);

/// Giving way to other threads took longer than this: the processor is wanted.
const BUSY: Duration = Duration::from_micros(20);

/// For how long the thread sleeps at once after that. It doubles each time in a row.
const REST: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

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
    /// Until when nobody looks, and for how long it will be the next time.
    static RESTING: Cell<(Option<Instant>, Duration)> = const { Cell::new((None, REST[0])) };
}

/// One wait for a message.
#[derive(Debug, Default)]
pub(crate) struct Look {
    until: Option<Instant>,
    given_up: bool,
}

impl Look {
    /// Whether the thread still looks.
    pub(crate) fn looks(&self) -> bool {
        !self.given_up
    }

    /// Called when nothing is there: asks to be polled again at once, or to sleep.
    pub(crate) fn again(&mut self, cx: &mut Context<'_>) {
        if self.given_up {
            return;
        }
        let now = Instant::now();
        let (resting, rest) = RESTING.get();
        if now >= *self.until.get_or_insert(now + LOOK) || resting.is_some_and(|until| now < until) {
            self.given_up = true;
            return;
        }
        std::thread::yield_now();
        if now.elapsed() > BUSY {
            // On a machine with more work than processors, giving way costs a time slice each
            // time, and a thread that sleeps is woken first.
            RESTING.set((Some(Instant::now() + rest), (rest * 2).min(REST[1])));
            self.given_up = true;
            return;
        }
        if resting.is_some() {
            RESTING.set((None, REST[0]));
        }
        cx.waker().wake_by_ref();
    }
}
