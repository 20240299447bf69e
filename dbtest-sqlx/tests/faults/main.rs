//! Faults on purpose: real processes are killed, real servers are frozen, filled and restarted, and
//! after each the next run is green by itself, and nothing is lost that was not a test's.
//!
//! `docs/src/faults.md` has the list.

mod answers;
mod child;
mod containers;
mod look_alikes;
mod neighbours;
mod page;
mod scene;
mod server;
mod servers;
mod started;
mod steps;

/// Named tests over functions that are generic over the backend: those of all engines, then those of
/// the ones with a server.
macro_rules! tests {
    ($($all:ident),*; $($served:ident),*) => {
        mod postgres {
            $crate::tests!(@ SqlxPostgres: $($all,)* $($served,)*);
        }
        mod mysql {
            $crate::tests!(@ SqlxMySql: $($all,)* $($served,)*);
        }
        mod sqlite {
            $crate::tests!(@ SqlxSqlite: $($all,)*);
        }
    };
    (@ $backend:ident: $($name:ident,)*) => {
        $(#[tokio::test]
        async fn $name() {
            super::$name::<dbtest_sqlx::$backend>().await;
        })*
    };
}

pub(crate) use tests;
