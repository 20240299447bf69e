//! What functions notify. The server keeps it for a commit that never comes, and shows it to nobody.
//! While a client listens, a function stands in the place of `pg_notify` inside the sandbox's
//! transaction: it tells the sandbox by a message of its own, and the rollback takes it away.
//!
//! Renaming is what it takes: a server calls a built-in function by its number and never looks at
//! what else is said of it.

use crate::message;

/// Puts ours in the place of `pg_notify`. Never fails: a role that may not do it goes without. Plans
/// that were made before call the function itself.
pub(crate) const OVERHEAR: &str = "DO $_dbtest$ BEGIN \
     ALTER FUNCTION pg_catalog.pg_notify(text, text) RENAME TO \"_dbtest pg_notify\"; \
     CREATE FUNCTION pg_catalog.pg_notify(text, text) RETURNS void LANGUAGE plpgsql PARALLEL RESTRICTED AS $f$ BEGIN \
     IF coalesce($1, '') = '' THEN RAISE invalid_parameter_value USING MESSAGE = 'channel name cannot be empty'; \
     ELSIF pg_catalog.octet_length($1) >= 64 THEN \
     RAISE invalid_parameter_value USING MESSAGE = 'channel name too long'; \
     ELSIF pg_catalog.octet_length($2) >= 8000 THEN \
     RAISE invalid_parameter_value USING MESSAGE = 'payload string too long'; END IF; \
     RAISE INFO USING ERRCODE = 'DBTNT', DETAIL = $1, MESSAGE = coalesce($2, ''); END $f$; \
     RAISE INFO USING ERRCODE = 'DBTNT', MESSAGE = 'pg_notify'; \
     EXCEPTION WHEN OTHERS THEN NULL; END $_dbtest$; DISCARD PLANS";

/// Puts `pg_notify` back in its place, before what a failed test did is committed. Where something
/// that the test made depends on ours, the test's data counts for more.
pub(crate) const PUT_BACK: &str = "DO $$ BEGIN DROP FUNCTION pg_catalog.pg_notify(text, text); \
     ALTER FUNCTION pg_catalog.\"_dbtest pg_notify\"(text, text) RENAME TO pg_notify; \
     EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$";

/// What the function tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is in its place.
    Ready,
    /// It was called with a channel and a payload.
    Notify(String, String),
}

/// Reads the body of a NoticeResponse, if it is the function's.
pub(crate) fn heard(body: &[u8]) -> Option<Heard> {
    let [code, payload, channel] = message::fields(body, [b'C', b'M', b'D']);
    (code.as_deref() == Some("DBTNT")).then(|| match channel {
        Some(channel) => Heard::Notify(channel, payload.unwrap_or_default()),
        None => Heard::Ready,
    })
}
