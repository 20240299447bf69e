//! Postgres: databases as places, cloned with `CREATE DATABASE … TEMPLATE`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::url::Url;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::postgres_schema::Schemas;
use super::{
    Attached, Details, Engine, Found, Hold, Holder, Met, PlaceForm, Places, Sandboxing, Settle, Settled,
};
use crate::backend::{DbError, Session};
use crate::config::patient;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::hub::{Hub, Lent, scalar};
use crate::name::Name;
use crate::server::{Connect, Finding};
use crate::sql::literal;

/// The first half of all our advisory locks; the second is the hash of a name.
pub(super) const LOCK: i32 = 0x0DB7_E575;

/// The oldest version that has all that a slot's SQL uses.
const OLDEST: u32 = 140_000;

/// How long a connection that was told to end may take. A backend in an uninterruptible state
/// is rare, and then an error is better than a test that hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What one query tells about the server and the user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) number: u32,
    pub(crate) superuser: bool,
    pub(crate) may_create: bool,
    durable: bool,
    /// How many connections all users but superusers may have, or this one.
    pub(crate) connections: Option<u32>,
    user: String,
}

impl Facts {
    const QUERY: &str = "SELECT current_setting('server_version'), current_setting('server_version_num'), \
        r.rolsuper::int, (r.rolsuper OR r.rolcreatedb)::int, (current_setting('fsync') = 'on')::int, \
        least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
          - coalesce(current_setting('reserved_connections', true)::int, 0), nullif(r.rolconnlimit, -1)), \
        r.rolname \
        FROM pg_roles r WHERE r.rolname = current_user";

    pub(crate) async fn ask(hub: &Arc<Hub>) -> Result<Self> {
        let rows = hub.query("ask the server what it is", Self::QUERY).await?;
        let column = |at: usize| rows.first().and_then(|row| row.get(at)?.clone()).unwrap_or_default();
        // Debian appends its own version behind a space.
        let version = column(0).split(' ').next().unwrap_or_default().to_owned();
        let number = column(1).parse().unwrap_or(0);
        if number < OLDEST {
            return Err(Error::too_old("Postgres", &hub.shown(), &version, "14"));
        }
        Ok(Self {
            number,
            superuser: column(2) == "1",
            may_create: column(3) == "1",
            durable: column(4) == "1",
            connections: column(5).parse().ok(),
            user: column(6),
        })
    }

    pub(crate) fn told(&self) -> String {
        // Strings, numbers and truth values: this can't fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What makes a place serve only this server, and only this user: nobody but a superuser can
    /// close or drop what another one made.
    pub(crate) fn version(&self) -> String {
        let major = self.number / 10_000;
        if self.superuser { format!("postgres {major}") } else { format!("postgres {major} {}", self.user) }
    }
}

/// Databases on one Postgres server.
#[derive(Debug)]
pub(crate) struct Databases {
    hub: Arc<Hub>,
    url: Url,
    facts: Facts,
    version: String,
    protector: tokio::sync::Mutex<Option<Lent>>,
}

impl Databases {
    pub(crate) fn new(hub: Arc<Hub>, facts: Facts) -> Result<Self> {
        let url = Url::parse(&hub.url)
            .map_err(|error| Error::malformed_url("the server's URL", Engine::Postgres, error))?;
        if !facts.may_create {
            return Err(Error::unsupported(
                format!("the database user may not create databases ({})", hub.shown()),
                "run ALTER ROLE … CREATEDB, or use the strategy \"schema\", which creates no database",
            ));
        }
        let version = facts.version();
        Ok(Self { hub, url, facts, version, protector: tokio::sync::Mutex::default() })
    }

    fn parsed(&self, name: &str) -> String {
        crate::url::with_database(&self.url, name)
    }

    async fn run(&self, operation: &str, sql: &str) -> Result<()> {
        self.hub.execute(operation, sql).await
    }

    /// Creates a database; the lock on its name is held. One that is there all the same, since it was
    /// looked for, comes from a statement of a process that was killed: the server runs it to its end.
    async fn make(&self, operation: &str, name: &Name, sql: &str) -> Result<()> {
        let made = self.run(operation, sql).await;
        let code = made.as_ref().err().and_then(Error::code);
        if !matches!(code, Some("42P04" | "23505")) {
            return made;
        }
        self.destroy(name).await?;
        self.run(operation, sql).await
    }

