//! `pgbench`: thousands of transactions of several clients, in every protocol.

use std::process::Command;

use crate::place::{Place, each, same};
use crate::process::{Ran, folder, program, run};

fn pgbench(place: &Place) -> Command {
    let mut command = program("pgbench");
    // The URL is pgbench's "database name", and is read by libpq.
    command.arg(&place.url);
    command
}

fn psql(place: &Place, text: &str) -> String {
    run(
        program("psql").args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", &place.url]),
        text,
    )
    .ok()
}

/// All steps but vacuum, which no transaction takes.
fn init(place: &Place, steps: &str) -> Ran {
    run(pgbench(place).args(["-i", "-q", "-I", steps]), "")
}

/// Runs it, and asserts that every transaction was processed and none failed.
fn bench(place: &Place, transactions: usize, arguments: &[&str]) {
    let clients =
        arguments.iter().skip_while(|word| **word != "-c").nth(1).map_or(1, |n| n.parse().expect("a number"));
    let each = (transactions / clients).to_string();
    let ran = run(pgbench(place).args(["-n", "-t", &each]).args(arguments), "");
    let all = format!("actually processed: {transactions}/{transactions}");
    assert!(ran.status.success() && ran.stdout.contains(&all), "{ran}");
    for line in ran.stdout.lines().filter(|line| line.contains("failed") || line.contains("aborted")) {
        assert!(line.contains(": 0"), "{ran}");
    }
}

/// What must be true of the tables after so many TPC-B-like transactions.
fn assert_balanced(place: &Place, transactions: usize) {
    let sums = psql(
        place,
        "SELECT (SELECT count(*) FROM pgbench_history), a = d AND t = d AND b = d
         FROM (SELECT sum(delta) AS d FROM pgbench_history) h, (SELECT sum(abalance) AS a FROM pgbench_accounts) a,
              (SELECT sum(tbalance) AS t FROM pgbench_tellers) t, (SELECT sum(bbalance) AS b FROM pgbench_branches) b;",
    );
    assert_eq!(sums.trim(), format!("{transactions}|t"));
}

#[test]
fn its_tables_are_filled_by_the_client() {
    same(|place| {
        init(place, "dtgpf").ok();
        psql(place, "SELECT count(*), sum(aid), sum(abalance) FROM pgbench_accounts; SELECT count(*) FROM pgbench_tellers;
                     SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid::regclass::text LIKE 'pgbench%' ORDER BY 1;")
    });
}

#[test]
fn its_tables_are_filled_by_the_server_and_partitioned() {
    same(|place| {
        run(pgbench(place).args(["-i", "-q", "-I", "dtGp", "--partitions=4"]), "").ok();
        // Over what is there.
        init(place, "dtGp").ok();
        psql(place, "SELECT count(*), sum(aid) FROM pgbench_accounts; SELECT count(*) FROM pgbench_branches;")
    });
}

#[test]
fn vacuum_is_run_or_refused_in_words() {
    each(|place| {
        let ran = init(place, "dtgvp");
        if place.sandboxed() {
            assert!(ran.stderr.contains("VACUUM cannot run inside a transaction block"), "{ran}");
        } else {
            ran.ok();
        }
    });
}

#[test]
fn tpcb_runs_with_simple_queries() {
    each(|place| {
        init(place, "dtgp").ok();
        bench(place, 2000, &["-M", "simple", "-c", "4", "-j", "2"]);
        assert_balanced(place, 2000);
    });
}

#[test]
fn tpcb_runs_with_the_extended_protocol() {
    each(|place| {
        init(place, "dtgp").ok();
        bench(place, 2000, &["-M", "extended", "-c", "4", "-j", "2"]);
        assert_balanced(place, 2000);
    });
}

#[test]
fn tpcb_runs_with_prepared_statements() {
    each(|place| {
        init(place, "dtgp").ok();
        bench(place, 2000, &["-M", "prepared", "-c", "4", "-j", "2"]);
        assert_balanced(place, 2000);
    });
}

#[test]
fn the_simple_update_script_runs_in_every_protocol() {
    each(|place| {
        init(place, "dtgp").ok();
        for protocol in ["simple", "extended", "prepared"] {
            bench(place, 1000, &["-N", "-M", protocol, "-c", "4", "-j", "2"]);
        }
        assert_eq!(psql(place, "SELECT count(*) FROM pgbench_history;"), "3000\n");
    });
}

#[test]
fn the_select_only_script_runs_in_every_protocol() {
    each(|place| {
        init(place, "dtgp").ok();
        for protocol in ["simple", "extended", "prepared"] {
            bench(place, 4000, &["-S", "-M", protocol, "-c", "4", "-j", "2"]);
        }
    });
}

#[test]
fn every_transaction_may_have_a_connection_of_its_own() {
    each(|place| {
        init(place, "dtgp").ok();
        bench(place, 400, &["-C", "-M", "prepared", "-c", "4", "-j", "2"]);
        assert_balanced(place, 400);
    });
}

const PIPELINE: &str = r"
\set aid random(1, 100000)
\set delta random(-5000, 5000)
\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = 1;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
\endpipeline
";

const PIPELINE_WITHOUT_TRANSACTION: &str = r"
\startpipeline
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, 1, 0);
SELECT 1;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, 1, 0);
SELECT count(*) FROM pgbench_branches;
\endpipeline
";

