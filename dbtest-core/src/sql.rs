//! SQL text: cut into statements, shortened for messages, searched for names. Pure.

/// One statement and where it starts in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The statement, without its semicolon.
    pub text: &'a str,
    /// The byte at which it starts.
    pub start: usize,
}

/// A piece of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or keyword, quoted or not.
    Word(&'a str),
    /// A string, a dollar-quoted body.
    Text,
    /// White space or a comment.
    Blank,
    /// Any other character.
    Sign(char),
}

/// Cuts SQL text into statements at the semicolons that end one: not at those in strings,
/// quoted names, comments, dollar-quoted bodies, or the bodies of triggers and routines.
pub fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut body = Body::default();
    for (position, token) in Tokens::new(text) {
        match token {
            Token::Sign(';') if body.depth == 0 => {
                push(&mut found, text, start, position);
                start = position + 1;
                body = Body::default();
            }
            Token::Word(word) => body.word(word),
            _ => {}
        }
    }
    push(&mut found, text, start, text.len());
    found
}

fn push<'a>(found: &mut Vec<Statement<'a>>, text: &'a str, start: usize, end: usize) {
    let piece = &text[start..end];
    let mut first = None;
    for (position, token) in Tokens::new(piece) {
        if token != Token::Blank {
            first = Some(position);
            break;
        }
    }
    if let Some(first) = first {
        found.push(Statement { text: piece[first..].trim_end(), start: start + first });
    }
}

/// Follows BEGIN … END in a statement that creates a routine or trigger.
#[derive(Debug, Default)]
struct Body {
    words: usize,
    creates: bool,
    routine: bool,
    depth: usize,
    ending: bool,
}

impl Body {
    fn word(&mut self, word: &str) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        self.words += 1;
        if self.words == 1 {
            self.creates = is("create");
        }
        if self.creates
            && self.depth == 0
            && ["trigger", "procedure", "function", "event"].iter().any(|k| is(k))
        {
            self.routine = true;
        }
        if !self.routine {
            return;
        }
        if self.ending {
            // END IF, END LOOP, END CASE …: the word behind END only names what ended.
            self.ending = false;
            if ["if", "loop", "case", "repeat", "while"].iter().any(|k| is(k)) {
                return;
            }
        }
        if is("end") {
            self.depth = self.depth.saturating_sub(1);
            self.ending = true;
        } else if is("begin")
            || (self.depth > 0 && ["case", "loop", "repeat", "while", "if"].iter().any(|k| is(k)))
        {
            self.depth += 1;
        }
    }
}

struct Tokens<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The position behind the next `end`, or the end of the text.
    fn behind(&self, from: usize, end: &str) -> usize {
        self.text[from..].find(end).map_or(self.text.len(), |at| from + at + end.len())
    }

    /// The position behind a quoted piece whose quote stands at `from`.
    fn quoted(&self, from: usize, quote: u8, backslash: bool) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = from + 1;
        while at < bytes.len() {
            if backslash && bytes[at] == b'\\' {
                at += 2;
            } else if bytes[at] == quote {
                if bytes.get(at + 1) != Some(&quote) {
                    return at + 1;
                }
                at += 2;
            } else {
                at += 1;
            }
        }
        self.text.len()
    }

    fn comment(&self, from: usize) -> usize {
        let bytes = self.text.as_bytes();
        let (mut at, mut depth) = (from, 0_usize);
        while at < bytes.len() {
            if bytes[at..].starts_with(b"/*") {
                depth += 1;
                at += 2;
            } else if bytes[at..].starts_with(b"*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            } else {
                at += 1;
            }
        }
        self.text.len()
    }

    /// The end of `$tag$ … $tag$` that starts at `from`, if one does.
    fn dollar(&self, from: usize) -> Option<usize> {
        let rest = &self.text[from + 1..];
        let tag = rest.find('$')?;
        let name = &rest[..tag];
        let fits = name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        fits.then(|| {
            let quote = &self.text[from..from + tag + 2];
            self.behind(from + quote.len(), quote)
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.position;
        let rest = &self.text[start..];
        let bytes = rest.as_bytes();
        let first = rest.chars().next()?;
        let (end, token) = if first.is_whitespace() {
            (start + first.len_utf8(), Token::Blank)
        } else if bytes.starts_with(b"--")
            || (first == '#' && !rest.starts_with("#>") && !rest.starts_with("#-"))
        {
            (self.behind(start, "\n"), Token::Blank)
        } else if bytes.starts_with(b"/*") {
            (self.comment(start), Token::Blank)
        } else if first == '\'' {
            let escapes = start > 0 && matches!(self.text.as_bytes()[start - 1], b'E' | b'e');
            (self.quoted(start, b'\'', escapes), Token::Text)
        } else if first == '"' || first == '`' {
            let end = self.quoted(start, bytes[0], false);
            let inner = if end - start >= 2 { &self.text[start + 1..end - 1] } else { "" };
            (end, Token::Word(inner))
        } else if let Some(end) = (first == '$').then(|| self.dollar(start)).flatten() {
            (end, Token::Text)
        } else if first.is_alphabetic() || first == '_' {
            let length =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            (start + length, Token::Word(&rest[..length]))
        } else {
            (start + first.len_utf8(), Token::Sign(first))
        };
        // A quoted piece that ends inside a character can only be the text's end.
        self.position = end.min(self.text.len());
        Some((start, token))
    }
}

/// The first statement that names an object in the schema, as in `public.users`.
pub(crate) fn names_schema<'a>(text: &'a str, schema: &str) -> Option<&'a str> {
    statements(text).into_iter().map(|statement| statement.text).find(|statement| {
        let mut before = None;
        Tokens::new(statement).any(|(_, token)| {
            let hit = token == Token::Sign('.')
                && matches!(before, Some(Token::Word(word)) if word.eq_ignore_ascii_case(schema));
            before = Some(token);
            hit
        })
    })
}

