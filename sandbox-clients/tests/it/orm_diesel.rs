//! diesel with r2d2's own default pool.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Text};
use diesel::{PgConnection, QueryResult, sql_query};

use crate::place::{Place, each, same};

diesel::table! {
    author (id) {
        id -> Int4,
        name -> Text,
    }
}

type PgPool = Pool<ConnectionManager<PgConnection>>;

fn pool(place: &Place) -> PgPool {
    Pool::builder().build(ConnectionManager::new(&place.url)).expect("a pool")
}

fn add(to: &mut PgConnection, name: &str) -> QueryResult<usize> {
    diesel::insert_into(author::table).values(author::name.eq(name)).execute(to)
}

fn names(of: &mut PgConnection) -> String {
    let names: Vec<String> = author::table.select(author::name).order(author::name).load(of).expect("names");
    names.join(",")
}

fn text(of: &mut PgConnection, sql: &str) -> String {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        value: String,
    }
    sql_query(sql).get_result::<Row>(of).expect("a row").value
}

fn told<T>(result: QueryResult<T>) -> String {
    result.map_or_else(|error| format!("{error}"), |_| "fine".to_owned())
}

#[test]
fn a_transaction_is_built_with_its_isolation_level() {
    same(|place| {
        let pool = pool(place);
        let mut conn = pool.get().expect("a connection");
        let level = "SELECT current_setting('transaction_isolation') AS value";
        let mut transcript = Vec::new();
        transcript.push(conn.build_transaction().serializable().run(|conn| -> QueryResult<String> {
            add(conn, "A")?;
            Ok(place.level("serializable", &text(conn, level)))
        }));
        transcript.push(conn.build_transaction().repeatable_read().run(|conn| {
            conn.transaction(|conn| add(conn, "B"))?;
            Ok(place.level("repeatable read", &text(conn, level)))
        }));
        let read_only =
            conn.build_transaction().serializable().read_only().deferrable().run(|conn| add(conn, "C"));
        transcript.push(Ok(told(read_only)));
        conn.build_transaction().read_write().run(|conn| add(conn, "D")).expect("committed");
        let mut transcript: Vec<_> = transcript.into_iter().map(|line| line.expect("committed")).collect();
        transcript.push(names(&mut conn));
        transcript.join("\n")
    });
}

#[test]
fn a_failed_statement_outside_a_transaction_harms_no_other() {
    same(|place| {
        let pool = pool(place);
        let mut transcript = Vec::new();
        for _ in 0..3 {
            // Given back and taken again: the pool looks at each connection that it hands out.
            let mut conn = pool.get().expect("a connection");
            transcript.push(told(add(&mut conn, "A")));
            transcript.push(told(sql_query("SELECT 1/0").execute(&mut conn)));
            transcript
                .push(told(conn.batch_execute("INSERT INTO author (name) VALUES ('B'); SELECT nowhere")));
        }
        transcript.push(names(&mut pool.get().expect("a connection")));
        transcript.join("\n")
    });
}

#[test]
fn begin_and_commit_as_text_are_a_transaction() {
    same(|place| {
        let pool = pool(place);
        let mut conn = pool.get().expect("a connection");
        for (name, end) in [("A", "COMMIT"), ("B", "ROLLBACK")] {
            conn.batch_execute("BEGIN").expect("begun");
            add(&mut conn, name).expect("a row");
            conn.batch_execute(end).expect("ended");
        }
        sql_query("BEGIN").execute(&mut conn).expect("begun");
        add(&mut conn, "C").expect("a row");
        sql_query("COMMIT").execute(&mut conn).expect("committed");
        conn.batch_execute("BEGIN; INSERT INTO author (name) VALUES ('D'); COMMIT").expect("run");
        drop(conn);
        names(&mut pool.get().expect("a connection"))
    });
}

#[test]
fn the_schema_changes_in_and_out_of_a_transaction() {
    same(|place| {
        let pool = pool(place);
        let mut conn = pool.get().expect("a connection");
        conn.batch_execute("CREATE TABLE own (x int); ALTER TABLE author ADD born int").expect("changed");
        let dropped = conn.transaction(|conn| -> QueryResult<()> {
            conn.batch_execute("DROP TABLE book")?;
            Err(Error::RollbackTransaction)
        });
        let books = text(&mut conn, "SELECT count(*)::text AS value FROM book");
        format!("{} {books}", told(dropped))
    });
}

