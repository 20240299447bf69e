use std::time::Duration;

use crate::arena::{Arena, log_in};
use crate::raw::*;

/// Waits until the sandbox has seen what was sent before: it serves everybody on one thread.
fn seen(arena: &Arena) {
    let mut nobody = arena.connect();
    nobody.send(&packet(CANCEL, &[0; 8]));
    assert_eq!(nobody.next(), None);
}

/// A session with something of everything, from its first byte.
fn session(arena: &Arena) -> Vec<Vec<u8>> {
    let server = &arena.ground.server;
    vec![
        packet(SSL, b""),
        startup(&server.user, &server.database),
        password(arena.sandbox.password()),
        query("SELECT 1; SELECT 'zwölf'"),
        [parse("s", "SELECT $1::int"), describe('S', "s"), sync()].concat(),
        query("BEGIN"),
        run("INSERT INTO toys VALUES (2, 'two')"),
        sync(),
        query("COPY toys FROM STDIN"),
        message(b'd', b"3\tthree\n"),
        message(b'd', b"4\tfour\n"),
        message(b'c', b""),
        query("SELECT count(*) FROM toys"),
        query("ROLLBACK"),
        message(b'X', b""),
    ]
}

#[test]
fn messages_split_at_every_byte_mean_the_same() {
    let mut arena = Arena::open();
    let bytes = session(&arena).concat();
    let play = |at: usize| {
        let mut client = arena.connect();
        client.send(&bytes[..at]);
        seen(&arena);
        client.send(&bytes[at..]);
        assert_eq!(client.byte(), Some(b'N'));
        client.last()
    };
    let whole = play(bytes.len());
    assert_eq!(whole.errors, []);
    let rows: Vec<_> = whole.rows.iter().map(|row| row[0].as_deref()).collect();
    assert_eq!(rows, [Some("1"), Some("zwölf"), Some("4")]);
    for at in 0..bytes.len() {
        assert_eq!(play(at), whole, "split at {at}");
    }
    arena.works();
    arena.ends_well();
}

#[test]
fn a_client_that_disconnects_in_any_state_leaves_nothing_behind() {
    let mut arena = Arena::open();
    let session = session(&arena);
    for messages in 0..session.len() {
        for half in [false, true] {
            let mut bytes = session[..messages].concat();
            if half {
                bytes.extend_from_slice(&session[messages][..session[messages].len() / 2]);
            }
            for reads in [false, true] {
                let mut client = arena.connect();
                client.send(&bytes);
                if reads {
                    client.end_sending();
                    client.last();
                }
                drop(client);
                arena.works();
                let toys = arena.neighbour().client.number("SELECT count(*) FROM toys");
                assert_eq!(toys, 1, "left after {messages} messages, half of the next: {half}");
            }
        }
    }
    arena.ends_well();
}

#[test]
fn what_was_executed_without_a_sync_is_gone_with_its_client() {
    let mut arena = Arena::open();
    let insert = "INSERT INTO toys VALUES (5)";
    for bytes in [
        [run(insert), flush()].concat(),
        run(insert),
        [run(insert), run("SELECT 1"), flush()].concat(),
        [parse("", insert), bind("", "")].concat(),
        [parse("", insert), flush()].concat(),
    ] {
        let mut client = arena.client();
        client.send(&bytes);
        client.end_sending();
        client.last();
        arena.works();
        assert_eq!(arena.neighbour().client.number("SELECT count(*) FROM toys"), 1, "{bytes:?}");
    }
    arena.ends_well();
}

#[test]
fn a_client_that_waits_for_its_turn_may_go() {
    let mut arena = Arena::open();
    arena.neighbour().begins();
    for bytes in [
        query("INSERT INTO toys VALUES (6)"),
        query("SELECT 1"),
        [run("SELECT 2"), sync()].concat(),
        [parse("x", "SELECT 3"), sync()].concat(),
        query("BEGIN; INSERT INTO toys VALUES (7)"),
        query("SELECT 1")[..7].to_vec(),
        [query("SELECT 1"), query("SELECT 2")[..7].to_vec()].concat(),
    ] {
        for reads in [false, true] {
            let mut client = arena.client();
            client.send(&bytes);
            if reads {
                seen(&arena);
            }
        }
    }
    arena.ends_well();
}

#[test]
fn a_length_that_is_wrong_ends_the_connection_whatever_the_tag() {
    let mut arena = Arena::open();
    for tag in 0..=255_u8 {
        for length in [0, 1, 3, 4, 5, 10_001, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut client = arena.client();
            client.send(&[&[tag][..], &length.to_be_bytes(), b"\0"].concat());
            client.end_sending();
            let answer = client.last();
            for (code, words) in &answer.errors {
                assert!(
                    ["08P01", "26000", "34000", "42601"].contains(&code.as_str()),
                    "{} {length}: {code} {words}",
                    char::from(tag)
                );
            }
        }
    }
    arena.works();
    arena.ends_well();
}

#[test]
fn a_message_with_any_body_is_answered_or_ends_the_connection() {
    let mut arena = Arena::open();
    let bodies = [&b""[..], b"\0", b"S", b"S\0", b"P\0", b"\0\0\0\0", b"x", b"x\0y", &[0xff; 40], &[0; 40]];
    for tag in b"QPBDECHSFdcfpXRZK\0\xff" {
        for body in bodies {
            let mut client = arena.client();
            client.send(&[message(*tag, body), sync(), query("SELECT 7")].concat());
            client.end_sending();
            let answer = client.last();
            let went_on = answer.value() == Some("7");
            assert!(
                went_on || *tag == b'X' || answer.code() == "08P01",
                "{} {body:?}: {answer:?}",
                char::from(*tag)
            );
        }
    }
    arena.works();
    arena.ends_well();
}

