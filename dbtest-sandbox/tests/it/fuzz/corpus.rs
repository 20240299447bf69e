//! Well-formed sessions, and the pieces that others are made of.

use super::rng::Rng;
use crate::raw::*;

/// Statements that mean something to a sandbox. None of them knows the ledger of the client that
/// behaves.
pub const SQL: &[&str] = &[
    "SELECT 1",
    "SELECT 'x', 2",
    "SELECT * FROM toys",
    "SELECT pg_sleep(0.01)",
    "SELECT 1/0",
    "SELECT repeat('x', 100) FROM generate_series(1, 500)",
    "INSERT INTO toys VALUES (2, 'two')",
    "INSERT INTO toys VALUES ((random() * 1000000)::int) RETURNING id",
    "UPDATE toys SET note = 'é'",
    "DELETE FROM toys",
    "BEGIN",
    "BEGIN READ ONLY",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK AND CHAIN",
    "END",
    "ABORT",
    "SAVEPOINT a",
    "SAVEPOINT _dbtest",
    "RELEASE a",
    "RELEASE _dbtest",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT _dbtest",
    "SET TRANSACTION READ ONLY",
    "SET application_name = 'fuzz'",
    "SET LOCAL search_path = pg_catalog",
    "SET search_path = public",
    "SET default_transaction_read_only = on",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "RESET ALL",
    "RESET search_path",
    "SHOW search_path",
    "SELECT set_config('search_path', 'public', true)",
    "DISCARD ALL",
    "DISCARD TEMP",
    "LISTEN a",
    "UNLISTEN *",
    "NOTIFY a, 'x'",
    "SELECT pg_notify('a', 'y')",
    "SELECT pg_notify('a', 'y' || 1)",
    "DO $$ BEGIN PERFORM pg_notify('a', 'z'); END $$",
    "DISCARD PLANS",
    "SET seed = 0.5",
    "SET work_mem TO DEFAULT",
    "SET LOCAL work_mem = '1MB'",
    "SET transaction_read_only = on",
    "SET ROLE pg_monitor",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION pg_monitor",
    "RESET SESSION AUTHORIZATION",
    "PREPARE p AS SELECT 1",
    "PREPARE p (int) AS INSERT INTO toys VALUES ($1)",
    "EXECUTE p",
    "EXECUTE s",
    "EXECUTE p(3)",
    "EXPLAIN EXECUTE p",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR FOR SELECT * FROM toys",
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM toys",
    "FETCH ALL FROM c",
    "CLOSE c",
    "CREATE TEMP TABLE t (x int)",
    "CREATE TEMP TABLE t (x int) ON COMMIT DROP",
    "CREATE TEMP TABLE t (x int) ON COMMIT DELETE ROWS",
    "INSERT INTO t VALUES (1)",
    "CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO more VALUES (1), (1)",
    "DROP TABLE more",
    "ALTER TABLE toys ADD more int",
    "COPY toys FROM STDIN",
    "COPY toys TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "PREPARE TRANSACTION 'x'",
    "DO $$ BEGIN COMMIT; END $$",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CALL commits()",
    "SELECT lo_create(0)",
    "SELECT pg_advisory_lock(1)",
    "LOCK TABLE toys",
    "VACUUM toys",
    "EXPLAIN ANALYZE DELETE FROM toys",
    "WITH x AS (DELETE FROM toys RETURNING 1) SELECT * FROM x",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "",
    ";",
];

/// Pieces of text on which a lexer may stumble.
pub const SOUP: &[&str] = &[
    "'",
    "''",
    "E'",
    "e'\\'",
    "\\",
    "\\'",
    "U&'",
    "U&\"",
    "N'",
    "B'0",
    "X'",
    "\"",
    "$$",
    "$a$",
    "$é$",
    "$1",
    "$",
    "/*",
    "*/",
    "--",
    "--\r",
    "\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{a0}",
    "\u{feff}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    ".",
    "..",
    ":",
    "::",
    "=",
    "1",
    "1e",
    "0x",
    "1_0",
    "é",
    "😀",
    "a$$b",
    "select",
    "COMMIT",
    "begin",
    "BEGIN ATOMIC",
    "end",
    "case",
    "create",
    "function",
    "procedure",
    "prepare",
    "transaction",
    "execute",
    "to",
    "as",
    "set",
    "local",
    "session",
    "time zone",
    "set_config(",
    "pg_notify(",
    "declare",
    "with hold",
    "chain",
    "and",
    "explain",
    "UESCAPE '!'",
];

