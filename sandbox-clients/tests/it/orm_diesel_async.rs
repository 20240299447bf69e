//! diesel-async with bb8's and with deadpool's own default pool.

use std::time::Duration;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::Text;
use diesel::{QueryResult, sql_query};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::{join, join_all};

use crate::place::{Place, dropped_after, each, run, same};

diesel::table! {
    author (id) {
        id -> Int4,
        name -> Text,
    }
}

async fn add(to: &mut AsyncPgConnection, name: &str) -> QueryResult<usize> {
    diesel::insert_into(author::table).values(author::name.eq(name)).execute(to).await
}

async fn names(of: &mut AsyncPgConnection) -> String {
    let names: Vec<String> =
        author::table.select(author::name).order(author::name).load(of).await.expect("names");
    names.join(",")
}

async fn text(of: &mut AsyncPgConnection, sql: &str) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        value: String,
    }
    sql_query(sql).get_result::<Row>(of).await.expect("a row").value
}

fn told<T>(result: QueryResult<T>) -> String {
    result.map_or_else(|error| format!("{error}"), |_| "fine".to_owned())
}

/// Is polled again and again, so that a number of polls is reached.
async fn never_done<T>() -> T {
    loop {
        tokio::task::yield_now().await;
    }
}

const LEVEL: &str = "SELECT current_setting('transaction_isolation') AS value";
const UPDATE: &str = "UPDATE author SET name = name || '!' WHERE id = 1";