#[test]
fn who_is_not_the_sandboxs_own_client_is_told_and_closed() {
    let mut arena = Arena::open();
    let server = arena.ground.server.clone();
    let right = password(arena.sandbox.password());
    let me = startup(&server.user, &server.database);
    for (what, opening, second, code) in [
        ("a wrong password", me.clone(), password("wrong"), "28P01"),
        ("no password", me.clone(), password(""), "28P01"),
        ("another message", me.clone(), query("SELECT 1"), "28P01"),
        ("a second startup", me.clone(), me.clone(), "08P01"),
        ("another user", startup("somebody", &server.database), right.clone(), "28P01"),
        ("another database", startup(&server.user, "postgres"), right.clone(), "3D000"),
        ("no user", packet(VERSION_3, b"\0"), right.clone(), "08P01"),
        ("an old protocol", packet(2 << 16, b"user\0x\0\0"), right.clone(), "08P01"),
        ("no protocol", vec![b'G'; 100], right.clone(), "08P01"),
        ("a long startup", packet(VERSION_3, &[b'x'; 20_000]), right.clone(), "08P01"),
        ("a password of a gigabyte", me.clone(), b"p\x3f\xff\xff\xff".to_vec(), "08P01"),
    ] {
        let mut client = arena.connect();
        client.send(&opening);
        client.send(&second);
        let answer = client.last();
        assert_eq!(answer.code(), code, "{what}: {answer:?}");
        assert_eq!(answer.done, [""; 0], "{what}");
    }
    arena.works();
    arena.ends_well();
}

#[test]
fn a_session_has_one_beginning() {
    let mut arena = Arena::open();
    let server = arena.ground.server.clone();
    let mut client = arena.connect();
    for code in [SSL, GSS].repeat(100) {
        client.send(&packet(code, b""));
        assert_eq!(client.byte(), Some(b'N'));
    }
    client.send(&startup(&server.user, &server.database));
    client.send(&password(arena.sandbox.password()));
    client.until(b'Z');
    assert_eq!(client.number("SELECT 1"), 1);
    for again in [password("later"), startup(&server.user, &server.database), packet(SSL, b"")] {
        let mut client = arena.client();
        client.send(&again);
        assert_eq!(client.last().code(), "08P01");
    }
    arena.works();
    arena.ends_well();
}

#[test]
fn messages_out_of_order_are_errors_of_their_client() {
    let mut arena = Arena::open();
    for holds in [false, true] {
        let mut client = arena.client();
        if holds {
            client.well("BEGIN; SELECT count(*) FROM toys");
        }
        for (bytes, code) in [
            ([bind("", "nothing"), sync()].concat(), "26000"),
            ([bind("", ""), sync()].concat(), "26000"),
            ([execute("nothing", 0), sync()].concat(), "34000"),
            ([describe('S', "nothing"), sync()].concat(), "26000"),
            ([describe('P', "nothing"), sync()].concat(), "34000"),
            ([close('S', "nothing"), close('P', "nothing"), sync()].concat(), ""),
            (sync(), ""),
            ([message(b'd', b"x"), message(b'c', b""), message(b'f', b"x\0"), sync()].concat(), ""),
            ([parse("", "SELECT 1; SELECT 2"), sync()].concat(), "42601"),
            ([execute("nothing", 0), query("SELECT 1"), sync()].concat(), "34000"),
        ] {
            if holds {
                client.well("ROLLBACK; BEGIN; SELECT count(*) FROM toys");
            }
            client.send(&bytes);
            let answer = client.answer();
            assert_eq!(answer.code(), code, "{bytes:?}: {answer:?}");
            if code.is_empty() {
                assert_eq!(answer.errors, []);
            }
        }
        if holds {
            client.well("ROLLBACK");
        }
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_storm_of_syncs_is_answered_one_by_one() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.send(&sync().repeat(10_000));
    for _ in 0..10_000 {
        assert_eq!(client.next().map(|message| message.tag), Some(b'Z'));
    }
    assert_eq!(client.number("SELECT 1"), 1);
    arena.works();
    arena.ends_well();
}

#[test]
fn thousands_of_statements_are_prepared_without_a_sync() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    let many: Vec<u8> = (0..3000).flat_map(|n| parse(&format!("s{n}"), &format!("SELECT {n}"))).collect();
    client.send(&many);
    client.send(&flush());
    for _ in 0..3000 {
        assert_eq!(client.next().map(|message| message.tag), Some(b'1'));
    }
    client.send(&[bind("", "s2999"), execute("", 0), sync()].concat());
    assert_eq!(client.answer().value(), Some("2999"));
    arena.works();
    client.send(&many);
    drop(client);
    arena.works();
    arena.ends_well();
}

#[test]
fn a_key_that_is_wrong_cancels_nothing() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.send(&query("SELECT count(*) FROM generate_series(1, 2000000)"));
    let mut wrong = client.key;
    wrong[7] ^= 1;
    for key in [wrong, [0; 8], [0xff; 8]] {
        let mut nobody = arena.connect();
        nobody.send(&packet(CANCEL, &key));
        assert_eq!(nobody.last().errors, []);
    }
    assert_eq!(client.answer().value(), Some("2000000"));
    arena.works();
    arena.ends_well();
}

/// Cancels again and again until the client has its answer.
fn cancelled(arena: &Arena, client: &mut Raw) -> Answer {
    let sandbox = &arena.sandbox;
    let key = client.key;
    std::thread::scope(|scope| {
        // The answer is waited for there, so that a wait that fails ends this.
        let answer = scope.spawn(|| client.answer());
        while !answer.is_finished() {
            let mut nobody = Raw::connect(sandbox);
            nobody.send(&packet(CANCEL, &key));
            nobody.last();
        }
        answer.join().expect("an answer")
    })
}

