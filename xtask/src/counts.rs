//! What a test runner's output says: how many ran, which failed, which were passed over.

use std::collections::BTreeSet;

/// Who ran the tests, and so how to read the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    CargoTest,
    Nextest,
}

impl Runner {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runner::CargoTest => "cargo test",
            Runner::Nextest => "nextest",
        }
    }
}

/// The sum over one leg's output, read line by line while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    /// `#[ignore]` and ignored doc tests, by name where the runner gives it.
    ignored: u64,
    /// The library's own word for a test that it skipped; the runner counts it as passed.
    said_skipped: u64,
    /// Results seen so far: progress, before there is a sum.
    pub(crate) so_far: u64,
    pub(crate) failures: BTreeSet<String>,
    pub(crate) ignored_names: BTreeSet<String>,
}

impl Counts {
    pub(crate) fn passed(&self) -> u64 {
        self.passed.saturating_sub(self.said_skipped)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.ignored + self.said_skipped
    }

    /// How many tests did run.
    pub(crate) fn ran(&self) -> u64 {
        self.passed() + self.failed
    }

    /// Takes in one line. `filter` is the part of a name that this leg asked for: nextest counts
    /// what does not have it as skipped, and we do not.
    pub(crate) fn line(&mut self, runner: Runner, filter: &str, line: &str) {
        // With one thread libtest has written the test's name when the test writes.
        let said = line.trim_start();
        if said.starts_with("dbtest: skipped") || said.contains(" ... dbtest: skipped") {
            self.said_skipped += 1;
        }
        match runner {
            Runner::CargoTest => self.libtest(line),
            Runner::Nextest => self.nextest(filter, line),
        }
    }

