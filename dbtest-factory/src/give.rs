//! What a test may give for a field.

/// A value that may be given for a field of the type `T`: the type itself, what an `Option` holds,
/// and text for a `String`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be given for a field of the type `{T}`",
    label = "the field is `{T}`",
    note = "give a value of the field's own type; for an `Option` also what it holds, for a `String` also a `&str`"
)]
pub trait Give<T> {
    /// The field's value.
    fn give(self) -> T;
}

impl<T> Give<T> for T {
    fn give(self) -> T {
        self
    }
}

impl<T> Give<Option<T>> for T {
    fn give(self) -> Option<T> {
        Some(self)
    }
}

impl Give<String> for &str {
    fn give(self) -> String {
        self.to_owned()
    }
}

impl Give<String> for &String {
    fn give(self) -> String {
        self.clone()
    }
}

impl Give<Option<String>> for &str {
    fn give(self) -> Option<String> {
        Some(self.to_owned())
    }
}
