//! What a test may take as an argument: a pool, a connection of it, or one of the test's own.

use dbtest_core::{Backend, End, Error, ErrorKind, Result, TestDb};
use diesel_async::pooled_connection::{bb8, deadpool};

use super::backend::DieselAsync;
use super::pool::{Bb8, Deadpool, Pooling};
use super::sandbox;
use crate::FromTestDb;

fn refused(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Connect,
        format!("cannot take a connection to {name}: {why}"),
        "see the driver's message",
    )
}

macro_rules! arguments {
    ($feature:literal, $connection:ty) => {
        arguments!(@kind $feature, $connection, Bb8, bb8::Pool<$connection>, bb8::PooledConnection<'static, $connection>);
        arguments!(@kind $feature, $connection, Deadpool, deadpool::Pool<$connection>, deadpool::Object<$connection>);

        #[cfg(feature = $feature)]
        impl FromTestDb for $connection {
            type Backend = DieselAsync<$connection, Bb8>;

            async fn from_test_db(mut db: TestDb<Self::Backend>) -> Result<Self> {
                let pool = db.take_handle();
                let place = db.give_away();
                // A pool gives nothing away for good. In a sandbox its connection has the
                // transaction that is to be this one's.
                if let Some(pool) = pool {
                    <Self::Backend as Backend>::finish(pool, &place, End::Discard).await;
                }
                let connected = sandbox::connect(&place.url, &place).await;
                connected.map_err(|error| refused(db.name(), &error.message))
            }
        }
    };
    (@kind $feature:literal, $connection:ty, $kind:ident, $pool:ty, $lent:ty) => {
        #[cfg(feature = $feature)]
        impl FromTestDb for $pool {
            type Backend = DieselAsync<$connection, $kind>;

            async fn from_test_db(db: TestDb<Self::Backend>) -> Result<Self> {
                Ok(db.handle().clone())
            }
        }

        #[cfg(feature = $feature)]
        impl FromTestDb for $lent {
            type Backend = DieselAsync<$connection, $kind>;

            async fn from_test_db(db: TestDb<Self::Backend>) -> Result<Self> {
                <$kind as Pooling<$connection>>::take(db.handle()).await.map_err(|error| refused(db.name(), &error))
            }
        }
    };
}

arguments!("async-postgres", diesel_async::AsyncPgConnection);
arguments!("async-mysql", diesel_async::AsyncMysqlConnection);
arguments!("async-sqlite", super::sqlite::Connection);