#[test]
fn a_running_statement_is_cancelled() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for bytes in [query("SELECT pg_sleep(3600)"), [run("SELECT pg_sleep(3600)"), sync()].concat()] {
        client.send(&bytes);
        assert_eq!(cancelled(&arena, &mut client).code(), "57014");
        assert_eq!(client.number("SELECT 1"), 1);
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_waiting_statement_is_cancelled() {
    let mut arena = Arena::open();
    arena.neighbour().begins();
    let mut client = arena.client();
    client.send(&query("INSERT INTO toys VALUES (8)"));
    let answer = cancelled(&arena, &mut client);
    assert_eq!((answer.code(), answer.status), ("57014", Some('I')));
    client.send(&[run("INSERT INTO toys VALUES (8)"), sync()].concat());
    let answer = cancelled(&arena, &mut client);
    assert_eq!((answer.code(), answer.status), ("57014", Some('I')));
    arena.works();
    assert_eq!(client.number("SELECT count(*) FROM toys"), 1);
    arena.ends_well();
}

const LARGE: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)";

#[test]
fn a_client_that_does_not_read_keeps_nobody_waiting_for_ever() {
    let mut arena = Arena::waiting(Duration::from_secs(1));
    for bytes in [query(LARGE), [run(LARGE), sync()].concat(), query("COPY (SELECT 1) TO STDOUT; BEGIN")] {
        let mut deaf = arena.client();
        deaf.send(&bytes);
        seen(&arena);
        let answer = arena.neighbour().client.query("SELECT count(*) FROM ledger");
        assert_eq!((answer.code(), answer.status), ("40P01", Some('I')), "{answer:?}");
        // It only was slow: what it asked for is still coming.
        let answer = deaf.answer();
        assert_eq!(answer.errors, []);
        if answer.status == Some('T') {
            deaf.well("ROLLBACK");
        }
        arena.works();
        deaf.send(&bytes);
        drop(deaf);
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_client_that_copies_nothing_keeps_nobody_waiting_for_ever() {
    let mut arena = Arena::waiting(Duration::from_secs(1));
    for bytes in [query("COPY toys FROM STDIN"), [run("COPY toys FROM STDIN"), flush()].concat()] {
        let mut mute = arena.client();
        mute.send(&bytes);
        mute.until(b'G');
        let answer = arena.neighbour().client.query("SELECT count(*) FROM ledger");
        assert_eq!((answer.code(), answer.status), ("40P01", Some('I')), "{answer:?}");
        mute.send(&[message(b'd', b"20\ttwenty\n"), message(b'f', b"no\0"), sync()].concat());
        assert_eq!(mute.answer().code(), "57014");
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_sandbox_ends_soon_whatever_its_clients_are_in() {
    let busy = |sleep: &str| query(sleep);
    for bytes in [
        query(LARGE),
        [run(LARGE), sync()].concat(),
        [run(LARGE), flush()].concat(),
        [query("BEGIN"), query(LARGE)].concat(),
        query("COPY toys FROM STDIN"),
        [query("COPY toys FROM STDIN"), message(b'd', b"21\tx\n")].concat(),
        [run("COPY toys FROM STDIN"), flush()].concat(),
        run("INSERT INTO toys VALUES (22)"),
        [run("INSERT INTO toys VALUES (22)"), flush()].concat(),
        query("BEGIN; INSERT INTO toys VALUES (23)"),
        busy("SELECT pg_sleep(3600)"),
        busy("BEGIN; SELECT pg_sleep(3600)"),
        [run("SELECT pg_sleep(3600)"), flush()].concat(),
        [query(LARGE), query(LARGE)].concat(),
    ] {
        let arena = Arena::open();
        let mut client = arena.client();
        client.send(&bytes);
        let mut waits = arena.client();
        waits.send(&query("INSERT INTO toys VALUES (24)"));
        seen(&arena);
        arena.ends_intact();
        drop(client);
    }
}

#[test]
fn a_message_without_end_disturbs_nobody() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.send(b"Q\x3f\xff\xff\xf0");
    let piece = vec![b'x'; 1 << 20];
    for n in 0..100 {
        client.send(&piece);
        if n % 25 == 0 {
            arena.works();
        }
    }
    drop(client);
    arena.works();
    arena.ends_well();
}

#[test]
fn copy_data_may_be_longer_than_what_is_read_ahead() {
    let mut arena = Arena::open();
    for bytes in [query("COPY toys FROM STDIN"), run("COPY toys FROM STDIN")] {
        let mut client = arena.client();
        client.well("BEGIN");
        client.send(&bytes);
        let line = format!("30\t{}\n", "x".repeat(1 << 20));
        client.send(&[message(b'd', line.as_bytes()), message(b'c', b""), sync()].concat());
        assert_eq!(client.answer().done, ["COPY 1"]);
        if bytes[0] == b'Q' {
            // Its Sync came after the copy was over.
            assert_eq!(client.answer().status, Some('T'));
        }
        assert_eq!(client.number("SELECT length(note) FROM toys WHERE id = 30"), 1 << 20);
        client.well("ROLLBACK");
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn who_does_not_read_is_not_read_either() {
    let mut arena = Arena::open();
    // Answers as long as what is sent, or many times as long.
    let described = [describe('S', &"x".repeat(5000)), sync()].concat();
    for unit in [described, query("SELECT repeat('x', 100000)")] {
        let mut client = arena.client();
        let bytes = unit.repeat((32 << 20) / unit.len());
        let sent = client.send_until_blocked(&bytes, Duration::from_secs(2));
        assert!(sent < bytes.len(), "{} bytes were taken", bytes.len());
        drop(client);
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn what_has_no_place_in_a_copy_ends_the_copy_and_no_connection_of_the_server() {
    let mut arena = Arena::open();
    let copy = run("COPY toys FROM STDIN");
    for bytes in [
        [query("COPY toys FROM STDIN"), query("SELECT 1")].concat(),
        [query("COPY toys FROM STDIN"), run("SELECT 1"), sync()].concat(),
        [query("COPY toys FROM STDIN"), message(b'd', b"5"), message(b'X', b"")].concat(),
        [query("COPY toys FROM STDIN"), message(b'F', b"")].concat(),
        [copy.clone(), run("LOCK TABLE toys"), sync()].concat(),
        [copy.clone(), copy.clone(), message(b'c', b""), sync()].concat(),
        [copy.clone(), b"T\0\0".to_vec()].concat(),
        [copy.clone(), message(b'X', b"")].concat(),
        [copy, query("SELECT 1")].concat(),
    ] {
        for holds in [false, true] {
            let mut client = arena.client();
            if holds {
                client.well("BEGIN; SELECT count(*) FROM toys");
            }
            client.send(&bytes);
            client.end_sending();
            client.last();
            arena.works();
        }
    }
    arena.ends_well();
}

#[test]
fn two_hundred_connections_at_once_are_served() {
    let mut arena = Arena::open();
    let server = arena.ground.server.clone();
    let mut clients: Vec<_> = (0..200).map(|_| arena.connect()).collect();
    for client in &mut clients {
        client.send(&startup(&server.user, &server.database));
        client.send(&password(arena.sandbox.password()));
        client.send(&query("INSERT INTO ledger VALUES (-1); DELETE FROM ledger WHERE id = -1"));
    }
    for client in &mut clients {
        client.until(b'Z');
        assert_eq!(client.answer().done, ["INSERT 0 1", "DELETE 1"]);
    }
    assert_eq!(arena.sandbox.clients(), 201);
    arena.works();
    drop(clients);
    arena.ends_well();
}

#[test]
fn control_hidden_in_other_things_ends_nothing() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    let texts = [
        "SELECT 1 /* ; COMMIT; */",
        "SELECT 1 /* /* */ ; COMMIT; */",
        "SELECT 1 -- ; COMMIT;",
        "SELECT 1 --\r; COMMIT",
        "SELECT 1 /*/*/ ; COMMIT; /*/*/",
        "SELECT '; COMMIT; '",
        "SELECT 'it''s; COMMIT; '",
        "SELECT '\\'; COMMIT; --'",
        "SELECT E'\\'; COMMIT; --'",
        "SELECT E'a'\n'\\' ' ; COMMIT; --'",
        "SELECT E'a' -- b\n '\\' ' ; COMMIT; --'",
        "SELECT 'a'\n'\\' ; COMMIT; --'",
        "SELECT N'\\'; COMMIT; --'",
        "SELECT U&'\\'; COMMIT; --'",
        "SELECT U&'a' UESCAPE '!'; COMMIT; --'",
        "SELECT $$; COMMIT; $$",
        "SELECT $a$; $$; COMMIT; $b$ $a$",
        "SELECT $é$; COMMIT; $é$",
        "SELECT 1 AS a$$; COMMIT; --$$",
        "SELECT 1$$; COMMIT; --$$",
        "SELECT \"; COMMIT; \"",
        "SELECT 'é€😀'; COMMIT; SELECT 'é'",
        "é; COMMIT",
        "SELECT (1; COMMIT; SELECT 1)",
        "SELECT 1); COMMIT; SELECT (1",
        "; ;; COMMIT ;; ;",
        "BEGIN; COMMIT; BEGIN; COMMIT AND CHAIN; ROLLBACK",
        "INSERT INTO toys VALUES (40); COMMIT; DELETE FROM toys WHERE id = 40; COMMIT; SELECT 1/0",
        "\u{feff}COMMIT",
        "COMMIT\u{a0}",
        "/**/COMMIT/**/;--",
        "CREATE DOMAIN atomic AS int; CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT; DROP DOMAIN atomic CASCADE",
        "CREATE SCHEMA begin; CREATE FUNCTION begin.atomic() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT; DROP SCHEMA begin CASCADE",
        "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; COMMIT; DROP FUNCTION g",
        "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1 AS \"end\"; END; COMMIT; DROP FUNCTION g",
        "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT x.case FROM (SELECT 1 AS case) x; END; COMMIT; DROP FUNCTION g",
        "EXPLAIN ANALYZE SELECT 1; COMMIT",
        "SET standard_conforming_strings = off; COMMIT",
        "SELECT '\\' || '; COMMIT; --'",
        "RESET standard_conforming_strings",
        "CREATE RULE r AS ON INSERT TO toys DO (SELECT 1; SELECT 2); COMMIT; DROP RULE r ON toys",
    ];
    for text in texts {
        let answer = client.query(text);
        assert!(!answer.closed(), "{text}: {answer:?}");
        if answer.status != Some('I') {
            client.well("ROLLBACK");
        }
        client.send(&[run(text), sync()].concat());
        let answer = client.answer();
        assert!(!answer.closed(), "{text}: {answer:?}");
        if answer.status != Some('I') {
            client.well("ROLLBACK");
        }
        arena.works();
    }
    client.well("RESET standard_conforming_strings");
    arena.ends_well();
}

#[test]
fn what_would_end_the_transaction_is_refused_whoever_says_it() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for (sql, code) in [
        ("PREPARE TRANSACTION 'x'", "0A000"),
        ("BEGIN; PREPARE TRANSACTION 'x'", "0A000"),
        ("COMMIT PREPARED 'x'", "0A000"),
        ("DO $$ BEGIN COMMIT; END $$", "2D000"),
        ("DO $$ BEGIN ROLLBACK; END $$", "2D000"),
        ("DO $$ BEGIN EXECUTE 'COMMIT'; END $$", "0A000"),
        ("DO $$ BEGIN EXECUTE 'PREPARE TRANSACTION ''x'''; END $$", "0A000"),
        ("CALL commits()", "2D000"),
        ("BEGIN; SAVEPOINT _dbtest", "42939"),
        ("BEGIN; RELEASE _dbtest", "3B001"),
        ("BEGIN; ROLLBACK TO SAVEPOINT _dbtest", "3B001"),
        ("BEGIN; SELECT 1; RELEASE U&\"\\005fdbtest\"", "0A000"),
        ("BEGIN; CALL commits()", "2D000"),
        ("SELECT 1; CALL commits()", "2D000"),
    ] {
        let answer = client.query(sql);
        assert_eq!(answer.code(), code, "{sql}: {answer:?}");
        client.well("ROLLBACK");
        if !sql.contains("; ") || sql.starts_with("DO") {
            client.send(&[run(sql), sync()].concat());
            let answer = client.answer();
            assert_eq!(answer.code(), code, "{sql}: {answer:?}");
        }
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_server_connection_that_is_ended_is_told_to_all_and_named_at_the_end() {
    for extended in [false, true] {
        let arena = Arena::open();
        let mut client = arena.client();
        let mut other = arena.client();
        other.well("SELECT count(*) FROM toys");
        let sql = "SELECT pg_terminate_backend(pg_backend_pid())";
        client.send(&if extended { [run(sql), sync()].concat() } else { query(sql) });
        let answer = client.last();
        assert_eq!(answer.code(), "57P01", "{answer:?}");
        other.send(&query("INSERT INTO toys VALUES (50)"));
        let answer = other.last();
        assert_eq!(answer.code(), "57P01", "{answer:?}");
        assert!(answer.errors[0].1.contains(sql), "{answer:?}");
        let mut late = log_in(&arena.sandbox, &arena.ground.server);
        late.send(&[run("INSERT INTO toys VALUES (50)"), sync()].concat());
        assert_eq!(late.last().code(), "57P01");
        let words = arena.ends_lost();
        assert!(words.contains(sql), "{words}");
    }
}

#[test]
fn a_time_limit_is_its_clients_own() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("SET statement_timeout = '50ms'");
    assert_eq!(client.query("SELECT pg_sleep(3600)").code(), "57014");
    client.send(&[run("SELECT pg_sleep(3600)"), sync()].concat());
    assert_eq!(client.answer().code(), "57014");
    assert_eq!(client.query("BEGIN; SELECT pg_sleep(3600)").code(), "57014");
    client.well("ROLLBACK");
    arena.neighbour().client.well("SELECT pg_sleep(0.2)");
    arena.works();
    arena.ends_well();
}

#[test]
fn a_notification_waits_for_the_end_of_its_listeners_transaction() {
    let mut arena = Arena::open();
    let mut listener = arena.client();
    listener.well("LISTEN news");
    listener.well("BEGIN");
    arena.neighbour().client.well("NOTIFY news, 'x'");
    arena.works();
    assert_eq!(listener.number("SELECT 1"), 1);
    listener.send(&query("COMMIT"));
    let tags: Vec<_> = listener.until(b'Z').iter().map(|message| message.tag).collect();
    assert!(tags.contains(&b'A'), "{tags:?}");
    arena.ends_well();
}

#[test]
fn the_unnamed_statement_lives_until_its_clients_next_query() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for sql in ["SELECT 5", "INSERT INTO toys VALUES (60) RETURNING 5"] {
        client.well("BEGIN");
        client.send(&[parse("", sql), sync()].concat());
        assert_eq!(client.answer().errors, []);
        client.send(&[bind("", ""), execute("", 0), sync()].concat());
        assert_eq!(client.answer().value(), Some("5"));
        client.well("ROLLBACK");
        client.send(&[bind("", ""), execute("", 0), sync()].concat());
        assert_eq!(client.answer().code(), "26000");
        client.send(&[parse("", sql), sync()].concat());
        client.answer();
        arena.works();
        client.send(&[describe('S', ""), bind("", ""), sync()].concat());
        assert_eq!(client.answer().errors, []);
    }
    arena.ends_well();
}

#[test]
fn a_query_in_a_series_that_failed_is_dropped_with_it() {
    let mut arena = Arena::open();
    for holds in [false, true] {
        let mut client = arena.client();
        if holds {
            client.well("BEGIN");
        }
        let failing = [run("SELECT 1/0"), query("SELECT 1"), message(b'F', b""), execute("", 0)].concat();
        client.send(&[failing, sync()].concat());
        let answer = client.answer();
        assert_eq!((answer.errors.len(), answer.code()), (1, "22012"), "{answer:?}");
        client.well("ROLLBACK");
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn a_constraint_that_was_taken_back_is_not_checked() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    let create = "CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    assert_eq!(client.query(&format!("{create}; INSERT INTO more VALUES (1), (1)")).code(), "23505");
    arena.works();
    client.send(&[run(create), run("INSERT INTO more VALUES (1), (1)"), sync()].concat());
    assert_eq!(client.answer().code(), "23505");
    arena.works();
    client.well(create);
    client.well("BEGIN; DROP TABLE more; ROLLBACK");
    assert_eq!(client.query("INSERT INTO more VALUES (1), (1)").code(), "23505");
    arena.ends_well();
}

#[test]
fn a_constraint_that_a_chained_rollback_takes_back_is_forgotten() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("BEGIN; CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); ROLLBACK AND CHAIN");
    client.well("COMMIT");
    arena.works();
    client.well("INSERT INTO toys VALUES (5, 'five')");
    arena.ends_well();
}

#[test]
fn a_prepare_that_failed_prepared_nothing() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for sql in [query("PREPARE p AS SELECT nothing"), [run("PREPARE p AS SELECT nothing"), sync()].concat()] {
        client.send(&sql);
        assert_eq!(client.answer().code(), "42703");
        assert_eq!(client.query("EXECUTE p").code(), "26000");
        client.well("PREPARE p AS SELECT 5");
        assert_eq!(client.well("EXECUTE p").value(), Some("5"));
        assert_eq!(client.query("PREPARE q AS SELECT nothing").code(), "42703");
        for all in ["DEALLOCATE ALL", "DISCARD ALL"] {
            client.well(all);
            assert_eq!(client.query("EXECUTE p").code(), "26000");
            arena.works();
        }
    }
    arena.ends_well();
}

#[test]
fn a_statement_outlives_a_second_one_of_its_name() {
    let arena = Arena::open();
    let mut client = arena.client();
    client.well(
        "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO toys VALUES (70) RETURNING id'",
    );
    client.send(&[parse("s", "SELECT 5"), sync()].concat());
    assert_eq!(client.answer().errors, []);
    // What reads and turns out to write is done again, with all that came with it.
    client.send(&[run("SELECT writes()"), parse("s", "SELECT 6"), sync()].concat());
    assert_eq!(client.answer().code(), "42P05");
    client.send(&[bind("", "s"), execute("", 0), sync()].concat());
    assert_eq!(client.answer().value(), Some("5"));
    assert_eq!(client.number("SELECT count(*) FROM toys WHERE id = 70"), 0);
    arena.ends_well();
}

#[test]
fn a_commit_that_can_not_put_a_setting_back_fails_alone() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    // A server takes no other number of these once a temporary table was used.
    client.well("BEGIN; SET LOCAL temp_buffers = 200; CREATE TEMP TABLE t (x int); INSERT INTO t VALUES (1)");
    let answer = client.query("COMMIT");
    assert_eq!((answer.code(), answer.status), ("22023", Some('I')), "{answer:?}");
    arena.works();
    client.well("SELECT 1");
    arena.ends_well();
}

#[test]
fn a_portal_keeps_its_statement_when_another_takes_the_unnamed_ones_place() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    let replaced =
        [parse("", "SET search_path = pg_catalog"), bind("", ""), parse("", "COMMIT AND CHAIN")].concat();
    for before in ["INSERT INTO toys VALUES (8)", "BEGIN; DELETE FROM toys"] {
        client.well(before);
        client.send(&[replaced.clone(), execute("", 0), sync()].concat());
        let answer = client.answer();
        assert_eq!((&answer.errors[..], &answer.done[..]), (&[][..], &["SET".to_owned()][..]));
        assert_eq!(client.well("SHOW search_path").value(), Some("pg_catalog"));
        client.well("ROLLBACK");
        client.well("RESET search_path");
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn an_unnamed_statement_that_the_server_skipped_is_not_taken_for_the_one_before_it() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    let skipped =
        [parse("", "COMMIT"), parse("bad", "SELECT nothing"), parse("", "SELECT 1"), sync()].concat();
    for before in ["INSERT INTO toys VALUES (9)", "BEGIN; DELETE FROM toys"] {
        client.well(before);
        client.send(&skipped);
        assert_eq!(client.answer().code(), "42703");
        client.send(&[bind("", ""), execute("", 0), sync()].concat());
        assert_eq!(client.answer().code(), "26000");
        client.well("ROLLBACK");
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn what_the_protocol_prepared_is_executed_by_name_only_where_it_is_for_the_server() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.send(
        &[parse("s", "SELECT 5"), parse("c", "COMMIT"), parse("set", "SET search_path = x"), sync()].concat(),
    );
    assert_eq!(client.answer().errors, []);
    client.well("INSERT INTO toys VALUES (10)");
    assert_eq!(client.well("EXECUTE s").value(), Some("5"));
    for (sql, code) in [
        ("EXECUTE c", "0A000"),
        ("EXECUTE set", "0A000"),
        ("EXPLAIN EXECUTE c", "0A000"),
        ("BEGIN; EXECUTE c", "0A000"),
    ] {
        assert_eq!(client.query(sql).code(), code, "{sql}");
        client.well("ROLLBACK");
        client.send(&[run(sql.trim_start_matches("BEGIN; ")), sync()].concat());
        assert_eq!(client.answer().code(), code, "{sql}");
        arena.works();
    }
    client.well("DEALLOCATE c");
    arena.ends_well();
}

#[test]
fn what_is_prepared_between_two_writes_keeps_neither_from_staying() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("INSERT INTO toys VALUES (11)");
    for sql in ["SELECT nothing", "INSERT INTO toys VALUES (12)"] {
        client.send(&[parse("", sql), sync()].concat());
        client.answer();
        arena.works();
    }
    client.send(&[parse("", "INSERT INTO toys VALUES (12)"), bind("", ""), sync()].concat());
    assert_eq!(client.answer().errors, []);
    assert_eq!(client.query("INSERT INTO toys VALUES (13), (13)").code(), "23505");
    assert_eq!(client.number("SELECT sum(id) FROM toys WHERE id > 10"), 11);
    client.send(&[parse("", "INSERT INTO toys VALUES (12)"), sync()].concat());
    assert_eq!(client.answer().errors, []);
    client.send(&[bind("", ""), execute("", 0), sync()].concat());
    assert_eq!(client.answer().errors, []);
    assert_eq!(client.query("SELECT 1/0").code(), "22012");
    assert_eq!(client.number("SELECT sum(id) FROM toys WHERE id > 10"), 23);
    client.well("BEGIN READ ONLY; COMMIT");
    client.well("INSERT INTO toys VALUES (14)");
    arena.ends_well();
}

#[test]
fn a_setting_is_what_the_last_commit_left() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("SET work_mem = '1MB'");
    for (sql, left) in [
        ("BEGIN; SET work_mem = '2MB'; SET LOCAL work_mem = '3MB'; COMMIT", "2MB"),
        ("BEGIN; SET LOCAL work_mem = '3MB'; SET work_mem = '4MB'; COMMIT", "4MB"),
        ("BEGIN; SET LOCAL work_mem = '3MB'; COMMIT AND CHAIN; ROLLBACK", "4MB"),
        ("BEGIN; SET work_mem = '5MB'; RESET ALL; SELECT 1; ROLLBACK", "4MB"),
        ("BEGIN; SET work_mem = '5MB'; SAVEPOINT s; RESET ALL; ROLLBACK TO s; COMMIT", "5MB"),
        ("BEGIN; RESET ALL; SET work_mem = '6MB'; COMMIT", "6MB"),
        ("BEGIN; SET work_mem = '7MB'; RESET ALL; COMMIT; SET work_mem = '8MB'", "8MB"),
    ] {
        client.well(sql);
        arena.works();
        assert_eq!(client.well("SHOW work_mem").value(), Some(left), "{sql}");
    }
    for (sql, code) in [("RESET ALL; SELECT 1/0", "22012"), ("DISCARD ALL; SELECT 1", "25001")] {
        assert_eq!(client.query(sql).code(), code, "{sql}");
        arena.works();
        assert_eq!(client.well("SHOW work_mem").value(), Some("8MB"), "{sql}");
    }
    client.well("DISCARD ALL");
    let first = client.well("SHOW work_mem");
    assert_ne!(first.value(), Some("8MB"));
    // Of a client that goes in the middle nothing is left for the next.
    client.well("SET search_path = pg_catalog");
    client.well("BEGIN; RESET ALL");
    drop(client);
    arena.works();
    arena.ends_well();
}

#[test]
fn a_setting_before_anything_was_written_is_part_of_what_follows() {
    // The first of a sandbox: the transaction on the server has not begun.
    for set in ["SET search_path = pg_catalog", "RESET ALL", "DEALLOCATE ALL", "SET ROLE pg_monitor"] {
        for (next, code) in [("INSERT INTO public.toys VALUES (60)", ""), ("SELECT 1/0", "22012")] {
            for series in [false, true] {
                let arena = Arena::open();
                let mut client = arena.client();
                let code = if set.contains("ROLE") && code.is_empty() { "42501" } else { code };
                match series {
                    true => client.send(&[run(set), run(next), sync()].concat()),
                    false => client.send(&query(&format!("{set}; {next}"))),
                }
                assert_eq!(client.answer().code(), code, "{set}; {next}, {series}");
                if !code.is_empty() {
                    assert_ne!(
                        client.well("SHOW search_path").value(),
                        Some("pg_catalog"),
                        "{set}, {series}"
                    );
                    assert_eq!(client.well("SHOW role").value(), Some("none"), "{set}, {series}");
                }
                arena.ends_well();
            }
        }
    }
}

#[test]
fn a_setting_that_fails_before_anything_was_written_leaves_nothing() {
    for (sql, code) in [
        (query("SET search_path = pg_catalog; SET work_mem = 'much'"), "22023"),
        ([run("SET search_path = pg_catalog"), parse("", "SELECT nothing"), sync()].concat(), "42703"),
        ([run("SET ROLE pg_monitor"), describe('P', "none"), sync()].concat(), "34000"),
    ] {
        let mut arena = Arena::open();
        let mut client = arena.client();
        client.send(&sql);
        assert_eq!(client.answer().code(), code);
        assert_ne!(client.well("SHOW search_path").value(), Some("pg_catalog"));
        arena.works();
        // Nor of who goes before it was noted.
        client.send(&[query("SET ROLE pg_monitor"), query("SET search_path = pg_catalog")].concat());
        drop(client);
        arena.ends_well();
    }
}

#[test]
fn a_rollback_by_the_extended_protocol_ends_what_a_query_failed() {
    let arena = Arena::open();
    let mut client = arena.client();
    client.well("BEGIN");
    assert_eq!(client.query("SELECT nothing").status, Some('E'));
    client.send(&[close('S', "s"), sync()].concat());
    assert_eq!(client.answer().status, Some('E'));
    client.send(&[run("ROLLBACK"), sync()].concat());
    let answer = client.answer();
    assert_eq!((answer.done, answer.status), (vec!["ROLLBACK".to_owned()], Some('I')));
    arena.ends_well();
}

#[test]
fn who_waits_in_vain_is_told_what_it_wanted_though_it_prepared_it_before() {
    let arena = Arena::waiting(std::time::Duration::from_millis(50));
    let (mut holder, mut client) = (arena.client(), arena.client());
    client.send(&[parse("s", "SELECT count(*) FROM toys"), sync()].concat());
    assert_eq!(client.answer().errors, []);
    holder.well("BEGIN; DELETE FROM toys");
    client.send(&[bind("", "s"), execute("", 0), sync()].concat());
    let error = client.until(b'E').pop().expect("an error");
    let words = String::from_utf8_lossy(&error.body).into_owned();
    assert!(words.contains("C40P01") && words.contains("wants to run: SELECT count(*) FROM toys"), "{words}");
    holder.well("ROLLBACK");
    arena.ends_intact();
}

#[test]
fn a_sync_that_comes_once_it_copies_is_taken_no_notice_of() {
    let arena = Arena::open();
    let mut client = arena.client();
    for early in [vec![], vec![sync()], vec![flush(), sync(), sync()]] {
        // A series that asks the server nothing leaves nothing in doubt.
        client.send(&[close('S', "s"), sync()].concat());
        client.answer();
        client.send(&[run("COPY toys FROM STDIN"), sync()].concat());
        client.until(b'G');
        seen(&arena);
        client.send(&early.concat());
        // What is sent apart is seen apart.
        seen(&arena);
        client.send(&message(b'd', b"70\tseventy\n"));
        client.send(&[message(b'c', b""), sync()].concat());
        assert_eq!(client.answer().done, ["COPY 1"], "{early:?}");
        client.well("DELETE FROM toys WHERE id = 70");
    }
    arena.ends_well();
}

#[test]
fn a_commit_that_a_constraint_refuses_says_nothing_of_the_last_statement() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    for last in [
        "SELECT 1",
        "SET ROLE pg_monitor",
        "SET work_mem = '1MB'",
        "DEALLOCATE ALL",
        "SET TRANSACTION READ ONLY",
        "LISTEN a",
    ] {
        let answer = client.query(&format!("INSERT INTO more VALUES (1), (1); {last}"));
        assert_eq!((answer.code(), &answer.done[..]), ("23505", &["INSERT 0 2".to_owned()][..]), "{last}");
        assert_eq!(client.well("SHOW role").value(), Some("none"));
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn read_only_comes_with_a_second_begin_and_goes_with_a_failure() {
    let arena = Arena::open();
    let mut client = arena.client();
    let insert = "INSERT INTO toys VALUES (61)";
    assert_eq!(client.well("BEGIN; START TRANSACTION READ ONLY").done, ["BEGIN", "START TRANSACTION"]);
    assert_eq!(client.query(insert).code(), "25006");
    client.well("ROLLBACK AND CHAIN");
    client.well(insert);
    client.well("ROLLBACK");
    for end in ["ROLLBACK AND CHAIN", "RELEASE s", "ROLLBACK TO s"] {
        client.well("BEGIN; SAVEPOINT s; SET TRANSACTION READ ONLY");
        client.well(end);
        client.well(insert);
        client.well("ROLLBACK");
    }
    for sql in ["SET TRANSACTION READ ONLY", "SET transaction_read_only = on; BEGIN"] {
        assert_eq!(client.query(&format!("{sql}; {insert}")).code(), "25006", "{sql}");
        client.well("ROLLBACK");
        client.well(&format!("{insert}; DELETE FROM toys WHERE id = 61"));
    }
    arena.ends_well();
}

#[test]
fn temporary_tables_are_emptied_whoever_the_client_is_by_then() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    client.well("CREATE TEMP TABLE t (x int) ON COMMIT DELETE ROWS; GRANT ALL ON t TO public");
    for end in ["SET ROLE pg_monitor", "SET TRANSACTION READ ONLY", "RESET ROLE"] {
        client.well(&format!("BEGIN; INSERT INTO t VALUES (1); {end}; COMMIT"));
        assert_eq!(client.number("SELECT count(*) FROM t"), 0, "{end}");
        arena.works();
    }
    client.well("BEGIN; CREATE TEMP TABLE gone (x int) ON COMMIT DROP; SET TRANSACTION READ ONLY; COMMIT");
    assert_eq!(client.query("SELECT * FROM gone").code(), "42P01");
    for value in ["on", "off"] {
        client.well(&format!("SET default_transaction_read_only = {value}"));
        client.well("INSERT INTO t VALUES (1)");
        assert_eq!(client.number("SELECT count(*) FROM t"), 0);
    }
    arena.ends_well();
}

#[test]
fn who_a_client_is_outlives_a_reset_of_all_and_is_nobody_elses() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for (sql, who) in [
        ("SET ROLE pg_monitor; RESET ALL", "pg_monitor"),
        ("RESET ALL", "pg_monitor"),
        ("BEGIN; SET ROLE pg_read_all_data; RESET ALL; COMMIT", "pg_read_all_data"),
        ("BEGIN; RESET ALL; SET ROLE pg_monitor; ROLLBACK", "pg_read_all_data"),
        ("BEGIN; SET LOCAL ROLE pg_monitor; RESET ALL; COMMIT", "pg_read_all_data"),
        ("SET SESSION AUTHORIZATION pg_monitor", "none"),
        ("DISCARD ALL", "none"),
        ("SET ROLE pg_monitor", "pg_monitor"),
        ("DISCARD ALL", "none"),
        ("SET ROLE pg_monitor; RESET ROLE", "none"),
        ("SET SESSION AUTHORIZATION pg_monitor; SET ROLE pg_read_all_settings", "pg_read_all_settings"),
        ("BEGIN; SET LOCAL SESSION AUTHORIZATION pg_read_all_stats; COMMIT", "pg_read_all_settings"),
        ("RESET SESSION AUTHORIZATION", "none"),
        ("SET ROLE pg_monitor", "pg_monitor"),
        ("SET SESSION AUTHORIZATION pg_read_all_stats", "none"),
        ("SET SESSION AUTHORIZATION DEFAULT", "none"),
    ] {
        client.well(sql);
        arena.works();
        assert_eq!(client.well("SHOW role").value(), Some(who), "{sql}");
        if who != "none" && !sql.starts_with("SET SESSION") {
            assert_eq!(client.well("SELECT current_user").value(), Some(who), "{sql}");
        }
        arena.works();
    }
    arena.ends_well();
}

#[test]
fn what_a_server_does_not_reset_is_left_alone() {
    let mut arena = Arena::open();
    let mut client = arena.client();
    for sql in [
        "SET seed = 0.5",
        "SELECT set_config('seed', '0.5', false)",
        "BEGIN; SET LOCAL seed = 0.5; COMMIT",
        "SELECT set_config(name, '0.5', false) FROM (VALUES ('seed')) names(name)",
        "BEGIN; SET LOCAL transaction_read_only = on; SELECT 1; COMMIT",
        "SELECT set_config('transaction_read_only', 'on', false)",
        "BEGIN; SELECT set_config('transaction_read_only', 'on', true); COMMIT",
        "BEGIN; SET transaction_isolation = 'read committed'; SET transaction_deferrable = off; COMMIT",
    ] {
        client.well(sql);
        arena.works();
        client.well("INSERT INTO toys VALUES (15)");
        assert_eq!(client.well("DELETE FROM toys WHERE id = 15").done, ["DELETE 1"], "{sql}");
    }
    for sql in ["BEGIN; SET transaction_read_only = on", "BEGIN; SELECT 1; SET transaction_read_only TO true"]
    {
        client.well(sql);
        assert_eq!(client.well("SHOW transaction_read_only").value(), Some("on"), "{sql}");
        assert_eq!(client.query("INSERT INTO toys VALUES (15)").code(), "25006", "{sql}");
        client.well("ROLLBACK");
        arena.works();
    }
    // With an open transaction beside it the parameter waits for its client's next statement.
    let mut other = arena.client();
    other.well("BEGIN; INSERT INTO toys VALUES (16)");
    client.send(&query("SET seed = 0.5"));
    other.well("ROLLBACK");
    assert_eq!(client.answer().errors, []);
    client.well("SELECT 1");
    arena.works();
    arena.ends_well();
}

#[test]
fn a_setting_of_a_client_that_went_meanwhile_is_nobodys() {
    let mut arena = Arena::open();
    for sql in [
        "SET search_path = pg_catalog",
        "SELECT set_config('search_path', 'pg_catalog', false), pg_sleep(0.01)",
    ] {
        for last in [query(sql), [run(sql), sync()].concat()] {
            for _ in 0..20 {
                let mut client = arena.client();
                // What it does not read makes its going known at once.
                client.send(&[query("SELECT 1"), last.clone()].concat());
                drop(client);
                arena.works();
            }
        }
    }
    arena.ends_well();
}
