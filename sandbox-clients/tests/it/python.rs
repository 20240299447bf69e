//! Python: psycopg 3, psycopg2 and asyncpg, from a virtual environment that the first test
//! makes. The checks are functions in python/*.py; what they print is compared.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::place::{Place, same};
use crate::process::{program, program_at, run, start};

const REQUIREMENTS: &str = include_str!("python/requirements.txt");

/// The virtual environment's interpreter. It is made once per list of packages, in cargo's
/// folder for what tests keep, by one process at a time.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let words: String = REQUIREMENTS.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{}", words.trim_matches('-')));
        let lock = File::create(folder.with_extension("lock")).expect("cargo's folder for tests is writable");
        lock.lock().expect("a lock");
        let (python, whole) = (folder.join("bin/python"), folder.join("whole"));
        if !whole.exists() {
            // What is left of one that was interrupted.
            let _ = fs::remove_dir_all(&folder);
            let next = "The tests of Python clients need python3 with venv and pip (`apt-get install python3-venv`) \
                        and an index that pip can reach.";
            let made = run(program("python3").args(["-m", "venv"]).arg(&folder), "");
            assert!(made.status.success(), "no virtual environment: {made}\n{next}");
            fs::write(folder.join("requirements.txt"), REQUIREMENTS).expect("a file");
            let mut pip = program_at(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
            let installed = start(pip.arg(folder.join("requirements.txt")))
                .within(Duration::from_secs(300))
                .finish("");
            assert!(installed.status.success(), "pip installs nothing: {installed}\n{next}");
            fs::write(&whole, "").expect("a file");
        }
        python
    })
}

fn prints(place: &Place, file: &str, check: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(file);
    let ran = run(program_at(python()).args(["-B", "-u"]).arg(file).args([check, &place.url]), "");
    assert!(ran.status.success(), "{ran}");
    ran.said(place)
}

/// One test for each function of a file.
macro_rules! checks {
    ($client:ident, $file:literal: $($check:ident)*) => {
        mod $client {
            use super::*;

            $(#[test]
            fn $check() {
                same(|place| prints(place, $file, stringify!($check)));
            })*

            #[test]
            fn every_check_of_the_file_is_run() {
                let text = include_str!(concat!("python/", $file));
                let helpers = ["connect", "names", "add", "told"];
                let defined = text.lines().filter_map(|line| line.split_once("def ")).filter(|(before, _)| {
                    before.is_empty() || *before == "async "
                });
                let defined: Vec<_> = defined
                    .filter_map(|(_, rest)| rest.split('(').next())
                    .filter(|name| !helpers.contains(name))
                    .collect();
                assert_eq!(defined, [$(stringify!($check)),*]);
            }
        }
    };
}

checks!(psycopg, "check_psycopg.py":
    rows_and_types commit_and_rollback autocommit transaction_blocks isolation_levels prepared_statements
    prepared_in_a_transaction pipeline copy server_side_cursor notifies cancel notices several_statements
    two_connections);

checks!(psycopg2, "check_psycopg2.py":
    transactions many_rows copy notifies asynchronous large_objects);

checks!(asyncpg, "check_asyncpg.py":
    rows_and_types prepared_statements transactions isolation_levels copy cursors notifications pool
    cancel_by_timeout terminated_in_a_transaction several_statements);
