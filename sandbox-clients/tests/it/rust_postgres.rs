//! tokio-postgres: both protocols, pipelines, portals, COPY, cancel, notifications, futures that
//! are dropped half-way.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{join, join_all, poll_immediate, try_join};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Error, IsolationLevel, NoTls, SimpleQueryMessage};

use crate::place::{Place, each, run, same, until_true};

/// A client, and the task that its connection lives in.
async fn connect_with_task(place: &Place) -> (Client, JoinHandle<()>) {
    let (client, connection) = tokio_postgres::connect(&place.url, NoTls).await.expect("a connection");
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection ended: {error}");
        }
    });
    (client, task)
}

async fn connect(place: &Place) -> Client {
    connect_with_task(place).await.0
}

/// A client and what arrives for it without being asked for.
async fn connect_and_listen(place: &Place) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (client, mut connection) = tokio_postgres::connect(&place.url, NoTls).await.expect("a connection");
    let (send, receive) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            let said = match message {
                Ok(AsyncMessage::Notification(note)) => format!("{}: {}", note.channel(), note.payload()),
                Ok(AsyncMessage::Notice(notice)) => format!("{}: {}", notice.severity(), notice.message()),
                Ok(_) => "another message".to_owned(),
                Err(error) => format!("the connection ended: {error}"),
            };
            if send.send(said).is_err() {
                return;
            }
        }
    });
    (client, receive)
}

fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

fn said<T>(result: Result<T, Error>, show: impl FnOnce(T) -> String) -> String {
    result.map_or_else(|error| told(&error), show)
}

async fn names(client: &Client) -> String {
    let rows = client.query("SELECT name FROM author ORDER BY name", &[]).await.expect("names");
    rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>().join(",")
}

async fn add(client: &Client, name: &str) -> String {
    said(client.execute("INSERT INTO author (name) VALUES ($1)", &[&name]).await, |n| n.to_string())
}

