//! sqlx on one engine, as every contender uses it.

use std::future::Future;

use dbtest_benches::schema::Dialect;
use dbtest_sqlx::{Backend, Fixture, SqlxMySql, SqlxPostgres, SqlxSqlite};
use sqlx::migrate::Migrator;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::testing::{TestArgs, TestFn};
use sqlx::{AssertSqlSafe, Connection, MySql, Pool, Postgres, Sqlite};

use crate::Result;

pub trait Client: 'static {
    const DIALECT: Dialect;

    type Backend: Backend<Handle = Self::Pool>;
    type Pool: Clone;
    type Pooled: std::ops::DerefMut<Target = Self::Connection>;
    type Connection;

    async fn connect(url: &str) -> Result<Self::Connection>;
    async fn close(connection: Self::Connection) -> Result<()>;

    /// A pool as dbtest's handle is one, which has no connection yet.
    fn pool(url: &str) -> Result<Self::Pool>;
    async fn acquire(pool: &Self::Pool) -> Result<Self::Pooled>;
    async fn end(pool: Self::Pool);
    async fn migrate(pool: &Self::Pool, migrator: &Migrator) -> Result<()>;

    /// A prepared statement, which the connection keeps. Says how many rows it wrote.
    async fn run(connection: &mut Self::Connection, sql: &'static str) -> Result<u64>;

    /// Text of any number of statements.
    async fn script(connection: &mut Self::Connection, sql: &str) -> Result<()>;

    /// The one value of one row.
    async fn text(connection: &mut Self::Connection, sql: &str) -> Result<String>;

    fn fixture(migrator: Migrator) -> Fixture<Self::Backend>;

    /// What `#[sqlx::test]` expands to.
    fn sqlx_test<F: Future<Output = ()>>(args: TestArgs, body: fn(Self::Pool) -> F);
}

macro_rules! client {
    ($name:ident, $dialect:ident, $database:ty, $backend:ty) => {
        pub struct $name;

        impl Client for $name {
            const DIALECT: Dialect = Dialect::$dialect;

            type Backend = $backend;
            type Pool = Pool<$database>;
            type Pooled = PoolConnection<$database>;
            type Connection = <$database as sqlx::Database>::Connection;

            async fn connect(url: &str) -> Result<Self::Connection> {
                Ok(Self::Connection::connect(url).await?)
            }

            async fn close(connection: Self::Connection) -> Result<()> {
                Ok(connection.close().await?)
            }

            fn pool(url: &str) -> Result<Self::Pool> {
                Ok(PoolOptions::new().test_before_acquire(false).connect_lazy(url)?)
            }

            async fn acquire(pool: &Self::Pool) -> Result<Self::Pooled> {
                Ok(pool.acquire().await?)
            }

            async fn end(pool: Self::Pool) {
                pool.close().await;
            }

            async fn migrate(pool: &Self::Pool, migrator: &Migrator) -> Result<()> {
                Ok(migrator.run(pool).await?)
            }

            async fn run(connection: &mut Self::Connection, sql: &'static str) -> Result<u64> {
                Ok(sqlx::query(sql).execute(connection).await?.rows_affected())
            }

            async fn script(connection: &mut Self::Connection, sql: &str) -> Result<()> {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
                Ok(())
            }

            async fn text(connection: &mut Self::Connection, sql: &str) -> Result<String> {
                Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?)
            }

            fn fixture(migrator: Migrator) -> Fixture<Self::Backend> {
                Fixture::new().migrations(migrator)
            }

            fn sqlx_test<F: Future<Output = ()>>(args: TestArgs, body: fn(Self::Pool) -> F) {
                body.run_test(args);
            }
        }
    };
}

client!(OnPostgres, Postgres, Postgres, SqlxPostgres);
client!(OnMySql, MySql, MySql, SqlxMySql);
client!(OnSqlite, Sqlite, Sqlite, SqlxSqlite);