const SERIALIZABLE: &str = r"
\set delta random(-5000, 5000)
\set aid random(1, 5)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sum(abalance) AS before FROM pgbench_accounts WHERE aid <= 5 \gset
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = 1;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, :aid, :delta);
COMMIT;
";

const SAVEPOINTS: &str = r"
\set aid random(1, 100000)
BEGIN;
SAVEPOINT a;
UPDATE pgbench_accounts SET abalance = 1000000 WHERE aid = :aid;
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, :aid, 0);
RELEASE b;
END;
INSERT INTO pgbench_history (tid, bid, aid, delta) VALUES (1, 1, :aid, 0);
";

fn scripted(place: &Place, script: &str, transactions: usize, arguments: &[&str]) {
    let folder = folder();
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script).expect("a script");
    let file = file.display().to_string();
    bench(place, transactions, &[&["-f", &file], arguments].concat());
}

#[test]
fn a_transaction_runs_in_a_pipeline() {
    each(|place| {
        init(place, "dtgp").ok();
        scripted(place, PIPELINE, 1000, &["-M", "extended", "-c", "4", "-j", "2"]);
        assert_balanced(place, 1000);
        scripted(place, PIPELINE, 1000, &["-M", "prepared", "-c", "4", "-j", "2"]);
        assert_balanced(place, 2000);
    });
}

#[test]
fn statements_without_a_transaction_run_in_a_pipeline() {
    each(|place| {
        init(place, "dtgp").ok();
        scripted(place, PIPELINE_WITHOUT_TRANSACTION, 500, &["-M", "extended", "-c", "4", "-j", "2"]);
        scripted(place, PIPELINE_WITHOUT_TRANSACTION, 500, &["-M", "prepared", "-c", "4", "-j", "2"]);
        assert_eq!(psql(place, "SELECT count(*) FROM pgbench_history;"), "2000\n");
    });
}

#[test]
fn serializable_transactions_are_tried_again_until_they_fit() {
    each(|place| {
        init(place, "dtgp").ok();
        for protocol in ["simple", "prepared"] {
            scripted(place, SERIALIZABLE, 200, &["-M", protocol, "-c", "4", "-j", "2", "--max-tries=1000"]);
        }
        assert_balanced(place, 400);
    });
}

#[test]
fn savepoints_run_in_every_protocol() {
    each(|place| {
        init(place, "dtgp").ok();
        for protocol in ["simple", "extended", "prepared"] {
            scripted(place, SAVEPOINTS, 400, &["-M", protocol, "-c", "4", "-j", "2"]);
        }
        assert_eq!(
            psql(place, "SELECT count(*), count(*) FILTER (WHERE delta <> 0) FROM pgbench_history;"),
            "2400|0\n"
        );
        assert_eq!(psql(place, "SELECT max(abalance) FROM pgbench_accounts;"), "0\n");
    });
}
