//! What functions and triggers notify.

use dbtest_sandbox::{End, Options};
use sqlx::Connection;

use crate::arena::{Arena, Ground, log_in, wait_for};
use crate::raw::{Raw, execute, parse, query, run, sync};

/// As job queues have them: a row that comes tells so, and at a commit a constraint does.
const NOTIFIES: &str = "CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('toys', TG_ARGV[0] || NEW.id); RETURN NEW; END $$;
    CREATE TRIGGER tells BEFORE INSERT ON toys FOR EACH ROW EXECUTE FUNCTION tells('new ');
    CREATE CONSTRAINT TRIGGER told AFTER UPDATE ON toys DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION tells('changed ');
    CREATE FUNCTION says(what text) RETURNS int LANGUAGE sql AS $$ SELECT pg_notify('toys', what); SELECT 1 $$;
    CREATE FUNCTION late() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('toys', 'late'); INSERT INTO toys VALUES (50); RETURN 1; END $$";

/// What a client that listens has heard. Nothing of how it came to be is shown to it.
fn heard(client: &mut Raw) -> Vec<String> {
    client.send(&query("SELECT 1"));
    let mut payloads = Vec::new();
    for message in client.until(b'Z') {
        assert_ne!(message.tag, b'N', "{message:?}");
        if message.tag == b'A' {
            let mut strings = message.body[4..].split(|&byte| byte == 0);
            assert_eq!(strings.next(), Some(&b"toys"[..]));
            payloads.push(String::from_utf8(strings.next().expect("a payload").to_vec()).expect("text"));
        }
    }
    payloads
}

fn hears(client: &mut Raw, payloads: &[&str], sql: &str) {
    assert_eq!(heard(client), payloads, "{sql}");
}

#[test]
fn what_functions_notify_comes_at_the_commit() {
    let mut arena = Arena::open();
    let (mut client, mut listener) = (arena.client(), arena.client());
    client.well(NOTIFIES);
    // Whose plans were made before anybody listened.
    client.well("INSERT INTO toys VALUES (2, '')");
    assert_eq!(client.well("SELECT says('nobody hears')").value(), Some("1"));
    listener.well("LISTEN toys");
    for (sql, payloads) in [
        ("INSERT INTO toys VALUES (3), (4)", &["new 3", "new 4"][..]),
        ("SELECT says('a'), says('a'), says('b')", &["a", "b"]),
        (
            "SELECT pg_notify('toys', 'number ' || id) FROM toys WHERE id < 3 ORDER BY id",
            &["number 1", "number 2"],
        ),
        ("SELECT pg_notify('toys', 'none') FROM toys WHERE id = 0", &[]),
        (
            "BEGIN; INSERT INTO toys VALUES (5); NOTIFY toys, 'own'; SELECT says('last'); COMMIT",
            &["new 5", "own", "last"],
        ),
        ("BEGIN; INSERT INTO toys VALUES (6); ROLLBACK", &[]),
        ("INSERT INTO toys VALUES (7), (1)", &[]),
        (
            "BEGIN; SELECT says('kept'); SAVEPOINT s; SELECT says('taken back'); ROLLBACK TO s;
             SELECT says('after'); RELEASE s; COMMIT",
            &["kept", "after"],
        ),
        ("UPDATE toys SET note = 'x' WHERE id = 1", &["changed 1"]),
        ("BEGIN; UPDATE toys SET note = 'y' WHERE id = 1; ROLLBACK", &[]),
        // It begins like a read, and is run again as a write.
        ("SELECT late()", &["late", "new 50"]),
        ("COPY toys FROM STDIN", &[]),
    ] {
        client.send(&query(sql));
        if sql.starts_with("COPY") {
            client.until(b'G');
            client.send(&crate::raw::message(b'd', b"8\t\n9\t\n"));
            client.send(&crate::raw::message(b'c', b""));
        }
        for message in client.until(b'Z') {
            assert_ne!(message.tag, b'N', "{sql}: {message:?}");
        }
        let copied = ["new 8", "new 9"];
        hears(&mut listener, if sql.starts_with("COPY") { &copied } else { payloads }, sql);
        arena.works();
    }
    // In a series of the extended protocol, and prepared before.
    client.send(
        &[run("BEGIN"), run("INSERT INTO toys VALUES (10)"), run("SAVEPOINT s"), run("SELECT says('gone')")]
            .concat(),
    );
    client.send(&[run("ROLLBACK TO s"), run("COMMIT"), parse("p", "SELECT says('p')"), sync()].concat());
    assert_eq!(client.answer().errors, []);
    hears(&mut listener, &["new 10"], "a series");
    client.send(&[crate::raw::bind("", "p"), execute("", 0), sync()].concat());
    assert_eq!(client.answer().errors, []);
    hears(&mut listener, &["p"], "prepared");
    // Whoever goes in the middle has told nobody.
    client.well("BEGIN; SELECT says('gone')");
    drop(client);
    arena.works();
    hears(&mut listener, &[], "gone");
    arena.ends_well();
}

