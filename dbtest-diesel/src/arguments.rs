//! What a test may take as an argument.

use std::future::Future;

use dbtest_core::{Backend, Result, TestDb};

/// A type that a test can take: a pool, a connection, or the whole [`TestDb`]. The type says
/// the backend.
pub trait FromTestDb: Sized {
    /// The backend that this type belongs to.
    type Backend: Backend;

    /// Makes the argument from the test's database.
    ///
    /// # Errors
    /// No connection could be taken.
    fn from_test_db(db: TestDb<Self::Backend>) -> impl Future<Output = Result<Self>>;
}

impl<B: Backend> FromTestDb for TestDb<B> {
    type Backend = B;

    async fn from_test_db(db: Self) -> Result<Self> {
        Ok(db)
    }
}
