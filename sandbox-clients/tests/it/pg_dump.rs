//! `pg_dump` and `pg_restore`: a dump says the same, and what it says can be restored.

use std::path::Path;
use std::process::Command;

use crate::place::{Place, each, same};
use crate::process::{Ran, folder, masked, program, run};

/// A schema of the check's own, made through the URL under test: what dbtest adds to a slot is
/// outside of it.
const OWN: &str = "
CREATE SCHEMA own;
SET search_path = own;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN n * 2; END $$;
CREATE TABLE parent (id serial PRIMARY KEY, name text NOT NULL, m mood DEFAULT 'sad', bytes bytea, n positive);
CREATE TABLE child (
  id bigint GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
  parent_id int REFERENCES parent ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  doubled int GENERATED ALWAYS AS (own.twice(parent_id)) STORED);
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
CREATE INDEX child_by_parent ON child (parent_id) WHERE parent_id > 1;
CREATE VIEW seen AS SELECT p.name, count(*) AS children FROM parent p JOIN child c ON c.parent_id = p.id GROUP BY 1;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM parent;
CREATE FUNCTION trim_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := btrim(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER trims BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION trim_name();
INSERT INTO parent (name, m, bytes, n)
  SELECT format(' name %s ', i), CASE WHEN i % 2 = 0 THEN 'happy' ELSE 'sad' END::mood, decode(md5(i::text), 'hex'), i
  FROM generate_series(1, 500) i;
INSERT INTO child (parent_id) SELECT id FROM parent WHERE id % 3 = 0;
INSERT INTO parted SELECT i, E'tab\\t and line\\n' || i FROM generate_series(0, 19) i;
REFRESH MATERIALIZED VIEW counted;
ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON parent USING (true);
COMMENT ON TABLE parent IS 'a comment';
GRANT SELECT ON parent TO PUBLIC;
";

fn psql(place: &Place, text: &str) -> String {
    run(
        program("psql").args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", &place.url]),
        text,
    )
    .ok()
}

fn with_own(place: &Place) {
    fits(place);
    psql(place, OWN);
}

/// A pg_dump that is older than its server refuses to work: no fault of either half.
fn fits(place: &Place) {
    let number = |text: &str| -> u32 {
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a version")
    };
    let server = number(&psql(place, "SHOW server_version;"));
    let client = number(&run(program("pg_dump").arg("--version"), "").ok());
    assert!(
        client >= server,
        "pg_dump {client} can't read a server of version {server}. Install postgresql-client-{server}, or run the \
         tests on an older server: DBTEST_SERVER=container DBTEST_POSTGRES_IMAGE=postgres:{client}"
    );
}

fn pg_dump(place: &Place) -> Command {
    let mut command = program("pg_dump");
    command.args(["-n", "own", "-d", &place.url]);
    command
}

/// The lines that say something: newer versions of pg_dump write a random key around a dump.
fn meaning(dump: &str, place: &Place) -> String {
    let lines =
        dump.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    masked(&lines.map(|line| format!("{line}\n")).collect::<String>(), place)
}

fn plain(place: &Place) -> String {
    meaning(&run(&mut pg_dump(place), "").ok(), place)
}

fn pg_restore(place: &Place, dump: &Path, more: &[&str]) -> Ran {
    run(program("pg_restore").args(["-d", &place.url]).args(more).arg(dump), "")
}

#[test]
fn a_plain_dump_is_the_same() {
    same(|place| {
        with_own(place);
        let dump = plain(place);
        for part in [
            "COPY own.parent",
            "name 499",
            "CREATE POLICY",
            "CREATE TRIGGER trims",
            "setval('own.parent_id_seq', 500",
        ] {
            assert!(dump.contains(part), "no {part} in it:\n{dump}");
        }
        dump
    });
}

#[test]
fn a_dump_of_inserts_is_the_same() {
    same(|place| {
        with_own(place);
        let dump =
            run(pg_dump(place).args(["--column-inserts", "--rows-per-insert=100", "--disable-triggers"]), "")
                .ok();
        assert!(dump.contains("INSERT INTO own.parent"), "{dump}");
        meaning(&dump, place)
    });
}

#[test]
fn a_dump_of_the_whole_database_has_the_rows_of_the_setup() {
    each(|place| {
        fits(place);
        psql(place, "INSERT INTO author (name) VALUES ('seen by the dump');");
        let dump = run(program("pg_dump").args(["--create", "-d", &place.url]), "").ok();
        for part in ["CREATE TABLE public.author", "Frank Herbert", "seen by the dump", "CREATE DATABASE"] {
            assert!(dump.contains(part), "no {part} in it:\n{dump}");
        }
    });
}

#[test]
fn a_dump_that_fails_says_why_and_the_next_one_works() {
    same(|place| {
        with_own(place);
        let failed = run(program("pg_dump").args(["-t", "own.nowhere", "-d", &place.url]), "");
        assert!(!failed.status.success(), "{failed}");
        format!("{}\n{}", failed.said(place), plain(place).len())
    });
}

#[test]
fn a_dump_of_a_serializable_moment_is_the_same() {
    same(|place| {
        with_own(place);
        meaning(&run(pg_dump(place).arg("--serializable-deferrable"), "").ok(), place)
    });
}

#[test]
fn a_custom_dump_is_restored_as_it_was() {
    same(|place| {
        with_own(place);
        let before = plain(place);
        let folder = folder();
        let file = folder.path().join("dump");
        run(pg_dump(place).args(["-F", "custom", "-f"]).arg(&file), "").ok();
        let listed = run(program("pg_restore").arg("-f").arg("-").arg(&file), "").ok();
        assert_eq!(meaning(&listed, place), before, "the dump says the same as the plain one");

        psql(place, "DROP SCHEMA own CASCADE;");
        pg_restore(place, &file, &[]).ok();
        assert_eq!(plain(place), before, "restored");
        pg_restore(place, &file, &["--clean", "--if-exists", "--single-transaction"]).ok();
        assert_eq!(plain(place), before, "cleaned and restored in one transaction");
        psql(place, "DROP SCHEMA own CASCADE;");
        pg_restore(place, &file, &["-j", "2"]).ok();
        assert_eq!(plain(place), before, "restored by two workers");
        before
    });
}

#[test]
fn a_plain_dump_is_restored_by_psql() {
    same(|place| {
        with_own(place);
        let before = run(&mut pg_dump(place), "").ok();
        psql(place, "DROP SCHEMA own CASCADE;");
        psql(place, &before);
        assert_eq!(plain(place), meaning(&before, place));
        psql(place, "SELECT * FROM own.seen ORDER BY name; SELECT nextval('own.parent_id_seq');")
    });
}

#[test]
fn a_restore_into_what_is_there_already_fails_as_it_does_elsewhere() {
    same(|place| {
        with_own(place);
        let folder = folder();
        let file = folder.path().join("dump");
        run(pg_dump(place).args(["-F", "custom", "-f"]).arg(&file), "").ok();
        let twice = pg_restore(place, &file, &[]);
        assert!(!twice.status.success() && twice.stderr.contains("already exists"), "{twice}");
        let once = pg_restore(place, &file, &["--single-transaction"]);
        assert!(!once.status.success(), "{once}");
        // The entries have numbers of the catalogue's in them.
        let numbers = regex::Regex::new(r"TOC entry \d+; \d+ \d+").expect("a pattern");
        let said = format!("{}\n{}", twice.said(place), once.said(place));
        format!(
            "{}\n{}",
            numbers.replace_all(&said, "TOC entry"),
            psql(place, "SELECT count(*) FROM own.child;")
        )
    });
}

#[test]
fn a_parallel_dump_works_or_is_refused_in_words() {
    each(|place| {
        with_own(place);
        let before = plain(place);
        let folder = folder();
        let dump = folder.path().join("dump");
        let ran = run(pg_dump(place).args(["-F", "directory", "-j", "2", "-f"]).arg(&dump), "");
        if place.sandboxed() {
            // Its workers read under the leader's exported snapshot, in transactions beside the
            // leader's: one transaction has neither.
            assert!(!ran.status.success(), "{ran}");
            let words = ["snapshot", "40P01", "deadlock", "transaction"];
            assert!(words.iter().any(|word| ran.stderr.contains(word)), "{ran}");
            assert_eq!(plain(place), before, "nobody else is harmed");
        } else {
            ran.ok();
            psql(place, "DROP SCHEMA own CASCADE;");
            pg_restore(place, &dump, &["-j", "2"]).ok();
            assert_eq!(plain(place), before);
        }
    });
}