#[test]
fn who_listens_in_the_middle_hears_what_comes_after() {
    let arena = Arena::open();
    let (mut client, mut listener) = (arena.client(), arena.client());
    client.well(NOTIFIES);
    for sql in ["BEGIN; SELECT says('before'); ROLLBACK", "SELECT 1/0", "SELECT 1"] {
        client.query(sql);
        listener.well("LISTEN toys");
        client.well("SELECT says('after')");
        hears(&mut listener, &["after"], sql);
        listener.well("UNLISTEN toys");
    }
    arena.ends_well();
}

#[test]
fn who_listens_first_in_its_transaction_hears_itself() {
    let arena = Arena::open();
    let mut client = arena.client();
    client.well(NOTIFIES);
    let mut client = arena.client();
    client.send(&query("BEGIN; LISTEN toys; INSERT INTO toys VALUES (3); COMMIT"));
    let messages = client.until(b'Z');
    assert!(messages.iter().any(|message| message.tag == b'A'), "{messages:?}");
    arena.ends_well();
}

#[test]
fn a_notification_that_the_server_refuses_is_refused() {
    let arena = Arena::open();
    let (mut client, mut plain) = (arena.client(), Vec::new());
    let wrong = [
        "SELECT pg_notify('', 'x' || 1)",
        "SELECT pg_notify(NULL, 'x' || 1)",
        "SELECT pg_notify(repeat('x', 64), 'x')",
        "SELECT pg_notify('x', repeat('x', 8000))",
    ];
    for sql in wrong {
        plain.push(client.query(sql).errors);
    }
    client.well("LISTEN toys");
    for (sql, plain) in wrong.iter().zip(plain) {
        assert_eq!(client.query(sql).errors, plain, "{sql}");
    }
    client.well("SELECT pg_notify('toys', NULL), pg_notify('toys', repeat('x', 7999))");
    arena.ends_well();
}

#[test]
fn who_may_not_replace_the_function_hears_what_the_text_says() {
    let arena = Arena::open();
    let (mut client, mut listener) = (arena.client(), arena.client());
    client.well("SET ROLE pg_monitor; LISTEN toys");
    listener.well("SET ROLE pg_monitor; LISTEN toys");
    client.well("SELECT pg_notify('toys', 'text')");
    hears(&mut listener, &["text"], "as somebody else");
    client.well("RESET ROLE");
    client.well("SELECT pg_notify('toys', 'te' || 'xt')");
    hears(&mut listener, &["text"], "as ourselves");
    arena.ends_well();
}

#[test]
fn what_a_failed_test_leaves_has_the_servers_own_function() {
    let ground = Ground::new();
    for (sql, own) in [
        ("INSERT INTO toys VALUES (2)", "t"),
        // What depends on ours keeps it; the data counts for more.
        (
            "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC SELECT pg_notify('toys', 'x'); END; INSERT INTO toys VALUES (3)",
            "f",
        ),
    ] {
        let sandbox = ground.sandbox_with(Options::default());
        let mut client = log_in(&sandbox, &ground.server);
        client.well("LISTEN toys");
        client.well(sql);
        let closed = wait_for(sandbox.close(End::Commit));
        assert_eq!(closed.intact, Ok(()));
        let left: (i64, String) = wait_for(async {
            let mut connection = sqlx::PgConnection::connect(ground.url()).await.expect("the database");
            let left =
                "SELECT (SELECT count(*) FROM toys), (SELECT (prosrc = 'pg_notify')::text::char(1)::text
                FROM pg_proc WHERE proname = 'pg_notify')";
            sqlx::query_as(left).fetch_one(&mut connection).await.expect("what is left")
        });
        assert_eq!(left, (if own == "t" { 2 } else { 3 }, own.to_owned()), "{sql}");
    }
    ground.end();
}
