//! What is said and asked at the end of a sandbox.

use dbtest_sandbox::{Closed, Options};

use crate::arena::{Ground, close, log_in};

/// The end of a sandbox in which a client ran this.
fn ended(ground: &Ground, statement: &str, last: &str, check: &str) -> Closed {
    let options = Options { last: last.to_owned(), check: check.to_owned(), ..Options::default() };
    let sandbox = ground.sandbox_with(options);
    let mut client = log_in(&sandbox, &ground.server);
    client.query(statement);
    close(sandbox)
}

const ADDS: &str = "INSERT INTO toys VALUES (5, 'five')";

#[test]
fn the_last_words_see_the_transaction_and_the_check_sees_none_of_it() {
    let ground = Ground::new();
    let count = "SELECT count(*) FROM toys";
    let divides = format!("SELECT 1 / (2 - ({count}))");
    for (statement, last, checked) in [
        (ADDS, "SELECT 1", Some("1")),
        // A statement that failed left nothing, so that this does not divide by zero, and there is one row.
        ("INSERT INTO toys VALUES (1, 'again')", divides.as_str(), Some("1")),
        // Two rows.
        (ADDS, divides.as_str(), None),
    ] {
        let closed = ended(&ground, statement, last, count);
        assert_eq!((closed.intact, closed.checked.as_deref()), (Ok(()), checked), "{statement}; {last}");
        assert!(closed.upstream.is_some(), "the server's connection can be used again");
        ground.untouched();
    }
    ground.end();
}

#[test]
fn without_a_transaction_there_are_no_last_words() {
    let ground = Ground::new();
    // Which begins none on any server: before 16 a read does.
    let closed = ended(&ground, "SET application_name = 'app'", "SELECT 1 / 0", "SELECT 'asked'");
    assert_eq!((closed.intact, closed.checked.as_deref()), (Ok(()), Some("asked")));
    ground.end();
}

#[test]
fn a_constraint_that_the_last_words_find_violated_ends_the_test() {
    let ground = Ground::new();
    let last = "DO $$ BEGIN RAISE foreign_key_violation USING MESSAGE = 'it does not hold'; END $$";
    let closed = ended(&ground, ADDS, last, "SELECT 1");
    let words = closed.intact.expect_err("a violation").to_string();
    assert!(words.contains("it does not hold"), "{words}");
    assert!(closed.upstream.is_none() && closed.checked.is_none());
    ground.untouched();
    ground.end();
}

#[test]
fn the_role_of_a_client_is_not_that_of_the_last_words() {
    let ground = Ground::new();
    let closed = ended(
        &ground,
        "INSERT INTO toys VALUES (5, 'five'); SET ROLE pg_monitor",
        "SELECT 1 / (current_user = session_user)::int",
        "SELECT current_user = session_user",
    );
    assert_eq!((closed.intact, closed.checked.as_deref()), (Ok(()), Some("t")));
    ground.end();
}
