#![doc = include_str!("../README.md")]

mod association;
#[cfg(feature = "diesel")]
#[doc(hidden)]
pub mod diesel_orm;
mod draw;
mod error;
mod give;
mod model;
#[cfg_attr(not(any(feature = "_sqlx", feature = "seaorm", feature = "diesel")), allow(dead_code))]
mod refusal;
mod sample;
#[cfg(feature = "seaorm")]
#[doc(hidden)]
pub mod seaorm;
#[cfg(feature = "_sqlx")]
#[doc(hidden)]
pub mod store;

pub use association::{IntoParent, Shared};
pub use dbtest_factory_macros::Factory;
pub use dbtest_seed::Seed;
pub use draw::Rng;
pub use error::{Error, Refused};
#[cfg(feature = "fake")]
pub use fake;
pub use give::Give;
pub use model::{Model, Ready, Unaided};
pub use sample::Sample;

/// The guide compiles and runs as it stands.
#[cfg(all(doctest, feature = "fake", feature = "sqlx-sqlite"))]
mod guide {
    #[doc = include_str!("../../docs/src/factories.md")]
    mod factories {}
    #[doc = include_str!("../../docs/src/seeds.md")]
    mod seeds {}
    #[doc = include_str!("../../docs/src/snapshots.md")]
    mod snapshots {}
}

/// What the derive writes calls this. It is no part of the interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "diesel")]
    pub use diesel;
    #[cfg(feature = "diesel-async")]
    pub use diesel_async;
    #[cfg(feature = "fake")]
    pub use fake::Fake;
    #[cfg(feature = "seaorm")]
    pub use sea_orm;
    #[cfg(feature = "_sqlx")]
    pub use sqlx;

    pub use crate::association::{Parent, Pending};
    #[cfg(feature = "diesel")]
    pub use crate::diesel_orm;
    pub use crate::draw::{Draw, sequence};
    pub use crate::model::{BoxFuture, Given, Missing, Slot, groups, not_too_deep, numbered, only};
    pub use crate::refusal::{Kind, Refusal};
    #[cfg(feature = "seaorm")]
    pub use crate::seaorm;
    #[cfg(feature = "_sqlx")]
    pub use crate::store;
}