    /// Ends every connection to the database and waits until the last is gone. CREATE and DROP
    /// DATABASE wait for them too, but in steps of 100 ms.
    async fn quiesce(&self, name: &Name) -> Result<()> {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {}",
            literal(&name.to_string())
        );
        let deadline = Instant::now() + patient(PATIENCE);
        loop {
            let rows = self.hub.query("end the connections of a database", &sql).await?;
            if scalar(&rows) == Some("0") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::cleanup(&name.to_string(), "a connection to it does not end"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// All databases of ours, what is written on each, and whether somebody holds it: by its lease,
/// which is a lock inside the database, or by its name, which is one in the maintenance database.
fn survey_sql() -> String {
    format!(
        "{} SELECT d.datname, shobj_description(d.oid, 'pg_database'), (EXISTS (SELECT FROM held h \
           WHERE h.database = d.oid OR h.objid = (hashtext(d.datname)::bigint & 4294967295)::oid))::int \
         FROM pg_database d WHERE d.datname LIKE 'dbtest\\_%'",
        held_sql()
    )
}

/// All locks of ours.
pub(super) fn held_sql() -> String {
    format!(
        "WITH held AS (SELECT database, objid, pid FROM pg_locks WHERE locktype = 'advisory' \
           AND granted AND classid = {LOCK}::bigint::oid AND objsubid = 2)"
    )
}

/// The size of each database of ours, where the user may know it, and who holds it.
fn details_sql() -> String {
    format!(
        "{} SELECT d.datname, CASE WHEN has_database_privilege(d.oid, 'CONNECT') \
           THEN pg_database_size(d.oid) END, a.pid, a.application_name \
         FROM pg_database d LEFT JOIN LATERAL (SELECT h.pid FROM held h WHERE h.database = d.oid \
           OR h.objid = (hashtext(d.datname)::bigint & 4294967295)::oid ORDER BY h.database <> d.oid LIMIT 1) h ON true \
         LEFT JOIN pg_stat_activity a ON a.pid = h.pid WHERE d.datname LIKE 'dbtest\\_%'",
        held_sql()
    )
}

/// Reads name, size, server process and application.
pub(super) fn details(rows: crate::backend::Rows) -> HashMap<Name, Details> {
    rows.into_iter()
        .filter_map(|row| {
            let cell = |at: usize| row.get(at).cloned().flatten();
            let size = cell(1).and_then(|size| size.parse().ok());
            let connection = cell(2).and_then(|pid| pid.parse().ok());
            let application = cell(3).filter(|name| !name.is_empty());
            let process = application.as_deref().and_then(|name| name.strip_prefix("dbtest-")?.parse().ok());
            let holder = connection.is_some().then_some(Holder { process, connection, application });
            Some((Name::parse(&cell(0)?)?, Details { size, holder }))
        })
        .collect()
}

/// A call of an advisory lock function for a name.
pub(super) fn lock_call(function: &str, name: &str) -> String {
    format!("{function}({LOCK}, hashtext({}))", literal(name))
}

pub(super) fn found(rows: crate::backend::Rows) -> Vec<Found> {
    rows.into_iter()
        .filter_map(|row| {
            let mut columns = row.into_iter();
            // Names that only look like ours are nobody's business here.
            let name = Name::parse(&columns.next()??)?;
            let description = columns.next()?.and_then(|text| Description::from_json(&text));
            let held = columns.next()?.as_deref() == Some("1");
            Some(Found { name, description, held })
        })
        .collect()
}

/// The slot's own SQL, with its schema and its conditions filled in.
pub(super) fn slot_sql(template: &str, meta: &str, mine: &str, others: &str, lobs: bool) -> String {
    template
        .replace("@meta@", meta)
        .replace("@mine@", mine)
        .replace("@others@", others)
        .replace("@lobs@", if lobs { "true" } else { "false" })
}

/// The schema in which a slot database keeps what it needs to be reset.
const META: &str = "_dbtest";

pub(super) const SLOT_SQL: &str = include_str!("postgres_slot.sql");

#[async_trait]
impl Places for Databases {
    fn shown(&self) -> String {
        self.hub.shown()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn facts(&self) -> String {
        self.facts.told()
    }

    fn connections(&self) -> Option<u32> {
        self.facts.connections
    }

    async fn rest(&self) {
        self.hub.rest().await;
    }

    fn url(&self, name: &Name) -> String {
        self.parsed(&name.to_string())
    }

    fn command(&self, name: &Name) -> String {
        command(&self.url, &name.to_string(), None)
    }

    async fn survey(&self) -> Result<Vec<Found>> {
        Ok(found(self.hub.query("list the test databases", &survey_sql()).await?))
    }

    async fn details(&self) -> Result<HashMap<Name, Details>> {
        Ok(details(self.hub.query("measure the test databases", &details_sql()).await?))
    }

    async fn hold(&self, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
        hold(&self.hub, name, wait).await
    }

    async fn protect(&self, name: &Name) -> Result<bool> {
        // One session holds the shared locks of all templates that this process uses.
        let mut protector = self.protector.lock().await;
        let text = name.to_string();
        // Two statements: the second sees what a sweeper did for whom the first waited.
        let sql = format!(
            "SELECT {}::text; SELECT 'there' FROM pg_database WHERE datname = {}",
            lock_call("pg_advisory_lock_shared", &text),
            literal(&text)
        );
        const OPERATION: &str = "protect a template";
        let held = match protector.take() {
            // If the server was restarted, the locks are gone with it.
            Some(mut lent) => lent.try_query(&sql).await.ok().map(|rows| (lent, rows)),
            None => None,
        };
        let (lent, rows) = match held {
            Some(held) => held,
            None => self.hub.first(OPERATION, &sql).await?,
        };
        let lent = protector.insert(lent);
        lent.holds(true);
        if rows.iter().flatten().flatten().any(|cell| cell == "there") {
            return Ok(true);
        }
        // Whoever builds it anew waits for this.
        let unlock = format!("SELECT {}::text", lock_call("pg_advisory_unlock_shared", &text));
        lent.query("unlock a name", &unlock).await?;
        Ok(false)
    }

    async fn create(&self, name: &Name) -> Result<()> {
        // template1 may be in use by somebody, template0 never is.
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0");
        self.make("create a database", name, &sql).await
    }

    async fn filled(&self, name: &Name, description: &mut Description) -> Result<()> {
        description.after_clone = self.left_behind(name).await?;
        self.run("close a template", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await?;
        self.quiesce(name).await
    }

    async fn copy(&self, template: &Name, description: &Description, name: &Name) -> Result<()> {
        let mut statements = self.copying(template, description, name).into_iter();
        if let Some((operation, sql)) = statements.next() {
            self.make(operation, name, &sql).await?;
        }
        for (operation, sql) in statements {
            self.run(operation, &sql).await?;
        }
        Ok(())
    }

    async fn clone_of(
        &self,
        template: &Name,
        description: &Description,
        name: &Name,
    ) -> Result<Option<Box<dyn Hold>>> {
        // All on one session: its locks, the copy, and later its end.
        let (text, template_text) = (name.to_string(), template.to_string());
        // What the session still holds of its last clone goes now. The last statement sees what a
        // sweeper did for whom the one before it waited.
        let sql = format!(
            "SELECT pg_advisory_unlock_all()::text; SELECT {}::text; SELECT {}::text; \
             SELECT 'there' FROM pg_database WHERE datname = {}",
            lock_call("pg_try_advisory_lock", &text),
            lock_call("pg_advisory_lock_shared", &template_text),
            literal(&template_text)
        );
        let (mut lent, rows) = self.hub.first("claim a name for a clone", &sql).await?;
        lent.holds(true);
        let cells: Vec<_> = rows.iter().map(|row| row.first().and_then(Option::as_deref)).collect();
        if !cells.contains(&Some("true")) || cells.last() != Some(&Some("there")) {
            return Ok(None);
        }
        let mut clone = Clone { lent, name: text };
        for (operation, sql) in self.copying(template, description, name) {
            if let Err(error) = clone.lent.query(operation, &sql).await {
                let _ = clone.drop_place(self, name).await;
                return Err(error);
            }
        }
        Ok(Some(Box::new(clone)))
    }

    async fn prepare(&self, name: &Name) -> Result<()> {
        let mine = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '_dbtest')";
        let others = "a.backend_type = 'client backend' AND a.datid = \
            (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())";
        let mut sql = slot_sql(SLOT_SQL, META, mine, others, true);
        sql.push_str(&slot_sql(include_str!("postgres_database.sql"), META, mine, others, true));
        let digest = if self.facts.superuser { "NULL" } else { "_dbtest.digest()" };
        sql.push_str(&format!("INSERT INTO _dbtest.state VALUES (_dbtest.settings(), {digest});\n"));
        if self.facts.superuser {
            // Last, or they would see this very script as a change.
            sql.push_str(&slot_sql(include_str!("postgres_events.sql"), META, mine, others, true));
        }
        let mut session = self.hub.open(self.url(name)).await?;
        let result = session.execute(&sql).await;
        session.close().await;
        result.map_err(|error| Error::database("prepare a slot", &name.to_string(), error))
    }

    async fn describe(&self, name: &Name, description: &Description) -> Result<()> {
        let sql = format!("COMMENT ON DATABASE {name} IS {}", literal(&description.to_json()));
        self.run("describe a database", &sql).await
    }

    async fn attach(
        &self,
        name: &Name,
        how: Settle,
        patience: Duration,
        _note: Option<&str>,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>> {
        let session = match self.hub.try_open(self.url(name)).await {
            Ok(session) => session,
            // Dropped, being dropped, or closed since the survey; or its holder, who lets nobody
            // else in, ended us. If the whole server is gone, the next call says so.
            Err(error) if error.connect || ["3D000", "55000", "57P01"].iter().any(|code| error.is(code)) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::connect(&name.to_string(), Engine::Postgres, error)),
        };
        let place = name.to_string();
        let slot = Slot { place: place.clone(), meta: META.to_owned(), session };
        let described = "SELECT shobj_description(oid, 'pg_database') FROM pg_database \
            WHERE datname = current_database()";
        slot.attach(&place, described, self.facts.superuser, how, patience).await
    }

    async fn destroy(&self, name: &Name) -> Result<bool> {
        // Two who close and drop one database at the same time get errors from the catalogue.
        let turn = hold(&self.hub, &format!("drop:{name}"), true).await?;
        let destroyed = self.destroy_alone(name).await;
        if let Some(turn) = turn {
            turn.release().await;
        }
        destroyed
    }

    #[cfg(feature = "sandbox")]
    fn sandbox(&self, _name: &Name) -> Result<Sandboxing> {
        Ok(Sandboxing::Wire(crate::sandbox::Guard {
            refuse: "INSERT INTO _dbtest.guard VALUES (1)",
            allow: "SET LOCAL dbtest.commit = 'on'",
            last: "SELECT _dbtest.put_back()",
            check: "SELECT _dbtest.untouched()",
        }))
    }

    #[cfg(not(feature = "sandbox"))]
    fn sandbox(&self, name: &Name) -> Result<Sandboxing> {
        Err(Error::unsupported(
            format!("a rolled-back transaction of {name} needs the sandbox, and it was not built"),
            "switch on the feature `sandbox` of dbtest-core, or use the strategy \"truncate\"",
        ))
    }

    fn explain(&self, error: &DbError) -> (String, &'static str) {
        explain(error)
    }
}

impl Databases {
    /// The statements that copy a template, each with what it does.
    fn copying(
        &self,
        template: &Name,
        description: &Description,
        name: &Name,
    ) -> Vec<(&'static str, String)> {
        // Copying files is faster, but on a durable server it waits for two checkpoints.
        let strategy = match (self.facts.number >= 150_000, self.facts.durable) {
            (false, _) => "",
            (true, false) => " STRATEGY FILE_COPY",
            (true, true) => " STRATEGY WAL_LOG",
        };
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}{strategy}");
        let after = description.after_clone.iter().map(|sql| sql.replace("@database@", &name.to_string()));
        std::iter::once(("clone a database", create))
            .chain(after.map(|sql| ("copy a database's settings and grants", sql)))
            .collect()
    }

    async fn destroy_alone(&self, name: &Name) -> Result<bool> {
        let state = format!(
            "SELECT (datconnlimit = -2)::int FROM pg_database WHERE datname = {}",
            literal(&name.to_string())
        );
        let rows = self.hub.query("look for a database", &state).await?;
        let Some(invalid) = scalar(&rows) else { return Ok(true) };
        // One whose dropping was interrupted is invalid: nothing can be done but to drop it.
        if invalid == "0" {
            // From here on nobody can lease it; whoever leased it just now keeps it.
            let close = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
            self.run("close a database", &close).await?;
            let leased = format!(
                "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = {} \
                 AND l.locktype = 'advisory' AND l.granted AND l.classid = {LOCK}::bigint::oid AND l.objsubid = 2",
                literal(&name.to_string())
            );
            if !self.hub.query("look for a lease", &leased).await?.is_empty() {
                let open = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
                self.run("open a database", &open).await?;
                return Ok(false);
            }
            self.quiesce(name).await?;
        }
        self.run("drop a database", &format!("DROP DATABASE IF EXISTS {name}")).await?;
        Ok(true)
    }

    /// What `CREATE DATABASE … TEMPLATE` does not copy: settings and grants of the database.
    async fn left_behind(&self, name: &Name) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT format('ALTER %s SET %s = %s', CASE WHEN s.setrole = 0 THEN 'DATABASE @database@' \
               ELSE format('ROLE %I IN DATABASE @database@', r.rolname) END, split_part(c.pair, '=', 1), \
               CASE WHEN split_part(c.pair, '=', 1) = 'search_path' THEN substr(c.pair, strpos(c.pair, '=') + 1) \
               ELSE quote_literal(substr(c.pair, strpos(c.pair, '=') + 1)) END) \
             FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
             LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS c(pair) WHERE d.datname = {name} \
             UNION ALL \
             SELECT format('GRANT %s ON DATABASE @database@ TO %s%s', a.privilege_type, \
               CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(g.rolname) END, \
               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
             FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee \
             WHERE d.datname = {name} AND a.grantee <> d.datdba",
            name = literal(&name.to_string())
        );
        let rows = self.hub.query("read a database's settings", &sql).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }
}

/// Takes the advisory lock of a name in the maintenance database.
pub(super) async fn hold(hub: &Arc<Hub>, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
    let lock = if wait {
        format!("SELECT {}::text", lock_call("pg_advisory_lock", name))
    } else {
        format!("SELECT {}::int", lock_call("pg_try_advisory_lock", name))
    };
    let (mut lent, rows) = hub.first("lock a name", &lock).await?;
    if !wait && scalar(&rows) != Some("1") {
        return Ok(None);
    }
    lent.holds(true);
    let unlock = format!("SELECT {}::text", lock_call("pg_advisory_unlock", name));
    Ok(Some(Box::new(Locked { lent, unlock })))
}

struct Locked {
    lent: Lent,
    unlock: String,
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({})", self.unlock)
    }
}

#[async_trait]
impl Hold for Locked {
    async fn release(mut self: Box<Self>) {
        // If this fails the session is closed instead, which unlocks too.
        if self.lent.query("unlock a name", &self.unlock).await.is_ok() {
            self.lent.holds(false);
        }
    }
}

/// A clone that one test has: nobody else drops it while this session holds its name.
struct Clone {
    lent: Lent,
    name: String,
}

impl fmt::Debug for Clone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clone({})", self.name)
    }
}

