//! A client that says anything, beside one that behaves.

use std::time::{Duration, Instant};

use dbtest_sandbox::Sandbox;

use super::corpus;
use super::rng::Rng;
use crate::arena::{self, Neighbour, log_in};
use crate::raw::{HANG, Raw, password, startup};

/// No input may keep a sandbox busy for longer; the server ends statements after half of it.
const LONG: Duration = Duration::from_secs(5);

/// A sandbox for some inputs.
pub struct Ground {
    ground: arena::Ground,
    sandbox: Sandbox,
    neighbour: Neighbour,
}

/// What one input is.
struct Input {
    logs_in: bool,
    /// What is sent, in the pieces in which it is sent.
    pieces: Vec<Vec<u8>>,
    /// The other client has a transaction open meanwhile.
    neighbour_holds: bool,
    /// It reads what it gets.
    reads: bool,
}

impl Drop for Input {
    /// Shows itself where something went wrong with it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { logs_in, neighbour_holds, reads, .. } = self;
            eprintln!("logs in: {logs_in}, neighbour holds: {neighbour_holds}, reads: {reads}");
            for piece in &self.pieces {
                eprintln!("  {}", piece.escape_ascii());
            }
        }
    }
}

impl Input {
    fn new(seed: u64, number: u64, user: &str, database: &str, word: &str) -> Self {
        let mut rng = Rng::new(seed, number);
        let mut bytes = Vec::new();
        let logs_in = !rng.one_in(16);
        if !logs_in {
            bytes.extend(startup(user, database));
            bytes.extend(password(word));
        }
        bytes.extend(corpus::session(&mut rng).concat());
        if !logs_in || rng.one_in(4) {
            rng.mangle(&mut bytes);
        }
        let mut pieces = vec![bytes];
        for _ in 0..rng.below(4) {
            let last = pieces.len() - 1;
            let at = rng.below(pieces[last].len() + 1);
            let rest = pieces[last].split_off(at);
            pieces.push(rest);
        }
        Self { logs_in, pieces, neighbour_holds: rng.one_in(3), reads: !rng.one_in(3) }
    }
}

impl Ground {
    pub fn open() -> Self {
        let mut set = "ALTER DATABASE {} SET statement_timeout = '2500ms'".to_owned();
        if std::env::var_os("DBTEST_FUZZ_LOG").is_some() {
            set.push_str("; ALTER DATABASE {} SET log_statement = 'all'; ALTER DATABASE {} SET log_min_messages = 'debug2'");
        }
        let ground = arena::Ground::with(&set);
        let sandbox = ground.sandbox(HANG);
        let neighbour = Neighbour::new(log_in(&sandbox, &ground.server));
        Self { ground, sandbox, neighbour }
    }

    pub fn play(&mut self, seed: u64, number: u64) {
        let server = &self.ground.server;
        let input = Input::new(seed, number, &server.user, &server.database, self.sandbox.password());
        let since = Instant::now();
        if input.neighbour_holds {
            self.neighbour.begins();
        }
        let mut client =
            if input.logs_in { log_in(&self.sandbox, server) } else { Raw::connect(&self.sandbox) };
        for piece in &input.pieces {
            client.send(piece);
            // The other client's query passes the same thread: the piece is seen before the next.
            if input.neighbour_holds {
                self.neighbour.client.well("SELECT 1");
            }
        }
        client.end_sending();
        if input.neighbour_holds {
            self.neighbour.works();
        }
        if input.reads {
            client.last();
        }
        drop(client);
        self.neighbour.works();
        let took = since.elapsed();
        assert!(took < LONG, "it took {took:?}: {}", input.pieces.concat().escape_ascii());
    }

    pub fn close(self) {
        let Self { ground, sandbox, neighbour } = self;
        let closed = arena::close(sandbox);
        assert_eq!(closed.intact, Ok(()));
        drop(neighbour);
        ground.untouched();
        ground.end();
    }
}