    fn libtest(&mut self, line: &str) {
        if let Some(sums) = line.strip_prefix("test result: ") {
            let sums = sums.split_once(". ").map_or(sums, |(_, sums)| sums);
            for (number, word) in sums.split(';').filter_map(number_and_word) {
                match word {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        } else if let Some((name, result)) =
            line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... "))
        {
            match result {
                "ok" => self.so_far += 1,
                "FAILED" => {
                    self.so_far += 1;
                    self.failures.insert(name.to_owned());
                }
                _ if result.starts_with("ignored") => {
                    self.ignored_names.insert(name.to_owned());
                }
                _ => {}
            }
        }
    }

    fn nextest(&mut self, filter: &str, line: &str) {
        // Captured output stands at the start of a line or four blanks in, headings deeper; a
        // test that prints one of these words all the same is not one of ours.
        let Some((status, rest)) = line.trim_start().split_once(" [") else { return };
        let name = rest.rsplit(' ').next().unwrap_or_default();
        match status {
            "Summary" => {
                let Some((_, sums)) = rest.split_once(" run: ") else { return };
                (self.passed, self.failed) = (0, 0);
                for (number, word) in without_parentheses(sums).split(',').filter_map(number_and_word) {
                    match word {
                        "passed" => self.passed += number,
                        "failed" | "exec failed" | "timed out" => self.failed += number,
                        _ => {}
                    }
                }
            }
            "PASS" | "LEAK" | "FLAKY" => self.so_far += 1,
            "FAIL" | "TIMEOUT" | "ABORT" | "SIGABRT" | "SIGSEGV" | "SIGKILL" | "SIGTERM" | "XFAIL"
            | "LEAK-FAIL"
                if self.failures.insert(name.to_owned()) =>
            {
                self.so_far += 1
            }
            "SKIP" if name.contains(filter) && self.ignored_names.insert(name.to_owned()) => {
                self.ignored += 1
            }
            _ => {}
        }
    }
}

fn number_and_word(text: &str) -> Option<(u64, &str)> {
    let (number, word) = text.trim().split_once(' ')?;
    Some((number.parse().ok()?, word.trim()))
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

/// What failed tests said, without their backtraces: enough to see why where only the end of a
/// run's output is kept.
pub(crate) fn said(output: &[String]) -> Vec<String> {
    const MOST_LINES: usize = 60;
    let mut said = Vec::new();
    let mut inside = false;
    for line in output {
        let word = line.trim_start();
        if (word.starts_with("---- ") && word.ends_with(" stdout ----")) || word.starts_with("FAIL [") {
            inside = true;
        } else if ["stack backtrace:", "failures:", "test result:", "PASS [", "note: run with"]
            .iter()
            .any(|end| word.starts_with(end))
        {
            inside = false;
        }
        if inside && !word.is_empty() && said.len() < MOST_LINES {
            said.push(line.clone());
        }
    }
    said
}

/// Whether a line of a failed leg's output helps to see why: the tests that passed do not, nor does
/// what was compiled.
pub(crate) fn worth_printing(line: &str) -> bool {
    if ["   Compiling ", "    Checking ", " Downloading ", "  Downloaded "]
        .iter()
        .any(|way| line.starts_with(way))
    {
        return false;
    }
    let passed = line.starts_with("test ") && (line.ends_with(" ... ok") || line.contains(" ... ignored"));
    let word = line.trim_start();
    !passed && !word.starts_with("PASS [") && !word.starts_with("SKIP [")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(runner: Runner, filter: &str, output: &str) -> Counts {
        let mut counts = Counts::default();
        for line in output.lines() {
            counts.line(runner, filter, line);
        }
        counts
    }

    const LIBTEST: &str = "
     Running unittests src/lib.rs (target/debug/deps/xt-649feb794d4f15e0)

running 6 tests
test mysql::ign ... ignored
test mysql::why ... ignored, needs the moon
test mysql::good ... ok
test postgres::bad ... FAILED
test postgres::panics - should panic ... ok

failures:

---- postgres::bad stdout ----
thread 'postgres::bad' (12634) panicked at src/lib.rs:18:21:

failures:
    postgres::bad

test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 3.00s

error: test failed, to rerun pass `--lib`
   Doc-tests xt

running 3 tests
test src/lib.rs - b (line 5) - compile ... ok
test src/lib.rs - b (line 8) ... ignored
test src/lib.rs - a (line 1) ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s


running 1 test
test src/lib.rs - b (line 11) - compile fail ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.04s
";

    #[test]
    fn libtest_results_are_summed_over_binaries_and_doc_tests() {
        let counts = read(Runner::CargoTest, "", LIBTEST);
        assert_eq!((counts.passed(), counts.failed(), counts.skipped()), (5, 1, 3));
        assert_eq!(counts.so_far, 6);
        assert_eq!(counts.failures.iter().collect::<Vec<_>>(), ["postgres::bad"]);
        assert!(counts.ignored_names.contains("mysql::why"), "{:?}", counts.ignored_names);
    }

    const NEXTEST: &str = "
    Starting 3 tests across 1 binary (3 tests skipped)
        SKIP [         ] (───) xt mysql::good
        SKIP [         ] (───) xt mysql::ign
        SKIP [         ] (───) xt postgres::ign
        PASS [   0.007s] (1/3) xt postgres::good
        FAIL [   0.109s] (2/3) xt postgres::bad
  stdout ───

    running 1 test
    test postgres::bad ... FAILED

    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.10s

        SLOW [>  1.000s] (───) xt postgres::slow
 TERMINATING [>  2.000s] (───) xt postgres::slow
     TIMEOUT [   2.007s] (3/3) xt postgres::slow
────────────
     Summary [   2.014s] 3 tests run: 1 passed, 1 failed, 1 timed out, 3 skipped
        FAIL [   0.109s] (2/3) xt postgres::bad
     TIMEOUT [   2.007s] (3/3) xt postgres::slow
error: test run failed
";

    #[test]
    fn nextest_results_come_from_the_summary_alone() {
        let counts = read(Runner::Nextest, "postgres::", NEXTEST);
        assert_eq!((counts.passed(), counts.failed()), (1, 2));
        assert_eq!(counts.so_far, 3);
        assert_eq!(counts.failures.iter().collect::<Vec<_>>(), ["postgres::bad", "postgres::slow"]);
    }

    #[test]
    fn nextest_skips_are_the_ignored_tests_and_not_those_of_other_engines() {
        let counts = read(Runner::Nextest, "postgres::", NEXTEST);
        assert_eq!(counts.skipped(), 1);
        assert_eq!(counts.ignored_names.iter().collect::<Vec<_>>(), ["postgres::ign"]);
    }

    #[test]
    fn nextest_remarks_in_parentheses_are_no_results() {
        let line = "     Summary [  10.1s] 9/12 tests run: 7 passed (1 slow, 2 flaky, 1 leaky), 1 failed, 1 exec failed";
        let counts = read(Runner::Nextest, "", line);
        assert_eq!((counts.passed(), counts.failed()), (7, 2));
    }

    #[test]
    fn what_the_library_skipped_is_not_passed() {
        let output = "
dbtest: skipped postgres::rows: no server
test postgres::rows ... dbtest: skipped postgres::rows: no server
test postgres::rows ... ok
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let counts = read(Runner::CargoTest, "", output);
        assert_eq!((counts.passed(), counts.skipped(), counts.ran()), (1, 2, 1));
        let output = "    dbtest: skipped x\n     Summary [   0.0s] 1 test run: 1 passed, 4 skipped";
        let counts = read(Runner::Nextest, "", output);
        assert_eq!((counts.passed(), counts.skipped(), counts.ran()), (0, 1, 0));
    }

    #[test]
    fn nothing_is_counted_where_nothing_ran() {
        let output =
            "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        assert_eq!(read(Runner::CargoTest, "", output).ran(), 0);
        assert_eq!(
            read(Runner::Nextest, "", "     Summary [   0.000s] 0 tests run: 0 passed, 6 skipped").ran(),
            0
        );
    }

    #[test]
    fn a_failed_leg_prints_what_failed() {
        let kept: Vec<_> =
            NEXTEST.lines().chain(LIBTEST.lines()).filter(|line| worth_printing(line)).collect();
        assert!(kept.iter().any(|line| line.contains("panicked")));
        assert!(!kept.iter().any(|line| line.contains("good")), "{kept:?}");
        assert!(!worth_printing("   Compiling tokio v1.54.1"));
    }

    #[test]
    fn what_failed_tests_said_is_told_again_without_backtraces() {
        let output: Vec<String> =
            LIBTEST.lines().chain(["stack backtrace:", "   0: main"]).map(str::to_owned).collect();
        let said = said(&output);
        assert!(said.iter().any(|line| line.contains("panicked")), "{said:?}");
        assert!(!said.iter().any(|line| line.contains("main")), "{said:?}");
    }
}
