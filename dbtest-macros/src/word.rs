//! Words that we don't know, and the ones that may be meant.

use proc_macro2::Span;

/// An error that names what is allowed, and the nearest of it. `mark` stands around each word.
pub(crate) fn unknown(span: Span, what: &str, given: &str, mark: char, allowed: &[&str]) -> syn::Error {
    let hint = match nearest(given, allowed) {
        Some(word) => format!(": did you mean {mark}{word}{mark}?"),
        None => String::new(),
    };
    let allowed: Vec<_> = allowed.iter().map(|word| format!("{mark}{word}{mark}")).collect();
    let allowed = allowed.join(", ");
    syn::Error::new(span, format!("unknown {what} {mark}{given}{mark}{hint}\nallowed: {allowed}"))
}

fn nearest<'a>(given: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let (edits, word) = allowed.iter().map(|word| (distance(given, word), *word)).min()?;
    (edits <= 2).then_some(word)
}

/// How many characters must be put in, taken out or changed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (above, b) in row.iter_mut().skip(1).zip(&to) {
            left = (diagonal + usize::from(a != *b)).min(*above + 1).min(left + 1);
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("seeds", "seeds"), 0);
        assert_eq!(distance("seed", "seeds"), 1);
        assert_eq!(distance("sedes", "seeds"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(nearest("strategi", &["migrations", "strategy"]), Some("strategy"));
        assert_eq!(nearest("pool", &["migrations", "strategy"]), None);
    }
}
