//! What a client's SQL text asks for: cut into statements, each told apart by its tokens. Pure.
//!
//! Only statements that mean something else inside one long transaction have a kind of their
//! own; all others are [`Kind::Read`] or [`Kind::Write`].

use std::borrow::Cow;
use std::ops::Range;

use squawk_lexer::{LiteralKind, TokenKind};

use crate::settings;

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its bytes in the text, without the semicolon.
    pub range: Range<usize>,
    /// What it asks for.
    pub kind: Kind,
    /// It may have added or dropped a constraint.
    pub schema_change: bool,
    /// It selects literals and nothing else, as pools do to see whether a connection is alive.
    pub constant: bool,
    /// It is a COPY, which may turn the conversation round.
    pub copies: bool,
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It looks as if it only reads; where it writes after all, the server refuses it first.
    Read,
    /// Everything that is not one of the others.
    Write,
    /// BEGIN, START TRANSACTION.
    Begin(Modes),
    /// COMMIT, END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT name.
    Savepoint(String),
    /// RELEASE [SAVEPOINT] name.
    Release(String),
    /// ROLLBACK TO [SAVEPOINT] name.
    RollbackTo(String),
    /// SET TRANSACTION, but for SNAPSHOT.
    SetTransaction(Modes),
    /// SET of one of the transaction's own parameters: the same in other words.
    SetOfTransaction(Modes),
    /// SET CONSTRAINTS.
    SetConstraints,
    /// SHOW default_transaction_read_only.
    ShowReadOnly,
    /// SET [SESSION | LOCAL] of one parameter, RESET of one, or SELECT … set_config(…).
    Set(Vec<Setting>),
    /// RESET ALL.
    ResetAll,
    /// LISTEN channel.
    Listen(String),
    /// UNLISTEN channel, or all.
    Unlisten(Option<String>),
    /// NOTIFY channel, payload.
    Notify(Text, Text),
    /// SELECT pg_notify(channel, payload), where the text says both.
    PgNotify(Text, Text),
    /// PREPARE, EXECUTE or DEALLOCATE of the name that stands at these bytes.
    Prepare(Range<usize>, String),
    /// EXECUTE name, also inside EXPLAIN and CREATE TABLE … AS.
    Execute(Range<usize>, String),
    /// DEALLOCATE name, or all.
    Deallocate(Option<(Range<usize>, String)>),
    /// DECLARE name CURSOR.
    Declare {
        /// The cursor.
        name: String,
        /// WITH HOLD: it outlives its transaction.
        hold: bool,
    },
    /// CREATE TEMPORARY TABLE … ON COMMIT DROP or DELETE ROWS.
    OnCommit {
        /// The table.
        table: String,
        /// DROP, and not DELETE ROWS.
        drop: bool,
    },
    /// DISCARD ALL.
    DiscardAll,
    /// Would end or hand over the sandbox's transaction.
    Refused(&'static str),
}

impl Kind {
    /// Whether it means something else inside one long transaction, so that the sandbox takes note of it.
    pub(crate) fn special(&self) -> bool {
        !matches!(self, Self::Read | Self::Write | Self::Execute(..))
    }

    /// Whether it changes the session only, and needs no transaction for that.
    pub(crate) fn of_the_session(&self) -> bool {
        match self {
            Self::Set(list) => list.iter().all(|setting| !setting.local),
            Self::ResetAll => true,
            _ => false,
        }
    }
}

/// The modes of a transaction that a sandbox can keep. Its isolation level is always kept: one
/// transaction at a time is serializable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// READ ONLY or READ WRITE, if it says so.
    pub read_only: Option<bool>,
}

/// Whether a statement's text begins with this word.
pub(crate) fn begins(text: &str, word: &str) -> bool {
    text.trim_start().get(..word.len()).is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// The name of a parameter that only the server can tell.
pub(crate) const ANY_SETTING: &str = "*";

/// A parameter that a statement sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: Text,
    /// Until the end of the transaction only.
    pub local: bool,
    /// The new value, if it is one literal or word.
    pub value: Option<String>,
    /// RESET, or TO DEFAULT: back to what it was at first.
    pub default: bool,
}

