//! sqlx with its own default pool: what leaks out of a plain transaction sandbox, row by row.

use std::time::Duration;

use futures_util::future::{join, join_all};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};

use crate::place::{Place, dropped_after, each, run, same};

async fn pool(place: &Place) -> PgPool {
    PgPool::connect(&place.url).await.expect("a pool")
}

async fn add<'a>(to: impl sqlx::PgExecutor<'a>, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO author (name) VALUES ($1)").bind(name).execute(to).await.map(drop)
}

async fn names<'a>(of: impl sqlx::PgExecutor<'a>) -> String {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM author ORDER BY name").fetch_all(of).await.expect("names");
    names.join(",")
}

fn told<T>(result: Result<T, sqlx::Error>) -> String {
    match result {
        Ok(_) => "fine".to_owned(),
        Err(sqlx::Error::Database(error)) => {
            format!("{} {}", error.code().unwrap_or_default(), error.message())
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_transaction_begins_with_a_text_of_its_own() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let mut transaction =
                pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await.expect("a transaction");
            let level: String = sqlx::query_scalar("SHOW transaction_isolation")
                .fetch_one(&mut *transaction)
                .await
                .expect("a level");
            add(&mut *transaction, "committed").await.expect("a row");
            transaction.commit().await.expect("committed");
            let mut transaction = pool.begin_with("BEGIN READ ONLY").await.expect("a transaction");
            let refused = told(add(&mut *transaction, "never").await);
            drop(transaction);
            add(&pool, "after").await.expect("a row");
            format!("{} {refused} {}", place.level("serializable", &level), names(&pool).await)
        })
    });
}

#[test]
fn a_begin_that_is_dropped_half_way_costs_no_more_than_its_own_connection() {
    same(|place| {
        run(async {
            // One connection: sqlx leaves a transaction open on it that it does not know of, and a
            // second one would wait in vain for its end.
            let one = PgPoolOptions::new().max_connections(1);
            let pool = one.connect(&place.url).await.expect("a pool");
            for polls in 0..12 {
                if let Some(begun) = dropped_after(polls, pool.begin()).await {
                    begun.expect("a transaction").rollback().await.expect("rolled back");
                }
                // Dropped just after BEGIN was sent, sqlx does not know that it is in a transaction:
                // what the next user of that connection writes is rolled back with it, on any server.
                add(&pool, &format!("maybe {polls}")).await.expect("a row");
                let mut one = pool.acquire().await.expect("a connection");
                drop(dropped_after(polls, one.begin()).await);
                add(&mut *one, &format!("maybe on one {polls}")).await.expect("a row");
                // So no transaction may be left behind the connection's back.
                sqlx::query("ROLLBACK").execute(&mut *one).await.expect("rolled back");
                add(&mut *one, &format!("surely {polls:02}")).await.expect("a row");
            }
            pool.close().await;
            let mut stranger = PgConnection::connect(&place.url).await.expect("a connection");
            let delete = "DELETE FROM author WHERE name LIKE 'maybe%'";
            sqlx::query(delete).execute(&mut stranger).await.expect("deleted");
            names(&mut stranger).await
        })
    });
}

#[test]
fn a_failed_statement_outside_a_transaction_harms_no_other() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let mut one = pool.acquire().await.expect("a connection");
            let mut transcript = Vec::new();
            for text in ["SELECT 1/0", "SELECT nowhere", "INSERT INTO author VALUES (1, 'taken')"] {
                transcript.push(told(sqlx::query(text).execute(&mut *one).await));
                transcript.push(told(sqlx::raw_sql(text).execute(&mut *one).await));
                transcript.push(told(add(&mut *one, text).await));
                transcript.push(told(add(&mut *one, text).await));
            }
            drop(one);
            transcript.push(names(&pool).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn begin_and_commit_as_text_are_a_transaction() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let mut one = pool.acquire().await.expect("a connection");
            for (name, end) in [("A", "COMMIT"), ("B", "ROLLBACK"), ("C", "END"), ("D", "ABORT")] {
                sqlx::query("BEGIN").execute(&mut *one).await.expect("begun");
                add(&mut *one, name).await.expect("a row");
                sqlx::query(end).execute(&mut *one).await.expect("ended");
            }
            let text = "BEGIN; INSERT INTO author (name) VALUES ('E'); COMMIT; \
                        BEGIN; INSERT INTO author (name) VALUES ('F'); ROLLBACK";
            sqlx::raw_sql(text).execute(&mut *one).await.expect("run");
            // Without a transaction: a warning and no more.
            sqlx::query("COMMIT").execute(&mut *one).await.expect("a warning");
            add(&mut *one, "G").await.expect("a row");
            drop(one);
            // The pool does not know of it, and hands the connection on with its transaction.
            names(&pool).await
        })
    });
}

#[test]
fn the_schema_changes_in_and_out_of_a_transaction() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            sqlx::raw_sql(
                "CREATE TABLE own (x int); ALTER TABLE author ADD born int; CREATE INDEX ON own (x)",
            )
            .execute(&pool)
            .await
            .expect("changed");
            let mut transaction = pool.begin().await.expect("a transaction");
            sqlx::query("DROP TABLE book").execute(&mut *transaction).await.expect("dropped");
            transaction.rollback().await.expect("rolled back");
            let mut transaction = pool.begin().await.expect("a transaction");
            sqlx::query("TRUNCATE own, book RESTART IDENTITY")
                .execute(&mut *transaction)
                .await
                .expect("emptied");
            transaction.commit().await.expect("committed");
            sqlx::query("UPDATE author SET born = 1920 WHERE id = 1").execute(&pool).await.expect("a row");
            let row = sqlx::query("SELECT born, (SELECT count(*) FROM book) FROM author WHERE id = 1")
                .fetch_one(&pool)
                .await
                .expect("a row");
            format!("{:?} {}", row.get::<Option<i32>, _>(0), row.get::<i64, _>(1))
        })
    });
}

