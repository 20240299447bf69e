//! The process-wide runtime that owns maintenance sessions and cleanup. A test's own runtime
//! may end, or have its clock paused, without hurting either.

use std::future::{Future, poll_fn};
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::backend::BoxFuture;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("dbtest")
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("dbtest cannot start its runtime's thread: {error}"))
});

/// Runs the future on dbtest's runtime. Awaiting its end is safe on every runtime.
///
/// It takes a box: these futures are large, and a test's thread has two megabytes of stack.
///
/// It begins on the caller's thread, though in dbtest's runtime: to wake another one takes longer
/// than most of what needs not wait, such as leasing a slot that is idle.
///
/// # Panics
/// With the future's own panic.
pub(crate) async fn run<T: Send + 'static>(mut future: BoxFuture<'static, T>) -> T {
    let begun = poll_fn(|context| {
        let _inside = RUNTIME.enter();
        Poll::Ready(future.as_mut().poll(context))
    });
    if let Poll::Ready(output) = begun.await {
        return output;
    }
    match RUNTIME.spawn(future).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("dbtest's runtime ended early: {error}"),
        },
    }
}

/// The same for a future that ends when nobody waits for it any more.
///
/// # Panics
/// With the future's own panic.
pub(crate) async fn run_while_wanted<T: Send + 'static>(future: BoxFuture<'static, T>) -> T {
    let mut tasks = JoinSet::new();
    tasks.spawn_on(future, RUNTIME.handle());
    match tasks.join_next().await {
        Some(Ok(output)) => output,
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("dbtest's runtime ended early: {error}"),
        },
        None => unreachable!("one was spawned"),
    }
}

/// Waits by the clock of dbtest's runtime. Safe on every runtime, also where the clock is paused.
pub(crate) fn sleep(time: Duration) -> tokio::time::Sleep {
    let _entered = RUNTIME.enter();
    tokio::time::sleep(time)
}

/// Runs work that blocks its thread, such as a call of a driver without async, on a thread of
/// dbtest's own. Awaiting its end is safe on every runtime, and blocks nobody.
///
/// Dropped half-way, the future leaves the work to go on to its end.
///
/// # Panics
/// With the work's own panic.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match RUNTIME.spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("dbtest's runtime ended early: {error}"),
        },
    }
}

/// Starts the future on dbtest's runtime and does not wait for it.
pub(crate) fn detach<F>(future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(RUNTIME.spawn(future));
}

/// Runs the future on dbtest's runtime and blocks this thread, which must not be a runtime's.
pub(crate) fn block<T: Send + 'static>(future: BoxFuture<'static, T>) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let task = RUNTIME.spawn(async move {
        // The receiver waits below; it can't be gone.
        let _ = sender.send(future.await);
    });
    match receiver.recv() {
        Ok(output) => output,
        // The sender was dropped unused: the future panicked, and says so on stderr.
        Err(_) => panic!("dbtest's runtime could not finish: {task:?}"),
    }
}
