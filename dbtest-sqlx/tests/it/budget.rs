//! More processes with large pools than the server has connections for: each waits for its share,
//! and none sees "too many clients".

use std::process::{Child, Command, Stdio};

use dbtest_sqlx::{Fixture, Server, Strategy};

use crate::bad_input::{SECRET, as_user};

/// Tells a process started by a test which server to use.
const CHILD: &str = "DBTEST_TEST_BUDGET";

/// What the user may have: less than two tests of a pool of ten want.
const LIMIT: u32 = 24;

/// Starts this same test in processes of their own, as nextest does; what each said on stderr.
fn processes(test: &str, url: &str) -> Vec<(bool, String)> {
    let start = |_| -> Child {
        Command::new(std::env::current_exe().expect("this executable"))
            .args(["--exact", "--nocapture", test])
            .env(CHILD, url)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child process")
    };
    let children: Vec<Child> = (0..6).map(start).collect();
    let end = |child: Child| {
        let output = child.wait_with_output().expect("the child");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    children.into_iter().map(end).collect()
}

macro_rules! engine {
    ($engine:ident, $backend:ident, $home:literal, $make:expr, $owned:expr, $drop:expr) => {
        pub(crate) mod $engine {
            use dbtest_sqlx::{TestDb, $backend};

            use super::*;

            /// Drops the user, and the databases that stand in the way.
            pub(crate) async fn forget(db: &TestDb<$backend>, user: &str) {
                let owned: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe($owned(user)))
                    .fetch_all(db.handle())
                    .await
                    .expect("databases");
                for name in owned {
                    let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                    sqlx::raw_sql(drop).execute(db.handle()).await.expect("dropped");
                }
                let drop = sqlx::AssertSqlSafe($drop(user));
                sqlx::raw_sql(drop).execute(db.handle()).await.expect("dropped");
            }

            /// In a child: opens as many connections as its pool has, at once, and uses each.
            async fn crowd(url: String) {
                for _ in 0..3 {
                    let fixture = Fixture::<$backend>::new()
                        .sql("schema.sql", "CREATE TABLE a (x INT)")
                        .server(Server::url(&url))
                        .strategy(Strategy::Truncate)
                        .max_connections(10);
                    let db = fixture.open().await.expect("a database");
                    let mut all = Vec::new();
                    for _ in 0..10 {
                        all.push(db.handle().acquire().await.expect("a connection"));
                    }
                    for one in &mut all {
                        sqlx::query("INSERT INTO a VALUES (1)").execute(&mut **one).await.expect("a row");
                    }
                    drop(all);
                    db.close().await.expect("closed");
                }
            }

            #[tokio::test]
            async fn processes_with_large_pools_wait_for_each_other() {
                if let Ok(url) = std::env::var(CHILD) {
                    return crowd(url).await;
                }
                let db = Fixture::<$backend>::new().empty().open().await.expect("a database");
                let user = format!("dbtest_crowd_{}", std::process::id());
                for sql in $make(&user) {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(db.handle()).await.expect("a user");
                }
                let url = as_user(&db.database_url(), &user, $home);
                let test = concat!(
                    "budget::",
                    stringify!($engine),
                    "::processes_with_large_pools_wait_for_each_other"
                );
                let ended =
                    tokio::task::spawn_blocking(move || processes(test, &url)).await.expect("processes");
                for (passed, said) in &ended {
                    assert!(passed, "{said}");
                }
                forget(&db, &user).await;
                db.close().await.expect("closed");
            }
        }
    };
}

#[cfg(feature = "postgres")]
pub(crate) fn make_postgres(user: &str) -> Vec<String> {
    vec![format!("CREATE ROLE {user} LOGIN CREATEDB PASSWORD '{SECRET}' CONNECTION LIMIT {LIMIT}")]
}

/// Databases of the user's stand in the way of dropping it.
#[cfg(feature = "postgres")]
pub(crate) fn owned_postgres(user: &str) -> String {
    format!("SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = '{user}'")
}

#[cfg(feature = "postgres")]
pub(crate) fn drop_postgres(user: &str) -> String {
    format!("DROP OWNED BY {user}; DROP ROLE {user}")
}

#[cfg(feature = "postgres")]
engine!(postgres, SqlxPostgres, "postgres", make_postgres, owned_postgres, drop_postgres);

#[cfg(feature = "mysql")]
pub(crate) fn make_mysql(user: &str) -> Vec<String> {
    vec![
        format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{SECRET}' WITH MAX_USER_CONNECTIONS {LIMIT}"),
        format!(r"GRANT ALL ON `dbtest\_%`.* TO '{user}'@'%'"),
    ]
}

/// Databases belong to nobody.
#[cfg(feature = "mysql")]
pub(crate) fn owned_mysql(_user: &str) -> String {
    "SELECT 'none' FROM DUAL WHERE 1 = 0".to_owned()
}

#[cfg(feature = "mysql")]
pub(crate) fn drop_mysql(user: &str) -> String {
    format!("DROP USER '{user}'@'%'")
}

#[cfg(feature = "mysql")]
engine!(mysql, SqlxMySql, "information_schema", make_mysql, owned_mysql, drop_mysql);