#[test]
fn transactions_nest_and_roll_back_when_dropped() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let mut outer = pool.begin().await.expect("a transaction");
            add(&mut *outer, "A").await.expect("a row");
            let mut inner = outer.begin().await.expect("a savepoint");
            add(&mut *inner, "B").await.expect("a row");
            let failed = told(add(&mut *inner, "A").await);
            inner.rollback().await.expect("rolled back");
            let mut inner = outer.begin().await.expect("a savepoint");
            add(&mut *inner, "C").await.expect("a row");
            inner.commit().await.expect("released");
            {
                let mut dropped = outer.begin().await.expect("a savepoint");
                add(&mut *dropped, "D").await.expect("a row");
            }
            outer.commit().await.expect("committed");
            {
                let mut dropped = pool.begin().await.expect("a transaction");
                add(&mut *dropped, "E").await.expect("a row");
            }
            format!("{failed} {}", names(&pool).await)
        })
    });
}

#[test]
fn two_transactions_of_one_pool_come_one_after_the_other() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let work = async |name: &str| {
                let mut transaction = pool.begin().await?;
                sqlx::query("UPDATE author SET name = name || $1 WHERE id = 1")
                    .bind(name)
                    .execute(&mut *transaction)
                    .await?;
                let seen: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM author").fetch_one(&mut *transaction).await?;
                assert_eq!(seen, 2);
                transaction.commit().await
            };
            let (a, b) = join(work("."), work(".")).await;
            a.expect("the first");
            b.expect("the second");
            // As many as the pool has connections.
            for done in join_all((0..10).map(|_| work("."))).await {
                done.expect("another");
            }
            names(&pool).await
        })
    });
}

#[test]
fn a_second_user_waits_for_the_first_to_commit() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            let mut holder = pool.begin().await.expect("a transaction");
            sqlx::query("UPDATE author SET name = 'held' WHERE id = 1")
                .execute(&mut *holder)
                .await
                .expect("a row");
            let waiting = async {
                sqlx::query("UPDATE author SET name = name || '!' WHERE id = 1")
                    .execute(&pool)
                    .await
                    .expect("a row");
            };
            let holding = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                holder.commit().await.expect("committed");
            };
            join(waiting, holding).await;
            names(&pool).await
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
            let mut holder = pool.begin().await.expect("a transaction");
            add(&mut *holder, "held").await.expect("a row");
            let words = told(add(&pool, "second").await);
            assert!(words.starts_with("40P01"), "{words}");
            holder.commit().await.expect("the holder is not harmed");
            add(&pool, "second").await.expect("now it is free");
            assert_eq!(names(&pool).await, "Frank Herbert,Ursula K. Le Guin,held,second");
        });
    });
}

#[test]
fn a_query_that_is_dropped_half_way_harms_no_other() {
    same(|place| {
        run(async {
            let pool = pool(place).await;
            for polls in 0..10 {
                let name = format!("maybe {polls}");
                drop(dropped_after(polls, add(&pool, &name)).await);
                add(&pool, &format!("surely {polls}")).await.expect("a row");
                let mut transaction = pool.begin().await.expect("a transaction");
                let never = format!("never {polls}");
                drop(dropped_after(polls, add(&mut *transaction, &never)).await);
                drop(transaction);
            }
            // A statement that was on its way may have been run.
            sqlx::query("DELETE FROM author WHERE name LIKE 'maybe%'").execute(&pool).await.expect("deleted");
            names(&pool).await
        })
    });
}

#[test]
fn a_pool_that_is_closed_and_opened_again_sees_what_was_committed() {
    same(|place| {
        run(async {
            for n in 0..5 {
                let pool = pool(place).await;
                add(&pool, &n.to_string()).await.expect("a row");
                let mut open = pool.acquire().await.expect("a connection");
                sqlx::query("BEGIN").execute(&mut *open).await.expect("begun");
                add(&mut *open, "left open").await.expect("a row");
                open.detach().close_hard().await.expect("closed");
                pool.close().await;
            }
            names(&pool(place).await).await
        })
    });
}

#[test]
fn a_migrator_takes_its_lock_and_migrates() {
    same(|place| {
        run(async {
            let folder = crate::process::folder();
            for (name, text) in [
                ("1_first.sql", "CREATE TABLE migrated (x int);"),
                ("2_second.sql", "ALTER TABLE migrated ADD y int; INSERT INTO migrated VALUES (1, 2);"),
            ] {
                std::fs::write(folder.path().join(name), text).expect("a migration");
            }
            let pool = pool(place).await;
            for _ in 0..2 {
                let migrator = sqlx::migrate::Migrator::new(folder.path()).await.expect("migrations");
                migrator.run(&pool).await.expect("migrated");
            }
            let query = "SELECT count(*) FROM migrated, _sqlx_migrations";
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&pool).await.expect("a row");
            rows.to_string()
        })
    });
}