/// A text that stands in the statement or comes with Bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A name or string literal, decoded.
    Literal(String),
    /// `$n`, from 1.
    Parameter(u16),
}

/// The text as the lexer takes it, of the same length: what is not UTF-8 becomes underscores.
pub fn lexable(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        // Postgres takes every byte above 127 for a letter of a name, whatever the encoding.
        Err(_) => Cow::Owned(text.iter().map(|&b| if b < 128 { b as char } else { '_' }).collect()),
    }
}

/// Cuts the text into statements and tells each apart.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    let mut body = Body::default();
    // A string with escapes, and whether a line has ended since: a string goes on in the next line.
    let mut escapes: Option<bool> = None;
    let mut rest: Box<dyn Iterator<Item = squawk_lexer::Token> + '_> = Box::new(squawk_lexer::tokenize(text));
    while let Some(token) = rest.next() {
        let mut range = at..at + token.len as usize;
        at = range.end;
        match (token.kind, &mut escapes) {
            (TokenKind::Whitespace, Some(line)) => *line |= text[range.clone()].contains(['\n', '\r']),
            (TokenKind::LineComment, _) => {}
            (TokenKind::Literal { kind: LiteralKind::Str { .. } }, Some(true)) => {
                // It has escapes too, although it does not say so.
                if text[range.clone()].contains('\\') {
                    range.end = range.start + escaped(&text.as_bytes()[range.start..]);
                    at = range.end;
                    rest = Box::new(squawk_lexer::tokenize(&text[at..]));
                }
                escapes = Some(false);
            }
            (TokenKind::Literal { kind: LiteralKind::EscStr { .. } }, _) => escapes = Some(false),
            _ => escapes = None,
        }
        match token.kind {
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. } => continue,
            TokenKind::Semi if depth == 0 && body.depth == 0 => {
                finish(&mut found, &tokens);
                tokens.clear();
                body = Body::default();
                continue;
            }
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let token = Token { kind: token.kind, text: &text[range.clone()], range };
        body.token(&token, tokens.last(), depth);
        tokens.push(token);
    }
    finish(&mut found, &tokens);
    found
}

fn finish(found: &mut Vec<Statement>, tokens: &[Token<'_>]) {
    if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
        let words = Words { tokens, at: 0 };
        found.push(Statement {
            range: first.range.start..last.range.end,
            kind: words.kind(),
            schema_change: ["create", "alter", "drop", "do", "call", "import"].iter().any(|w| first.is(w)),
            copies: first.is("copy"),
            constant: first.is("select")
                && tokens[1..]
                    .iter()
                    .all(|token| matches!(token.kind, TokenKind::Literal { .. } | TokenKind::Comma)),
        });
    }
}

/// How long a string with escapes is that begins with this quote.
fn escaped(bytes: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\\'), Some(first)) => {
                at += 2;
                // All of the character, if it has several bytes.
                while *first >= 0x80 && bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    at += 1;
                }
            }
            (Some(b'\''), Some(b'\'')) => at += 2,
            (Some(b'\''), _) => return at + 1,
            (Some(_), _) => at += 1,
            (None, _) => return bytes.len(),
        }
    }
}

/// Follows BEGIN ATOMIC … END, the one place where semicolons stand inside a statement.
#[derive(Debug, Default)]
struct Body {
    creates: bool,
    routine: bool,
    /// The body and each CASE in it that is open.
    depth: usize,
}

impl Body {
    /// Called for each token of a statement, with the one before it.
    fn token(&mut self, token: &Token<'_>, before: Option<&Token<'_>>, parens: usize) {
        let Some(before) = before else {
            self.creates = token.is("create");
            return;
        };
        let routine = token.is("function") || token.is("procedure");
        self.routine |= self.creates && routine && (before.is("create") || before.is("replace"));
        // After these, every word is a name.
        if !self.routine || before.kind == TokenKind::Dot || before.is("as") {
            return;
        }
        if self.depth == 0 {
            if parens == 0 && before.is("begin") && token.is("atomic") {
                self.depth = 1;
            }
        } else if token.is("case") {
            self.depth += 1;
        } else if token.is("end")
            // The body itself ends after one of its statements.
            && (self.depth > 1 || before.kind == TokenKind::Semi || before.is("atomic"))
        {
            self.depth -= 1;
        }
    }
}

