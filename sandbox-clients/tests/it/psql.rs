//! `psql`: simple queries, scripts, its own savepoints and cursors, COPY, cancel.

use std::process::Command;

use crate::place::{Place, each, run as block_on, same, until_true};
use crate::process::{Ran, Running, folder, masked, program, run, start};

fn psql(place: &Place) -> Command {
    let mut command = program("psql");
    command.args(["-X", "-d", &place.url]);
    command
}

/// What psql says to a script, errors in their place among the rows.
fn script(place: &Place, text: &str) -> String {
    let ran =
        run(psql(place).args(["-f", "-", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]), text);
    ran.said(place)
}

/// A psql that stays, for two that meet.
fn session(place: &Place) -> Running {
    start(psql(place).args(["-A", "-t", "-q", "-f", "-"]))
}

fn rows(place: &Place, query: &str) -> String {
    run(psql(place).args(["-A", "-t", "-c", query]), "").ok()
}

/// The standard output and then the errors of several `-c`.
fn commands(place: &Place, commands: &[&str]) -> Ran {
    let mut psql = psql(place);
    for command in commands {
        psql.args(["-c", command]);
    }
    run(&mut psql, "")
}

/// A level that is shown. In the sandbox it is `read committed`, as the guide's table says, and
/// what is granted is serializable: one transaction runs at a time.
fn levels_masked(text: &str) -> String {
    let text = text.replace("repeatable read", "read committed").replace("serializable", "read committed");
    text.replace(" read committed", " a level")
}

#[test]
fn a_query_gives_its_rows() {
    same(|place| commands(place, &["SELECT * FROM book ORDER BY id", "TABLE author ORDER BY 1"]).said(place));
}

#[test]
fn several_statements_in_one_string_give_their_rows_and_are_one_transaction() {
    same(|place| {
        let said = commands(
            place,
            &[
                "INSERT INTO author (name) VALUES ('A'); SELECT count(*) FROM author; SELECT 2 AS b",
                "INSERT INTO author (name) VALUES ('B'); SELECT 1/0; INSERT INTO author (name) VALUES ('C')",
                "SELECT name FROM author ORDER BY name",
            ],
        );
        assert!(!said.stdout.contains(" B\n"), "{said}");
        said.said(place)
    });
}

#[test]
fn a_transaction_block_inside_a_string_begins_and_ends_where_it_says() {
    same(|place| {
        commands(
            place,
            &[
                "INSERT INTO author (name) VALUES ('A'); BEGIN; INSERT INTO author (name) VALUES ('B'); ROLLBACK; \
                 INSERT INTO author (name) VALUES ('C')",
                "BEGIN; INSERT INTO author (name) VALUES ('D'); COMMIT; INSERT INTO author (name) VALUES ('E'); SELECT 1/0",
                "BEGIN; INSERT INTO author (name) VALUES ('F')",
                "COMMIT; BEGIN; INSERT INTO author (name) VALUES ('G'); ROLLBACK; SELECT 'end'",
                "SELECT name FROM author ORDER BY name",
            ],
        )
        .said(place)
    });
}

#[test]
fn statements_joined_by_backslash_semicolon_are_one_request() {
    same(|place| {
        script(
            place,
            r"SELECT 1 AS a \; SELECT 2 AS b \; SELECT 3 AS c;
INSERT INTO author (name) VALUES ('A') \; SELECT 1/0;
SELECT count(*) FROM author;
BEGIN \; INSERT INTO author (name) VALUES ('B') \; COMMIT \; SELECT 'after';
SELECT count(*) FROM author;
",
        )
    });
}

#[test]
fn a_script_goes_on_after_an_error() {
    same(|place| {
        script(
            place,
            "SELECT 1/0;
SELECT no_such_column FROM author;
INSERT INTO author (name) VALUES ('A');
INSERT INTO author (name) VALUES ('A');
INSERT INTO book (author_id, title) VALUES (77, 'nobody''s');
SELEC 1;
SELECT 'unterminated;
';
SELECT count(*) FROM author;
",
        )
    });
}

