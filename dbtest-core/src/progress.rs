//! Lines on stderr while something takes seconds. Written past libtest's capture, since a
//! person waits for them now.

use std::io::Write;
use std::time::Duration;

/// How long a silence is before a line says what it is about.
const SILENCE: Duration = Duration::from_millis(700);

/// Prints one line.
pub(crate) fn say(line: &str) {
    // Nobody is served by a test that fails because stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "dbtest: {line}");
}

/// Awaits the future; when it takes long, prints once what is being waited for, and when it
/// is done, how long that took.
pub(crate) async fn while_waiting<F: Future>(what: &str, future: F) -> F::Output {
    let start = std::time::Instant::now();
    let mut future = std::pin::pin!(future);
    if let Ok(output) = tokio::time::timeout(SILENCE, &mut future).await {
        return output;
    }
    say(&format!("{what} …"));
    let output = future.await;
    say(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
    output
}
