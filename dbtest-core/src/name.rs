//! Names of databases and schemas: made here, read here, and nothing else is ever dropped. Pure.

use std::fmt;

/// What every name of ours starts with.
pub(crate) const PREFIX: &str = "dbtest_";

/// The name of a place that dbtest made.
///
/// `dbtest_t_FINGERPRINT` is a template, `dbtest_s_FINGERPRINT_NUMBER_GENERATION` a slot,
/// `dbtest_c_FINGERPRINT_UNIQUE` a clone, `dbtest_stable_WORD` a database for tools that check
/// queries. The longest has 46 characters: Postgres takes 63, MySQL 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Template { fingerprint: String },
    Slot { fingerprint: String, number: u32, generation: String },
    Clone { fingerprint: String, unique: String },
    Stable { word: String },
}

impl Name {
    pub(crate) fn template(fingerprint: &str) -> Self {
        Self::Template { fingerprint: fingerprint.to_owned() }
    }

    pub(crate) fn slot(fingerprint: &str, number: u32) -> Self {
        Self::Slot { fingerprint: fingerprint.to_owned(), number, generation: unique() }
    }

    pub(crate) fn clone_of(fingerprint: &str) -> Self {
        Self::Clone { fingerprint: fingerprint.to_owned(), unique: unique() }
    }

    /// `None` for a word that is not of lower-case letters and digits, or too long.
    pub(crate) fn stable(word: &str) -> Option<Self> {
        let fits = (1..=32).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        fits.then(|| Self::Stable { word: word.to_owned() })
    }

    /// Reads a name; `None` for every name that is not exactly one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('_');
        let kind = parts.next()?;
        if kind == "stable" {
            return Self::stable(parts.next()?).filter(|_| parts.next().is_none());
        }
        let fingerprint = word(parts.next()?, 12)?;
        let name = match kind {
            "t" => Self::Template { fingerprint },
            "s" => {
                let number = parts.next()?;
                let canonical = number.parse::<u32>().ok().filter(|n| n.to_string() == number)?;
                Self::Slot { fingerprint, number: canonical, generation: word(parts.next()?, 12)? }
            }
            "c" => Self::Clone { fingerprint, unique: word(parts.next()?, 12)? },
            _ => return None,
        };
        parts.next().is_none().then_some(name)
    }

    /// Which setup the place is of. A stable one has a word in its stead, and says it in its
    /// description.
    pub(crate) fn fingerprint(&self) -> &str {
        match self {
            Self::Template { fingerprint }
            | Self::Slot { fingerprint, .. }
            | Self::Clone { fingerprint, .. } => fingerprint,
            Self::Stable { word } => word,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { fingerprint } => write!(f, "{PREFIX}t_{fingerprint}"),
            Self::Slot { fingerprint, number, generation } => {
                write!(f, "{PREFIX}s_{fingerprint}_{number}_{generation}")
            }
            Self::Clone { fingerprint, unique } => write!(f, "{PREFIX}c_{fingerprint}_{unique}"),
            Self::Stable { word } => write!(f, "{PREFIX}stable_{word}"),
        }
    }
}

/// Hexadecimal digits, exactly so many.
fn word(text: &str, length: usize) -> Option<String> {
    let fits = text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| text.to_owned())
}

/// Twelve digits that no other process, and no other call, makes.
pub(crate) fn unique() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // RandomState is seeded from the system, and each one differs from the last.
    let random = RandomState::new().build_hasher().finish();
    format!("{:012x}", random & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let fingerprint = "0123456789ab";
        let stable = Name::stable("shop2").expect("a word");
        for name in
            [Name::template(fingerprint), Name::slot(fingerprint, 17), Name::clone_of(fingerprint), stable]
        {
            assert_eq!(Name::parse(&name.to_string()), Some(name.clone()), "{name}");
            assert!(name.to_string().len() <= 63);
        }
    }

    #[test]
    fn a_name_that_only_looks_like_ours_is_nobodys() {
        for name in [
            "dbtest",
            "dbtest_",
            "dbtest_production",
            "dbtest_t_",
            "dbtest_t_0123456789AB",
            "dbtest_t_0123456789ab_backup",
            "dbtest_s_0123456789ab_01_0123456789ab",
            "dbtest_s_0123456789ab_1",
            "dbtest_c_0123456789ab",
            "dbtest_stable_",
            "dbtest_stable_my-shop",
            "dbtest_stable_shop_2",
            "dbtest_stable_Shop",
            "xdbtest_t_0123456789ab",
            "DBTEST_t_0123456789ab",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn no_two_unique_words_are_alike() {
        let words: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(words.len(), 10_000);
    }
}
