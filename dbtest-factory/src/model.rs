//! What the derive implements, and the small parts of what it writes.

use std::future::Future;
use std::pin::Pin;

use crate::error::Error;

/// A struct that has a factory. `#[derive(Factory)]` implements it.
pub trait Model: Sized + 'static {
    /// The row that is made: the struct itself, or the one that `#[factory(row = …)]` names.
    type Row: Send + 'static;

    /// What was said about a row that is to be made.
    #[doc(hidden)]
    type Slots: Clone + Default + Send + 'static;

    /// The struct's name, for messages.
    const NAME: &'static str;
}

/// A factory of `M` with all that `M` requires.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no factory of `{M}`, or lacks a field that `{M}` requires",
    label = "not a factory of `{M}` that is ready",
    note = "write `{M}::factory()`, with a value for each field that is `#[factory(required)]`"
)]
pub trait Ready<M: Model> {
    #[doc(hidden)]
    fn slots(self) -> M::Slots;
}

/// A model whose factory needs nothing from the test: no field is `#[factory(required)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has required fields, so it can't be made as a parent on its own",
    label = "a row of this can't be made without a test that says how",
    note = "give the required fields of `{Self}` defaults, or make this field `#[factory(required)]` or an `Option`"
)]
pub trait Unaided: Model {}

/// The value of a field before its row is made.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub enum Slot<T> {
    #[default]
    Unset,
    Variant(u16),
    Given(T),
}

impl<T> Slot<T> {
    pub fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    pub fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// What the test gave wins over what a variant says.
    pub fn vary(&mut self, variant: u16) {
        if !self.is_given() {
            *self = Self::Variant(variant);
        }
    }
}

/// A required field that the test gave.
#[doc(hidden)]
#[derive(Debug)]
pub struct Given;

/// A required field that the test did not give yet.
#[doc(hidden)]
#[derive(Debug)]
pub struct Missing;

#[doc(hidden)]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Rows in runs that go into one INSERT: of whose generated columns the same ones were given.
#[doc(hidden)]
pub fn groups<R>(rows: Vec<(R, u64)>) -> Vec<(u64, Vec<R>)> {
    let mut groups: Vec<(u64, Vec<R>)> = Vec::new();
    for (row, set) in rows {
        match groups.last_mut() {
            Some((last, group)) if *last == set => group.push(row),
            _ => groups.push((set, vec![row])),
        }
    }
    groups
}

/// Takes all lists, each thing with the number of its list.
#[doc(hidden)]
pub fn numbered<'a, T: 'a>(lists: impl Iterator<Item = &'a mut Vec<T>>) -> Vec<(usize, T)> {
    let each =
        lists.enumerate().flat_map(|(at, list)| std::mem::take(list).into_iter().map(move |one| (at, one)));
    each.collect()
}

/// The only row.
///
/// # Panics
/// There is none, which is a bug of an adapter.
#[doc(hidden)]
pub fn only<R>(mut rows: Vec<R>) -> R {
    match rows.pop() {
        Some(row) => row,
        None => panic!("one row was created, and none came back: please report this to dbtest"),
    }
}

/// Refuses parents that need each other without end.
///
/// # Errors
/// It is deeper than any real schema.
#[doc(hidden)]
pub fn not_too_deep(factory: &'static str, depth: usize) -> Result<(), Error> {
    if depth < 64 { Ok(()) } else { Err(Error::without_end(factory)) }
}
