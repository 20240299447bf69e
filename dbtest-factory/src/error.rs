//! What a factory says when the database refuses its row.

use std::fmt;

use crate::refusal::{Kind, Refusal};

/// The database refused a row of a factory. The text says whose row, which field, which constraint,
/// and what to write; `Display` and `Debug` are the same text, because tests show errors through
/// `unwrap()`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    factory: &'static str,
    field: Option<String>,
    constraint: Option<String>,
    text: String,
}

impl Error {
    /// The struct whose row was refused.
    pub fn factory(&self) -> &str {
        self.0.factory
    }

    /// The column, where the database says which.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The constraint's name, where the database says it.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    pub(crate) fn without_end(factory: &'static str) -> Self {
        let text = format!(
            "the factory of `{factory}` needs a parent that needs a parent, and so on without end\n  \
             next step: make one of the references an `Option`, or give one of the parents in the test"
        );
        Self(Box::new(Inner { factory, field: None, constraint: None, text }))
    }

    #[cfg(feature = "_sqlx")]
    pub(crate) fn no_connection(factory: &'static str, message: &str) -> Self {
        let text = format!(
            "the factory of `{factory}` got no connection: {message}\n  \
             next step: give back a connection that the test holds, or create with that one"
        );
        Self(Box::new(Inner { factory, field: None, constraint: None, text }))
    }

    #[cfg_attr(not(any(feature = "_sqlx", feature = "seaorm", feature = "diesel")), expect(dead_code))]
    pub(crate) fn refused(factory: &'static str, table: &str, refusal: Refusal) -> Self {
        let Refusal { kind, field, constraint, message } = refusal;
        let of =
            |field: &Option<String>| field.as_ref().map(|field| format!(" of `{field}`")).unwrap_or_default();
        let named = |words: &str| match &constraint {
            Some(name) => format!("{words} `{name}`{}", of(&field)),
            None => format!("{words}{}", of(&field)),
        };
        let setter = field.as_deref().unwrap_or("field");
        let (why, next) = match kind {
            Kind::Unique => (
                named("the unique constraint"),
                format!(
                    "give another `.{setter}(…)`, or make its default another for every row: \
                     `#[factory(sequence = \"{setter} {{n}}\")]`"
                ),
            ),
            Kind::NotNull => (
                format!("NOT NULL{}", of(&field)),
                format!("give `.{setter}(…)`, or add a field with a default for the column `{setter}`"),
            ),
            Kind::ForeignKey => (
                named("the foreign key"),
                format!("give a parent that exists, or say `#[factory(belongs_to = …)]` on `{setter}`"),
            ),
            Kind::Check => (
                named("the check"),
                format!(
                    "give a value that it allows, or make one the default: `#[factory(default = …)]` on `{setter}`"
                ),
            ),
            Kind::Other => (
                match &field {
                    Some(field) => format!("`{field}`"),
                    None => "the database".to_owned(),
                },
                "compare the factory's fields with the table's columns".to_owned(),
            ),
        };
        let text = format!(
            "the factory of `{factory}` can't insert into `{table}`: {why} refuses the row\n  \
             database: {message}\n  next step: {next}"
        );
        Self(Box::new(Inner { factory, field, constraint, text }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Error {}

/// The factories and variants that the schema refuses; see `lint` of a factory.
#[derive(Clone, Default)]
pub struct Refused(Vec<(String, Error)>);

impl Refused {
    /// What was refused, as it is written in a test, and why.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.0.iter().map(|(name, error)| (name.as_str(), error))
    }

    /// The refusals of several factories in one.
    ///
    /// # Errors
    /// There is one.
    pub fn all(results: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let refused = results.into_iter().filter_map(Result::err).flat_map(|refused| refused.0).collect();
        Self(refused).into_result()
    }

    #[doc(hidden)]
    pub fn note<T>(&mut self, name: &str, result: Result<T, Error>) {
        if let Err(error) = result {
            self.0.push((name.to_owned(), error));
        }
    }

    #[doc(hidden)]
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(vec![(error.factory().to_owned(), error)])
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the schema refuses what these factories make:")?;
        for (name, error) in &self.0 {
            write!(f, "\n- {name}: {error}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Refused {}