#[test]
fn an_error_is_told_with_its_code_and_its_place() {
    same(|place| {
        script(
            place,
            r"\set VERBOSITY verbose
INSERT INTO author (name) VALUES ('Frank Herbert');
SELECT 1
  FROM nowhere;
\set VERBOSITY terse
SELECT * FROM nowhere;
\errverbose
\set VERBOSITY sqlstate
SELECT 1/0;
\echo :SQLSTATE :ERROR :ROW_COUNT
",
        )
    });
}

#[test]
fn on_error_stop_and_a_single_transaction_leave_nothing_of_a_failed_script() {
    same(|place| {
        let text =
            "INSERT INTO author (name) VALUES ('A');\nSELECT 1/0;\nINSERT INTO author (name) VALUES ('B');\n";
        let stopped = run(psql(place).args(["-1", "-v", "ON_ERROR_STOP=1", "-f", "-"]), text);
        assert_eq!(stopped.status.code(), Some(3), "{stopped}");
        let rows = rows(place, "SELECT count(*) FROM author");
        assert_eq!(rows, "2\n");
        let whole = run(
            psql(place).args(["-1", "-v", "ON_ERROR_STOP=1", "-f", "-"]),
            "INSERT INTO author (name) VALUES ('C');\n",
        );
        format!(
            "{}\n{}\n{}",
            stopped.said(place),
            whole.said(place),
            self::rows(place, "SELECT name FROM author ORDER BY 1")
        )
    });
}

