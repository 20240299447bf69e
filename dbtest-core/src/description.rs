//! What stands written on a place: the commit marker of a template, the owner of a slot, the
//! failed test of a kept database. On Postgres it is the database's comment, on MySQL a row of
//! `dbtest_meta`, on SQLite a file beside the file.

use serde::{Deserialize, Serialize};

/// Written last: a place without one is half-made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The crate or fixture it belongs to.
    pub(crate) label: String,
    /// The same for all versions of one setup; see `Setup::identity`.
    pub(crate) identity: String,
    /// Milliseconds since 1970.
    pub(crate) made: u64,
    /// SQL that a clone needs run on it, since the engine's clone leaves it behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after_clone: Vec<String>,
    /// Set when the place was kept for a person to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Kept>,
}

/// Why a place was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) test: String,
    pub(crate) strategy: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    /// The test passed, and was to be kept all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) passed: bool,
    /// A person wants it, whatever fails after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
}

impl Description {
    pub(crate) fn new(label: &str, identity: &str) -> Self {
        Self {
            label: label.to_owned(),
            identity: identity.to_owned(),
            made: now(),
            after_clone: Vec::new(),
            kept: None,
        }
    }

    pub(crate) fn to_json(&self) -> String {
        // Strings and numbers only: this can't fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None` for text that is not one: the place is then half-made.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_and_foreign_text_does_not() {
        let mut description = Description::new("app", "i");
        description.kept = Some(Kept {
            test: "it's::a \"test\"".into(),
            strategy: "truncate".into(),
            at: 1,
            passed: true,
            pinned: false,
        });
        assert_eq!(Description::from_json(&description.to_json()), Some(description));
        for foreign in ["", "our production database", "{}", "{\"label\":1}"] {
            assert_eq!(Description::from_json(foreign), None);
        }
    }
}