/// The statement in which the character with this number (from 1) stands, as Postgres counts.
pub fn statement_at(text: &str, character: usize) -> Option<&str> {
    let byte = text.char_indices().nth(character.checked_sub(1)?)?.0;
    statements(text)
        .into_iter()
        .take_while(|statement| statement.start <= byte)
        .last()
        .map(|statement| statement.text)
}

/// A statement short enough for a message, on one line.
pub(crate) fn excerpt(statement: &str) -> String {
    const MOST: usize = 300;
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST {
        return line;
    }
    let cut: String = line.chars().take(MOST).collect();
    format!("{cut} …")
}

/// A string literal. NUL can't stand in one and is left out; backslashes are the caller's
/// business on MySQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_semicolon_in_a_string_name_or_comment_ends_nothing() {
        let text = "SELECT ';', \"a;b\", `c;d`; -- x;\n/* y; /* z; */ */ SELECT 'it''s;' ; ;";
        assert_eq!(cut(text), ["SELECT ';', \"a;b\", `c;d`", "SELECT 'it''s;'"]);
        assert_eq!(cut(r"SELECT E'a\';b'; SELECT 2"), [r"SELECT E'a\';b'", "SELECT 2"]);
        assert_eq!(
            cut("SELECT a #>> '{x;y}'; SELECT 1 # mysql; comment\n"),
            ["SELECT a #>> '{x;y}'", "SELECT 1 # mysql; comment"]
        );
    }

    #[test]
    fn a_dollar_quoted_body_is_one_piece() {
        let text = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $b$ BEGIN x; END $b$; SELECT $1; DO $$ a; $$";
        let found = cut(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[1], "SELECT $1");
    }

    #[test]
    fn a_trigger_body_is_one_piece() {
        let text = "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET x = CASE y WHEN 1 THEN 2 END; DELETE FROM c; END; SELECT 1";
        assert_eq!(cut(text).len(), 2, "{:?}", cut(text));
        let text = "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; WHILE b DO SELECT 2; END WHILE; END; SELECT 3";
        assert_eq!(cut(text).len(), 2, "{:?}", cut(text));
        assert_eq!(cut("BEGIN; INSERT INTO t VALUES (1); COMMIT").len(), 3);
    }

    #[test]
    fn text_that_ends_in_the_middle_is_still_cut() {
        for text in ["SELECT 'open", "SELECT /* open", "DO $x$ open", "SELECT \"", "é;'é", "E'\\"] {
            assert!(!cut(text).is_empty(), "{text}");
        }
        assert!(cut(" ;; -- nothing\n").is_empty());
    }

    #[test]
    fn a_schema_is_found_as_a_qualifier_only() {
        assert_eq!(
            names_schema("SELECT 1; CREATE TABLE \"Public\".t (x int)", "public"),
            Some("CREATE TABLE \"Public\".t (x int)")
        );
        assert_eq!(
            names_schema("SELECT 'public.t' -- public.t\n; CREATE TABLE public (public int)", "public"),
            None
        );
    }

    #[test]
    fn a_position_leads_to_its_statement() {
        assert_eq!(statement_at("SELECT 1; SELEC 2; SELECT 3", 11), Some("SELEC 2"));
        assert_eq!(statement_at("SELECT 1", 99), None);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("SELECT\n   1"), "SELECT 1");
        assert!(excerpt(&"x".repeat(900)).chars().count() < 310);
    }
}
