//! What is in a database, in lines that two looks at it can be compared by: the rows of every
//! table, and the catalogue. Sequences are left out, since no transaction holds them back.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::place::run;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<String, String>);

/// In place of what can't be looked at: an open transaction holds the table.
const LOCKED: &str = "locked";

impl Fingerprint {
    /// Nothing of `later` differs that could be looked at.
    #[track_caller]
    pub(crate) fn assert_same(&self, later: &Self, when: &str) {
        let names = self.0.keys().chain(later.0.keys());
        let changed = names.filter(|name| {
            let (before, after) = (self.0.get(*name), later.0.get(*name));
            before != after && after.is_none_or(|after| after != LOCKED)
        });
        let changed: Vec<_> = changed
            .map(|name| format!("{name}: {:?}, was {:?}", later.0.get(name), self.0.get(name)))
            .collect();
        assert!(changed.is_empty(), "something was committed, seen {when}:\n{}", changed.join("\n"));
    }
}

/// One line of the fingerprint each: what it is, and a query of one value.
const CATALOGUE: &[(&str, &str)] = &[
    ("schemas", "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'"),
    (
        "relations",
        "SELECT string_agg(format('%s %s %s %s', c.oid::regclass, relkind, relowner, relacl), E'\\n' ORDER BY c.oid)
         FROM pg_class c WHERE c.oid >= 16384 AND relpersistence <> 't' AND relkind <> 't'
           AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_toast')",
    ),
    (
        "columns",
        "SELECT md5(string_agg(format('%s %s %s %s', attrelid, attname, atttypid, attnotnull), ',' ORDER BY attrelid, attnum))
         FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE c.oid >= 16384 AND relpersistence <> 't'",
    ),
    (
        "constraints",
        "SELECT string_agg(pg_get_constraintdef(oid), E'\\n' ORDER BY oid) FROM pg_constraint WHERE oid >= 16384",
    ),
    (
        "indexes",
        "SELECT string_agg(indexdef, E'\\n' ORDER BY indexdef) FROM pg_indexes WHERE schemaname !~ '^pg_'",
    ),
    ("defaults", "SELECT string_agg(pg_get_expr(adbin, adrelid), E'\\n' ORDER BY oid) FROM pg_attrdef"),
    ("functions", "SELECT string_agg(oid::regprocedure::text || md5(prosrc), E'\\n' ORDER BY oid) FROM pg_proc WHERE oid >= 16384"),
    ("triggers", "SELECT string_agg(tgname || tgenabled::text, E'\\n' ORDER BY oid) FROM pg_trigger"),
    ("types", "SELECT count(*)::text FROM pg_type"),
    ("enums", "SELECT string_agg(enumlabel, ' ' ORDER BY oid) FROM pg_enum"),
    ("rules", "SELECT count(*)::text FROM pg_rewrite"),
    ("policies", "SELECT count(*)::text FROM pg_policy"),
    ("extensions", "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"),
    ("event triggers", "SELECT string_agg(evtname, ' ' ORDER BY evtname) FROM pg_event_trigger"),
    ("publications", "SELECT count(*)::text FROM pg_publication"),
    ("comments", "SELECT count(*)::text FROM pg_description"),
    ("dependencies", "SELECT count(*)::text FROM pg_depend"),
    ("default rights", "SELECT count(*)::text FROM pg_default_acl"),
    ("large objects", "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_largeobject_metadata"),
    (
        "settings",
        "SELECT string_agg(setconfig::text, ' ' ORDER BY setrole) FROM pg_db_role_setting
         WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    ),
    (
        "prepared transactions",
        "SELECT string_agg(gid, ' ' ORDER BY gid) FROM pg_prepared_xacts WHERE database = current_database()",
    ),
];

/// Looks at the database that the URL leads to, past any sandbox. What is locked right now is
/// waited for, and then it is all in it.
pub(crate) fn fingerprint(url: &str) -> Fingerprint {
    run(async {
        loop {
            let seen = look(url).await;
            if !seen.0.values().any(|value| value == LOCKED) {
                return seen;
            }
        }
    })
}

/// The same at once, without what is locked.
pub(crate) fn fingerprint_now(url: &str) -> Fingerprint {
    run(look(url))
}

async fn look(url: &str) -> Fingerprint {
    // A place that is just being put back ends all connections to it but its own.
    let mut tries = 0;
    loop {
        match lines(url).await {
            Ok(lines) => return Fingerprint(lines),
            Err(error) if tries == 20 => panic!("the database can't be looked at: {error}"),
            Err(_) => tries += 1,
        }
    }
}

async fn lines(url: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("SET lock_timeout = '100ms'").execute(&mut connection).await?;
    let mut lines = BTreeMap::new();
    for (name, query) in CATALOGUE {
        lines.insert((*name).to_owned(), value(&mut connection, query).await?);
    }
    // dbtest's own notes on how often each sequence was read are no rows of a test's.
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT oid::regclass::text FROM pg_class
         WHERE relkind IN ('r', 'm') AND relpersistence <> 't' AND oid >= 16384
           AND oid::regclass::text NOT IN ('_dbtest.seq', '_dbtest.state')
           AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^(pg_|information_schema)')",
    )
    .fetch_all(&mut connection)
    .await?;
    for table in tables {
        let query = format!(
            "SELECT count(*) || ' rows ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t"
        );
        lines.insert(format!("table {table}"), value(&mut connection, &query).await?);
    }
    connection.close().await?;
    Ok(lines)
}

async fn value(connection: &mut PgConnection, query: &str) -> Result<String, sqlx::Error> {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    match sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(query)).fetch_one(connection).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            Ok(LOCKED.to_owned())
        }
        result => result.map(Option::unwrap_or_default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::open;
    use dbtest_sqlx::Strategy;

    #[test]
    fn a_fingerprint_sees_rows_and_schema_changes() {
        let db = open(Strategy::Template);
        let mut seen = fingerprint(db.url());
        seen.assert_same(&fingerprint(db.url()), "at once");
        for change in [
            "INSERT INTO author (name) VALUES ('Nobody')",
            "UPDATE book SET title = 'Doon' WHERE id = 1",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
            "ALTER TABLE book ADD pages int",
            "CREATE VIEW v AS SELECT 1",
            "COMMENT ON TABLE book IS 'a comment'",
            "GRANT SELECT ON book TO PUBLIC",
            "SELECT lo_create(0)",
        ] {
            run(async {
                let mut connection = PgConnection::connect(db.url()).await.expect("a connection");
                sqlx::raw_sql(change).execute(&mut connection).await.expect(change);
                connection.close().await.expect("closed");
            });
            let now = fingerprint(db.url());
            assert_ne!(seen, now, "not seen: {change}");
            seen = now;
        }
        db.close_blocking().expect("closed");
    }
}
