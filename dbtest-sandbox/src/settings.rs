//! The parameters that one client has set, and the SQL that goes from one client's to another's.

use std::collections::BTreeMap;

/// Whether a client's transactions may write. The sandbox's own guard has that name on the server.
pub(crate) const READ_ONLY: &str = "default_transaction_read_only";

/// What is the transaction's and not the session's, and what has no value to come back to. Servers
/// from 16 on refuse to RESET them.
const NOT_KEPT: [&str; 4] =
    ["seed", "transaction_deferrable", "transaction_isolation", "transaction_read_only"];

/// Who one is. Setting the first puts the second back to none, and RESET ALL leaves both alone.
pub(crate) const IDENTITY: [&str; 2] = ["session_authorization", "role"];

/// Makes us ourselves again.
pub(crate) const OURSELVES: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE";

/// Where a parameter stands among those that say who one is.
pub(crate) fn identity(name: &str) -> Option<usize> {
    IDENTITY.iter().position(|identity| *identity == name)
}

/// What else changes with a parameter.
pub(crate) fn with_role(name: String) -> Vec<String> {
    let role = (name == IDENTITY[0]).then(|| IDENTITY[1].to_owned());
    [name].into_iter().chain(role).collect()
}

/// A parameter of the session, that goes with its client.
pub(crate) fn is_kept(name: &str) -> bool {
    !NOT_KEPT.contains(&name)
}

/// One client's parameters.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// What it asked for when it connected; RESET goes back to it.
    startup: BTreeMap<String, String>,
    /// All that the server must have while this client runs something.
    wanted: BTreeMap<String, String>,
    /// Its transactions are READ ONLY unless they say otherwise.
    pub(crate) read_only: bool,
    /// They were at first.
    began_read_only: bool,
}

impl Settings {
    pub(crate) fn new(mut startup: BTreeMap<String, String>) -> Self {
        startup.retain(|name, _| is_kept(name));
        let read_only = startup.remove(READ_ONLY).is_some_and(|value| is_on(&value));
        Self { wanted: startup.clone(), startup, read_only, began_read_only: read_only }
    }

    pub(crate) fn wanted(&self) -> &BTreeMap<String, String> {
        &self.wanted
    }

    /// The client's own name for itself.
    pub(crate) fn application(&self) -> &str {
        self.wanted.get("application_name").map_or("", String::as_str)
    }

    /// The SQL that makes of us who the client is.
    pub(crate) fn identity(&self) -> Vec<String> {
        let who = IDENTITY.iter().filter_map(|name| Some(set(name, self.wanted.get(*name)?)));
        who.collect()
    }

    /// The client set this, and it stays.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        if name == READ_ONLY {
            self.read_only = value.is_some_and(|value| is_on(&value));
            return;
        }
        match value {
            Some(value) => self.wanted.insert(name.to_owned(), value),
            None => self.wanted.remove(name),
        };
    }

    /// RESET of one.
    pub(crate) fn back(&mut self, name: &str) {
        match name {
            READ_ONLY => self.read_only = self.began_read_only,
            _ => self.set(name, self.startup.get(name).cloned()),
        }
    }

    /// RESET ALL.
    pub(crate) fn reset(&mut self) {
        self.wanted.retain(|name, _| identity(name).is_some());
        let others = self.startup.iter().filter(|(name, _)| identity(name).is_none());
        self.wanted.extend(others.map(|(name, value)| (name.clone(), value.clone())));
        self.read_only = self.began_read_only;
    }

    /// The SQL that makes of what is applied what is wanted.
    pub(crate) fn switch(
        applied: &BTreeMap<String, String>,
        wanted: &BTreeMap<String, String>,
    ) -> Option<String> {
        let mut sql = Vec::new();
        // Who one is decides what one may set: back to ourselves first, to somebody else last.
        let mut gone: Vec<_> = applied.keys().filter(|name| !wanted.contains_key(*name)).collect();
        gone.sort_by_key(|name| identity(name).unwrap_or(IDENTITY.len()));
        for name in gone {
            sql.push(format!("RESET {}", quoted(name)));
        }
        let differs = |name: &str| applied.get(name) != wanted.get(name);
        let again = |name: &str| name == IDENTITY[1] && differs(IDENTITY[0]);
        let mut new: Vec<_> = wanted.iter().filter(|(name, _)| differs(name) || again(name)).collect();
        new.sort_by_key(|(name, _)| identity(name));
        for (name, value) in new {
            sql.push(set(name, value));
        }
        (!sql.is_empty()).then(|| sql.join("; "))
    }
}

/// Lists of names: SET would take the whole of a value for one name.
const LISTS: [&str; 5] = [
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
];

/// Sets a parameter for the session. SET costs the server half of what `set_config` does, but of
/// an extension's parameter nobody here knows what it is.
pub(crate) fn set(name: &str, value: &str) -> String {
    if LISTS.contains(&name) || name.contains('.') {
        return format!("SELECT pg_catalog.set_config({}, {}, false)", literal(name), literal(value));
    }
    format!("SET {} TO {}", quoted(name), literal(value))
}

/// Reads parameters; one that does not exist is NULL.
pub(crate) fn read<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let rows: Vec<_> = names
        .map(|name| format!("SELECT {0}, pg_catalog.current_setting({0}, true)", literal(name)))
        .collect();
    rows.join(" UNION ALL ")
}

/// What SET takes for a yes.
pub(crate) fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1" | "t" | "y")
}

/// A string literal that means the same whatever the session's settings are.
pub(crate) fn literal(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

/// A name with dots, each part quoted.
fn quoted(name: &str) -> String {
    let parts: Vec<_> = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_switch_sets_what_differs_and_resets_what_is_gone() {
        let applied = map(&[("a.b", "1"), ("role", "r"), ("x", "1"), ("same", "s")]);
        let wanted = map(&[("x", "it's\\"), ("same", "s"), ("role", "q"), ("c.d", "2")]);
        assert_eq!(
            Settings::switch(&applied, &wanted).as_deref(),
            Some(
                "RESET \"a\".\"b\"; SELECT pg_catalog.set_config('c.d', '2', false); SET \"x\" TO E'it''s\\\\'; \
                 SET \"role\" TO 'q'"
            )
        );
        assert_eq!(Settings::switch(&applied, &applied), None);
        let applied = map(&[("role", "r"), ("session_authorization", "s")]);
        assert_eq!(
            Settings::switch(&applied, &map(&[("role", "r")])).as_deref(),
            Some("RESET \"session_authorization\"; SET \"role\" TO 'r'")
        );
    }

    #[test]
    fn who_asks_for_a_read_only_session_gets_one() {
        let mut settings = Settings::new(map(&[(READ_ONLY, "on"), ("application_name", "app")]));
        assert!(settings.read_only && settings.wanted().len() == 1 && settings.application() == "app");
        settings.set(READ_ONLY, Some("off".to_owned()));
        settings.set("x", Some("1".to_owned()));
        settings.set("role", Some("r".to_owned()));
        assert!(!settings.read_only && settings.wanted().len() == 3);
        settings.reset();
        assert!(settings.read_only);
        assert_eq!(*settings.wanted(), map(&[("application_name", "app"), ("role", "r")]));
    }
}
