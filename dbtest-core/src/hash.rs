//! One word for many parts: what a template is named by.

use sha2::{Digest, Sha256};

/// A hash over parts, none of which can run into the next.
#[derive(Debug, Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Twelve characters: enough to tell the setups of one server apart, short enough for a name.
    pub(crate) fn word(self) -> String {
        self.0.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The word for these parts.
pub(crate) fn word(parts: &[&str]) -> String {
    let mut hash = Hash::default();
    for part in parts {
        hash.part(part.as_bytes());
    }
    hash.word()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_cannot_run_into_the_next() {
        let words = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""], &[]].map(word);
        for (at, one) in words.iter().enumerate() {
            assert_eq!(one.len(), 12);
            assert!(!words[..at].contains(one), "{words:?}");
        }
        assert_eq!(word(&["ab", "c"]), words[0]);
    }
}