#[async_trait]
impl Hold for Clone {
    async fn is_alive(&mut self) -> bool {
        self.lent.try_query("SELECT 1").await.is_ok()
    }

    async fn drop_place(&mut self, _places: &dyn Places, _name: &Name) -> Result<()> {
        // Waiting there is one round trip. DROP DATABASE waits too, but in steps of 100 ms.
        let end = format!(
            "DO $$ BEGIN FOR polls IN 1..{} LOOP PERFORM pg_stat_clear_snapshot(); \
             IF (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {}) = 0 THEN \
               RETURN; END IF; PERFORM pg_sleep(0.001); END LOOP; \
             RAISE EXCEPTION 'a connection to it does not end'; END $$",
            patient(PATIENCE).as_millis(),
            literal(&self.name)
        );
        self.lent.query("end the connections of a clone", &end).await?;
        // Somebody may connect again between the two.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        self.lent.query("drop a clone", &drop).await?;
        // The lock on a name that is gone is in nobody's way: it goes with the session's next clone,
        // without a round trip of its own.
        self.lent.holds(false);
        Ok(())
    }

    async fn release(mut self: Box<Self>) {
        if self.lent.query("unlock a name", "SELECT pg_advisory_unlock_all()::text").await.is_ok() {
            self.lent.holds(false);
        }
    }
}