/// One message or a few that belong together.
fn messages(rng: &mut Rng) -> Vec<Vec<u8>> {
    let sql = rng.one_of(SQL);
    let name = rng.one_of(&["", "", "s", "s", "t"]);
    let portal = rng.one_of(&["", "", "p", "q"]);
    match rng.below(14) {
        0..=3 => vec![query(sql)],
        4 => {
            let several: Vec<_> = (0..=rng.below(4)).map(|_| rng.one_of(SQL)).collect();
            vec![query(&several.join("; "))]
        }
        5 | 6 => vec![parse(name, sql), bind(portal, name), execute(portal, 0), sync()],
        7 => vec![
            parse(name, sql),
            describe('S', name),
            sync(),
            bind(portal, name),
            describe('P', portal),
            execute(portal, rng.below(3) as i32),
            execute(portal, 0),
            sync(),
        ],
        8 => {
            // A pipeline under one Sync.
            let mut all = Vec::new();
            for _ in 0..=rng.below(4) {
                all.push(run(rng.one_of(SQL)));
            }
            all.push(sync());
            all
        }
        9 => vec![
            query("COPY toys FROM STDIN"),
            message(b'd', b"5\tfive\n"),
            message(b'd', b"6\t"),
            message(b'd', b"six\n"),
            rng.pick(&[message(b'c', b""), message(b'f', b"no\0"), message(b'd', b"\\.\n"), sync()]).clone(),
        ],
        10 => vec![run("COPY toys FROM STDIN"), message(b'd', b"7\tx\n"), message(b'c', b""), sync()],
        11 => vec![
            rng.pick(&[sync(), flush(), close('S', name), close('P', portal), describe('P', portal)]).clone(),
        ],
        12 => {
            let body: Vec<u8> = (0..rng.below(30)).map(|_| rng.next() as u8).collect();
            vec![message(*rng.pick(b"QPBDECHSFdcfpX"), &body)]
        }
        _ => vec![
            query("BEGIN"),
            query(sql),
            query(rng.one_of(&["COMMIT", "ROLLBACK", "SAVEPOINT a", "SELECT 1"])),
        ],
    }
}

