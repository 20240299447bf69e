//! A client without manners: bytes over a socket, and messages as they come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dbtest_sandbox::{Address, Sandbox, Server};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// What takes longer hangs. Nothing here is expected to take a second.
pub const HANG: Duration = Duration::from_secs(60);

/// A message from the server's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// What came back up to ReadyForQuery or the end of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub rows: Vec<Vec<Option<String>>>,
    /// Command tags.
    pub done: Vec<String>,
    /// SQLSTATE and words of the errors.
    pub errors: Vec<(String, String)>,
    /// The transaction status, or none if the connection was closed.
    pub status: Option<char>,
}

impl Answer {
    /// The first error's SQLSTATE.
    pub fn code(&self) -> &str {
        self.errors.first().map_or("", |(code, _)| code)
    }

    pub fn closed(&self) -> bool {
        self.status.is_none()
    }

    /// The first column of the first row.
    pub fn value(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    fn add(&mut self, message: &Message) {
        match message.tag {
            b'D' => self.rows.push(row(&message.body)),
            b'C' => self.done.push(string(&message.body)),
            b'E' => self.errors.push(error(&message.body)),
            b'Z' => self.status = message.body.first().map(|&status| char::from(status)),
            _ => {}
        }
    }
}

/// Sockets of a sandbox.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// BackendKeyData, once logged in.
    pub key: [u8; 8],
}

impl Raw {
    /// Connects and says nothing.
    pub fn connect(sandbox: &Sandbox) -> Self {
        let Address::Tcp(host, port) = sandbox.address() else { panic!("a sandbox on loopback") };
        Self::over(tcp(host, *port))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG)).expect("a socket option");
        stream.set_write_timeout(Some(HANG)).expect("a socket option");
        Self { stream, buffer: Vec::new(), key: [0; 8] }
    }

    /// Connects to a server and logs in.
    pub fn direct(server: &Server) -> Self {
        let mut client = Self::over(match &server.address {
            Address::Tcp(host, port) => tcp(host, *port),
            // A stream is a stream.
            Address::Unix(path) => OwnedFd::from(UnixStream::connect(path).expect("a connection")).into(),
        });
        client.send(&startup(&server.user, &server.database));
        let word = server.password.as_deref().unwrap_or_default();
        let mut scram = ScramSha256::new(word.as_bytes(), ChannelBinding::unsupported());
        while let Some(Message { tag, body }) = client.next() {
            match (tag, body.get(..4).map(|code| code[3])) {
                (b'R', Some(3)) => client.send(&password(word)),
                (b'R', Some(10)) => {
                    let first = scram.message();
                    let length = (first.len() as u32).to_be_bytes();
                    client.send(&message(b'p', &[SCRAM_SHA_256.as_bytes(), b"\0", &length, first].concat()));
                }
                (b'R', Some(11)) => {
                    scram.update(&body[4..]).expect("SCRAM");
                    client.send(&message(b'p', scram.message()));
                }
                (b'Z', _) => return client,
                (b'E', _) => panic!("{:?}", error(&body)),
                _ => {}
            }
        }
        panic!("the server closed the connection");
    }

    /// Sends. A connection that is closed is no error: what comes back says it.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            assert!(!timed_out(&error), "nobody reads what this client sends");
        }
    }

    /// Sends as much as is taken within the time. Returns how much that is.
    pub fn send_until_blocked(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).expect("a socket option");
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => sent += more,
            }
        }
        self.stream.set_write_timeout(Some(HANG)).expect("a socket option");
        sent
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next message, or none if the connection was closed.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
                if self.buffer.len() >= length {
                    let rest = self.buffer.split_off(length);
                    let message = std::mem::replace(&mut self.buffer, rest);
                    return Some(Message { tag: message[0], body: message[5..].to_vec() });
                }
            }
            if !self.read() {
                return None;
            }
        }
    }

    fn read(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(more) => {
                self.buffer.extend_from_slice(&chunk[..more]);
                true
            }
            Err(error) => {
                assert!(!timed_out(&error), "the sandbox says nothing and does not close");
                false
            }
        }
    }

    /// One byte, as the answer to a request for encryption is.
    pub fn byte(&mut self) -> Option<u8> {
        while self.buffer.is_empty() {
            if !self.read() {
                return None;
            }
        }
        Some(self.buffer.remove(0))
    }

    /// Everything up to ReadyForQuery or the end.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        while let Some(message) = self.next() {
            answer.add(&message);
            if message.tag == b'Z' {
                break;
            }
        }
        answer
    }

    /// Everything up to the end of the connection, with what must stand there for it to end.
    pub fn last(&mut self) -> Answer {
        let mut answer = Answer::default();
        while let Some(message) = self.next() {
            answer.add(&message);
        }
        answer.status = None;
        answer
    }

    /// Everything up to a message with this tag.
    pub fn until(&mut self, tag: u8) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next() {
            all.push(message);
            if all.last().is_some_and(|message| message.tag == tag) {
                return all;
            }
        }
        panic!("closed before {:?}: {all:?}", char::from(tag));
    }

    /// Runs SQL.
    pub fn query(&mut self, sql: &str) -> Answer {
        self.send(&query(sql));
        self.answer()
    }

    /// Runs SQL that must go well.
    pub fn well(&mut self, sql: &str) -> Answer {
        let answer = self.query(sql);
        assert!(answer.errors.is_empty() && !answer.closed(), "{sql}: {answer:?}");
        answer
    }

    /// The number that a query asks for.
    pub fn number(&mut self, sql: &str) -> i64 {
        let answer = self.well(sql);
        answer.value().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{sql}: {answer:?}"))
    }
}

fn tcp(host: &str, port: u16) -> TcpStream {
    let stream = TcpStream::connect((host, port)).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut columns = Vec::new();
    let mut at = 2;
    while let Some(head) = body.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        at += 4;
        columns.push(usize::try_from(i32::from_be_bytes(*head)).ok().map(|length| {
            at += length;
            String::from_utf8_lossy(&body[at - length..at]).into_owned()
        }));
    }
    columns
}

pub fn error(body: &[u8]) -> (String, String) {
    let (mut code, mut words) = (String::new(), String::new());
    for field in body.split(|&byte| byte == 0) {
        match field.split_first() {
            Some((b'C', rest)) => code = string(rest),
            Some((b'M', rest)) => words = string(rest),
            _ => {}
        }
    }
    (code, words)
}

/// A message with any tag and a right length.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 4) as u32;
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A message without a tag, as a connection begins with.
pub fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 8) as u32;
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

pub const VERSION_3: u32 = 3 << 16;
pub const CANCEL: u32 = 80_877_102;
pub const SSL: u32 = 80_877_103;
pub const GSS: u32 = 80_877_104;

pub fn startup(user: &str, database: &str) -> Vec<u8> {
    packet(VERSION_3, format!("user\0{user}\0database\0{database}\0\0").as_bytes())
}

pub fn password(password: &str) -> Vec<u8> {
    message(b'p', format!("{password}\0").as_bytes())
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// A Bind without parameters.
pub fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub fn describe(variant: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{variant}{name}\0").as_bytes())
}

pub fn close(variant: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{variant}{name}\0").as_bytes())
}

pub fn execute(portal: &str, rows: i32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
}

pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// Parse, Bind and Execute of the unnamed statement.
pub fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("", 0)].concat()
}
