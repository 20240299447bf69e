//! Seed files of rows, CSV and JSON: read into columns and values, each with its line. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

/// A file of rows. Its name says the table: `books.csv`, or `02_books.csv`.
#[derive(Clone, Debug)]
pub(crate) struct RowFile {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
}

/// A value as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Text, or a number as it is written.
    Text(String),
}

/// One row and the line on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: u64,
    /// The line on which its columns are named.
    pub(crate) named: u64,
    pub(crate) columns: Vec<String>,
    pub(crate) values: Vec<Value>,
}

/// What is wrong in a file, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: u64,
    pub(crate) why: String,
}

impl Format {
    /// By the file's extension.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl RowFile {
    /// The table that the file's name says, without a number in front.
    pub(crate) fn table(&self) -> &str {
        let file = Path::new(&self.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(&self.name);
        let rest = file.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.strip_prefix('_').filter(|rest| !rest.is_empty() && *rest != file).unwrap_or(file)
    }

    /// The file's rows in their order.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, Wrong> {
        let text = text(&self.content)?;
        match self.format {
            Format::Csv => csv_rows(text),
            Format::Json => json_rows(text),
        }
    }
}

/// The text of a file, without the mark that spreadsheets write in front.
pub(crate) fn text(content: &[u8]) -> Result<&str, Wrong> {
    let text = std::str::from_utf8(content).map_err(|error| Wrong {
        line: line_at(content, error.valid_up_to()),
        why: "this is not UTF-8".to_owned(),
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn line_at(content: &[u8], position: usize) -> u64 {
    1 + content[..position.min(content.len())].iter().filter(|byte| **byte == b'\n').count() as u64
}

fn csv_rows(text: &str) -> Result<Vec<Row>, Wrong> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let wrong = |error: &csv::Error| Wrong {
        line: error.position().map_or(1, csv::Position::line),
        why: error.to_string(),
    };
    let columns: Vec<String> =
        reader.headers().map_err(|error| wrong(&error))?.iter().map(|name| name.trim().to_owned()).collect();
    if columns.iter().any(String::is_empty) || columns.is_empty() {
        return Err(Wrong { line: 1, why: "the first line has to name the columns".to_owned() });
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(&error))?;
        let line = record.position().map_or(1, csv::Position::line);
        if record.len() != columns.len() {
            let why = format!("there are {} values for {} columns", record.len(), columns.len());
            return Err(Wrong { line, why });
        }
        let value = |text: &str| if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) };
        rows.push(Row {
            line,
            named: 1,
            columns: columns.clone(),
            values: record.iter().map(value).collect(),
        });
    }
    Ok(rows)
}

fn json_rows(text: &str) -> Result<Vec<Row>, Wrong> {
    let blank = |at: usize| text.len() - text[at..].trim_start().len();
    let wrong = |at: usize, why: &str| Wrong { line: line_at(text.as_bytes(), at), why: why.to_owned() };
    let mut at = blank(0);
    if !text[at..].starts_with('[') {
        return Err(wrong(at, "a file of rows is a list of objects: [{\"column\": value}, …]"));
    }
    at = blank(at + 1);
    let mut rows = Vec::new();
    if text[at..].starts_with(']') {
        at += 1;
    } else {
        // Object by object, so that each one's line is known: counted on from the last, or the time would grow with
        // the square of the rows.
        let (mut line, mut counted) = (1, 0);
        loop {
            line += line_at(&text.as_bytes()[counted..], at - counted) - 1;
            counted = at;
            let mut objects = serde_json::Deserializer::from_str(&text[at..])
                .into_iter::<serde_json::Map<String, serde_json::Value>>();
            match objects.next() {
                Some(Ok(object)) => {
                    let (columns, values) =
                        object.into_iter().map(|(name, value)| (name, json_value(value))).unzip();
                    rows.push(Row { line, named: line, columns, values });
                }
                Some(Err(error)) => {
                    let line = line + (error.line() as u64).saturating_sub(1);
                    let why = error.to_string();
                    let why = why.split(" at line ").next().unwrap_or(&why).to_owned();
                    return Err(Wrong { line, why });
                }
                None => return Err(wrong(at, "the list has no end: `]` is missing")),
            }
            at = blank(at + objects.byte_offset());
            let next = text[at..].chars().next();
            at = if next.is_some() { blank(at + 1) } else { at };
            match next {
                Some(',') => {}
                Some(']') => break,
                _ => return Err(wrong(at, "a `,` or the list's `]` is missing")),
            }
        }
    }
    match blank(at) {
        end if end == text.len() => Ok(rows),
        more => Err(wrong(more, "there is more after the list")),
    }
}

fn json_value(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::String(text) => Value::Text(text),
        other => Value::Text(other.to_string()),
    }
}

