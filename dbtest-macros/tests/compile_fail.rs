//! What the attribute refuses, with the compiler's words at the user's own line.

#[test]
fn errors_point_at_the_users_line() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