macro_rules! with_pool {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;

            async fn pool(place: &Place) -> diesel_async::pooled_connection::$name::Pool<AsyncPgConnection> {
                let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(&place.url);
                let make = $make;
                make(manager).await
            }

            #[test]
            fn a_transaction_is_built_with_its_isolation_level() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut conn = pool.get().await.expect("a connection");
                        let mut transcript = Vec::new();
                        let mut serializable = conn.build_transaction().serializable();
                        let level = serializable.run(async |conn| {
                            add(conn, "A").await?;
                            QueryResult::Ok(text(conn, LEVEL).await)
                        });
                        transcript.push(place.level("serializable", &level.await.expect("committed")));
                        let mut repeatable = conn.build_transaction().repeatable_read();
                        let level = repeatable.run(async |conn| {
                            conn.transaction(async |conn| add(conn, "B").await).await?;
                            QueryResult::Ok(text(conn, LEVEL).await)
                        });
                        transcript.push(place.level("repeatable read", &level.await.expect("committed")));
                        let mut reading = conn.build_transaction().serializable().read_only().deferrable();
                        transcript.push(told(reading.run(async |conn| add(conn, "C").await).await));
                        add(&mut conn, "D").await.expect("a row");
                        transcript.push(names(&mut conn).await);
                        transcript.join("\n")
                    })
                });
            }

            #[test]
            fn a_failed_statement_outside_a_transaction_harms_no_other() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut transcript = Vec::new();
                        for _ in 0..3 {
                            let mut conn = pool.get().await.expect("a connection");
                            transcript.push(told(add(&mut conn, "A").await));
                            transcript.push(told(sql_query("SELECT 1/0").execute(&mut conn).await));
                            let several = "INSERT INTO author (name) VALUES ('B'); SELECT nowhere";
                            transcript.push(told(conn.batch_execute(several).await));
                        }
                        transcript.push(names(&mut *pool.get().await.expect("a connection")).await);
                        transcript.join("\n")
                    })
                });
            }

            #[test]
            fn begin_and_commit_as_text_are_a_transaction() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut conn = pool.get().await.expect("a connection");
                        for (name, end) in [("A", "COMMIT"), ("B", "ROLLBACK")] {
                            conn.batch_execute("BEGIN").await.expect("begun");
                            add(&mut conn, name).await.expect("a row");
                            conn.batch_execute(end).await.expect("ended");
                        }
                        sql_query("BEGIN").execute(&mut conn).await.expect("begun");
                        add(&mut conn, "C").await.expect("a row");
                        sql_query("COMMIT").execute(&mut conn).await.expect("committed");
                        drop(conn);
                        names(&mut *pool.get().await.expect("a connection")).await
                    })
                });
            }

            #[test]
            fn the_schema_changes_in_and_out_of_a_transaction() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut conn = pool.get().await.expect("a connection");
                        let change = "CREATE TABLE own (x int); ALTER TABLE author ADD born int";
                        conn.batch_execute(change).await.expect("changed");
                        let dropped = conn.transaction(async |conn| -> QueryResult<()> {
                            conn.batch_execute("DROP TABLE book").await?;
                            Err(Error::RollbackTransaction)
                        });
                        let dropped = told(dropped.await);
                        let books = text(&mut conn, "SELECT count(*)::text AS value FROM book").await;
                        format!("{dropped} {books}")
                    })
                });
            }

            #[test]
            fn transactions_nest() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut conn = pool.get().await.expect("a connection");
                        let done = conn.transaction(async |conn| -> QueryResult<()> {
                            add(conn, "A").await?;
                            let failed = conn
                                .transaction(async |conn| {
                                    add(conn, "B").await?;
                                    add(conn, "A").await
                                })
                                .await;
                            assert!(
                                matches!(
                                    failed,
                                    Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
                                ),
                                "{failed:?}"
                            );
                            conn.transaction(async |conn| add(conn, "C").await).await.map(drop)
                        });
                        done.await.expect("committed");
                        let failed = conn.transaction(async |conn| -> QueryResult<()> {
                            add(conn, "D").await?;
                            Err(Error::NotFound)
                        });
                        let failed = told(failed.await);
                        drop(conn);
                        format!("{failed} {}", names(&mut *pool.get().await.expect("a connection")).await)
                    })
                });
            }

            #[test]
            fn a_transaction_whose_future_is_cancelled_leaves_nothing() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        for polls in 0..15 {
                            let name = format!("never {polls}");
                            let mut conn = pool.get().await.expect("a connection");
                            let cancelled = conn.transaction(async |conn| -> QueryResult<()> {
                                add(conn, &name).await?;
                                conn.transaction(async |conn| add(conn, "nor this").await).await?;
                                never_done().await
                            });
                            assert!(dropped_after(polls, cancelled).await.is_none());
                            drop(conn);
                            // The same name again: what was cancelled holds it no longer.
                            let mut conn = pool.get().await.expect("a connection");
                            let done =
                                conn.transaction(async |conn| add(conn, &format!("surely {polls:02}")).await);
                            done.await.expect("committed");
                        }
                        names(&mut *pool.get().await.expect("a connection")).await
                    })
                });
            }

            #[test]
            fn a_serializable_transaction_whose_future_is_cancelled_leaves_nothing() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        for polls in 0..8 {
                            let mut conn = pool.get().await.expect("a connection");
                            let mut serializable = conn.build_transaction().serializable();
                            let cancelled = serializable.run(async |conn| -> QueryResult<()> {
                                add(conn, "never").await?;
                                never_done().await
                            });
                            assert!(dropped_after(polls, cancelled).await.is_none());
                            drop(conn);
                            let mut conn = pool.get().await.expect("a connection");
                            add(&mut conn, &format!("surely {polls}")).await.expect("a row");
                        }
                        names(&mut *pool.get().await.expect("a connection")).await
                    })
                });
            }

            #[test]
            fn two_transactions_of_one_pool_come_one_after_the_other() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let work = async |_: i32| {
                            let mut conn = pool.get().await.expect("a connection");
                            let done = conn.transaction(async |conn| -> QueryResult<()> {
                                sql_query(UPDATE).execute(conn).await?;
                                author::table.count().get_result::<i64>(conn).await?;
                                Ok(())
                            });
                            done.await.expect("committed");
                        };
                        join_all((0..10).map(work)).await;
                        names(&mut *pool.get().await.expect("a connection")).await
                    })
                });
            }

            #[test]
            fn a_second_user_waits_for_the_first_to_commit() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let mut holder = pool.get().await.expect("a connection");
                        let mut second = pool.get().await.expect("a connection");
                        let (held, wait) = tokio::sync::oneshot::channel();
                        let waiting = async {
                            wait.await.expect("held");
                            sql_query(UPDATE).execute(&mut second).await.expect("waited for");
                        };
                        let holding = holder.transaction(async |holder| -> QueryResult<()> {
                            sql_query(UPDATE).execute(holder).await?;
                            held.send(()).expect("somebody waits");
                            tokio::time::sleep(Duration::from_millis(300)).await;
                            Ok(())
                        });
                        let ((), held) = join(waiting, holding).await;
                        held.expect("committed");
                        names(&mut holder).await
                    })
                });
            }

            #[test]
            fn a_second_user_of_a_transaction_that_never_ends_is_told_so() {
                each(|place| {
                    if !place.sandboxed() {
                        return;
                    }
                    run(async {
                        let pool = pool(place).await;
                        let mut holder = pool.get().await.expect("a connection");
                        let mut second = pool.get().await.expect("a connection");
                        let words = holder.transaction(async |holder| -> QueryResult<String> {
                            add(holder, "held").await?;
                            Ok(told(add(&mut second, "second").await))
                        });
                        let words = words.await.expect("the holder is not harmed");
                        assert!(words.contains("deadlock") || words.contains("40P01"), "{words}");
                        add(&mut second, "second").await.expect("now it is free");
                        assert_eq!(names(&mut second).await, "Frank Herbert,Ursula K. Le Guin,held,second");
                    });
                });
            }

            #[test]
            fn queries_of_one_connection_are_pipelined() {
                same(|place| {
                    run(async {
                        let pool = pool(place).await;
                        let conn = pool.get().await.expect("a connection");
                        // Shared access to the connection is diesel-async's pipelining.
                        let conn: &AsyncPgConnection = &conn;
                        let mut shared: [&AsyncPgConnection; 3] = [conn; 3];
                        let [a, b, c] = &mut shared;
                        let insert = |name| diesel::insert_into(author::table).values(author::name.eq(name));
                        let (a, (b, c)) = join(
                            insert("A").execute(a),
                            join(insert("A").execute(b), insert("B").execute(c)),
                        )
                        .await;
                        let words = format!("{} {} {}", told(a), told(b), told(c));
                        format!("{words} {}", names(&mut *pool.get().await.expect("a connection")).await)
                    })
                });
            }
        }
    };
}

with_pool!(bb8, async |manager| diesel_async::pooled_connection::bb8::Pool::builder()
    .build(manager)
    .await
    .expect("a pool"));
with_pool!(deadpool, async |manager| diesel_async::pooled_connection::deadpool::Pool::builder(manager)
    .build()
    .expect("a pool"));
