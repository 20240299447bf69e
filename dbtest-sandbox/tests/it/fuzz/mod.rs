//! Inputs by the million: each is made of a seed and a number alone, so that a finding is named
//! by these two and can be run again.

mod client;
mod corpus;
mod rng;
mod statements;
mod twin;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// The number of the first input.
    pub from: u64,
    /// At most so many inputs.
    pub most: u64,
    /// And no new ones after this time.
    pub time: Duration,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Ran {
    pub inputs: u64,
    /// What went wrong, with the number of its input.
    pub findings: Vec<(u64, String)>,
}

/// How often a long run says how far it is.
const TELLS: Duration = Duration::from_secs(60);

/// Runs one input after the other; the next is made anew where one went wrong.
fn play<T>(
    plan: Plan,
    batch: u64,
    open: impl Fn() -> T,
    input: impl Fn(&mut T, u64),
    close: impl Fn(T),
) -> Ran {
    let since = Instant::now();
    let mut ran = Ran::default();
    let end = plan.from.saturating_add(plan.most);
    let mut next = plan.from;
    let mut told = since;
    while next < end && since.elapsed() < plan.time {
        if told.elapsed() >= TELLS {
            told = Instant::now();
            eprintln!("seed {}: {} inputs, {} findings", plan.seed, ran.inputs, ran.findings.len());
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut ground = open();
            for _ in 0..batch {
                if next == end || since.elapsed() >= plan.time {
                    break;
                }
                next += 1;
                ran.inputs += 1;
                input(&mut ground, next - 1);
            }
            close(ground);
        }));
        if let Err(panic) = result {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            eprintln!("input {}: {words}", next - 1);
            ran.findings.push((next - 1, words.to_owned()));
        }
    }
    ran
}

/// The lexing and cutting of arbitrary bytes.
pub fn statements(plan: Plan) -> Ran {
    play(plan, u64::MAX, || (), |(), number| statements::check(plan.seed, number), |()| ())
}

/// The same in a sandbox and on a server.
pub fn twin(plan: Plan) -> Ran {
    play(plan, 20, twin::Ground::open, |ground, number| ground.play(plan.seed, number), twin::Ground::close)
}

/// Arbitrary clients in front of a real server.
pub fn client(plan: Plan) -> Ran {
    play(
        plan,
        100,
        client::Ground::open,
        |ground, number| ground.play(plan.seed, number),
        client::Ground::close,
    )
}
