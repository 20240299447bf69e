//! libpq itself: pipeline mode and what no driver above it shows. The checks are functions of
//! libpq/pipeline.c, compiled against the libpq that is installed; what they print is compared.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::place::{Place, same};
use crate::process::{program, program_at, run};

fn client() -> &'static Path {
    static CLIENT: OnceLock<PathBuf> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let say = |what: &str| run(program("pg_config").arg(what), "").ok().trim().to_owned();
        // Another process may be compiling it: to a name of one's own, then moved.
        let made =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libpq-pipeline-{}", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/libpq/pipeline.c");
        let mut cc = program("cc");
        cc.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-O1"]);
        cc.arg(format!("-I{}", say("--includedir"))).arg("-o").arg(&made).arg(source);
        cc.arg(format!("-L{}", say("--libdir"))).arg("-lpq");
        let compiled = run(&mut cc, "");
        assert!(
            compiled.status.success(),
            "the C client does not compile. It needs the headers of libpq 14 or newer \
             (`apt-get install libpq-dev`).\n{compiled}"
        );
        let client = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libpq-pipeline");
        std::fs::rename(&made, &client).expect("cargo's folder for tests is writable");
        client
    })
}

fn prints(place: &Place, check: &str) -> String {
    let ran = run(program_at(client()).args([check, &place.url]), "");
    assert!(ran.status.success(), "{ran}");
    ran.said(place)
}

macro_rules! checks {
    ($($check:ident)*) => {
        $(#[test]
        fn $check() {
            same(|place| prints(place, stringify!($check)));
        })*

        #[test]
        fn every_check_of_the_file_is_run() {
            let text = include_str!("libpq/pipeline.c");
            let defined: Vec<_> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("CHECK(")?.strip_suffix("),"))
                .collect();
            assert_eq!(defined, [$(stringify!($check)),*]);
        }
    };
}

checks!(many_queries several_syncs an_error_aborts_to_the_next_sync transactions
    an_implicit_transaction_ends_with_its_sync prepared_statements a_cursor single_rows
    more_than_any_buffer_holds what_no_buffer_holds_is_answered_before_the_sync
    what_is_flushed_is_answered_before_the_sync a_cancel_before_the_sync a_cancel_in_a_pipeline copies
    binary_results_and_parameters parameters_are_reported);
