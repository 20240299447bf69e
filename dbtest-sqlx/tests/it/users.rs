//! Several users of one server in one process: each has its own connections, also with the same setup.

use dbtest_sqlx::{Fixture, Server, Strategy};
use sqlx::AssertSqlSafe;

use crate::bad_input::as_user;

macro_rules! engine {
    ($engine:ident, $backend:ident, $home:literal, $make:ident) => {
        mod $engine {
            use dbtest_sqlx::$backend;

            use super::*;
            use crate::budget::{$engine::forget, $make};

            async fn who_has(server: Server) -> String {
                let fixture = Fixture::<$backend>::new()
                    .sql("schema.sql", "CREATE TABLE users_of_one_server (x INT)")
                    .server(server)
                    .require(Strategy::Truncate);
                let db = fixture.open().await.expect("a database");
                let who = sqlx::query_scalar("SELECT CAST(CURRENT_USER AS CHAR(80))").fetch_one(db.handle());
                let who: String = who.await.expect("a user");
                sqlx::query("INSERT INTO users_of_one_server VALUES (1)")
                    .execute(db.handle())
                    .await
                    .expect("a row");
                db.close().await.expect("closed");
                who.split('@').next().unwrap_or_default().trim().to_owned()
            }

            #[tokio::test]
            async fn each_user_has_connections_of_its_own() {
                let db = Fixture::<$backend>::new().empty().open().await.expect("a database");
                let user = format!("dbtest_user_{}", std::process::id());
                for sql in $make(&user) {
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db.handle()).await.expect("a user");
                }
                let other = Server::url(as_user(&db.database_url(), &user, $home));
                let first = who_has(Server::auto()).await;
                assert_eq!(who_has(other.clone()).await, user);
                assert_eq!(who_has(Server::auto()).await, first);
                assert_eq!(who_has(other).await, user);

                forget(&db, &user).await;
                db.close().await.expect("closed");
            }
        }
    };
}

#[cfg(feature = "postgres")]
engine!(postgres, SqlxPostgres, "postgres", make_postgres);
#[cfg(feature = "mysql")]
engine!(mysql, SqlxMySql, "information_schema", make_mysql);
