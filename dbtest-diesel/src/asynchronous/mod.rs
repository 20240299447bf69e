//! The same for [diesel-async](https://docs.rs/diesel-async): a clean, real database for every
//! test, as a bb8 or deadpool pool of `AsyncPgConnection`, `AsyncMysqlConnection` or SQLite's
//! `SyncConnectionWrapper<SqliteConnection>`. The features are `async-postgres` and `async-mysql`,
//! neither of which needs a C library, and `async-sqlite`.
//!
#![cfg_attr(feature = "async-sqlite", doc = "```rust,test_harness")]
#![cfg_attr(not(feature = "async-sqlite"), doc = "```ignore")]
//! use dbtest_diesel::asynchronous::{DieselAsyncSqlite, Fixture};
//! use diesel::{QueryResult, SqliteConnection};
//! use diesel_async::pooled_connection::bb8::Pool;
//! use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
//! use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
//!
//! type Connection = SyncConnectionWrapper<SqliteConnection>;
//!
//! fn library() -> Fixture<DieselAsyncSqlite> {
//!     Fixture::new().sql("schema.sql", "CREATE TABLE book (title TEXT NOT NULL UNIQUE)")
//! }
//!
//! #[dbtest_diesel::asynchronous::test(fixture = library)]
//! async fn a_book_is_added(pool: Pool<Connection>) {
//!     let mut connection = pool.get().await.expect("a connection");
//!     let insert = diesel::sql_query("INSERT INTO book VALUES ('Dune')");
//!     assert_eq!(insert.execute(&mut *connection).await, Ok(1));
//! }
//!
//! // A connection of the test's own, for functions that take one.
//! #[dbtest_diesel::asynchronous::test(fixture = library)]
//! async fn no_title_twice(connection: &mut Connection) -> QueryResult<()> {
//!     connection.batch_execute("INSERT INTO book VALUES ('Dune')").await?;
//!     assert!(connection.batch_execute("INSERT INTO book VALUES ('Dune')").await.is_err());
//!     Ok(())
//! }
//! ```
//!
//! # What a test may take
//!
//! | argument | backend |
//! | --- | --- |
//! | `bb8::Pool<C>`, `bb8::PooledConnection<'static, C>` | `DieselAsyncPostgres`, `DieselAsyncMySql`, `DieselAsyncSqlite` |
//! | `deadpool::Pool<C>`, `deadpool::Object<C>` | `DieselAsyncPostgres<Deadpool>`, and so on |
//! | `C`, `&mut C` | as with bb8 |
//! | [`TestDb<B>`](TestDb) | `B` |
//!
//! `C` is diesel-async's connection; the pools are those of `diesel_async::pooled_connection`.
//! Migrations are `EmbeddedMigrations`, `FileBasedMigrations` or a folder, as without async. Two
//! settings of the pools are not their own: no connection is replaced for its age, or a paused
//! clock would replace it, and deadpool waits for thirty seconds, where it would wait for ever.
//!
//! Without the attribute:
//!
#![cfg_attr(feature = "async-sqlite", doc = "```")]
#![cfg_attr(not(feature = "async-sqlite"), doc = "```ignore")]
//! use dbtest_diesel::asynchronous::{Deadpool, DieselAsyncSqlite, Fixture, Strategy};
//! use diesel_async::SimpleAsyncConnection;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let db = Fixture::<DieselAsyncSqlite<Deadpool>>::new()
//!     .sql("schema.sql", "CREATE TABLE book (title TEXT NOT NULL UNIQUE)")
//!     .strategy(Strategy::Truncate)
//!     .open_for("the example")
//!     .await?;
//! db.handle().get().await?.batch_execute("INSERT INTO book VALUES ('Dune')").await?;
//! db.close().await?;
//! # Ok(()) })
//! # }
//! ```
//!
//! # Under `rollback`
//!
//! The pool has one connection, inside a transaction that diesel-async's own manager began, so
//! the application's transactions are savepoints. What happens where production would go on with
//! another connection:
//!
//! - **A transaction whose future is dropped** is rolled back before the connection's next use.
//! - **A future that is dropped while MySQL runs its statement** takes the connection along: its
//!   answer is still to come, and mysql_async would give it to the next statement. Whoever asks
//!   for a connection then is told that it is gone, at once by deadpool and after five seconds by
//!   bb8, which tells nobody why it has none; the reason is on the test's standard error.
//! - **A panic** while a connection is lent closes it on bb8, with the same end. deadpool takes it
//!   back, and what was open is rolled back.
//! - **A second user** while the one connection is busy waits for five seconds, on both pools.
//! - **An isolation level** is refused by diesel-async itself, which is in a transaction already.
//!
//! A test of such things is better off with `truncate`, where all of them are as in production.
//!
//! # SQLite and cancelled futures
//!
//! Whoever drops a future of `SyncConnectionWrapper` is blocked until its statement has ended.
//! diesel-async can do that on a multi-thread runtime only, and panics on any other: a test that
//! cancels queries says `flavor = "multi_thread"`.

mod arguments;
mod backend;
mod migrate;
#[cfg(feature = "async-mysql")]
mod mysql;
mod pool;
#[cfg(feature = "async-postgres")]
mod postgres;
#[cfg(feature = "conformance")]
mod probe;
mod sandbox;
#[cfg(feature = "async-sqlite")]
mod sqlite;

pub use dbtest_core::*;
pub use dbtest_macros::test_diesel_async as test;

pub use crate::FromTestDb;
pub use backend::DieselAsync;
#[cfg(feature = "async-mysql")]
pub use mysql::DieselAsyncMySql;
pub use pool::{Bb8, Deadpool};
#[cfg(feature = "async-postgres")]
pub use postgres::DieselAsyncPostgres;
#[cfg(feature = "async-sqlite")]
pub use sqlite::DieselAsyncSqlite;