#[derive(Debug)]
struct Token<'a> {
    kind: TokenKind,
    text: &'a str,
    range: Range<usize>,
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Ident && self.text.eq_ignore_ascii_case(keyword)
    }

    /// A name: folded to lower case, or as it was quoted, cut to 63 bytes as the server does.
    fn name(&self) -> Option<String> {
        let mut name = match self.kind {
            TokenKind::Ident => self.text.to_ascii_lowercase(),
            TokenKind::QuotedIdent { uescape: false, terminated: true } => {
                self.text[1..self.text.len() - 1].replace("\"\"", "\"")
            }
            _ => return None,
        };
        if name.len() > 63 {
            let cut = (0..=63).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
            name.truncate(cut);
        }
        Some(name)
    }

    /// A string literal without escapes, decoded.
    fn string(&self) -> Option<String> {
        match self.kind {
            TokenKind::Literal { kind: LiteralKind::Str { terminated: true } } => {
                Some(self.text[1..self.text.len() - 1].replace("''", "'"))
            }
            TokenKind::Literal { kind: LiteralKind::EscStr { terminated: true } }
                if !self.text.contains('\\') =>
            {
                Some(self.text[2..self.text.len() - 1].replace("''", "'"))
            }
            TokenKind::Literal { kind: LiteralKind::DollarQuotedString { terminated: true } } => {
                let tag = self.text[1..].find('$')? + 2;
                self.text.get(tag..self.text.len() - tag).map(str::to_owned)
            }
            _ => None,
        }
    }

    fn text(&self) -> Option<Text> {
        match self.kind {
            TokenKind::PositionalParam { .. } => self.text[1..].parse().ok().map(Text::Parameter),
            _ => self.string().map(Text::Literal),
        }
    }
}

/// A statement's tokens, read from the left.
#[derive(Clone, Copy)]
struct Words<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
}

const READS: [&str; 6] = ["select", "values", "table", "with", "show", "explain"];

/// Words that make a statement a write although it begins like a read. Functions on large
/// objects write where writing is refused (on servers before 16); the settings are those that
/// tell where a read runs; sequences and notifications are known to write.
const WRITES: [&str; 14] = [
    "insert",
    "update",
    "delete",
    "merge",
    "into",
    "nextval",
    "setval",
    "pg_notify",
    "transaction_read_only",
    "default_transaction_read_only",
    "pg_settings",
    "execute",
    "create",
    "analyze",
];

impl<'a> Words<'a> {
    fn take(&mut self, keyword: &str) -> bool {
        let hit = self.tokens.get(self.at).is_some_and(|token| token.is(keyword));
        self.at += usize::from(hit);
        hit
    }

    fn next(&mut self) -> Option<&'a Token<'a>> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    fn name(&mut self) -> Option<String> {
        self.next()?.name()
    }

    /// The name of a savepoint, which must not be one of the sandbox's own.
    fn savepoint(&mut self, kind: fn(String) -> Kind) -> Option<Kind> {
        if self.rest().first().is_some_and(|t| matches!(t.kind, TokenKind::QuotedIdent { uescape: true, .. }))
        {
            return Some(Kind::Refused("A savepoint whose name is written as U&\"…\""));
        }
        self.name().map(kind)
    }

