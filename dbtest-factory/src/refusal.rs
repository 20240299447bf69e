//! Which constraint and which field a database means, from what it says. Pure.

/// What the database refused.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub kind: Kind,
    pub field: Option<String>,
    pub constraint: Option<String>,
    pub message: String,
}

#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    Unique,
    NotNull,
    ForeignKey,
    Check,
    #[default]
    Other,
}

impl Refusal {
    /// From the message of Postgres, MySQL, MariaDB or SQLite, and what the driver knows beside.
    pub(crate) fn read(
        message: &str,
        constraint: Option<&str>,
        column: Option<&str>,
        table: &str,
        columns: &[&str],
    ) -> Self {
        let low = message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
        let kind = if has(&["unique constraint", "duplicate entry"]) {
            Kind::Unique
        } else if has(&["not-null", "not null", "cannot be null", "doesn't have a default value"]) {
            Kind::NotNull
        } else if has(&["foreign key"]) {
            Kind::ForeignKey
        } else if has(&["check constraint", "constraint `"]) {
            Kind::Check
        } else {
            Kind::Other
        };
        let constraint = constraint.map(str::to_owned).or_else(|| named(message, table, kind));
        // A column that is named comes before one that is only part of a constraint's name.
        let field = column
            .map(str::to_owned)
            .or_else(|| quoted(message).into_iter().find(|word| columns.contains(word)).map(str::to_owned))
            .or_else(|| {
                let qualified = |column: &&&str| message.contains(&format!("{table}.{column}"));
                columns
                    .iter()
                    .filter(qualified)
                    .max_by_key(|column| column.len())
                    .map(|one| (*one).to_owned())
            })
            .or_else(|| within(constraint.as_deref()?, table, columns))
            .or_else(|| match kind {
                Kind::NotNull | Kind::Other => unknown(message),
                _ => None,
            });
        Self { kind, field, constraint, message: message.to_owned() }
    }
}

/// The words in quotes, in their order.
fn quoted(message: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for quote in ['"', '`', '\''] {
        found.extend(message.split(quote).skip(1).step_by(2));
    }
    // Postgres' detail: Key (title)=(Dune) already exists.
    if let Some((_, rest)) = message.split_once("Key (") {
        found.extend(rest.split(')').next());
    }
    found
}

/// A column of which the factory knows nothing: the words of the databases for it.
fn unknown(message: &str) -> Option<String> {
    let quoted_after = |words: &str| {
        let rest = message.split_once(words)?.1;
        rest.split(['"', '`', '\'']).next().map(str::to_owned)
    };
    ["column \"", "Field '", "Column '", "Unknown column '"]
        .iter()
        .find_map(|words| quoted_after(words))
        .or_else(|| {
            let rest = message
                .split_once("has no column named ")
                .or_else(|| message.split_once("constraint failed: "))?
                .1;
            rest.split_whitespace().next()?.rsplit('.').next().map(str::to_owned)
        })
}

/// The name of a constraint in a message.
fn named(message: &str, table: &str, kind: Kind) -> Option<String> {
    if kind == Kind::NotNull {
        return None;
    }
    let after = |words: &str, end: char| {
        let rest = message.split_once(words)?.1;
        rest.split(end).next().map(str::to_owned)
    };
    let name = after("constraint \"", '"')
        .or_else(|| after("CONSTRAINT `", '`'))
        .or_else(|| after("Check constraint '", '\''))
        .or_else(|| after("for key '", '\''))
        .or_else(|| after("CHECK constraint failed: ", '\n'))?;
    let name = name.strip_prefix(&format!("{table}.")).unwrap_or(&name);
    // SQLite shows the expression of a check without a name.
    (!name.contains(' ')).then(|| name.to_owned())
}

/// The column whose name is part of a constraint's, as the databases name them: `book_title_key`.
fn within(constraint: &str, table: &str, columns: &[&str]) -> Option<String> {
    let rest = constraint.strip_prefix(table).unwrap_or(constraint);
    let parts = format!("_{rest}_");
    let contains = |column: &&&str| parts.contains(&format!("_{column}_"));
    columns.iter().filter(contains).max_by_key(|column| column.len()).map(|column| (*column).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["id", "title", "subtitle", "author_id", "pages"];

    fn read(message: &str) -> (Kind, Option<String>, Option<String>) {
        let read = Refusal::read(message, None, None, "book", COLUMNS);
        (read.kind, read.field, read.constraint)
    }

    fn of(kind: Kind, field: &str, constraint: &str) -> (Kind, Option<String>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (kind, some(field), some(constraint))
    }

    #[test]
    fn postgres_is_understood() {
        let unique = r#"duplicate key value violates unique constraint "book_title_key""#;
        assert_eq!(read(unique), of(Kind::Unique, "title", "book_title_key"));
        let null = r#"null value in column "title" of relation "book" violates not-null constraint"#;
        assert_eq!(read(null), of(Kind::NotNull, "title", ""));
        let foreign =
            r#"insert or update on table "book" violates foreign key constraint "book_author_id_fkey""#;
        assert_eq!(read(foreign), of(Kind::ForeignKey, "author_id", "book_author_id_fkey"));
        let check = r#"new row for relation "book" violates check constraint "book_pages_check""#;
        assert_eq!(read(check), of(Kind::Check, "pages", "book_pages_check"));
        let column = r#"column "colour" of relation "book" does not exist"#;
        assert_eq!(read(column), of(Kind::Other, "colour", ""));
    }

    #[test]
    fn mysql_and_mariadb_are_understood() {
        assert_eq!(read("Duplicate entry 'Dune' for key 'book.title'"), of(Kind::Unique, "title", "title"));
        assert_eq!(read("Duplicate entry 'Dune' for key 'title'"), of(Kind::Unique, "title", "title"));
        assert_eq!(read("Column 'title' cannot be null"), of(Kind::NotNull, "title", ""));
        assert_eq!(read("Field 'colour' doesn't have a default value"), of(Kind::NotNull, "colour", ""));
        let foreign = "Cannot add or update a child row: a foreign key constraint fails (`d`.`book`, CONSTRAINT \
                       `book_author` FOREIGN KEY (`author_id`) REFERENCES `author` (`id`))";
        assert_eq!(read(foreign), of(Kind::ForeignKey, "author_id", "book_author"));
        assert_eq!(read("Check constraint 'book_chk_1' is violated."), of(Kind::Check, "", "book_chk_1"));
        assert_eq!(read("CONSTRAINT `book.pages` failed for `d`.`book`"), of(Kind::Check, "pages", "pages"));
    }

    #[test]
    fn sqlite_is_understood() {
        assert_eq!(read("UNIQUE constraint failed: book.subtitle"), of(Kind::Unique, "subtitle", ""));
        assert_eq!(read("NOT NULL constraint failed: book.title"), of(Kind::NotNull, "title", ""));
        assert_eq!(read("NOT NULL constraint failed: book.colour"), of(Kind::NotNull, "colour", ""));
        assert_eq!(read("FOREIGN KEY constraint failed"), of(Kind::ForeignKey, "", ""));
        assert_eq!(read("CHECK constraint failed: enough_pages"), of(Kind::Check, "pages", "enough_pages"));
        assert_eq!(read("CHECK constraint failed: pages > 0"), of(Kind::Check, "", ""));
    }
}
