//! What a test may take as an argument.

use std::fmt;
use std::future::Future;
use std::ops::Deref;

use dbtest_core::{Backend, Result, TestDb};
use sea_orm::DatabaseConnection;

/// A backend of this crate: SeaORM on one engine.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a backend of SeaORM",
    note = "those are `SeaOrmPostgres`, `SeaOrmMySql` and `SeaOrmSqlite`, each behind the feature of its engine"
)]
pub trait SeaOrmBackend: Backend<Handle = DatabaseConnection> {}

/// A test's connection, and the engine that it is on: SeaORM's own type does not say that.
///
/// ```rust,test_harness
/// use dbtest_seaorm::{Db, SeaOrmSqlite};
/// use sea_orm::DatabaseConnection;
///
/// #[dbtest_seaorm::test(migrations = false)]
/// async fn a_connection_answers(Db(db): Db<SeaOrmSqlite>) {
///     let db: DatabaseConnection = db;
///     db.ping().await.expect("an answer");
/// }
/// ```
pub struct Db<B: SeaOrmBackend>(
    /// SeaORM's connection.
    pub B::Handle,
);

impl<B: SeaOrmBackend> Clone for Db<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: SeaOrmBackend> fmt::Debug for Db<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.0).finish()
    }
}

impl<B: SeaOrmBackend> Deref for Db<B> {
    type Target = DatabaseConnection;

    fn deref(&self) -> &DatabaseConnection {
        &self.0
    }
}

/// A type that a test can take on this backend: [`Db`], the whole [`TestDb`], or a plain
/// [`DatabaseConnection`] where something else says the backend.
#[diagnostic::on_unimplemented(
    message = "a test cannot take `{Self}`",
    label = "take `Db<SeaOrmPostgres>`, `TestDb<SeaOrmPostgres>`, or a `DatabaseConnection`"
)]
pub trait FromTestDb<B: SeaOrmBackend>: Sized {
    /// Makes the argument from the test's database.
    ///
    /// # Errors
    /// The argument could not be made; the types of this crate always can.
    fn from_test_db(db: TestDb<B>) -> impl Future<Output = Result<Self>>;
}

impl<B: SeaOrmBackend> FromTestDb<B> for TestDb<B> {
    async fn from_test_db(db: Self) -> Result<Self> {
        Ok(db)
    }
}

impl<B: SeaOrmBackend> FromTestDb<B> for Db<B> {
    async fn from_test_db(db: TestDb<B>) -> Result<Self> {
        Ok(Self(db.handle().clone()))
    }
}

macro_rules! plain {
    ($feature:literal, $backend:ty) => {
        // One for each engine and none for all: where there is only one, rustc knows the backend.
        #[cfg(feature = $feature)]
        impl FromTestDb<$backend> for DatabaseConnection {
            async fn from_test_db(db: TestDb<$backend>) -> Result<Self> {
                Ok(db.handle().clone())
            }
        }
    };
}

plain!("postgres", crate::SeaOrmPostgres);
plain!("mysql", crate::SeaOrmMySql);
plain!("sqlite", crate::SeaOrmSqlite);