#[test]
fn transactions_nest_and_roll_back_on_an_error_and_a_panic() {
    same(|place| {
        let pool = pool(place);
        let mut conn = pool.get().expect("a connection");
        conn.transaction(|conn| -> QueryResult<()> {
            add(conn, "A")?;
            let failed = conn.transaction(|conn| {
                add(conn, "B")?;
                add(conn, "A")
            });
            assert!(
                matches!(failed, Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))),
                "{failed:?}"
            );
            conn.transaction(|conn| add(conn, "C").map(drop))
        })
        .expect("committed");
        let failed = conn.transaction(|conn| -> QueryResult<()> {
            add(conn, "D")?;
            Err(Error::NotFound)
        });
        conn.test_transaction(|conn| add(conn, "E"));
        drop(conn);
        // A panic leaves the transaction open; the pool throws such a connection away.
        let pool_of_the_thread = pool.clone();
        let panicked = thread::spawn(move || {
            let mut conn = pool_of_the_thread.get().expect("a connection");
            conn.transaction(|conn| -> QueryResult<()> {
                add(conn, "F")?;
                std::panic::resume_unwind(Box::new("the application's own"))
            })
        });
        assert!(panicked.join().is_err());
        format!("{} {}", told(failed), names(&mut pool.get().expect("a connection")))
    });
}

#[test]
fn two_transactions_of_one_pool_come_one_after_the_other() {
    same(|place| {
        let pool = pool(place);
        let together = Barrier::new(10);
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let mut conn = pool.get().expect("a connection");
                    together.wait();
                    for _ in 0..5 {
                        conn.transaction(|conn| -> QueryResult<()> {
                            sql_query("UPDATE author SET name = name || '.' WHERE id = 1").execute(conn)?;
                            author::table.count().get_result::<i64>(conn)?;
                            Ok(())
                        })
                        .expect("committed");
                    }
                });
            }
        });
        names(&mut pool.get().expect("a connection"))
    });
}

#[test]
fn a_second_user_waits_for_the_first_to_commit() {
    same(|place| {
        let pool = pool(place);
        let held = Barrier::new(2);
        let update = "UPDATE author SET name = name || '!' WHERE id = 1";
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut conn = pool.get().expect("a connection");
                held.wait();
                sql_query(update).execute(&mut conn).expect("waited for");
            });
            let mut conn = pool.get().expect("a connection");
            conn.transaction(|conn| -> QueryResult<()> {
                sql_query(update).execute(conn)?;
                held.wait();
                thread::sleep(Duration::from_millis(300));
                Ok(())
            })
            .expect("committed");
        });
        names(&mut pool.get().expect("a connection"))
    });
}

#[test]
fn a_second_user_of_a_transaction_that_never_ends_is_told_so() {
    each(|place| {
        if !place.sandboxed() {
            return;
        }
        let pool = pool(place);
        let mut holder = pool.get().expect("a connection");
        holder
            .transaction(|holder| -> QueryResult<()> {
                add(holder, "held")?;
                let mut second = pool.get().expect("a connection");
                let words = told(add(&mut second, "second"));
                assert!(words.contains("deadlock") || words.contains("40P01"), "{words}");
                Ok(())
            })
            .expect("the holder is not harmed");
        let mut second = pool.get().expect("a connection");
        add(&mut second, "second").expect("now it is free");
        assert_eq!(names(&mut second), "Frank Herbert,Ursula K. Le Guin,held,second");
    });
}

#[test]
fn rows_are_counted_locked_and_returned() {
    same(|place| {
        let pool = pool(place);
        let mut conn = pool.get().expect("a connection");
        let returned: Vec<String> = diesel::insert_into(author::table)
            .values(["A", "B"].map(|name| author::name.eq(name)).to_vec())
            .returning(author::name)
            .get_results(&mut conn)
            .expect("rows");
        let upserted = diesel::insert_into(author::table)
            .values(author::name.eq("A"))
            .on_conflict(author::name)
            .do_update()
            .set(author::name.eq("A again"))
            .execute(&mut conn);
        let locked: Vec<i32> = conn
            .transaction(|conn| {
                author::table.select(author::id).order(author::id).for_update().skip_locked().load(conn)
            })
            .expect("rows");
        let count =
            sql_query("SELECT count(*) AS n FROM author").get_result::<Count>(&mut conn).expect("a row").n;
        format!("{returned:?} {} {} {count}", told(upserted), locked.len())
    });
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}