/// A leased slot.
pub(super) struct Slot {
    pub(super) place: String,
    /// The schema of our own.
    pub(super) meta: String,
    pub(super) session: Box<dyn Session>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.place)
    }
}

impl Slot {
    /// Takes the lease and settles the slot, in one round trip. `described` is the query of what is
    /// written on it.
    pub(super) async fn attach(
        mut self,
        lock: &str,
        described: &str,
        superuser: bool,
        how: Settle,
        patience: Duration,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>> {
        // One session keeps the role for good: changing it throws cached plans away. The lease comes
        // in a statement of its own, so that those after it see what its last holder did.
        let replica = if superuser { "SET session_replication_role = replica; " } else { "" };
        let lease = if patience.is_zero() {
            format!("{}::text", lock_call("pg_try_advisory_lock", lock))
        } else {
            format!("({}::text IS NOT NULL)::text", lock_call("pg_advisory_lock", lock))
        };
        let sql = format!(
            "SET application_name = '{}'; SET synchronous_commit = off; SET row_security = off; \
             SET lock_timeout = '{}ms'; SELECT set_config('dbtest.leased', {lease}, false); \
             SET lock_timeout = '20s'; {replica}\
             SELECT CASE WHEN current_setting('dbtest.leased') = 'true' \
               AND (SELECT d::json -> 'identity' IS NOT NULL AND d::json -> 'kept' IS NULL FROM ({described}) AS t (d)) \
               THEN {}.settle({}) ELSE 'not ours' END",
            crate::hub::application(),
            patience.as_millis(),
            self.meta,
            how.spared.unwrap_or(0),
        );
        let settled = match self.session.query(&sql).await {
            Ok(rows) => match rows.last().and_then(|row| row.first()?.as_deref()) {
                Some("not ours") => {
                    self.session.close().await;
                    return Ok(None);
                }
                Some("busy") => self.settle(how).await?,
                answer => self.settled(answer).await?,
            },
            // Somebody is dropping the database at this moment, or did not give the lease back in time.
            Err(error) if error.connect || error.is("57P01") || error.is("55P03") => return Ok(None),
            // Whether the lease was had is not known; whoever drops the slot asks for it.
            Err(error) => Settled::Rebuild(format!("it could not be put back: {}", error.message)),
        };
        Ok(Some((Box::new(self), settled)))
    }

    /// What an answer of the reset means, other than that somebody is still connected.
    async fn settled(&mut self, answer: Option<&str>) -> Result<Settled> {
        let mut lines = answer.unwrap_or("its reset gave no answer").split('\n');
        match lines.next() {
            Some("clean") => {
                let lost: Vec<&str> = lines.collect();
                self.give_room_back(&lost).await.map(|()| Settled::Clean)
            }
            reason => Ok(Settled::Rebuild(reason.unwrap_or_default().to_owned())),
        }
    }

    /// Without this a slot would grow with every test, and its resets with it: our own servers have
    /// no autovacuum, and any other comes too late.
    async fn give_room_back(&mut self, lost: &[&str]) -> Result<()> {
        for tables in lost {
            let vacuum = format!("VACUUM {tables}");
            self.session.execute(&vacuum).await.map_err(|error| Error::cleanup(&self.place, error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Attached for Slot {
    async fn settle(&mut self, how: Settle) -> Result<Settled> {
        let settle = format!("SELECT {}.settle({})", self.meta, how.spared.unwrap_or(0));
        let deadline = Instant::now() + patient(PATIENCE);
        loop {
            match self.session.query(&settle).await {
                Ok(rows) => match scalar(&rows) {
                    Some("busy") => {}
                    answer => return self.settled(answer).await,
                },
                // The test dropped our schema along with its own.
                Err(error) if ["3F000", "42883", "42P01"].iter().any(|code| error.is(code)) => {
                    return Ok(Settled::Rebuild("the test dropped what dbtest keeps there".to_owned()));
                }
                // Its owner is under a table's own row security where that is forced.
                Err(error) if error.is("42501") => {
                    return Ok(Settled::Rebuild(format!("it could not be put back: {}", error.message)));
                }
                Err(error) => return Err(Error::cleanup(&self.place, error)),
            }
            if Instant::now() > deadline {
                return Err(Error::cleanup(&self.place, "a connection to it does not end"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn detach(mut self: Box<Self>) {
        // The server notices a closed connection later, and whoever drops the place asks now.
        let _ = self.session.execute("SELECT pg_advisory_unlock_all()").await;
        self.session.close().await;
    }
}

pub(super) fn explain(error: &DbError) -> (String, &'static str) {
    (
        error.message.clone(),
        "see the statement that is named; use the strategy \"truncate\" or \"template\" for this test",
    )
}

/// The command that opens a database in psql. Without the password: psql asks for it, or finds
/// it in ~/.pgpass or PGPASSWORD.
pub(super) fn command(url: &Url, database: &str, search_path: Option<&str>) -> String {
    let mut command = String::new();
    if let Some(path) = search_path {
        command.push_str(&format!("PGOPTIONS='-c search_path={path}' "));
    }
    command.push_str("psql");
    match (crate::url::socket(url), url.host_str()) {
        (Some(socket), _) => command.push_str(&format!(" -h {socket}")),
        (None, Some(host)) => command.push_str(&format!(" -h {host}")),
        (None, None) => {}
    }
    if let Some(port) = url.port() {
        command.push_str(&format!(" -p {port}"));
    }
    if !url.username().is_empty() {
        command.push_str(&format!(" -U {}", url.username()));
    }
    command.push_str(&format!(" {database}"));
    command
}

/// The places that a strategy asks for: databases, or schemas in one database.
pub(crate) async fn places(
    url: String,
    connect: Connect,
    met: Met,
    schemas: bool,
) -> Result<Arc<dyn Places>> {
    let (first, facts) = met.split::<Facts>();
    let hub = Hub::new(Engine::Postgres, url, Arc::clone(&connect), first);
    let is_recalled = facts.is_some();
    let facts = match facts {
        Some(facts) => facts,
        None => Facts::ask(&hub).await?,
    };
    if schemas {
        Ok(Arc::new(Schemas::new(hub, facts, connect, is_recalled).await?))
    } else {
        Ok(Arc::new(Databases::new(hub, facts)?))
    }
}

/// Version and rights, and how many connections the server takes.
pub(crate) async fn examine(hub: &Arc<Hub>) -> Result<(Vec<Finding>, u32)> {
    let facts = Facts::ask(hub).await?;
    let version = Finding::good("version", format!("Postgres {}", facts.number / 10_000));
    let rights = if facts.may_create {
        Finding::good("rights", "the user may create databases")
    } else {
        Finding::note(
            "rights",
            "the user may not create databases, which only the strategy \"schema\" does without",
            "run ALTER ROLE … CREATEDB",
        )
    };
    let rows = hub.query("ask for the connection limit", "SHOW max_connections").await?;
    let limit = scalar(&rows).and_then(|limit| limit.parse().ok()).unwrap_or(0);
    Ok((vec![version, rights], limit))
}

/// The places that are there already: databases, schemas, or both. Makes nothing.
pub(crate) async fn existing(
    url: String,
    connect: Connect,
    first: Option<Box<dyn Session>>,
) -> Result<Vec<(PlaceForm, Arc<dyn Places>)>> {
    let hub = Hub::new(Engine::Postgres, url, Arc::clone(&connect), first);
    let facts = Facts::ask(&hub).await?;
    let mut places: Vec<(PlaceForm, Arc<dyn Places>)> = Vec::new();
    if let Some(schemas) = Schemas::existing(Arc::clone(&hub), facts.clone(), connect).await? {
        places.push((PlaceForm::Schema, Arc::new(schemas)));
    }
    // Who may make no database has none to drop.
    if facts.may_create {
        places.push((PlaceForm::Database, Arc::new(Databases::new(hub, facts)?)));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_opens_the_database_without_the_password() {
        let url = Url::parse("postgres://me:secret@db:5433/app").expect("a URL");
        assert_eq!(command(&url, "dbtest_x", None), "psql -h db -p 5433 -U me dbtest_x");
        let url = Url::parse("postgres://me@localhost/app?host=/run/pg").expect("a URL");
        assert_eq!(command(&url, "d", Some("s,e")), "PGOPTIONS='-c search_path=s,e' psql -h /run/pg -U me d");
    }

    #[test]
    fn no_placeholder_stays_in_a_slots_sql() {
        for template in [SLOT_SQL, include_str!("postgres_database.sql"), include_str!("postgres_events.sql")]
        {
            let sql = slot_sql(template, "m", "true", "true", true);
            assert!(!sql.contains('@'), "{sql}");
        }
    }
}