async fn simple(client: &Client, sql: &str) -> String {
    said(client.simple_query(sql).await, |messages| {
        let words = messages.iter().map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect::<Vec<_>>().join("|")
            }
            SimpleQueryMessage::CommandComplete(rows) => format!("done {rows}"),
            SimpleQueryMessage::RowDescription(columns) => format!("{} columns", columns.len()),
            _ => "another message".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn simple_queries_of_one_and_of_several_statements() {
    same(|place| {
        run(async {
            let client = connect(place).await;
            let mut transcript = Vec::new();
            for sql in [
                "SELECT id, name FROM author ORDER BY id",
                "INSERT INTO author (name) VALUES ('A'); SELECT count(*) FROM author; DELETE FROM book WHERE id = 1",
                "INSERT INTO author (name) VALUES ('B'); SELECT 1/0",
                "BEGIN; INSERT INTO author (name) VALUES ('C'); ROLLBACK; INSERT INTO author (name) VALUES ('D')",
                "",
                "SELECT NULL, 'x'",
            ] {
                transcript.push(simple(&client, sql).await);
            }
            transcript.push(names(&client).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn a_failed_statement_outside_a_transaction_harms_no_other() {
    same(|place| {
        run(async {
            let client = connect(place).await;
            let mut transcript = vec![add(&client, "A").await, add(&client, "A").await];
            transcript.push(said(client.query("SELECT 1/0", &[]).await, |_| "a row".to_owned()));
            transcript.push(said(client.prepare("SELECT nowhere").await, |_| "prepared".to_owned()));
            // The wrong type is refused by the client, in the middle of an exchange.
            transcript.push(said(client.query("SELECT $1::int", &[&"text"]).await, |_| "a row".to_owned()));
            transcript.push(add(&client, "B").await);
            transcript.push(names(&client).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn statements_are_prepared_described_and_closed() {
    same(|place| {
        run(async {
            let (client, other) = (connect(place).await, connect(place).await);
            let statement = client
                .prepare("SELECT id, title, price::float8 FROM book WHERE id = $1")
                .await
                .expect("prepared");
            let another = other.prepare("SELECT $1::text").await.expect("prepared");
            let mut transcript = vec![format!("{:?}", statement.params())];
            for id in 1..=4 {
                let row = client.query_opt(&statement, &[&id]).await.expect("a row");
                transcript
                    .push(format!("{:?}", row.map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1)))));
            }
            transcript.push(other.query_one(&another, &[&"the other's"]).await.expect("a row").get(0));
            let typed = client.prepare_typed("SELECT $1 + 1", &[Type::INT8]).await.expect("prepared");
            transcript.push(
                client.query_one(&typed, &[&41_i64]).await.expect("a row").get::<_, i64>(0).to_string(),
            );
            drop((statement, typed));
            let left: i64 = client
                .query_one(
                    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT id, title%'",
                    &[],
                )
                .await
                .expect("a row")
                .get(0);
            transcript.push(left.to_string());
            // It asks the catalogue about a type that it does not know.
            client.batch_execute("CREATE TYPE mood AS ENUM ('sad', 'happy')").await.expect("a type");
            let mood = client.prepare("SELECT 'sad'::mood").await.expect("prepared");
            transcript.push(format!("{:?}", mood.columns()[0].type_().kind()));
            transcript.join("\n")
        })
    });
}

#[test]
fn queries_of_one_client_are_pipelined() {
    same(|place| {
        run(async {
            let client = connect(place).await;
            let statement = client.prepare("SELECT $1::int * 2").await.expect("prepared");
            let numbers: Vec<i32> = (0..500).collect();
            let rows = join_all(numbers.iter().map(async |n| client.query_one(&statement, &[n]).await)).await;
            let sum: i32 = rows.into_iter().map(|row| row.expect("a row").get::<_, i32>(0)).sum();
            // An error in the middle is that statement's alone: each has its own sync.
            let (a, (b, c)) = join(
                client.execute("INSERT INTO author (name) VALUES ('A')", &[]),
                join(
                    client.execute("SELECT 1/0", &[]),
                    client.execute("INSERT INTO author (name) VALUES ('B')", &[]),
                ),
            )
            .await;
            let words = [a, b, c].map(|result| said(result, |n| n.to_string()));
            // What is sent between BEGIN and ROLLBACK without waiting is in the transaction. It is
            // prepared before: a query's text alone is executed only after its preparation was answered.
            let third = client.prepare("INSERT INTO author (name) VALUES ('C')").await.expect("prepared");
            let (begin, (insert, rollback)) = join(
                client.batch_execute("BEGIN"),
                join(client.execute(&third, &[]), client.batch_execute("ROLLBACK")),
            )
            .await;
            format!(
                "{sum} {words:?} {} {} {} {}",
                begin.is_ok(),
                insert.is_ok(),
                rollback.is_ok(),
                names(&client).await
            )
        })
    });
}

#[test]
fn a_portal_gives_its_rows_in_portions() {
    same(|place| {
        run(async {
            let mut client = connect(place).await;
            let transaction = client.transaction().await.expect("a transaction");
            let portal =
                transaction.bind("SELECT n FROM generate_series(1, 10) n", &[]).await.expect("a portal");
            let other =
                transaction.bind("SELECT n * 100 FROM generate_series(1, 3) n", &[]).await.expect("a portal");
            let mut transcript = Vec::new();
            for (portal, most) in
                [(&portal, 3), (&other, 2), (&portal, 4), (&other, 0), (&portal, 0), (&portal, 0)]
            {
                let rows = transaction.query_portal(portal, most).await.expect("rows");
                let rows: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
                transcript.push(format!("{rows:?}"));
                transcript.push(said(transaction.query_one("SELECT 'between'", &[]).await, |row| row.get(0)));
            }
            transaction.commit().await.expect("committed");
            transcript.join(" ")
        })
    });
}

#[test]
fn transactions_nest_and_roll_back_when_dropped() {
    same(|place| {
        run(async {
            let mut client = connect(place).await;
            let mut transcript = Vec::new();
            let mut transaction = client.transaction().await.expect("a transaction");
            transaction.execute("INSERT INTO author (name) VALUES ('A')", &[]).await.expect("a row");
            let nested = transaction.transaction().await.expect("a savepoint");
            transcript.push(said(nested.query("SELECT 1/0", &[]).await, |_| "a row".to_owned()));
            drop(nested);
            let nested = transaction.savepoint("of_my_own").await.expect("a savepoint");
            nested.execute("INSERT INTO author (name) VALUES ('B')", &[]).await.expect("a row");
            nested.commit().await.expect("released");
            transaction.commit().await.expect("committed");
            transcript.push(names(&client).await);

            let transaction = client.transaction().await.expect("a transaction");
            transaction.execute("INSERT INTO author (name) VALUES ('dropped')", &[]).await.expect("a row");
            drop(transaction);
            transcript.push(names(&client).await);

            let transaction = client.transaction().await.expect("a transaction");
            transcript.push(said(transaction.query("SELECT nowhere", &[]).await, |_| "a row".to_owned()));
            transcript.push(said(transaction.query("SELECT 1", &[]).await, |_| "a row".to_owned()));
            transcript.push(said(transaction.commit().await, |()| "COMMIT".to_owned()));
            transcript.push(names(&client).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn a_transaction_says_its_isolation_level() {
    same(|place| {
        run(async {
            let mut client = connect(place).await;
            let mut transcript = Vec::new();
            for (level, words) in [
                (IsolationLevel::ReadUncommitted, "read uncommitted"),
                (IsolationLevel::ReadCommitted, "read committed"),
                (IsolationLevel::RepeatableRead, "repeatable read"),
                (IsolationLevel::Serializable, "serializable"),
            ] {
                let transaction =
                    client.build_transaction().isolation_level(level).start().await.expect("a transaction");
                let shown = transaction.query_one("SHOW transaction_isolation", &[]).await.expect("a row");
                transcript.push(place.level(words, shown.get(0)));
                let name = format!("{level:?}");
                transaction.execute("INSERT INTO author (name) VALUES ($1)", &[&name]).await.expect("a row");
                transaction.commit().await.expect("committed");
            }
            let reading = client
                .build_transaction()
                .isolation_level(IsolationLevel::Serializable)
                .read_only(true)
                .deferrable(true)
                .start()
                .await
                .expect("a transaction");
            transcript.push(said(reading.execute("DELETE FROM book", &[]).await, |n| n.to_string()));
            reading.rollback().await.expect("rolled back");
            transcript.push(names(&client).await);
            transcript.join("\n")
        })
    });
}

#[test]
fn begin_and_commit_as_text_are_a_transaction() {
    same(|place| {
        run(async {
            let (client, other) = (connect(place).await, connect(place).await);
            client.batch_execute("BEGIN").await.expect("begun");
            add(&client, "A").await;
            client.batch_execute("COMMIT").await.expect("committed");
            client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ", &[]).await.expect("begun");
            add(&client, "B").await;
            client.execute("ROLLBACK", &[]).await.expect("rolled back");
            let begin = client.prepare("START TRANSACTION").await.expect("prepared");
            let end = client.prepare("END").await.expect("prepared");
            for name in ["C", "D"] {
                client.execute(&begin, &[]).await.expect("begun");
                add(&client, name).await;
                client.execute(&end, &[]).await.expect("ended");
            }
            names(&other).await
        })
    });
}

#[test]
fn rows_are_copied_in_and_out() {
    same(|place| {
        run(async {
            let client = connect(place).await;
            let mut transcript = Vec::new();
            {
                let mut sink =
                    pin!(client.copy_in("COPY author (id, name) FROM STDIN").await.expect("a copy"));
                for n in 100..2100 {
                    let row = bytes::Bytes::from(format!("{n}\tauthor {n}\n"));
                    sink.feed(row).await.expect("a row");
                }
                transcript.push(format!("{:?}", sink.as_mut().finish().await.expect("copied")));
            }
            {
                // Dropped before its end: the client says that the copy failed.
                let mut sink =
                    pin!(client.copy_in("COPY author (id, name) FROM STDIN").await.expect("a copy"));
                sink.send(bytes::Bytes::from_static(b"5000\tnever\n")).await.expect("a row");
            }
            {
                let mut sink =
                    pin!(client.copy_in("COPY author (id, name) FROM STDIN").await.expect("a copy"));
                sink.send(bytes::Bytes::from_static(b"1\ttaken\n")).await.expect("a row");
                transcript.push(said(sink.as_mut().finish().await, |n| n.to_string()));
            }
            let out = client
                .copy_out("COPY (SELECT * FROM author ORDER BY id LIMIT 3) TO STDOUT")
                .await
                .expect("a copy");
            let out: Vec<bytes::Bytes> = out.try_collect().await.expect("copied");
            transcript.push(String::from_utf8_lossy(&out.concat()).into_owned());
            {
                // Dropped before its end: the rest is read and thrown away.
                let text = "COPY (SELECT n FROM generate_series(1, 200000) n) TO STDOUT";
                let mut out = pin!(client.copy_out(text).await.expect("a copy"));
                out.next().await.expect("a row").expect("a row");
            }
            transcript.push(said(client.query_one("SELECT count(*) FROM author", &[]).await, |row| {
                row.get::<_, i64>(0).to_string()
            }));
            transcript.join("\n")
        })
    });
}

#[test]
fn a_cancel_ends_the_statement_and_nothing_else() {
    same(|place| {
        run(async {
            let (client, other) = (connect(place).await, connect(place).await);
            let token = client.cancel_token();
            let sleeping = client.execute("INSERT INTO author (name) SELECT 'A' FROM pg_sleep(50)", &[]);
            let cancelling = async {
                let asleep = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')";
                until_true(place, asleep).await;
                token.cancel_query(NoTls).await.expect("cancelled");
            };
            let (slept, ()) = join(sleeping, cancelling).await;
            let words = said(slept, |n| n.to_string());
            format!("{words} {} {} {}", add(&other, "B").await, add(&client, "C").await, names(&client).await)
        })
    });
}

#[test]
fn a_cancel_in_a_transaction_leaves_it_to_be_rolled_back() {
    same(|place| {
        run(async {
            let mut client = connect(place).await;
            let token = client.cancel_token();
            let mut transaction = client.transaction().await.expect("a transaction");
            transaction.execute("INSERT INTO author (name) VALUES ('A')", &[]).await.expect("a row");
            let nested = transaction.transaction().await.expect("a savepoint");
            let cancelling = async {
                let asleep = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')";
                until_true(place, asleep).await;
                token.cancel_query(NoTls).await.expect("cancelled");
            };
            let (slept, ()) = join(nested.execute("SELECT pg_sleep(50)", &[]), cancelling).await;
            let refused = said(nested.execute("SELECT 1", &[]).await, |n| n.to_string());
            nested.rollback().await.expect("rolled back");
            transaction.execute("INSERT INTO author (name) VALUES ('B')", &[]).await.expect("a row");
            transaction.commit().await.expect("committed");
            format!("{} {refused} {}", said(slept, |n| n.to_string()), names(&client).await)
        })
    });
}

#[test]
fn notifications_and_notices_arrive_unasked() {
    same(|place| {
        run(async {
            let (listener, mut heard) = connect_and_listen(place).await;
            let mut sender = connect(place).await;
            listener.batch_execute("LISTEN news; LISTEN \"Other\"").await.expect("listening");
            sender.batch_execute("NOTIFY news, 'one'").await.expect("sent");
            let mut transcript = vec![heard.recv().await.expect("a message")];
            let transaction = sender.transaction().await.expect("a transaction");
            transaction.batch_execute("NOTIFY news, 'two'").await.expect("sent");
            transaction.execute("SELECT pg_notify('Other', 'three')", &[]).await.expect("sent");
            transcript.push(format!("{:?}", heard.try_recv().is_err()));
            transaction.commit().await.expect("committed");
            transcript.push(heard.recv().await.expect("a message"));
            transcript.push(heard.recv().await.expect("a message"));
            let transaction = sender.transaction().await.expect("a transaction");
            transaction.batch_execute("NOTIFY news, 'never'").await.expect("sent");
            drop(transaction);
            listener.batch_execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$").await.expect("run");
            transcript.push(heard.recv().await.expect("a message"));
            listener.batch_execute("UNLISTEN news").await.expect("run");
            sender.batch_execute("NOTIFY news, 'too late'; NOTIFY \"Other\", 'four'").await.expect("sent");
            transcript.push(heard.recv().await.expect("a message"));
            transcript.join("\n")
        })
    });
}

#[test]
fn a_dropped_future_does_not_stop_the_client() {
    same(|place| {
        run(async {
            let mut client = connect(place).await;
            for n in 0..20 {
                // Polled once, so that its first message is sent: for a query with parameters that
                // is Parse and no more, for a text it is all.
                let name = format!("prepared {n}");
                let text = "INSERT INTO author (name) VALUES ($1)";
                let parameters: [&(dyn ToSql + Sync); 1] = [&name];
                let insert = client.query(text, &parameters);
                assert!(poll_immediate(pin!(insert)).await.is_none());
                let text = format!("INSERT INTO author (name) SELECT 'sent {n:02}' FROM pg_sleep(0.001)");
                assert!(poll_immediate(pin!(client.batch_execute(&text))).await.is_none());
                assert!(poll_immediate(pin!(client.batch_execute("SELECT 1/0"))).await.is_none());
            }
            {
                let text = "SELECT n FROM generate_series(1, 100000) n";
                let rows = client.query_raw(text, [] as [i32; 0]).await.expect("rows");
                pin!(rows).next().await.expect("a row").expect("a row");
            }
            {
                // A transaction that was about to begin is taken back.
                let begin = client.transaction();
                assert!(poll_immediate(pin!(begin)).await.is_none());
            }
            add(&client, "after").await;
            // Committed or not: another client tells. A busy machine may let the answer to Parse come within
            // that one poll, with and without the sandbox, and then the row is there.
            let names = names(&connect(place).await).await;
            let sure = names.split(',').filter(|name| !name.starts_with("prepared "));
            sure.collect::<Vec<_>>().join(",")
        })
    });
}

#[test]
fn a_client_that_is_gone_takes_its_transaction_along() {
    same(|place| {
        run(async {
            let (client, task) = connect_with_task(place).await;
            client.batch_execute("BEGIN; INSERT INTO author (name) VALUES ('A')").await.expect("a row");
            // Without a word of farewell.
            task.abort();
            let other = connect(place).await;
            let words = add(&other, "A").await;

            let client = connect(place).await;
            client.batch_execute("BEGIN; INSERT INTO author (name) VALUES ('B')").await.expect("a row");
            // With one.
            drop(client);
            format!("{words} {} {}", add(&other, "B").await, names(&other).await)
        })
    });
}

#[test]
fn a_client_that_is_gone_in_the_middle_of_a_result_or_a_copy_stops_nobody() {
    same(|place| {
        run(async {
            for _ in 0..3 {
                let (client, task) = connect_with_task(place).await;
                {
                    let rows = client
                        .query_raw(
                            "SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) n",
                            [] as [i32; 0],
                        )
                        .await
                        .expect("rows");
                    pin!(rows).next().await.expect("a row").expect("a row");
                    task.abort();
                }
                let (client, task) = connect_with_task(place).await;
                let mut sink =
                    pin!(client.copy_in("COPY author (id, name) FROM STDIN").await.expect("a copy"));
                sink.send(bytes::Bytes::from_static(b"5000\tnever\n")).await.expect("a row");
                task.abort();
            }
            let other = connect(place).await;
            format!("{} {}", add(&other, "A").await, names(&other).await)
        })
    });
}

#[test]
fn many_clients_write_at_the_same_time() {
    same(|place| {
        run(async {
            let work = async |n: usize| {
                let mut client = connect(place).await;
                for round in 0..10 {
                    let transaction = client.transaction().await.expect("a transaction");
                    transaction
                        .execute("INSERT INTO author (name) VALUES ($1)", &[&format!("{n}.{round}")])
                        .await
                        .expect("a row");
                    let seen: i64 = transaction
                        .query_one("SELECT count(*) FROM author WHERE name LIKE $1", &[&format!("{n}.%")])
                        .await
                        .expect("a row")
                        .get(0);
                    assert_eq!(seen, round + 1);
                    transaction.commit().await.expect("committed");
                    client
                        .execute("UPDATE book SET price = coalesce(price, 0) + 1 WHERE id = 3", &[])
                        .await
                        .expect("a row");
                }
            };
            join_all((0..12).map(work)).await;
            let client = connect(place).await;
            simple(&client, "SELECT (SELECT count(*) FROM author), price FROM book WHERE id = 3").await
        })
    });
}

#[test]
fn a_slow_reader_and_another_client_both_come_to_their_end() {
    same(|place| {
        run(async {
            let (slow, other) = (connect(place).await, connect(place).await);
            let reading = async {
                let rows = slow
                    .query_raw("SELECT repeat('x', 10000) FROM generate_series(1, 3000) n", [] as [i32; 0])
                    .await
                    .expect("rows");
                let mut rows = pin!(rows);
                let mut bytes = 0;
                while let Some(row) = rows.next().await {
                    bytes += row.expect("a row").get::<_, &str>(0).len();
                    // Slower than the server, so that it is the buffers that fill.
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                bytes
            };
            let writing = async {
                for n in 0..20 {
                    add(&other, &n.to_string()).await;
                }
                names(&other).await
            };
            let (bytes, names) = join(reading, writing).await;
            format!("{bytes} {names}")
        })
    });
}

#[test]
fn the_second_transaction_goes_on_when_the_first_commits() {
    same(|place| {
        run(async {
            let (mut first, mut second) = (connect(place).await, connect(place).await);
            let holder = first.transaction().await.expect("a transaction");
            holder.execute("UPDATE author SET name = 'first' WHERE id = 1", &[]).await.expect("a row");
            let waiting = async {
                let waiter = second.transaction().await?;
                waiter.execute("UPDATE author SET name = name || ' second' WHERE id = 1", &[]).await?;
                waiter.commit().await
            };
            let holding = async {
                // Longer than a round trip, shorter than what is taken for a deadlock.
                tokio::time::sleep(Duration::from_millis(300)).await;
                holder.commit().await
            };
            try_join(waiting, holding).await.expect("both");
            names(&first).await
        })
    });
}

#[test]
fn the_second_transaction_is_told_of_a_first_that_never_ends() {
    each(|place| {
        if !place.sandboxed() {
            // Elsewhere it would wait for ever on a row, and for nothing on another.
            return;
        }
        run(async {
            let (mut first, second) = (connect(place).await, connect(place).await);
            let holder = first.transaction().await.expect("a transaction");
            holder.execute("UPDATE author SET name = 'first' WHERE id = 1", &[]).await.expect("a row");
            let error = second
                .execute("INSERT INTO author (name) VALUES ('second')", &[])
                .await
                .expect_err("refused");
            assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{}", told(&error));
            // The holder is not harmed, and the waiter goes on when the holder is done.
            holder.commit().await.expect("committed");
            add(&second, "second").await;
            assert_eq!(names(&second).await, "Ursula K. Le Guin,first,second");
        });
    });
}

#[test]
fn a_client_that_gave_up_waiting_is_not_served_later() {
    same(|place| {
        run(async {
            let (mut first, (second, task)) = (connect(place).await, connect_with_task(place).await);
            let holder = first.transaction().await.expect("a transaction");
            holder.execute("UPDATE author SET name = 'first' WHERE id = 1", &[]).await.expect("a row");
            let waiting = second.execute("UPDATE author SET name = 'second' WHERE id = 1", &[]);
            let gave_up = tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err();
            // A statement that is on its way is run also for a client that is gone, on any server:
            // so it is cancelled first, as drivers do.
            second.cancel_token().cancel_query(NoTls).await.expect("cancelled");
            drop(second);
            task.await.expect("the connection ends");
            holder.commit().await.expect("committed");
            format!("{gave_up} {}", names(&first).await)
        })
    });
}