    fn rest(&self) -> &'a [Token<'a>] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    fn kind(mut self) -> Kind {
        let begins = self;
        let Some(first) = self.next() else { return Kind::Write };
        let word = first.text.to_ascii_lowercase();
        let kind = match word.as_str() {
            "begin" => self.begin(),
            "start" if self.take("transaction") => Some(Kind::Begin(self.modes())),
            "commit" | "end" => self.commit(),
            "rollback" | "abort" => self.rollback(word == "rollback"),
            "savepoint" => self.savepoint(Kind::Savepoint),
            "release" => {
                self.take("savepoint");
                self.savepoint(Kind::Release)
            }
            "prepare" => self.prepare(),
            "execute" => self.execute(),
            "deallocate" => self.deallocate(),
            "set" => self.set(),
            "reset" => self.reset(),
            "discard" => self.take("all").then_some(Kind::DiscardAll),
            "listen" => self.name().map(Kind::Listen),
            "unlisten" => self.unlisten(),
            "notify" => self.notify(),
            "declare" => self.declare(),
            _ if READS.contains(&word.as_str()) || first.kind == TokenKind::OpenParen => begins.query(),
            "create" => begins.executes().or_else(|| self.temporary()),
            _ => None,
        };
        kind.unwrap_or(Kind::Write)
    }

    fn begin(&mut self) -> Option<Kind> {
        let _ = self.take("work") || self.take("transaction");
        Some(Kind::Begin(self.modes()))
    }

    /// READ ONLY and READ WRITE among a transaction's modes; the last one counts.
    fn modes(&self) -> Modes {
        let mut modes = Modes::default();
        for pair in self.rest().windows(2) {
            if pair[0].is("read") && pair[1].is("only") {
                modes.read_only = Some(true);
            } else if pair[0].is("read") && pair[1].is("write") {
                modes.read_only = Some(false);
            }
        }
        modes
    }

    fn commit(&mut self) -> Option<Kind> {
        if self.take("prepared") {
            return Some(Kind::Refused("COMMIT PREPARED"));
        }
        let _ = self.take("work") || self.take("transaction");
        Some(Kind::Commit { chain: self.chain() })
    }

    fn chain(&mut self) -> bool {
        self.take("and") && !self.take("no") && self.take("chain")
    }

    fn rollback(&mut self, long: bool) -> Option<Kind> {
        if long && self.take("prepared") {
            return Some(Kind::Refused("ROLLBACK PREPARED"));
        }
        let _ = self.take("work") || self.take("transaction");
        if long && self.take("to") {
            self.take("savepoint");
            return self.savepoint(Kind::RollbackTo);
        }
        Some(Kind::Rollback { chain: self.chain() })
    }

    fn prepare(&mut self) -> Option<Kind> {
        let name = self.next()?;
        // PREPARE transaction AS …, PREPARE transaction (int) AS …: a statement of that name.
        let transaction = name.is("transaction") && self.rest().first().is_some_and(|t| t.string().is_some());
        if transaction {
            return Some(Kind::Refused("PREPARE TRANSACTION"));
        }
        Some(Kind::Prepare(name.range.clone(), name.name()?))
    }

    fn execute(&mut self) -> Option<Kind> {
        let name = self.next()?;
        Some(Kind::Execute(name.range.clone(), name.name()?))
    }

    /// CREATE TABLE … AS EXECUTE name.
    fn executes(mut self) -> Option<Kind> {
        self.at = self.tokens.windows(2).position(|pair| pair[0].is("as") && pair[1].is("execute"))? + 2;
        self.execute()
    }

    /// CREATE TEMPORARY TABLE … ON COMMIT …
    fn temporary(&mut self) -> Option<Kind> {
        let _ = self.take("local") || self.take("global");
        if !(self.take("temp") || self.take("temporary")) || !self.take("table") {
            return None;
        }
        let _ = self.take("if") && self.take("not") && self.take("exists");
        let mut table = self.name()?;
        if self.rest().first().is_some_and(|token| token.kind == TokenKind::Dot) {
            self.at += 1;
            table = self.name()?;
        }
        let on_commit = |three: &[Token<'_>]| three[0].is("on") && three[1].is("commit");
        let action = &self.rest().windows(3).find(|three| on_commit(three))?[2];
        let drop = action.is("drop");
        (drop || action.is("delete")).then_some(Kind::OnCommit { table, drop })
    }

    fn deallocate(&mut self) -> Option<Kind> {
        self.take("prepare");
        let name = self.next()?;
        if name.is("all") {
            return Some(Kind::Deallocate(None));
        }
        Some(Kind::Deallocate(Some((name.range.clone(), name.name()?))))
    }

    fn set(&mut self) -> Option<Kind> {
        let session = self.take("session");
        let local = !session && self.take("local");
        if session && self.take("characteristics") {
            // AS TRANSACTION READ ONLY is the parameter of that name; the level is always kept.
            return Some(match self.modes().read_only {
                Some(_) => Kind::Set(vec![Setting::new("default_transaction_read_only", false)]),
                None => Kind::Set(Vec::new()),
            });
        }
        if !session && !local && self.take("transaction") {
            if self.take("snapshot") {
                return Some(Kind::Refused("SET TRANSACTION SNAPSHOT"));
            }
            return Some(Kind::SetTransaction(self.modes()));
        }
        if !session && !local && self.take("constraints") {
            return Some(Kind::SetConstraints);
        }
        let name = self.parameter(session)?;
        let _ = self.rest().first().is_some_and(|token| token.kind == TokenKind::Eq) && {
            self.at += 1;
            true
        } || self.take("to");
        let default = matches!(self.rest(), [one] if one.is("default"));
        let value = match self.rest() {
            [_] if default => None,
            [one] => one.string().or_else(|| match one.kind {
                TokenKind::Ident | TokenKind::Literal { kind: LiteralKind::Int { .. } } => {
                    Some(one.text.to_ascii_lowercase())
                }
                _ => None,
            }),
            _ => None,
        };
        Some(match name.as_str() {
            "transaction_read_only" => {
                Kind::SetOfTransaction(Modes { read_only: value.as_deref().map(settings::is_on) })
            }
            "transaction_isolation" | "transaction_deferrable" => Kind::SetOfTransaction(Modes::default()),
            _ => Kind::Set(vec![Setting { value, default, ..Setting::new(&name, local) }]),
        })
    }

    /// A parameter's name, in one of the ways that SET and RESET write some.
    fn parameter(&mut self, session: bool) -> Option<String> {
        if self.take("time") && self.take("zone") {
            return Some("timezone".to_owned());
        }
        if self.take("names") {
            return Some("client_encoding".to_owned());
        }
        if session && self.take("authorization") {
            return Some("session_authorization".to_owned());
        }
        let mut name = self.name()?;
        if name == "session" && self.take("authorization") {
            return Some("session_authorization".to_owned());
        }
        while self.rest().first().is_some_and(|token| token.kind == TokenKind::Dot) {
            self.at += 1;
            name = format!("{name}.{}", self.name()?);
        }
        Some(name)
    }

    fn reset(&mut self) -> Option<Kind> {
        if self.take("all") {
            return Some(Kind::ResetAll);
        }
        let name = self.parameter(false)?;
        Some(Kind::Set(vec![Setting { default: true, ..Setting::new(&name, false) }]))
    }

    fn unlisten(&mut self) -> Option<Kind> {
        let channel = self.next()?;
        Some(Kind::Unlisten(channel.name()))
    }

    fn notify(&mut self) -> Option<Kind> {
        let channel = self.name()?;
        let payload = match self.next() {
            Some(comma) if comma.kind == TokenKind::Comma => self.next()?.string()?,
            _ => String::new(),
        };
        Some(Kind::Notify(Text::Literal(channel), Text::Literal(payload)))
    }

    fn declare(&mut self) -> Option<Kind> {
        let name = self.name()?;
        let hold = self.rest().windows(2).any(|pair| pair[0].is("with") && pair[1].is("hold"));
        Some(Kind::Declare { name, hold })
    }

    /// A statement that begins like one that reads.
    fn query(mut self) -> Option<Kind> {
        if let [show, name] = self.tokens
            && show.is("show")
            && name.is(settings::READ_ONLY)
        {
            return Some(Kind::ShowReadOnly);
        }
        let mut settings = Vec::new();
        let mut notify = None;
        let mut reads = true;
        for (at, token) in self.tokens.iter().enumerate() {
            if token.kind != TokenKind::Ident && !matches!(token.kind, TokenKind::QuotedIdent { .. }) {
                continue;
            }
            let called = self.tokens.get(at + 1).is_some_and(|next| next.kind == TokenKind::OpenParen);
            let word = token.text.trim_matches('"').to_ascii_lowercase();
            if called && word == "set_config" {
                settings.push(self.set_config(at + 2).unwrap_or_else(|| Setting::new(ANY_SETTING, false)));
                reads = false;
            } else if called && word == "pg_notify" {
                let argument = |at: usize, end: &[TokenKind]| {
                    let ends = self.tokens.get(at + 1).is_some_and(|after| end.contains(&after.kind));
                    self.tokens.get(at).filter(|_| ends).and_then(Token::text)
                };
                let channel = argument(at + 2, &[TokenKind::Comma]);
                let payload = argument(at + 4, &[TokenKind::CloseParen, TokenKind::Colon]);
                notify = channel.zip(payload);
                reads = false;
            } else if WRITES.contains(&word.as_str()) || (called && word.starts_with("lo_")) {
                reads = false;
            }
        }
        if !settings.is_empty() {
            return Some(Kind::Set(settings));
        }
        if let Some((channel, payload)) = notify {
            return Some(Kind::PgNotify(channel, payload));
        }
        // EXPLAIN EXECUTE name.
        if let Some(at) = self.tokens.iter().position(|token| token.is("execute"))
            && self.tokens[0].is("explain")
        {
            self.at = at + 1;
            return self.execute();
        }
        reads.then_some(Kind::Read)
    }

    /// The arguments of set_config, which begin at this token.
    fn set_config(&self, at: usize) -> Option<Setting> {
        let name = match self.tokens.get(at)?.text()? {
            Text::Literal(name) => Text::Literal(name.to_ascii_lowercase()),
            parameter => parameter,
        };
        let (mut depth, mut commas) = (0_usize, 0);
        for (offset, token) in self.tokens[at..].iter().enumerate() {
            match token.kind {
                TokenKind::OpenParen => depth += 1,
                TokenKind::CloseParen if depth == 0 => break,
                TokenKind::CloseParen => depth -= 1,
                TokenKind::Comma if depth == 0 => commas += 1,
                _ => continue,
            }
            if commas == 2 {
                let local = self.tokens.get(at + offset + 1)?;
                return Some(Setting { name, ..Setting::new("", !local.is("false")) });
            }
        }
        None
    }
}