/// The tables, each once, in an order in which each comes behind those that it refers to; where there
/// is none, in their own. `references` are pairs: this table refers to that one.
pub(crate) fn dependency_order<'t>(tables: &[&'t str], references: &[(String, String)]) -> Vec<&'t str> {
    let mut places = HashMap::new();
    let mut names: Vec<&str> = Vec::new();
    for name in tables {
        places.entry(*name).or_insert_with(|| {
            names.push(name);
            names.len() - 1
        });
    }
    let mut needs = vec![HashSet::new(); names.len()];
    let mut needed_by = vec![Vec::new(); names.len()];
    for (from, to) in references {
        if let (Some(from), Some(to)) = (places.get(from.as_str()), places.get(to.as_str()))
            && from != to
            && needs[*from].insert(*to)
        {
            needed_by[*to].push(*from);
        }
    }
    let mut left: BTreeSet<usize> = (0..names.len()).collect();
    let mut free: BTreeSet<usize> = left.iter().copied().filter(|at| needs[*at].is_empty()).collect();
    let mut order = Vec::new();
    while let Some(next) = free.pop_first().or_else(|| left.first().copied()) {
        left.remove(&next);
        order.push(names[next]);
        for from in &needed_by[next] {
            needs[*from].remove(&next);
            if needs[*from].is_empty() && left.contains(from) {
                free.insert(*from);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<Row>, Wrong> {
        let format = Format::of(Path::new(name)).expect("a format");
        RowFile { name: name.to_owned(), content: content.as_ref().to_vec(), format }.rows()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn each_row_knows_its_line() {
        let found = rows("a.csv", "id,title\n1,\"two\nlines\"\n2,\n").expect("rows");
        assert_eq!(found.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(found[0].values, [text("1"), text("two\nlines")]);
        assert_eq!(found[1].values, [text("2"), Value::Null]);
        let found = rows("a.json", "[\n {\"id\": 1, \"ok\": true},\n\n {\"tags\": [1, 2], \"x\": null}]\n")
            .expect("rows");
        assert_eq!(found.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(found[0].values, [text("1"), Value::Bool(true)]);
        assert_eq!((found[1].columns[0].as_str(), &found[1].values[0]), ("tags", &text("[1,2]")));
        assert_eq!(rows("a.json", " [ ] "), Ok(Vec::new()));
        assert_eq!(rows("a.csv", "id\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (name, content, line, why) in [
            ("a.csv", &b"id,title\n1\n"[..], 2, "1 values for 2 columns"),
            ("a.csv", b"", 1, "name the columns"),
            ("a.csv", b"id,\n", 1, "name the columns"),
            ("a.csv", b"id\n1\n\xff\n", 3, "not UTF-8"),
            ("a.json", b"{\"id\": 1}", 1, "a list of objects"),
            ("a.json", b"[\n{\"id\": 1},\n7]", 3, "invalid type"),
            ("a.json", b"[\n{\"id\": 1}\n{\"id\": 2}]", 3, "is missing"),
            ("a.json", b"[\n{\"id\": }]", 2, "expected value"),
            ("a.json", b"[{\"id\": 1}", 1, "is missing"),
            ("a.json", b"[{\"id\": 1},", 1, "no end"),
            ("a.json", b"[{\"id\": 1}]\n7", 2, "more after"),
            ("a.json", b"[{\"id\": \"\xc3\"}]", 1, "not UTF-8"),
        ] {
            let wrong = rows(name, content).expect_err(why);
            assert!(wrong.why.contains(why), "{why:?} is missing: {wrong:?}");
            assert_eq!(wrong.line, line, "{wrong:?}");
        }
    }

    #[test]
    fn the_name_says_the_table() {
        let table = |name: &str| {
            let file = RowFile { name: name.to_owned(), content: Vec::new(), format: Format::Csv };
            file.table().to_owned()
        };
        assert_eq!(table("seeds/books.csv"), "books");
        assert_eq!(table("02_book_tags.csv"), "book_tags");
        assert_eq!(table("2.csv"), "2");
        assert_eq!(table("audit.events.csv"), "audit.events");
    }

    #[test]
    fn tables_come_behind_those_they_refer_to() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let references =
            pairs(&[("book", "author"), ("tagged", "book"), ("tagged", "tag"), ("author", "author")]);
        let order = dependency_order(&["tagged", "book", "author", "tag"], &references);
        assert_eq!(order, ["author", "book", "tag", "tagged"]);
        // What is not among the files is there already.
        assert_eq!(dependency_order(&["book"], &references), ["book"]);
        assert_eq!(dependency_order(&["b", "a"], &pairs(&[("a", "b"), ("b", "a")])), ["b", "a"]);
    }
}
