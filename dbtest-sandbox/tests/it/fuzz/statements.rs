//! Arbitrary text, cut into statements.

use dbtest_sandbox::statement::{Kind, lexable, statements};

use super::corpus;
use super::rng::Rng;

fn text(rng: &mut Rng) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=rng.below(12) {
        if rng.one_in(4) {
            text.extend_from_slice(rng.one_of(corpus::SQL).as_bytes());
        } else {
            text.extend_from_slice(rng.one_of(corpus::SOUP).as_bytes());
        }
        text.extend_from_slice(rng.one_of(&[" ", "", ";", "\n", " ; "]).as_bytes());
    }
    if rng.one_in(2) {
        rng.mangle(&mut text);
    }
    if rng.one_in(50) {
        text = (0..rng.below(40)).map(|_| rng.next() as u8).collect();
    }
    text
}

/// A kind without the place of its name.
fn placed(kind: &Kind, start: usize) -> Kind {
    let moved = |range: &std::ops::Range<usize>| range.start - start..range.end - start;
    match kind {
        Kind::Prepare(range, name) => Kind::Prepare(moved(range), name.clone()),
        Kind::Execute(range, name) => Kind::Execute(moved(range), name.clone()),
        Kind::Deallocate(Some((range, name))) => Kind::Deallocate(Some((moved(range), name.clone()))),
        kind => kind.clone(),
    }
}

pub fn check(seed: u64, number: u64) {
    let bytes = text(&mut Rng::new(seed, number));
    let shown = || bytes.escape_ascii();
    let text = lexable(&bytes);
    assert_eq!(text.len(), bytes.len(), "{}", shown());
    let mut end = 0;
    for statement in statements(&text) {
        let range = statement.range.clone();
        assert!(end <= range.start && range.start < range.end, "{range:?} in {}", shown());
        end = range.end;
        let own = text.get(range.clone()).unwrap_or_else(|| panic!("{range:?} in {}", shown()));
        if own.starts_with('\u{feff}') {
            // At the head of a text it is no part of it.
            continue;
        }
        let again = statements(own);
        assert_eq!(again.len(), 1, "{own:?} in {}", shown());
        assert_eq!(again[0].range, 0..own.len(), "{own:?} in {}", shown());
        assert_eq!(again[0].kind, placed(&statement.kind, range.start), "{own:?} in {}", shown());
        assert_eq!(again[0].schema_change, statement.schema_change, "{own:?} in {}", shown());
        assert_eq!(again[0].constant, statement.constant, "{own:?} in {}", shown());
    }
    assert!(end <= text.len(), "{}", shown());
}