impl Setting {
    fn new(name: &str, local: bool) -> Self {
        Self { name: Text::Literal(name.to_owned()), local, value: None, default: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        statements(text).into_iter().map(|statement| statement.kind).collect()
    }

    fn kind(text: &str) -> Kind {
        let mut kinds = kinds(text);
        assert_eq!(kinds.len(), 1, "{text}");
        kinds.remove(0)
    }

    #[test]
    fn transaction_control_is_found_whatever_stands_around_it() {
        for text in [
            "commit",
            "/* a /* b */ */ COMMIT -- x",
            "\u{feff}Commit;",
            ";; END work ;",
            "commit and no chain",
        ] {
            assert_eq!(kind(text), Kind::Commit { chain: false }, "{text}");
        }
        assert_eq!(kind("COMMIT TRANSACTION AND CHAIN"), Kind::Commit { chain: true });
        assert_eq!(kind("abort"), Kind::Rollback { chain: false });
        assert_eq!(kind("ROLLBACK WORK TO SAVEPOINT \"A b\""), Kind::RollbackTo("A b".into()));
        assert_eq!(kind("rollback to A"), Kind::RollbackTo("a".into()));
        assert_eq!(kind("release x"), Kind::Release("x".into()));
        assert_eq!(kind("SAVEPOINT x"), Kind::Savepoint("x".into()));
        let modes = |read_only| Kind::Begin(Modes { read_only });
        assert_eq!(kind("BEGIN"), modes(None));
        assert_eq!(kind("start transaction isolation level read committed, read only"), modes(Some(true)));
        assert_eq!(kind("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"), modes(Some(false)));
        assert_eq!(kind("PREPARE TRANSACTION 'x'"), Kind::Refused("PREPARE TRANSACTION"));
        assert!(
            matches!(kind("PREPARE transaction AS SELECT 1"), Kind::Prepare(_, name) if name == "transaction")
        );
        assert_eq!(kind("COMMIT PREPARED 'x'"), Kind::Refused("COMMIT PREPARED"));
    }

    #[test]
    fn what_only_looks_like_control_is_none() {
        for text in
            ["SELECT 'COMMIT'", "SELECT $$;COMMIT;$$", "SELECT 1 /* ; COMMIT */", "SELECT \"commit;\""]
        {
            assert_eq!(kind(text), Kind::Read, "{text}");
        }
        assert_eq!(kind("\"commit\""), Kind::Write);
        assert_eq!(kind("DO $x$ BEGIN COMMIT; END $x$"), Kind::Write);
        assert_eq!(kinds("SELECT E'\\'; COMMIT; '; SELECT ';'").len(), 2);
        // A string with escapes goes on in the next line, escapes and all.
        for (text, count) in [
            ("SELECT E'a'\n'\\' '; COMMIT; --'", 2),
            ("SELECT E'a' -- b\n 'c'\n'\\''; COMMIT; --'", 2),
            ("SELECT E'a'\n'\\'; COMMIT; --'", 1),
            ("SELECT E'a'\n'\\é'; COMMIT", 2),
            ("SELECT E'a' '\\'; COMMIT; --'", 2),
            ("SELECT 'a'\n'\\'; COMMIT; --'", 2),
            ("SELECT E'a' /* \n */ '\\'; COMMIT; --'", 2),
        ] {
            assert_eq!(kinds(text).len(), count, "{text}");
        }
        let function = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; COMMIT";
        assert_eq!(kinds(function), [Kind::Write, Kind::Commit { chain: false }]);
        for function in [
            "CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT",
            "CREATE FUNCTION begin.atomic() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; SELECT x.end FROM (SELECT 1 AS end) x; END; COMMIT",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end; END; COMMIT",
            "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC END; COMMIT",
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END; COMMIT",
            "CREATE TABLE x AS SELECT begin atomic; COMMIT",
        ] {
            assert_eq!(kinds(function), [Kind::Write, Kind::Commit { chain: false }], "{function}");
        }
        assert_eq!(kinds("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3").len(), 2);
    }

    #[test]
    fn reads_are_told_from_what_writes() {
        for text in [
            "SELECT 1",
            "(select 2)",
            "VALUES (1)",
            "TABLE t",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "SHOW all",
        ] {
            assert_eq!(kind(text), Kind::Read, "{text}");
        }
        for (text, constant) in
            [("SELECT 1", true), ("select 'x', 2", true), ("SELECT f()", false), ("SELECT x", false)]
        {
            assert_eq!(statements(text)[0].constant, constant, "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1)",
            "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
            "SELECT 1 INTO t",
            "SELECT nextval('s')",
            "SELECT lo_create(0)",
            "SHOW transaction_read_only",
            "EXPLAIN ANALYZE SELECT 1",
            "COPY t FROM STDIN",
        ] {
            assert_eq!(kind(text), Kind::Write, "{text}");
        }
    }

    #[test]
    fn settings_are_named() {
        let set = |name: &str, local| Kind::Set(vec![Setting::new(name, local)]);
        let to = |name: &str, value: &str, local| {
            Kind::Set(vec![Setting { value: Some(value.to_owned()), ..Setting::new(name, local) }])
        };
        let back = |name: &str| Kind::Set(vec![Setting { default: true, ..Setting::new(name, false) }]);
        assert_eq!(kind("SET search_path = a, b"), set("search_path", false));
        assert_eq!(kind("SET x TO DEFAULT"), back("x"));
        assert_eq!(kind("SET LOCAL App.Tenant TO 'x'"), to("app.tenant", "x", true));
        assert_eq!(kind("set session time zone 'UTC'"), to("timezone", "UTC", false));
        assert_eq!(kind("SET NAMES 'utf8'"), to("client_encoding", "utf8", false));
        assert_eq!(kind("SET SESSION AUTHORIZATION x"), to("session_authorization", "x", false));
        assert_eq!(kind("RESET SESSION AUTHORIZATION"), back("session_authorization"));
        assert_eq!(kind("SET ROLE x"), to("role", "x", false));
        assert_eq!(kind("SELECT set_config('app.x', $1 || f(2, 3), true)"), set("app.x", true));
        assert_eq!(
            kind("SELECT pg_catalog.set_config($1, $2, false)"),
            Kind::Set(vec![Setting { name: Text::Parameter(1), ..Setting::new("", false) }])
        );
        assert_eq!(kind("SET CONSTRAINTS ALL DEFERRED"), Kind::SetConstraints);
        assert_eq!(
            kind("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
            Kind::SetTransaction(Modes { read_only: None })
        );
        assert_eq!(kind("RESET ALL"), Kind::ResetAll);
        assert_eq!(kind("DISCARD ALL"), Kind::DiscardAll);
        assert_eq!(kind("DISCARD TEMP"), Kind::Write);
    }

    #[test]
    fn channels_and_names_are_read() {
        assert_eq!(kind("LISTEN \"A\""), Kind::Listen("A".into()));
        assert_eq!(kind("UNLISTEN *"), Kind::Unlisten(None));
        let text = |text: &str| Text::Literal(text.to_owned());
        assert_eq!(kind("NOTIFY jobs, 'it''s'"), Kind::Notify(text("jobs"), text("it's")));
        assert_eq!(kind("notify jobs"), Kind::Notify(text("jobs"), text("")));
        for sql in ["SELECT pg_notify('jobs', $1)", "SELECT pg_notify('jobs', $1::text)"] {
            assert_eq!(kind(sql), Kind::PgNotify(text("jobs"), Text::Parameter(1)));
        }
        assert_eq!(kind("SELECT pg_notify('jobs', $1 || 'x')"), Kind::Write);
        let prepared = "PREPARE p (int) AS SELECT $1";
        assert_eq!(kind(prepared), Kind::Prepare(8..9, "p".into()));
        assert_eq!(kind("EXECUTE p(1)"), Kind::Execute(8..9, "p".into()));
        assert_eq!(kind("EXPLAIN EXECUTE p"), Kind::Execute(16..17, "p".into()));
        assert_eq!(kind("DEALLOCATE PREPARE p"), Kind::Deallocate(Some((19..20, "p".into()))));
        assert_eq!(kind("DEALLOCATE ALL"), Kind::Deallocate(None));
        let on_commit = |table: &str, drop| Kind::OnCommit { table: table.to_owned(), drop };
        assert_eq!(kind("CREATE TEMP TABLE T (x int) ON COMMIT DROP"), on_commit("t", true));
        let long =
            "create local temporary table if not exists pg_temp.\"A b\" on commit delete rows as select 1";
        assert_eq!(kind(long), on_commit("A b", false));
        for text in ["CREATE TEMP TABLE t (x int) ON COMMIT PRESERVE ROWS", "CREATE TABLE t (x int)"] {
            assert_eq!(kind(text), Kind::Write, "{text}");
        }
        assert_eq!(
            kind("DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
            Kind::Declare { name: "c".into(), hold: true }
        );
    }

    #[test]
    fn any_bytes_are_cut() {
        for text in
            [&b"SELECT '\xff"[..], b"\xe9; COMMIT", b"", b";;", b"/* open", b"$a$", b"\"", b"'", b"E'\\"]
        {
            let lexable = lexable(text);
            assert_eq!(lexable.len(), text.len());
            for statement in statements(&lexable) {
                assert!(statement.range.end <= text.len());
            }
        }
    }
}
