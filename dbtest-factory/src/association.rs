//! Rows that refer to other rows.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Model;

/// What may be given as a parent: `&author`, a row that exists; `Author::factory()`, one that is
/// created first; `&shared`, one that several rows refer to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no parent of the type `{M}`",
    label = "the parent has to be a `{M}`",
    note = "give a row that exists, `&{M}`, or `{M}::factory()`, or one that is shared: \
            `&{M}::factory().shared()`"
)]
pub trait IntoParent<M: Model> {
    #[doc(hidden)]
    fn into_parent<K>(self, key: fn(&M::Row) -> K) -> Parent<M, K>;
}

/// A row that is created with the first row that refers to it, and that all others refer to too.
/// Clones are the same row.
pub struct Shared<M: Model>(Arc<Mutex<State<M>>>);

struct State<M: Model> {
    slots: M::Slots,
    made: Option<M::Row>,
}

impl<M: Model> Clone for Shared<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Model> std::fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({})", M::NAME)
    }
}

impl<M: Model> Shared<M> {
    #[doc(hidden)]
    pub fn new(slots: M::Slots) -> Self {
        Self(Arc::new(Mutex::new(State { slots, made: None })))
    }

    /// The row, if it was created.
    pub fn row(&self) -> Option<M::Row>
    where
        M::Row: Clone,
    {
        self.with(|state| state.made.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<M>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<M: Model> IntoParent<M> for Shared<M> {
    fn into_parent<K>(self, key: fn(&M::Row) -> K) -> Parent<M, K> {
        Parent::Shared(self, key)
    }
}

impl<M: Model> IntoParent<M> for &Shared<M> {
    fn into_parent<K>(self, key: fn(&M::Row) -> K) -> Parent<M, K> {
        Parent::Shared(self.clone(), key)
    }
}

/// How a parent's key is read.
type Key<M, K> = fn(&<M as Model>::Row) -> K;

/// A parent, and how its key is read.
#[doc(hidden)]
pub enum Parent<M: Model, K> {
    Key(K),
    Make(Box<M::Slots>, Key<M, K>),
    Shared(Shared<M>, Key<M, K>),
}

impl<M: Model, K> std::fmt::Debug for Parent<M, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parent({})", M::NAME)
    }
}

impl<M: Model, K: Clone> Clone for Parent<M, K> {
    fn clone(&self) -> Self {
        match self {
            Self::Key(key) => Self::Key(key.clone()),
            Self::Make(slots, key) => Self::Make(slots.clone(), *key),
            Self::Shared(shared, key) => Self::Shared(shared.clone(), *key),
        }
    }
}

/// The parents of several rows: which have to be made, and which key each row gets then.
#[doc(hidden)]
pub struct Pending<M: Model, K> {
    known: Vec<(usize, K)>,
    made: Vec<(usize, Key<M, K>, usize)>,
    wanted: Vec<M::Slots>,
    /// Where among the wanted a shared one stands.
    shared: Vec<(Shared<M>, usize)>,
}

impl<M: Model, K> std::fmt::Debug for Pending<M, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", M::NAME)
    }
}

impl<M: Model, K> Default for Pending<M, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Model, K> Pending<M, K> {
    pub fn new() -> Self {
        Self { known: Vec::new(), made: Vec::new(), wanted: Vec::new(), shared: Vec::new() }
    }

    pub fn push(&mut self, at: usize, parent: Parent<M, K>) {
        match parent {
            Parent::Key(key) => self.known.push((at, key)),
            Parent::Make(slots, key) => {
                self.made.push((at, key, self.wanted.len()));
                self.wanted.push(*slots);
            }
            Parent::Shared(shared, key) => {
                if let Some(key) = shared.with(|state| state.made.as_ref().map(key)) {
                    self.known.push((at, key));
                    return;
                }
                let found = self.shared.iter().find(|(one, _)| Arc::ptr_eq(&one.0, &shared.0));
                let place = match found {
                    Some((_, place)) => *place,
                    None => {
                        self.wanted.push(shared.with(|state| state.slots.clone()));
                        self.shared.push((shared, self.wanted.len() - 1));
                        self.wanted.len() - 1
                    }
                };
                self.made.push((at, key, place));
            }
        }
    }

    pub fn wanted(&mut self) -> Vec<M::Slots> {
        std::mem::take(&mut self.wanted)
    }

    /// `made` are the wanted, in their order.
    pub fn keys(self, made: Vec<M::Row>) -> Vec<(usize, K)> {
        let mut keys = self.known;
        keys.extend(self.made.into_iter().map(|(at, key, place)| (at, key(&made[place]))));
        let mut made: Vec<_> = made.into_iter().map(Some).collect();
        for (shared, place) in self.shared {
            shared.with(|state| state.made = made[place].take());
        }
        keys
    }
}