#[test]
fn a_transaction_commits_and_rolls_back() {
    same(|place| {
        script(
            place,
            "BEGIN;
INSERT INTO author (name) VALUES ('committed');
COMMIT;
START TRANSACTION;
INSERT INTO author (name) VALUES ('rolled back');
ROLLBACK;
BEGIN WORK;
INSERT INTO author (name) VALUES ('ended');
END;
begin transaction;
INSERT INTO author (name) VALUES ('aborted');
abort;
/* a comment */ BEGIN -- another
;
INSERT INTO author (name) VALUES ('commented');
/* a /* nested */ one */ COMMIT;
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn savepoints_are_the_clients_own() {
    same(|place| {
        script(
            place,
            "BEGIN;
INSERT INTO author (name) VALUES ('A');
SAVEPOINT one;
INSERT INTO author (name) VALUES ('B');
SAVEPOINT one;
SELECT 1/0;
SELECT 'refused';
ROLLBACK TO SAVEPOINT one;
INSERT INTO author (name) VALUES ('C');
RELEASE one;
ROLLBACK TO one;
RELEASE SAVEPOINT one;
RELEASE SAVEPOINT one;
ROLLBACK;
BEGIN;
SAVEPOINT \"Two Words\";
INSERT INTO author (name) VALUES ('D');
ROLLBACK TO \"Two Words\";
INSERT INTO author (name) VALUES ('E');
COMMIT;
SAVEPOINT outside;
ROLLBACK TO outside;
RELEASE outside;
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn a_failed_transaction_refuses_all_until_it_ends() {
    same(|place| {
        script(
            place,
            r"\set PROMPT1 '%x'
BEGIN;
INSERT INTO author (name) VALUES ('A');
SELECT 1/0;
SELECT 1;
INSERT INTO author (name) VALUES ('B');
COMMIT;
BEGIN;
SELECT 1/0;
ROLLBACK;
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn misplaced_transaction_commands_warn() {
    same(|place| {
        script(
            place,
            "COMMIT;
ROLLBACK;
BEGIN;
BEGIN;
COMMIT;
COMMIT AND CHAIN;
BEGIN;
INSERT INTO author (name) VALUES ('A');
COMMIT AND CHAIN;
INSERT INTO author (name) VALUES ('B');
ROLLBACK AND CHAIN;
INSERT INTO author (name) VALUES ('C');
COMMIT AND NO CHAIN;
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn a_transaction_has_the_isolation_level_that_it_asks_for() {
    same(|place| {
        let said = script(
            place,
            "BEGIN ISOLATION LEVEL SERIALIZABLE;
SHOW transaction_isolation;
INSERT INTO author (name) VALUES ('A');
COMMIT;
BEGIN;
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SHOW transaction_isolation;
COMMIT;
START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE, NOT DEFERRABLE;
SELECT count(*) FROM author;
ROLLBACK;
SHOW transaction_isolation;
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE;
BEGIN;
SHOW transaction_isolation;
COMMIT;
",
        );
        levels_masked(&said)
    });
}

#[test]
fn a_read_only_transaction_refuses_to_write() {
    same(|place| {
        script(
            place,
            "BEGIN READ ONLY;
SHOW transaction_read_only;
SELECT count(*) FROM author;
INSERT INTO author (name) VALUES ('A');
ROLLBACK;
INSERT INTO author (name) VALUES ('B');
BEGIN;
SET TRANSACTION READ ONLY;
DELETE FROM book;
COMMIT;
INSERT INTO author (name) VALUES ('C');
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn on_error_rollback_keeps_what_went_well() {
    same(|place| {
        script(
            place,
            r"\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO author (name) VALUES ('A');
SELECT 1/0;
INSERT INTO author (name) VALUES ('B');
SAVEPOINT own;
INSERT INTO author (name) VALUES ('A');
INSERT INTO author (name) VALUES ('C');
ROLLBACK TO own;
COMMIT;
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn without_autocommit_nothing_stays_until_commit() {
    same(|place| {
        let said = script(
            place,
            r"\set AUTOCOMMIT off
INSERT INTO author (name) VALUES ('A');
COMMIT;
INSERT INTO author (name) VALUES ('B');
ROLLBACK;
SELECT 1/0;
SELECT 1;
ROLLBACK;
INSERT INTO author (name) VALUES ('C');
",
        );
        // C's transaction was open when its connection ended.
        format!("{said}\n{}", rows(place, "SELECT name FROM author ORDER BY name"))
    });
}

#[test]
fn a_connection_that_ends_in_a_transaction_takes_its_rows_along() {
    same(|place| {
        let mut first = session(place);
        first.say("BEGIN;\nINSERT INTO author (name) VALUES ('A') RETURNING name;\n");
        first.until("A");
        // Killed, so it says no Terminate.
        drop(first);
        let mut second = session(place);
        second.say("BEGIN;\nINSERT INTO author (name) VALUES ('A') RETURNING name;\nSELECT 1/0;\n");
        second.until("A");
        second.finish("").said(place) + &rows(place, "SELECT count(*) FROM author")
    });
}

#[test]
fn columns_are_described_without_running_the_query() {
    same(|place| {
        script(
            place,
            r"SELECT id, title, price, now() AS at, ARRAY[1,2] AS several FROM book \gdesc
SELECT no_such FROM book \gdesc
INSERT INTO author (name) VALUES ('A') RETURNING id \gdesc
UPDATE book SET title = '' \gdesc
SELECT count(*) FROM author;
BEGIN;
SELECT 1 AS in_a_transaction \gdesc
COMMIT;
",
        )
    });
}

#[test]
fn results_are_used_as_variables_and_commands() {
    same(|place| {
        script(
            place,
            r"SELECT id AS book, title FROM book WHERE id = 1 \gset
\echo :book :'title'
SELECT format('INSERT INTO author (name) VALUES (%L)', 'author ' || n) FROM generate_series(1, 3) n \gexec
SELECT 'SELECT 1/0', 'SELECT 2' \gexec
SELECT name FROM author ORDER BY name \gx
SELECT author_id, left(title, 5) AS t, count(*) FROM book GROUP BY 1, 2 ORDER BY 1, 2 \crosstabview
",
        )
    });
}

#[test]
fn a_table_is_described() {
    same(|place| {
        script(
            place,
            r"CREATE SCHEMA own;
SET search_path = own;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE parent (id serial PRIMARY KEY, at timestamptz DEFAULT now(), m mood NOT NULL DEFAULT 'sad');
CREATE TABLE child (
  id bigint GENERATED ALWAYS AS IDENTITY, parent int REFERENCES parent ON DELETE CASCADE DEFERRABLE,
  twice int GENERATED ALWAYS AS (parent * 2) STORED, CHECK (parent > 0), UNIQUE (id, parent));
CREATE INDEX ON child (parent) WHERE parent > 5;
CREATE VIEW both_of_them AS SELECT p.m, c.id FROM parent p JOIN child c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM child;
CREATE FUNCTION f(a int, OUT b int) LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
COMMENT ON TABLE parent IS 'a comment';
CREATE RULE nothing AS ON DELETE TO counted_rule DO INSTEAD NOTHING;
CREATE TABLE parted (k int, v text) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
\d
\d parent
\d+ child
\d both_of_them
\d+ parted
\dv
\dm
\dT+ mood
\df own.*
\sf f
\sv both_of_them
\dn own
\di
\ds
\dt own.p*
\dp parent
\d nowhere
\dx nowhere
",
        )
    });
}

#[test]
fn rows_are_copied_in() {
    same(|place| {
        let folder = folder();
        let file = folder.path().join("authors.csv");
        std::fs::write(&file, "name,id\nfrom a file,100\n\"with, comma\",101\n").expect("a file");
        script(
            place,
            &format!(
                r"\copy author (name, id) FROM '{}' WITH (FORMAT csv, HEADER)
\copy author FROM STDIN
102	from stdin
103	with \\ backslash
\.
COPY author (id, name) FROM STDIN WITH (FORMAT csv);
104,inline
\.
SELECT * FROM author ORDER BY id;
COPY author FROM STDIN;
105	good
1	the id is taken
\.
COPY author FROM STDIN;
not a number	bad
\.
COPY nowhere FROM STDIN;
SELECT count(*) FROM author;
BEGIN;
COPY author FROM STDIN;
106	in a transaction
\.
ROLLBACK;
BEGIN;
COPY author FROM STDIN;
1	taken
\.
SELECT 1;
ROLLBACK;
SELECT count(*) FROM author;
",
                file.display()
            ),
        )
    });
}

#[test]
fn a_large_copy_goes_in_and_comes_out_as_it_was() {
    same(|place| {
        let folder = folder();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        let lines: String =
            (0..200_000).map(|n| format!("{n}\tthe text of row {n} {}\n", "x".repeat(n % 97))).collect();
        std::fs::write(&there, &lines).expect("a file");
        let said = script(
            place,
            &format!(
                "CREATE TABLE big (id int PRIMARY KEY, text text);\n\\copy big FROM '{}'\n\
                 \\copy (SELECT * FROM big ORDER BY id) TO '{}'\nSELECT count(*) FROM big;\n",
                there.display(),
                back.display()
            ),
        );
        assert!(std::fs::read_to_string(&back).expect("the copy") == lines, "the copy differs: {said}");
        said
    });
}

#[test]
fn rows_are_copied_out() {
    same(|place| {
        let folder = folder();
        let file = folder.path().join("books.csv");
        let said = script(
            place,
            &format!(
                r"COPY book TO STDOUT;
COPY (SELECT id, title FROM book ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *);
COPY (SELECT 1/(2 - id) FROM book ORDER BY id) TO STDOUT;
COPY (INSERT INTO author (name) VALUES ('A') RETURNING name) TO STDOUT;
COPY (SELECT 1) TO STDOUT \; COPY (SELECT 2) TO STDOUT \; SELECT 3;
\copy book TO '{}' CSV
BEGIN;
COPY author TO STDOUT;
COMMIT;
",
                file.display()
            ),
        );
        said + &std::fs::read_to_string(&file).expect("the copy")
    });
}

#[test]
fn a_statement_is_repeated_until_it_fails() {
    same(|place| {
        let said = script(
            place,
            r"CREATE TABLE beat (n int CHECK (n < 5));
INSERT INTO beat SELECT count(*) + 1 FROM beat RETURNING n \watch 0.01
SELECT count(*) FROM beat;
",
        );
        // The time in the title is not compared.
        said.lines()
            .filter(|line| !line.contains("(every"))
            .map(|line| format!("{}\n", line.trim()))
            .collect::<String>()
    });
}

#[test]
fn rows_come_in_portions_through_a_cursor() {
    same(|place| {
        script(
            place,
            r"\set FETCH_COUNT 100
\pset format unaligned
SELECT n, repeat('x', n % 10) FROM generate_series(1, 1050) n;
SELECT 100 / (500 - n) FROM generate_series(1, 1000) n;
INSERT INTO author (name) VALUES ('A') RETURNING name;
BEGIN;
SELECT * FROM book ORDER BY id;
SELECT 10 / (200 - n) FROM generate_series(1, 1000) n;
SELECT 1;
ROLLBACK;
SELECT count(*) FROM author;
",
        )
    });
}

#[test]
fn cursors_are_declared_fetched_and_held() {
    same(|place| {
        script(
            place,
            "BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, title FROM book ORDER BY id;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
MOVE ABSOLUTE 2 IN c;
FETCH ALL c;
UPDATE book SET title = 'x' WHERE CURRENT OF c;
ROLLBACK;
FETCH 1 FROM c;
DECLARE outside CURSOR FOR SELECT 1;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) n;
FETCH 1 FROM held;
COMMIT;
FETCH 2 FROM held;
SELECT 1/0;
FETCH 1 FROM held;
CLOSE held;
FETCH 1 FROM held;
",
        )
    });
}

#[test]
fn ctrl_c_cancels_the_statement() {
    same(|place| {
        let mut client = session(place);
        client.say("SELECT 'before';\nINSERT INTO author (name) SELECT 'A' FROM pg_sleep(50);\n");
        client.until("before");
        let asleep = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                      AND state = 'active' AND wait_event = 'PgSleep')";
        block_on(until_true(place, asleep));
        client.signal("INT");
        // A script ends here: psql goes on after a cancel only at a terminal.
        client.finish("").said(place) + &rows(place, "SELECT count(*) FROM author")
    });
}

#[test]
fn a_statement_timeout_is_kept() {
    same(|place| {
        script(
            place,
            "SET statement_timeout = '50ms';
SELECT pg_sleep(50);
SET statement_timeout = 0;
BEGIN;
SET LOCAL statement_timeout = '50ms';
SELECT pg_sleep(50);
COMMIT;
SHOW statement_timeout;
SELECT pg_sleep(0.06);
",
        )
    });
}

#[test]
fn large_results_arrive_whole() {
    same(|place| {
        let many = run(
            psql(place).args(["-A", "-t", "-c", "SELECT n, md5(n::text) FROM generate_series(1, 200000) n"]),
            "",
        )
        .ok();
        let wide = run(
            psql(place).args([
                "-A",
                "-t",
                "-c",
                "SELECT repeat('0123456789', 1000000) FROM generate_series(1, 3)",
            ]),
            "",
        )
        .ok();
        assert_eq!((many.lines().count(), wide.len()), (200_000, 3 * 10_000_001));
        // Compared by what it is made of, so that a difference is not printed in megabytes.
        let sum = |text: &str| {
            text.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
        };
        format!("{} {}", sum(&many), sum(&wide))
    });
}

#[test]
fn a_large_statement_arrives_whole() {
    same(|place| {
        let text = "0123456789".repeat(500_000);
        script(place, &format!("SELECT length('{text}'), md5('{text}');\nSELECT 'after';\n"))
    });
}

#[test]
fn a_result_that_is_not_read_to_its_end_stops_nobody_else() {
    same(|place| {
        let mut first = session(place);
        // More than any buffer holds; `q` would end a pager just so.
        first.say("SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) n;\n");
        first.until("|");
        drop(first);
        rows(place, "SELECT count(*) FROM author")
    });
}

#[test]
fn a_notification_arrives_when_its_transaction_commits() {
    same(|place| {
        let mut listener = session(place);
        listener.say("LISTEN news;\nLISTEN \"Other News\";\nSELECT 'listening';\n");
        listener.until("listening");
        let mut sender = session(place);
        sender.say(
            "NOTIFY news, 'at once';\nBEGIN;\nNOTIFY news, 'rolled back';\nROLLBACK;\nBEGIN;\n\
             SELECT pg_notify('Other News', 'committed');\nCOMMIT;\nNOTIFY silence;\nSELECT 'sent';\n",
        );
        sender.until("sent");
        let sent = sender.finish("").said(place);
        // psql looks for notifications when it has run a command.
        listener.say("SELECT 'looked';\nUNLISTEN news;\nSELECT 'stopped';\n");
        listener.until("stopped");
        let again = run(psql(place).args(["-c", "NOTIFY news, 'too late'"]), "").said(place);
        let heard = listener.finish("SELECT 'again';\n").said(place);
        assert!(heard.contains("at once") && heard.contains("committed"), "{heard}");
        assert!(!heard.contains("rolled back") && !heard.contains("too late"), "{heard}");
        [sent, again, heard].join("\n")
    });
}

#[test]
fn a_session_hears_its_own_notifications() {
    same(|place| {
        script(
            place,
            "LISTEN news;\nNOTIFY news, 'own';\nSELECT 1;\nBEGIN;\nNOTIFY news, 'later';\nSELECT 2;\nCOMMIT;\nSELECT 3;\n",
        )
    });
}

#[test]
fn a_second_session_waits_for_the_transaction_of_the_first() {
    same(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("BEGIN;\nUPDATE author SET name = 'first' WHERE id = 1 RETURNING name;\n");
        first.until("first");
        second.say(
            "SELECT 'ready';\nUPDATE author SET name = name || ' and second' WHERE id = 1 RETURNING name;\n",
        );
        second.until("ready");
        let first = first.finish("COMMIT;\nSELECT 'done';\n").said(place);
        second.until("first and second");
        format!("{first}{}", second.finish("").said(place))
    });
}

#[test]
fn a_session_that_waits_for_an_idle_transaction_is_told_who_holds_it() {
    each(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("BEGIN;\nUPDATE author SET name = 'first' WHERE id = 1 RETURNING name;\n");
        first.until("first");
        if place.sandboxed() {
            second.say("\\set VERBOSITY verbose\n\\set SHOW_CONTEXT always\n");
            let waited = second.finish("UPDATE author SET name = 'second' WHERE id = 1;\n").said(place);
            assert!(waited.contains("40P01"), "{waited}");
            assert!(waited.contains("psql"), "both connections are named: {waited}");
        }
        // Who held it is not harmed.
        let first = first.finish("COMMIT;\n");
        assert!(first.status.success(), "{first}");
        assert_eq!(rows(place, "SELECT name FROM author WHERE id = 1"), "first\n");
    });
}

#[test]
fn what_one_session_commits_the_next_one_sees() {
    same(|place| {
        rows(place, "INSERT INTO author (id, name) VALUES (50, 'A') RETURNING id");
        rows(place, "UPDATE author SET name = 'B' WHERE id = 50");
        rows(place, "SELECT name FROM author WHERE id = 50")
    });
}

#[test]
fn settings_are_a_sessions_own() {
    same(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("SET work_mem = '7MB';\nSET search_path = pg_catalog;\nSET TimeZone = 'Asia/Tokyo';\nSELECT 'set';\n");
        first.until("set");
        second.say("SHOW work_mem;\nSHOW search_path;\nSHOW TimeZone;\nSELECT 'shown';\n");
        second.until("shown");
        let first = first.finish(
            "SHOW work_mem;\nSHOW search_path;\nSELECT timestamptz '2020-01-01 00:00+00';\n\
             BEGIN;\nSET LOCAL work_mem = '8MB';\nSHOW work_mem;\nCOMMIT;\nSHOW work_mem;\n\
             BEGIN;\nSET work_mem = '9MB';\nROLLBACK;\nSHOW work_mem;\nRESET work_mem;\nRESET ALL;\nSHOW search_path;\n",
        );
        format!("{}{}", first.said(place), second.finish("SHOW work_mem;\n").said(place))
    });
}

#[test]
fn a_temporary_table_is_seen_as_the_guide_says() {
    each(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("CREATE TEMP TABLE t AS SELECT 'of the first' AS whose;\nSELECT 'made';\n");
        first.until("made");
        second.say("SELECT to_regclass('pg_temp.t') IS NOT NULL, 'asked';\n");
        second.until(if place.sandboxed() { "t|asked" } else { "f|asked" });
        let first = first.finish("TABLE t;\nDROP TABLE t;\nTABLE t;\n").said(place);
        assert!(first.contains("of the first") && first.contains("does not exist"), "{first}");
        let second = second.finish("TABLE t;\n").said(place);
        assert!(second.contains("does not exist"), "{second}");
    });
}

#[test]
fn a_temporary_table_ends_as_it_says() {
    same(|place| {
        script(
            place,
            "CREATE TEMP TABLE kept (x int);
INSERT INTO kept VALUES (1);
BEGIN;
COMMIT;
SELECT count(*) FROM kept;
DISCARD TEMP;
SELECT count(*) FROM kept;
",
        )
    });
}

#[test]
fn statements_are_prepared_by_name() {
    same(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("PREPARE p (int) AS SELECT title FROM book WHERE id = $1;\nEXECUTE p(1);\n");
        first.until("Dune");
        second.say("PREPARE p AS SELECT 'the second''s';\nEXECUTE p;\n");
        second.until("the second's");
        let first = first.finish(
            "EXECUTE p(2);\nBEGIN;\nPREPARE q AS SELECT 1;\nROLLBACK;\nEXECUTE q;\nSELECT 1/0;\nEXECUTE p(3);\n\
             DEALLOCATE p;\nEXECUTE p(1);\nDEALLOCATE nothing;\nDISCARD ALL;\nEXECUTE q;\n",
        );
        format!(
            "{}{}",
            first.said(place),
            second.finish("EXECUTE p;\nDEALLOCATE ALL;\nEXECUTE p;\n").said(place)
        )
    });
}

#[test]
fn an_advisory_lock_is_held_as_the_guide_says() {
    each(|place| {
        let (mut first, mut second) = (session(place), session(place));
        first.say("SELECT pg_try_advisory_lock(7), 'first';\n");
        first.until("t|first");
        second.say("SELECT pg_try_advisory_lock(7), 'second';\n");
        second.until(if place.sandboxed() { "t|second" } else { "f|second" });
        let first = first.finish("SELECT pg_advisory_unlock(7);\n").said(place);
        assert!(first.contains("\nt\n"), "{first}");
        second.finish("SELECT pg_advisory_unlock_all();\n").ok();
    });
}

#[test]
fn large_objects_go_in_and_come_out() {
    same(|place| {
        let folder = folder();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).expect("below 256")).collect();
        std::fs::write(&there, &bytes).expect("a file");
        let said = script(
            place,
            &format!(
                "\\set QUIET on\n\\lo_import '{}' 'a comment'\n\\lo_export :LASTOID '{}'\n\
                 SELECT count(*) FROM pg_largeobject_metadata;\n\\lo_unlink :LASTOID\n\
                 SELECT count(*) FROM pg_largeobject_metadata;\n\\lo_unlink 1\n",
                there.display(),
                back.display()
            ),
        );
        assert!(std::fs::read(&back).expect("the object") == bytes, "it differs: {said}");
        // The object's number is not compared.
        masked(&said, place)
            .lines()
            .filter(|line| !line.starts_with("lo_import"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    });
}

#[test]
fn blocks_and_functions_catch_their_own_errors() {
    same(|place| {
        script(
            place,
            "DO $$ BEGIN
  INSERT INTO author (name) VALUES ('A');
  BEGIN
    INSERT INTO author (name) VALUES ('A');
  EXCEPTION WHEN unique_violation THEN
    RAISE NOTICE 'caught %', SQLSTATE;
  END;
  INSERT INTO author (name) VALUES ('B; COMMIT;');
END $$;
DO 'BEGIN RAISE EXCEPTION ''own'' USING ERRCODE = ''ZZ001'', HINT = ''a hint''; END';
CREATE FUNCTION adds(name text) RETURNS int LANGUAGE plpgsql AS $body$
  DECLARE n int; BEGIN INSERT INTO author (name) VALUES (adds.name); SELECT count(*) INTO n FROM author; RETURN n; END
$body$;
SELECT adds('C');
SELECT adds('C');
SELECT name FROM author ORDER BY name;
",
        )
    });
}

#[test]
fn a_procedure_that_commits_is_run_or_refused_in_words() {
    each(|place| {
        let text = "CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO author (name) VALUES ('A'); COMMIT; INSERT INTO author (name) VALUES ('B'); ROLLBACK; END $$;
CALL commits();
SELECT string_agg(name, ',' ORDER BY name) FROM author;
";
        let said = run(psql(place).args(["-A", "-t", "-f", "-"]), text).said(place);
        if place.sandboxed() {
            assert!(said.contains("invalid transaction termination"), "{said}");
            assert!(said.contains("Frank Herbert,Ursula K. Le Guin"), "{said}");
        } else {
            assert!(said.contains("A,Frank Herbert"), "{said}");
        }
    });
}

#[test]
fn what_cannot_run_in_a_transaction_is_run_or_refused_in_words() {
    each(|place| {
        for statement in [
            "VACUUM author",
            "CREATE INDEX CONCURRENTLY author_length ON author (length(name))",
            "REINDEX TABLE CONCURRENTLY author",
            "DROP INDEX CONCURRENTLY IF EXISTS author_length",
            "ALTER SYSTEM RESET work_mem",
        ] {
            let said = run(psql(place).args(["-c", statement]), "");
            if place.sandboxed() {
                assert!(!said.status.success(), "{statement} ran: {said}");
                assert!(said.stderr.contains("cannot run inside a transaction block"), "{said}");
            } else {
                assert!(said.status.success(), "{said}");
            }
            assert_eq!(rows(place, "SELECT count(*) FROM author"), "2\n", "after {statement}");
        }
        // Prepared transactions are off on most servers; what matters is that none is made.
        let said = run(
            psql(place).args(["-f", "-"]),
            "BEGIN;\nDELETE FROM book;\nPREPARE TRANSACTION 'mine';\nROLLBACK;\n",
        );
        assert!(said.stderr.contains("ERROR"), "{said}");
        assert_eq!(rows(place, "SELECT count(*) FROM book"), "3\n");
    });
}

#[test]
fn constraints_are_deferred_to_the_clients_commit() {
    same(|place| {
        script(
            place,
            "CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES author DEFERRABLE INITIALLY DEFERRED,
  u int UNIQUE DEFERRABLE INITIALLY IMMEDIATE);
BEGIN;
INSERT INTO a VALUES (1, 77, 1);
INSERT INTO author (id, name) VALUES (77, 'late');
COMMIT;
SELECT count(*) FROM a;
BEGIN;
INSERT INTO a VALUES (2, 78, 2);
COMMIT;
SELECT count(*) FROM a;
INSERT INTO a VALUES (3, 79, 3);
SELECT count(*) FROM a;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO a VALUES (4, NULL, 1);
SELECT count(*) FROM a;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK;
SELECT count(*) FROM a;
",
        )
    });
}

#[test]
fn locks_are_taken_only_in_a_transaction() {
    same(|place| {
        script(
            place,
            "BEGIN;
LOCK TABLE author IN SHARE MODE;
SELECT id FROM author ORDER BY id FOR UPDATE SKIP LOCKED;
COMMIT;
SELECT id FROM author WHERE id = 1 FOR UPDATE NOWAIT;
",
        )
    });
}

#[test]
fn the_session_knows_who_and_where_it_is() {
    same(|place| {
        let name = rows(place, "SELECT current_database()");
        assert_eq!(name.trim(), crate::place::name_of(&place.beside));
        script(
            place,
            "SELECT current_user, session_user, current_schema();
SHOW server_version;
SHOW client_encoding;
SHOW standard_conforming_strings;
SHOW application_name;
\\encoding LATIN1
SELECT convert_to('\u{e4}', 'UTF8');
\\encoding
RESET client_encoding;
\\echo :SERVER_VERSION_NUM
",
        )
    });
}
