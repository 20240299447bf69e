//! Contenders in turn, so that what disturbs the machine disturbs all alike.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::contender::{Contender, Kind, Took};
use crate::result::{Cell, Line};
use crate::site::Site;
use crate::{Options, Result};

enum Order {
    Prepare(Kind),
    /// So many tests of the contender with this number, from when all workers are there.
    Test(usize, usize, Arc<Barrier>),
    Forget(usize),
    End,
}

type Answer = std::result::Result<(Vec<Took>, Instant, Instant), String>;

struct Worker {
    orders: Sender<Order>,
    answers: Receiver<Answer>,
    thread: std::thread::JoinHandle<()>,
}

/// Test threads have a runtime of their own each, as under `cargo test`.
fn worker<C: Client>(site: Site, number: usize, options: Options) -> Worker {
    let (orders, inbox) = channel();
    let (outbox, answers) = channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut made: Vec<Option<Box<dyn Contender>>> = Vec::new();
        for order in inbox {
            let start = Instant::now();
            let answer: Result<_> = runtime.block_on(async {
                let mut tests = Vec::new();
                match order {
                    Order::Prepare(kind) => {
                        made.push(None);
                        let mut contender = kind.make::<C>(&site, number, &options).await?;
                        for _ in 0..3 {
                            tests.push(contender.test().await?);
                            // The first one makes what the others use.
                            if tests[1..].iter().any(|test| test.whole() > Duration::from_secs(2)) {
                                break;
                            }
                        }
                        made.pop();
                        made.push(Some(contender));
                    }
                    Order::Test(which, times, barrier) => {
                        let contender = made[which].as_mut().ok_or("it was not prepared");
                        barrier.wait();
                        let contender = contender?;
                        let start = Instant::now();
                        for _ in 0..times {
                            tests.push(contender.test().await?);
                        }
                        return Ok((tests, start, Instant::now()));
                    }
                    Order::Forget(which) => {
                        if let Some(contender) = made[which].take() {
                            contender.end().await?;
                        }
                    }
                    Order::End => {
                        for contender in made.drain(..).flatten() {
                            contender.end().await?;
                        }
                    }
                }
                Ok((tests, start, Instant::now()))
            });
            if outbox.send(answer.map_err(|error| error.to_string())).is_err() {
                return;
            }
        }
    });
    Worker { orders, answers, thread }
}

struct Entry {
    kind: Kind,
    which: usize,
    /// How many tests in one turn, and how many turns among the rounds.
    times: usize,
    turns: usize,
    tests: Vec<Took>,
    walls: Vec<f64>,
}

fn all(workers: &[Worker], order: impl Fn() -> Order) -> Result<Vec<(Vec<Took>, Instant, Instant)>> {
    for worker in workers {
        worker.orders.send(order()).map_err(|_| "a worker is gone")?;
    }
    let answers: Vec<_> = workers.iter().map(|worker| worker.answers.recv()).collect();
    let mut good = Vec::new();
    for answer in answers {
        good.push(answer.map_err(|_| "a worker is gone")??);
    }
    Ok(good)
}

pub fn run<C: Client>(
    site: &Site,
    workers: usize,
    version: &str,
    server: &str,
    options: &Options,
) -> Result<Cell> {
    let crew: Vec<Worker> =
        (0..workers).map(|number| worker::<C>(site.clone(), number, options.clone())).collect();
    let mut entries = Vec::new();
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.runs_on(site.engine) && options.wants(*kind));
    for (which, kind) in kinds.enumerate() {
        // One by one: what is shared (a template) is made by the first.
        let mut cost = Duration::ZERO;
        let mut failed = None;
        for worker in &crew {
            match all(std::slice::from_ref(worker), || Order::Prepare(kind)) {
                Ok(warm) => cost = warm[0].0.last().map_or(cost, Took::whole),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            eprintln!("{} {}: left out: {error}", site.engine.word(), kind.name());
            all(&crew, || Order::Forget(which))?;
            continue;
        }
        let cost = cost.as_secs_f64().max(20e-6) * workers.min(2) as f64;
        let times = ((0.03 / cost) as usize).clamp(1, 5);
        let turns = ((options.seconds / cost / times as f64) as usize)
            .clamp(options.least, options.rounds.max(options.least));
        entries.push(Entry { kind, which, times, turns, tests: Vec::new(), walls: Vec::new() });
    }
    for round in 0..options.rounds {
        let count = entries.len();
        for turn in 0..count {
            // Nobody always comes after the same one.
            let entry = &mut entries[(turn + round) % count];
            if (round + 1) * entry.turns / options.rounds == round * entry.turns / options.rounds {
                continue;
            }
            let barrier = Arc::new(Barrier::new(workers));
            match all(&crew, || Order::Test(entry.which, entry.times, Arc::clone(&barrier))) {
                Ok(answers) => {
                    let first = answers.iter().map(|answer| answer.1).min();
                    let last = answers.iter().map(|answer| answer.2).max();
                    if let Some((first, last)) = first.zip(last) {
                        let tests = (workers * entry.times) as f64;
                        entry.walls.push((last - first).as_secs_f64() * 1e6 / tests);
                    }
                    entry.tests.extend(answers.into_iter().flat_map(|answer| answer.0));
                }
                Err(error) => {
                    eprintln!("{} {}: {error}", site.engine.word(), entry.kind.name());
                    entry.turns = 0;
                    entry.tests.clear();
                }
            }
        }
    }
    let _ = all(&crew, || Order::End).inspect_err(|error| eprintln!("{}: {error}", site.engine.word()));
    for worker in crew {
        drop(worker.orders);
        let _ = worker.thread.join();
    }
    let middle = |of: fn(&Took) -> Duration| {
        let mut values: Vec<Duration> = entries
            .iter()
            .filter(|entry| entry.kind == Kind::Handle)
            .flat_map(|entry| &entry.tests)
            .map(of)
            .collect();
        values.sort();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let (connect, end) = (middle(|took| took.connect), middle(|took| took.end));
    let lines = entries.into_iter().filter(|entry| !entry.tests.is_empty()).map(|entry| {
        let mut handle = Took::default();
        if entry.kind.opens_a_handle() {
            handle.end = end;
        }
        if entry.kind.connects_early(site.engine) {
            handle.connect = connect;
        }
        Line::of(entry.kind.name(), &entry.tests, entry.walls, handle)
    });
    Ok(Cell {
        engine: site.engine,
        version: version.to_owned(),
        server: server.to_owned(),
        tables: site.tables,
        workers,
        lines: lines.collect(),
    })
}