/// Statements that a sandbox promises to answer as the server does.
const KEPT: &[&str] = &[
    "SELECT 1",
    "SELECT 'x', 2",
    "SELECT * FROM toys ORDER BY id",
    "SELECT count(*) FROM toys",
    "SELECT 1/0",
    "SELECT nothing",
    "SELECT repeat('x', 100) FROM generate_series(1, 5)",
    "INSERT INTO toys VALUES (2, 'two')",
    "INSERT INTO toys VALUES (3, 'three') RETURNING id",
    "UPDATE toys SET note = 'é'",
    "DELETE FROM toys",
    "DELETE FROM toys WHERE id > 1",
    "WITH x AS (DELETE FROM toys RETURNING 1) SELECT count(*) FROM x",
    "BEGIN",
    "BEGIN READ ONLY",
    "START TRANSACTION",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK AND CHAIN",
    "END",
    "ABORT",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "RELEASE a",
    "ROLLBACK TO a",
    "ROLLBACK TO b",
    "SET TRANSACTION READ ONLY",
    "SET transaction_read_only = on",
    "SET statement_timeout = '1h'",
    "SET LOCAL statement_timeout = '2h'",
    "SHOW statement_timeout",
    "SET LOCAL search_path = pg_catalog",
    "SET search_path = public, pg_catalog",
    "RESET search_path",
    "SHOW search_path",
    "SET work_mem = '1MB'",
    "SET work_mem = 'much'",
    "SET work_mem TO DEFAULT",
    "SET LOCAL work_mem = '2MB'",
    "SHOW work_mem",
    "SELECT set_config('work_mem', '3MB', true)",
    "SELECT set_config('work_mem', '4MB', false)",
    "SELECT current_setting('work_mem'), current_setting('search_path'), current_user",
    "SET default_transaction_read_only = on",
    "SHOW default_transaction_read_only",
    "SHOW transaction_read_only",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "RESET ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "DISCARD TEMP",
    "SET ROLE pg_read_all_data",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION pg_read_all_data",
    "RESET SESSION AUTHORIZATION",
    "SHOW role",
    "NOTIFY a, 'x'",
    "SELECT pg_notify('a', 'y' || 1)",
    "PREPARE q AS SELECT 1",
    "PREPARE p (int) AS INSERT INTO toys VALUES ($1)",
    "EXECUTE q",
    "EXECUTE p(4)",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR FOR SELECT * FROM toys ORDER BY id",
    "FETCH ALL FROM c",
    "FETCH 1 FROM c",
    "CLOSE c",
    "CREATE TEMP TABLE t (x int)",
    "CREATE TEMP TABLE t (x int) ON COMMIT DROP",
    "CREATE TEMP TABLE t (x int) ON COMMIT DELETE ROWS",
    "INSERT INTO t VALUES (1)",
    "SELECT count(*) FROM t",
    "CREATE TABLE more (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO more VALUES (1), (1)",
    "INSERT INTO more VALUES (2)",
    "SELECT count(*) FROM more",
    "DROP TABLE more",
    "ALTER TABLE toys ADD more int",
    "ALTER TABLE toys DROP more",
    "COPY toys FROM STDIN",
    "COPY (SELECT 1) TO STDOUT",
    "DO $$ BEGIN PERFORM 1; END $$",
    "DO $$ BEGIN INSERT INTO toys VALUES (9); END $$",
    "SET CONSTRAINTS more_id_key IMMEDIATE",
    "SET CONSTRAINTS more_id_key DEFERRED",
    "TRUNCATE toys",
];

/// Messages that end with one that the server answers with ReadyForQuery, a few such in a row.
pub fn steps(rng: &mut Rng) -> Vec<Vec<u8>> {
    let sql = rng.one_of(KEPT);
    let name = rng.one_of(&["", "", "s"]);
    let portal = rng.one_of(&["", "", "p"]);
    match rng.below(10) {
        0..=3 => vec![query(sql)],
        4 => {
            let several: Vec<_> = (0..=rng.below(4)).map(|_| rng.one_of(KEPT)).collect();
            vec![query(&several.join("; "))]
        }
        5 => vec![[run(sql), sync()].concat()],
        6 => {
            // Nobody runs a portal again that has no rows.
            let more = if sql.starts_with("SELECT") { execute(portal, 0) } else { Vec::new() };
            let first = execute(portal, i32::from(!more.is_empty()));
            vec![
                [close('S', name), parse(name, sql), describe('S', name), sync()].concat(),
                [bind(portal, name), describe('P', portal), first, more, sync()].concat(),
            ]
        }
        7 => {
            // Whether these stand in a transaction block there is the version's affair, and a COPY of a
            // series that goes on ends a server's connection.
            let apart = ["DISCARD ALL", "DECLARE", "COPY", "SET TRANSACTION", "SET transaction"];
            let mut all = Vec::new();
            for _ in 0..=rng.below(4) {
                let one = rng.one_of(KEPT);
                if !apart.iter().any(|apart| one.starts_with(apart)) {
                    all.push(run(one));
                }
            }
            all.push(sync());
            vec![all.concat()]
        }
        8 => vec![[close('S', "s"), sync()].concat()],
        _ => vec![
            query("BEGIN"),
            query(sql),
            query(rng.one_of(KEPT)),
            query(rng.one_of(&["COMMIT", "ROLLBACK", "SELECT 1"])),
        ],
    }
}

/// What a client says after it logged in.
pub fn session(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..=rng.below(6) {
        all.extend(messages(rng));
    }
    for _ in 0..rng.below(4) {
        let at = rng.below(all.len());
        match rng.below(4) {
            0 => {
                all.remove(at);
            }
            1 => all.insert(at, all[rng.below(all.len())].clone()),
            2 => {
                let other = rng.below(all.len());
                all.swap(at, other);
            }
            _ => rng.mangle(&mut all[at]),
        }
        if all.is_empty() {
            break;
        }
    }
    all
}
