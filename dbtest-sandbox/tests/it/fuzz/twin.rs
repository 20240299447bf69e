//! Clients in pairs that say the same: one to a sandbox, one to a server's database of its own. Both must be
//! told the same, also where another pair has its say in between.

use dbtest_sandbox::Sandbox;

use super::corpus;
use super::rng::Rng;
use crate::arena::{self, log_in};
use crate::raw::{HANG, Message, Raw, message, query, sync};

/// A sandbox and a database, and what has been said to both.
pub struct Ground {
    sandboxed: arena::Ground,
    sandbox: Sandbox,
    direct: arena::Ground,
    said: Said,
}

/// Shows itself where the answers differ.
#[derive(Default)]
struct Said(Vec<Vec<u8>>);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in &self.0 {
                eprintln!("  {}", step.escape_ascii());
            }
        }
    }
}

impl Ground {
    pub fn open() -> Self {
        let (sandboxed, direct) = (arena::Ground::new(), arena::Ground::new());
        let sandbox = sandboxed.sandbox(HANG);
        Self { sandboxed, sandbox, direct, said: Said::default() }
    }

    pub fn play(&mut self, seed: u64, number: u64) {
        let mut rng = Rng::new(seed, number);
        // Two connections of a sandbox share their temporary tables, and when a server tells one what
        // another notifies is the server's affair.
        let two = rng.one_in(2);
        let pair = || (log_in(&self.sandbox, &self.sandboxed.server), Raw::direct(&self.direct.server));
        let mut pairs: Vec<_> = (0..=usize::from(two)).map(|_| pair()).collect();
        // Who listens hears functions from its next transaction on.
        let mut turns = if !two && rng.one_in(2) { vec![vec![query("LISTEN a")]] } else { Vec::new() };
        for _ in 0..=rng.below(8) {
            let steps = corpus::steps(&mut rng);
            let shares = steps.iter().any(|step| step.windows(4).any(|word| word == b"TEMP"));
            if !(two && shares) {
                turns.push(steps);
            }
        }
        // What connections of a sandbox share is nobody's.
        let last = ["ROLLBACK", "RESET SESSION AUTHORIZATION", "CLOSE ALL", "DISCARD ALL"];
        turns.push(last.map(query).to_vec());
        self.said.0.push(format!("-- {number}").into_bytes());
        let (mut at, mut idle) = (0, true);
        for steps in turns {
            let (one, other) = &mut pairs[at];
            for step in steps {
                self.said.0.push([format!("{at}: ").as_bytes(), &step].concat());
                one.send(&step);
                other.send(&step);
                let series = step[0] != b'Q';
                let (one, other) = (answers(one, series), answers(other, series));
                assert_eq!(one, other, "sandbox and server answer differently");
                idle = one.last().is_some_and(|last| last == "Z I");
            }
            // One transaction runs at a time.
            if idle {
                at = rng.below(pairs.len());
            }
        }
    }

    pub fn close(self) {
        let Self { sandboxed, sandbox, direct, .. } = self;
        let closed = arena::close(sandbox);
        assert_eq!(closed.intact, Ok(()));
        sandboxed.untouched();
        sandboxed.end();
        direct.end();
    }
}

/// What comes up to ReadyForQuery, in words. A COPY that waits for data gets some.
fn answers(client: &mut Raw, series: bool) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(answer) = client.next() {
        match answer.tag {
            b'G' => {
                for data in [message(b'd', b"5\tfive\n6\t"), message(b'd', b"six\n"), message(b'c', b"")] {
                    client.send(&data);
                }
                // The one that was sent already is taken no notice of.
                if series {
                    client.send(&sync());
                }
            }
            // Which parameters are told of is the version's affair, and a sandbox tells of what it puts back
            // later. Whether a series is a transaction block to a warning is the version's as well.
            b'S' => continue,
            b'N' if crate::raw::error(&answer.body).0 == "25P01" => continue,
            _ => {}
        }
        words.push(shown(&answer));
        if answer.tag == b'Z' {
            return words;
        }
    }
    words.push("closed".to_owned());
    words
}

fn shown(answer: &Message) -> String {
    let tag = char::from(answer.tag);
    match answer.tag {
        b'E' | b'N' => {
            let (code, words) = crate::raw::error(&answer.body);
            format!("{tag} {code} {words}")
        }
        b'A' => format!("{tag} {}", answer.body[4..].escape_ascii()),
        b'T' => {
            // The table's number is its database's own.
            let names: Vec<_> = answer.body[2..]
                .split(|&byte| byte == 0)
                .map(|name| name.escape_ascii().to_string())
                .collect();
            format!("{tag} {} {}", answer.body[1], names.first().map_or("", String::as_str))
        }
        _ => format!("{tag} {}", answer.body.escape_ascii()),
    }
}
