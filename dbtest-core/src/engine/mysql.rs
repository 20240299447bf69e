//! MySQL and MariaDB: databases as places. Nothing clones one, so a template is read once into a
//! script of DDL and copies of its rows, and clones are recycled: DDL costs too much for a test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::url::Url;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::mysql_slot::{self, Slot, Told};
use super::{Attached, Details, Engine, Found, Hold, Holder, Met, Places, Sandboxing, Settle, Settled};
use crate::backend::{Check, DbError, Rows, Sandbox, Session};
use crate::config::patient;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::hub::{Hub, Lent, scalar};
use crate::name::Name;
use crate::server::{Connect, Finding};

/// Our own database: what is written on places, the scripts of templates, their baselines.
pub(super) const META: &str = "dbtest_meta";

/// The line of a script at which a slot keeps the digest of its schema.
const DIGEST: i32 = -1;

/// The line at which a template keeps its foreign keys that cascade between filled tables.
pub(super) const CASCADES: i32 = -2;

/// How long a connection that was killed may take to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Databases on one MySQL or MariaDB server.
#[derive(Debug)]
pub(crate) struct Databases {
    hub: Arc<Hub>,
    url: Url,
    version: String,
    flavour: Flavour,
    facts: Facts,
}

/// What one query tells about the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    version: String,
    /// How many connections this user may have.
    connections: Option<u32>,
    /// Why there is no sandbox: a Galera cluster has no XA.
    no_xa: Option<String>,
}

/// What differs between the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flavour {
    mariadb: bool,
    /// MySQL 8.0.29 and newer: temporary tables inside XA need it switched off.
    detaches_xa: bool,
}

/// Reads `SELECT VERSION()`; `Err` holds the oldest version that is new enough.
fn flavour(version: &str) -> std::result::Result<Flavour, &'static str> {
    let mut numbers =
        version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok()).chain(std::iter::repeat(0));
    let found: Vec<u32> = numbers.by_ref().take(3).collect();
    let mariadb = version.to_ascii_lowercase().contains("mariadb");
    let (oldest, name) = if mariadb { (vec![10, 5, 0], "10.5") } else { (vec![8, 0, 0], "8.0") };
    if found < oldest {
        return Err(name);
    }
    Ok(Flavour { mariadb, detaches_xa: !mariadb && found >= vec![8, 0, 29] })
}

pub(crate) async fn places(url: String, connect: Connect, met: Met) -> Result<Arc<dyn Places>> {
    let (first, facts) = met.split::<Facts>();
    if let Some(facts) = facts {
        let hub = Hub::new(Engine::MySql, url, connect, None);
        return Ok(Arc::new(Databases::new(hub, facts)?));
    }
    let places = Databases::of(url, connect, first).await?;
    places.found_meta().await?;
    Ok(Arc::new(places))
}

/// The places that are there already, if any ever were. Makes nothing.
pub(crate) async fn existing(
    url: String,
    connect: Connect,
    first: Option<Box<dyn Session>>,
) -> Result<Option<Arc<dyn Places>>> {
    let places = Databases::of(url, connect, first).await?;
    Ok(if places.has_meta().await? { Some(Arc::new(places)) } else { None })
}

/// Version and rights, and how many connections the server takes.
pub(crate) async fn examine(hub: &Arc<Hub>) -> Result<(Vec<Finding>, u32)> {
    let rows = hub.query("ask the server what it is", "SELECT VERSION(), @@max_connections").await?;
    let version = scalar(&rows).unwrap_or_default().to_owned();
    flavour(&version).map_err(|least| too_old(hub, &version, least))?;
    let limit = rows.first().and_then(|row| row.get(1)?.as_deref()?.parse().ok()).unwrap_or(0);
    let grants = column_of(hub.query("ask for the user's rights", "SHOW GRANTS").await?, 0);
    let rights = if grants.iter().any(|grant| may_create(grant)) {
        Finding::good("rights", "the user may create databases")
    } else {
        Finding::note(
            "rights",
            "no grant that SHOW GRANTS lists lets the user create databases; a role may",
            "run GRANT ALL ON `dbtest\\_%`.* TO the user",
        )
    };
    Ok((vec![Finding::good("version", version), rights], limit))
}

fn too_old(hub: &Hub, version: &str, least: &str) -> Error {
    let engine = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
    Error::too_old(engine, &hub.shown(), version, least)
}

/// Whether a line of SHOW GRANTS lets the user make databases of our names.
fn may_create(grant: &str) -> bool {
    let Some((rights, on)) = grant.split_once(" ON ") else { return false };
    let mut rights = rights.trim_start_matches("GRANT ").split(", ");
    let everywhere = on.starts_with("*.*") || on.starts_with("`dbtest") || on.starts_with("`%`.*");
    everywhere && rights.any(|right| ["ALL PRIVILEGES", "CREATE"].contains(&right))
}

impl Databases {
    async fn of(url: String, connect: Connect, first: Option<Box<dyn Session>>) -> Result<Self> {
        let hub = Hub::new(Engine::MySql, url, connect, first);
        // No limit of the user's own is a 0.
        let facts = "SELECT VERSION(), \
            CAST(LEAST(@@max_connections, COALESCE(NULLIF(@@max_user_connections, 0), @@max_connections)) AS CHAR)";
        let rows = hub.query("ask the server what it is", facts).await?;
        let connections = rows.first().and_then(|row| row.get(1)?.as_deref()?.parse().ok());
        let version = scalar(&rows).unwrap_or_default().to_owned();
        let xid = format!("'dbtest-{}'", crate::name::unique());
        let tried = format!("XA START {xid}; XA END {xid}; XA ROLLBACK {xid}");
        let no_xa = match hub.session().await?.try_query(&tried).await {
            Err(error) if error.is("1235") => Some(error.message),
            _ => None,
        };
        Self::new(hub, Facts { version, connections, no_xa })
    }

    fn new(hub: Arc<Hub>, facts: Facts) -> Result<Self> {
        let url = Url::parse(&hub.url)
            .map_err(|error| Error::malformed_url("the server's URL", Engine::MySql, error))?;
        let flavour = flavour(&facts.version).map_err(|least| too_old(&hub, &facts.version, least))?;
        // Only a privileged user may copy what is run as the one who made it: views, triggers.
        let version = format!("mysql {} {}", facts.version, url.username());
        Ok(Self { hub, url, version, flavour, facts })
    }

    /// Whether our own database is there.
    async fn has_meta(&self) -> Result<bool> {
        let there = format!("SELECT 1 FROM {META}.place LIMIT 0; SELECT 1 FROM {META}.tab LIMIT 0");
        Ok(self.hub.session().await?.try_query(&there).await.is_ok())
    }

    /// Makes our own database where it is not there yet.
    async fn found_meta(&self) -> Result<()> {
        if self.has_meta().await? {
            return Ok(());
        }
        let hold = self.hold(META, true).await?;
        let made = self
            .run(
                "create the database for dbtest's own notes",
                &format!(
                    "CREATE DATABASE IF NOT EXISTS {META} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; \
                     CREATE TABLE IF NOT EXISTS {META}.place (name VARCHAR(64) PRIMARY KEY, \
                       description LONGTEXT NOT NULL) ENGINE=InnoDB; \
                     CREATE TABLE IF NOT EXISTS {META}.script (name VARCHAR(64), ord INT, \
                       text LONGTEXT NOT NULL, PRIMARY KEY (name, ord)) ENGINE=InnoDB; \
                     CREATE TABLE IF NOT EXISTS {META}.tab (template VARCHAR(64), name VARCHAR(64), \
                       columns_ LONGTEXT NOT NULL, transactional INT NOT NULL, filled INT NOT NULL, \
                       triggers_ INT NOT NULL, next_id BIGINT UNSIGNED, checksum_ BIGINT, \
                       PRIMARY KEY (template, name)) ENGINE=InnoDB"
                ),
            )
            .await;
        if let Some(hold) = hold {
            hold.release().await;
        }
        made
    }

    async fn run(&self, operation: &str, sql: &str) -> Result<()> {
        self.hub.execute(operation, sql).await
    }

    /// Creates a database; the lock on its name is held. One that is there all the same, since it was
    /// looked for, comes from a statement of a process that was killed: the server runs it to its end.
    async fn make(&self, name: &Name, sql: &str) -> Result<()> {
        let made = self.run("create a database", sql).await;
        if made.as_ref().err().and_then(Error::code) != Some("1007") {
            return made;
        }
        self.destroy(name).await?;
        self.run("create a database", sql).await
    }

    async fn quiesce(&self, name: &Name) -> Result<()> {
        let mut lent = self.hub.session().await?;
        let deadline = Instant::now() + patient(PATIENCE);
        let mut others = Others::default();
        let sql = others_sql(self.flavour.mariadb, name);
        while let Some(kill) =
            others.told(lent.try_query(&sql).await.map(|rows| others_of(&rows, name))).map_err(|error| {
                Error::database("list the connections of a database", &self.hub.shown(), error)
            })?
        {
            for id in kill {
                // It may have ended by itself since.
                let _ = lent.try_query(&format!("KILL {id}")).await;
            }
            if Instant::now() > deadline {
                return Err(Error::cleanup(&name.to_string(), "a connection to it does not end"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The statements that make a copy of the template in the current database.
    async fn script(&self, template: &Name) -> Result<Vec<String>> {
        let mut lent = self.hub.session().await?;
        let operation = "read the schema of a template";
        let schema = literal(&template.to_string());
        let list = |kind: &str| match kind {
            "tables" => format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} \
                 AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME"
            ),
            "sequences" => format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} \
                 AND TABLE_TYPE = 'SEQUENCE' ORDER BY TABLE_NAME"
            ),
            "views" => format!(
                "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {schema} ORDER BY TABLE_NAME"
            ),
            "triggers" => format!(
                "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {schema} \
                 ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
            ),
            "events" => format!(
                "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {schema} ORDER BY EVENT_NAME"
            ),
            routine => format!(
                "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {schema} \
                 AND ROUTINE_TYPE = '{routine}' ORDER BY ROUTINE_NAME"
            ),
        };
        let mut script = Vec::new();
        // What to list, how to show it, and the column that holds the statement.
        let kinds = [
            ("sequences", "SEQUENCE", 1),
            ("tables", "TABLE", 1),
            ("FUNCTION", "FUNCTION", 2),
            ("PROCEDURE", "PROCEDURE", 2),
            ("triggers", "TRIGGER", 2),
            ("views", "VIEW", 1),
            ("events", "EVENT", 3),
        ];
        for (kind, word, column) in kinds {
            let names = column_of(lent.query(operation, &list(kind)).await?, 0);
            let mut statements = Vec::new();
            for name in &names {
                let show = format!("SHOW CREATE {word} {template}.{}", quoted(name));
                let rows = lent.query(operation, &show).await?;
                let statement = column_of(rows, column).into_iter().next().unwrap_or_default();
                // Views are shown with the name of their database.
                statements.push(statement.replace(&format!("`{template}`."), ""));
            }
            match word {
                "VIEW" => script.extend(self.in_order(&mut lent, template, &names, statements).await?),
                "SEQUENCE" => {
                    for (name, statement) in names.iter().zip(statements) {
                        script.push(statement);
                        let next = format!("SELECT next_not_cached_value FROM {template}.{}", quoted(name));
                        let next = lent.query(operation, &next).await?;
                        let value = scalar(&next).unwrap_or("1");
                        script.push(format!("ALTER SEQUENCE {} RESTART {value}", quoted(name)));
                    }
                }
                "TABLE" => {
                    script.extend(statements);
                    for table in self.baseline(&mut lent, template, &names).await? {
                        if table.filled {
                            script.push(table.restore(template));
                        }
                    }
                }
                _ => script.extend(statements),
            }
        }
        Ok(script)
    }

    /// Views in an order in which each finds those that it selects from.
    async fn in_order(
        &self,
        lent: &mut Lent,
        template: &Name,
        names: &[String],
        statements: Vec<String>,
    ) -> Result<Vec<String>> {
        let mut waiting: Vec<(String, String, Vec<String>)> = Vec::new();
        for (name, statement) in names.iter().zip(statements) {
            let text = format!(
                "SELECT VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
                literal(&template.to_string()),
                literal(name)
            );
            let rows = lent.query("read the schema of a template", &text).await?;
            let definition = scalar(&rows).unwrap_or_default().to_owned();
            let needs = names
                .iter()
                .filter(|other| *other != name && definition.contains(&quoted(other)))
                .cloned()
                .collect();
            waiting.push((name.clone(), statement, needs));
        }
        let mut ordered = Vec::new();
        while !waiting.is_empty() {
            let open: Vec<String> = waiting.iter().map(|(name, ..)| name.clone()).collect();
            let free = waiting
                .iter()
                .position(|(_, _, needs)| needs.iter().all(|need| !open.contains(need)))
                .unwrap_or(0);
            ordered.push(waiting.remove(free).1);
        }
        Ok(ordered)
    }

    /// Pairs of filled tables where changing a row of the one may change rows of the other, as JSON
    /// and in small letters.
    async fn cascades(&self, lent: &mut Lent, template: &Name, tables: &[Table]) -> Result<String> {
        let sql = format!(
            "SELECT REFERENCED_TABLE_NAME, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = {} AND NOT (UPDATE_RULE IN ('RESTRICT', 'NO ACTION') \
             AND DELETE_RULE IN ('RESTRICT', 'NO ACTION'))",
            literal(&template.to_string())
        );
        let rows = lent.query("read the foreign keys of a template", &sql).await?;
        let filled: Vec<String> =
            tables.iter().filter(|table| table.filled).map(|table| table.name.to_lowercase()).collect();
        let pairs: Vec<Vec<String>> = rows
            .into_iter()
            .map(|row| row.into_iter().flatten().map(|name| name.to_lowercase()).collect::<Vec<_>>())
            .filter(|pair| pair.iter().all(|table| filled.contains(table)))
            .collect();
        Ok(serde_json::Value::from(pairs).to_string())
    }

    /// What each table of the template holds, asked from the server.
    async fn baseline(&self, lent: &mut Lent, template: &Name, names: &[String]) -> Result<Vec<Table>> {
        let operation = "read the baseline of a template";
        let schema = literal(&template.to_string());
        let stats =
            if self.flavour.mariadb { "" } else { "SET SESSION information_schema_stats_expiry = 0; " };
        let mut tables = Vec::new();
        for name in names {
            let table = literal(name);
            let full = format!("{template}.{}", quoted(name));
            let rows = lent
                .query(
                    operation,
                    &format!(
                        "{stats}SELECT GROUP_CONCAT(CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '`') \
                           ORDER BY ORDINAL_POSITION SEPARATOR ', ') FROM information_schema.COLUMNS \
                           WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} \
                           AND EXTRA NOT LIKE '%GENERATED%' AND EXTRA NOT LIKE '%INVISIBLE%'; \
                         SELECT (SELECT TRANSACTIONS FROM information_schema.ENGINES e WHERE e.ENGINE = t.ENGINE), \
                           t.AUTO_INCREMENT, (SELECT COUNT(*) FROM information_schema.TRIGGERS g \
                           WHERE g.EVENT_OBJECT_SCHEMA = {schema} AND g.EVENT_OBJECT_TABLE = {table} \
                           AND (g.EVENT_MANIPULATION = 'DELETE' \
                             OR (g.EVENT_MANIPULATION = 'INSERT' AND EXISTS (SELECT 1 FROM {full})))) \
                           FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = {schema} AND t.TABLE_NAME = {table}; \
                         SELECT EXISTS (SELECT 1 FROM {full}), EXISTS (SELECT 1 FROM information_schema.COLUMNS \
                           WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND EXTRA LIKE '%VIRTUAL%'); \
                         CHECKSUM TABLE {full}"
                    ),
                )
                .await?;
            let cell =
                |row: usize, column: usize| rows.get(row).and_then(|row| row.get(column).cloned().flatten());
            tables.push(Table {
                name: name.clone(),
                columns: cell(0, 0).unwrap_or_default(),
                transactional: cell(1, 0).as_deref() == Some("YES"),
                next_id: cell(1, 1).and_then(|text| text.parse().ok()),
                triggers: cell(1, 2).is_some_and(|count| count != "0"),
                filled: cell(2, 0).as_deref() == Some("1"),
                // A virtual column adds whatever stands in memory: MariaDB 10.11, seen.
                checksum: cell(3, 1)
                    .filter(|_| cell(2, 1).as_deref() != Some("1"))
                    .and_then(|text| text.parse().ok()),
            });
        }
        Ok(tables)
    }
}

/// One table of a template: its baseline, and the SQL that restores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: String,
    pub(super) transactional: bool,
    pub(super) filled: bool,
    /// Of the user's own, that fire while it is put back.
    pub(super) triggers: bool,
    pub(super) next_id: Option<u64>,
    /// As CHECKSUM TABLE says it; `None` where that tells nothing.
    pub(super) checksum: Option<i64>,
}

impl Table {
    pub(super) fn clear(&self) -> String {
        format!("DELETE FROM {}", quoted(&self.name))
    }

    pub(super) fn restore(&self, template: &Name) -> String {
        let (name, columns) = (quoted(&self.name), &self.columns);
        format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {template}.{name}")
    }

    /// Asks whether it has the template's rows, for a table whose checksum tells nothing.
    pub(super) fn is_same(&self, template: &Name) -> String {
        let name = quoted(&self.name);
        let columns = format!("QUOTE({})", self.columns.replace("`, `", "`), QUOTE(`"));
        let sum = |table: &str| {
            format!(
                "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CRC32(CONCAT_WS(',', {columns}))), 0)) FROM {table}"
            )
        };
        format!("SELECT 'same', ({}) = ({})", sum(&name), sum(&format!("{template}.{name}")))
    }

    fn from_row(row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).cloned().flatten();
        let flag = |at: usize| text(at).as_deref() == Some("1");
        Some(Self {
            name: text(0)?,
            columns: text(1)?,
            transactional: flag(2),
            filled: flag(3),
            triggers: flag(4),
            next_id: text(5).and_then(|text| text.parse().ok()),
            checksum: text(6).and_then(|text| text.parse().ok()),
        })
    }
}

/// Whether the session was ended from outside. If it was the whole server, the next call says so.
pub(super) fn killed(error: &DbError) -> bool {
    error.connect || ["1053", "1317", "1927"].iter().any(|code| error.is(code))
}

/// A string literal for MySQL, where a backslash escapes.
pub(super) fn literal(text: &str) -> String {
    crate::sql::literal(&text.replace('\\', "\\\\"))
}

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub(super) fn column_of(rows: Rows, column: usize) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().nth(column).flatten()).collect()
}

/// "Cannot convert string": while anybody on the server runs a statement with bytes that are no
/// text, MySQL cannot list what runs. It is over in a moment.
pub(super) const UNREADABLE: &str = "3854";

/// Lists the connections to a database. On MariaDB every query of its own table of them writes a
/// file, which SHOW does not.
pub(super) fn others_sql(mariadb: bool, name: &Name) -> String {
    if mariadb {
        // What a connection runs may hold bytes that are no text.
        return "SET STATEMENT character_set_results = ascii FOR SHOW FULL PROCESSLIST; \
            SELECT 'me', CONNECTION_ID()"
            .to_owned();
    }
    format!(
        "SELECT 'other', ID, COMMAND = 'Sleep', COALESCE(INFO LIKE '%information\\_schema%', 0), 0 \
         FROM information_schema.PROCESSLIST WHERE DB = {} AND ID <> CONNECTION_ID()",
        literal(&name.to_string())
    )
}

/// Reads an answer to [`others_sql`], whatever else is in it: the connection's number, whether it is
/// idle, whether its statement names information_schema, and whether it is not known where it is.
pub(super) fn others_of(rows: &Rows, name: &Name) -> Rows {
    /// Number, user, host, database, command, time, state, statement.
    const SHOWN: usize = 8;
    let name = name.to_string();
    let me = rows.iter().find(|row| row.first().and_then(|cell| cell.as_deref()) == Some("me"));
    let me = me.and_then(|row| row.get(1)?.as_deref());
    let mut others = Rows::new();
    for row in rows {
        let cell = |at: usize| row.get(at).and_then(|cell| cell.as_deref());
        if cell(0) == Some("other") {
            others.push(row[1..].to_vec());
        } else if row.len() >= SHOWN && cell(0) != me {
            let nowhere = cell(4) == Some("Busy");
            if nowhere || cell(3) == Some(name.as_str()) {
                let flag = |is: bool| Some(u8::from(is).to_string());
                let catalogue =
                    cell(7).is_some_and(|sql| sql.to_ascii_lowercase().contains("information_schema"));
                others.push(vec![
                    row[0].clone(),
                    flag(cell(4) == Some("Sleep")),
                    flag(catalogue),
                    flag(nowhere),
                ]);
            }
        }
    }
    others
}

/// The connections to a database, as one poll after the other sees them.
///
/// While MariaDB answers a query of information_schema it walks through the views of all
/// databases, and shows each in turn as that connection's own. To kill it then would be to kill
/// another test; so a connection that is at work must stay where it is seen for a while. And one
/// whose lock it does not get at once it shows as `Busy`, without a database: it may be anybody's,
/// so it is not killed, and nothing is quiet before it is known where it is.
#[derive(Debug, Default)]
pub(super) struct Others(HashMap<u64, u32>);

impl Others {
    /// Polls, a millisecond apart, until a connection at work is believed to belong here.
    const SEEN: u32 = 5;
    /// The same for one whose statement names information_schema.
    const SEEN_IN_CATALOGUE: u32 = 1_000;

    /// What an answer of [`others_of`] tells: `None`, nobody else is there; else whom to kill
    /// before the next poll.
    pub(super) fn told(&mut self, answer: Result<Rows, DbError>) -> Result<Option<Vec<u64>>, DbError> {
        match answer {
            Err(error) if error.is(UNREADABLE) => Ok(Some(Vec::new())),
            Ok(rows) if rows.is_empty() => Ok(None),
            rows => Ok(Some(self.overstaying(&rows?))),
        }
    }

    /// Which to kill, after `rows` of [`others_of`].
    fn overstaying(&mut self, rows: &Rows) -> Vec<u64> {
        let mut seen = std::collections::HashMap::new();
        let mut kill = Vec::new();
        for row in rows {
            let cell = |at: usize| row.get(at).and_then(|cell| cell.as_deref());
            let Some(id) = cell(0).and_then(|id| id.parse().ok()) else { continue };
            let before = self.0.get(&id).copied().unwrap_or(0);
            if cell(3) == Some("1") {
                seen.insert(id, before);
                continue;
            }
            let times = before + 1;
            let enough = if cell(2) == Some("1") { Self::SEEN_IN_CATALOGUE } else { Self::SEEN };
            if cell(1) == Some("1") || times >= enough {
                kill.push(id);
            }
            seen.insert(id, times);
        }
        self.0 = seen;
        kill
    }
}

/// One number over the whole schema: it differs after any DDL that changed something.
pub(super) fn digest_sql(name: &Name) -> String {
    let schema = literal(&name.to_string());
    let part = |table: &str, column: &str, columns: &str| {
        format!(
            "SELECT COUNT(*) AS n, COALESCE(SUM(CRC32(CONCAT_WS('|', '{table}', {columns}))), 0) AS s \
             FROM information_schema.{table} WHERE {column} = {schema}"
        )
    };
    let parts = [
        part(
            "TABLES",
            "TABLE_SCHEMA",
            "TABLE_NAME, TABLE_TYPE, ENGINE, ROW_FORMAT, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT",
        ),
        part(
            "COLUMNS",
            "TABLE_SCHEMA",
            "TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLLATION_NAME, EXTRA, COLUMN_COMMENT, GENERATION_EXPRESSION",
        ),
        part(
            "STATISTICS",
            "TABLE_SCHEMA",
            "TABLE_NAME, INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART, INDEX_TYPE",
        ),
        part(
            "REFERENTIAL_CONSTRAINTS",
            "CONSTRAINT_SCHEMA",
            "TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE",
        ),
        part("TABLE_CONSTRAINTS", "TABLE_SCHEMA", "TABLE_NAME, CONSTRAINT_NAME, CONSTRAINT_TYPE"),
        part("CHECK_CONSTRAINTS", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME, CHECK_CLAUSE"),
        part(
            "PARTITIONS",
            "TABLE_SCHEMA",
            "TABLE_NAME, PARTITION_NAME, PARTITION_METHOD, PARTITION_EXPRESSION, PARTITION_DESCRIPTION",
        ),
        part(
            "TRIGGERS",
            // Not TRIGGER_SCHEMA, though it is the same: MariaDB would look into all databases,
            // and fail where another is just being made.
            "EVENT_OBJECT_SCHEMA",
            "TRIGGER_NAME, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_TIMING, ACTION_STATEMENT",
        ),
        part(
            "ROUTINES",
            "ROUTINE_SCHEMA",
            "ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, DTD_IDENTIFIER, IS_DETERMINISTIC",
        ),
        part("VIEWS", "TABLE_SCHEMA", "TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, SECURITY_TYPE"),
        part("EVENTS", "EVENT_SCHEMA", "EVENT_NAME, EVENT_DEFINITION, STATUS"),
        part("SCHEMATA", "SCHEMA_NAME", "DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME"),
    ];
    format!("SELECT CONCAT_WS(':', SUM(n), SUM(s)) FROM ({}) AS parts", parts.join(" UNION ALL "))
}

/// The settings under which a copy is made: the template's rows are right already.
pub(super) const COPYING: &str = "SET SESSION foreign_key_checks = 0, unique_checks = 0, \
    sql_mode = 'NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'";

#[async_trait]
impl Places for Databases {
    fn shown(&self) -> String {
        self.hub.shown()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn facts(&self) -> String {
        // A string and a number: this can't fail.
        serde_json::to_string(&self.facts).unwrap_or_default()
    }

    fn connections(&self) -> Option<u32> {
        self.facts.connections
    }

    async fn rest(&self) {
        self.hub.rest().await;
    }

    fn url(&self, name: &Name) -> String {
        crate::url::with_database(&self.url, &name.to_string())
    }

    fn command(&self, name: &Name) -> String {
        let mut command = "mysql".to_owned();
        match crate::url::socket(&self.url) {
            Some(socket) => command.push_str(&format!(" -S {socket}")),
            None => {
                let host = self.url.host_str().unwrap_or("127.0.0.1");
                let port = self.url.port().unwrap_or(3306);
                command.push_str(&format!(" -h {host} -P {port} --protocol=tcp"));
            }
        }
        if !self.url.username().is_empty() {
            command.push_str(&format!(" -u {}", self.url.username()));
        }
        if self.url.password().is_some() {
            command.push_str(" -p");
        }
        format!("{command} {name}")
    }

    fn drops_clones(&self) -> bool {
        false
    }

    async fn survey(&self) -> Result<Vec<Found>> {
        let sql = format!(
            "SELECT 'place', SCHEMA_NAME, IF(IS_FREE_LOCK(SCHEMA_NAME) AND IS_FREE_LOCK(CONCAT('hold:', SCHEMA_NAME)), 0, 1) \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'dbtest\\_%'; \
             SELECT 'note', name, description FROM {META}.place"
        );
        let rows = self.hub.query("list the test databases", &sql).await?;
        let cell = |row: &Vec<Option<String>>, at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let notes: HashMap<String, String> = rows
            .iter()
            .filter(|row| cell(row, 0) == "note")
            .map(|row| (cell(row, 1), cell(row, 2)))
            .collect();
        Ok(rows
            .iter()
            .filter(|row| cell(row, 0) == "place")
            .filter_map(|row| {
                let name = Name::parse(&cell(row, 1))?;
                let description = notes.get(&cell(row, 1)).and_then(|text| Description::from_json(text));
                Some(Found { name, description, held: cell(row, 2) == "1" })
            })
            .collect())
    }

    async fn details(&self) -> Result<HashMap<Name, Details>> {
        let sql = "SELECT s.SCHEMA_NAME, t.size, p.ID, CONCAT(p.USER, '@', p.HOST) \
             FROM (SELECT SCHEMA_NAME, COALESCE(IS_USED_LOCK(SCHEMA_NAME), \
               IS_USED_LOCK(CONCAT('hold:', SCHEMA_NAME))) AS holder \
               FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'dbtest\\_%') s \
             LEFT JOIN (SELECT TABLE_SCHEMA, SUM(DATA_LENGTH + INDEX_LENGTH) AS size \
               FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'dbtest\\_%' GROUP BY TABLE_SCHEMA) t \
               ON t.TABLE_SCHEMA = s.SCHEMA_NAME \
             LEFT JOIN information_schema.PROCESSLIST p ON p.ID = s.holder";
        let rows = self.hub.query("measure the test databases", sql).await?;
        let details = rows.into_iter().filter_map(|row| {
            let cell = |at: usize| row.get(at).cloned().flatten();
            let connection = cell(2).and_then(|id| id.parse().ok());
            let holder =
                connection.is_some().then(|| Holder { process: None, connection, application: cell(3) });
            let size = cell(1).and_then(|size| size.parse().ok());
            Some((Name::parse(&cell(0)?)?, Details { size, holder }))
        });
        Ok(details.collect())
    }

    async fn hold(&self, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
        lock(&self.hub, &format!("hold:{name}"), wait).await
    }

    async fn protect(&self, _name: &Name) -> Result<bool> {
        // Named locks are never shared here. A template is protected by its leased slots.
        Ok(true)
    }

    async fn create(&self, name: &Name) -> Result<()> {
        self.make(name, &format!("CREATE DATABASE {name}")).await
    }

    async fn filled(&self, name: &Name, _description: &mut Description) -> Result<()> {
        self.quiesce(name).await?;
        if !matches!(name, Name::Template { .. }) {
            return Ok(());
        }
        let script = self.script(name).await?;
        let mut lent = self.hub.session().await?;
        let list = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
             AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME",
            literal(&name.to_string())
        );
        let names = column_of(lent.query("read the baseline of a template", &list).await?, 0);
        let tables = self.baseline(&mut lent, name, &names).await?;
        let template = literal(&name.to_string());
        let mut sql = format!(
            "DELETE FROM {META}.script WHERE name = {template}; DELETE FROM {META}.tab WHERE template = {template}"
        );
        for (ord, text) in script.iter().enumerate() {
            sql.push_str(&format!(
                "; INSERT INTO {META}.script VALUES ({template}, {ord}, {})",
                literal(text)
            ));
        }
        let cascades = self.cascades(&mut lent, name, &tables).await?;
        sql.push_str(&format!(
            "; INSERT INTO {META}.script VALUES ({template}, {CASCADES}, {})",
            literal(&cascades)
        ));
        let number = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
        for table in &tables {
            sql.push_str(&format!(
                "; INSERT INTO {META}.tab VALUES ({template}, {}, {}, {}, {}, {}, {}, {})",
                literal(&table.name),
                literal(&table.columns),
                u8::from(table.transactional),
                u8::from(table.filled),
                u8::from(table.triggers),
                number(table.next_id.map(|id| id.to_string())),
                number(table.checksum.map(|sum| sum.to_string())),
            ));
        }
        lent.query("write down the baseline of a template", &sql).await.map(drop)
    }

    async fn copy(&self, template: &Name, _description: &Description, name: &Name) -> Result<()> {
        let read = format!(
            "SELECT CONCAT('CREATE DATABASE {name} CHARACTER SET ', DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', \
               DEFAULT_COLLATION_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {template}; \
             SELECT text FROM {META}.script WHERE name = {template} AND ord >= 0 ORDER BY ord",
            template = literal(&template.to_string())
        );
        let mut statements =
            column_of(self.hub.query("read the script of a template", &read).await?, 0).into_iter();
        let Some(create) = statements.next() else {
            return Err(Error::template_gone(&template.to_string(), &self.hub.shown()));
        };
        self.make(name, &create).await?;
        // A session of its own: a trigger's or view's statement needs the right current database.
        let mut session = self.hub.open(self.url(name)).await?;
        let mut result = session.execute(COPYING).await;
        for batch in batches(statements) {
            if result.is_ok() {
                result = session.execute(&batch).await;
            }
        }
        session.close().await;
        result.map_err(|error| Error::database("copy a template", &name.to_string(), error))
    }

    async fn prepare(&self, name: &Name) -> Result<()> {
        // The schema as it is now: any other is a test's doing.
        let sql = format!(
            "REPLACE INTO {META}.script SELECT {}, {DIGEST}, ({})",
            literal(&name.to_string()),
            digest_sql(name)
        );
        self.run("prepare a slot", &sql).await
    }

    async fn describe(&self, name: &Name, description: &Description) -> Result<()> {
        let sql = format!(
            "REPLACE INTO {META}.place VALUES ({}, {})",
            literal(&name.to_string()),
            literal(&description.to_json())
        );
        self.run("describe a database", &sql).await
    }

    async fn attach(
        &self,
        name: &Name,
        how: Settle,
        patience: Duration,
        note: Option<&str>,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>> {
        let mut session = match self.hub.try_open(self.url(name)).await {
            Ok(session) => session,
            // Dropped since the survey; or its holder, who lets nobody else in, ended us.
            Err(error) if error.is("1049") || killed(&error) => return Ok(None),
            Err(error) => return Err(Error::connect(&name.to_string(), Engine::MySql, error)),
        };
        let template = Name::template(name.fingerprint());
        let sql = format!(
            "{COPYING}, lock_wait_timeout = 20, innodb_lock_wait_timeout = 20; \
             SELECT GET_LOCK({lock}, {seconds}) AND EXISTS (SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {lock}); \
             SELECT (SELECT description FROM {META}.place WHERE name = {lock}); \
             SELECT (SELECT VARIABLE_VALUE FROM {status} WHERE VARIABLE_NAME = 'Uptime'); \
             SELECT (SELECT text FROM {META}.script WHERE name = {lock} AND ord = {DIGEST}); \
             SELECT name, columns_, transactional, filled, triggers_, next_id, checksum_ FROM {META}.tab \
             WHERE template = {template} ORDER BY triggers_ DESC, name",
            lock = literal(&name.to_string()),
            status = mysql_slot::status(self.flavour.mariadb),
            // Whole ones.
            seconds = patience.as_millis().div_ceil(1_000),
            template = literal(&template.to_string()),
        );
        let rows = match session.query(&sql).await {
            Ok(rows) => rows,
            Err(error) if killed(&error) => return Ok(None),
            Err(error) => return Err(Error::database("lease a slot", &name.to_string(), error)),
        };
        let cell =
            |at: usize| rows.get(at).and_then(|row: &Vec<Option<String>>| row.first().cloned().flatten());
        let description = cell(1).and_then(|text| Description::from_json(&text));
        if cell(0).as_deref() != Some("1") || description.is_none_or(|description| description.kept.is_some())
        {
            session.close().await;
            return Ok(None);
        }
        let uptime = cell(2).and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        let (signs, clean) =
            note.and_then(|text| Told::read(text, uptime)).map(|told| (told.signs, told.clean)).unzip();
        let digest = cell(3);
        let tables = rows.iter().skip(4).filter_map(|row| Table::from_row(row)).collect();
        let mut slot = Slot {
            name: name.clone(),
            template,
            tables,
            digest,
            mariadb: self.flavour.mariadb,
            session,
            signs,
            clean,
            closing: false,
        };
        let settled = slot.settle(how).await?;
        Ok(Some((Box::new(slot), settled)))
    }

    async fn destroy(&self, name: &Name) -> Result<bool> {
        let Some(lease) = lock(&self.hub, &name.to_string(), false).await? else { return Ok(false) };
        let dropped = async {
            // DROP DATABASE waits for open transactions.
            self.quiesce(name).await?;
            let text = literal(&name.to_string());
            let sql = format!(
                "DROP DATABASE IF EXISTS {name}; DELETE FROM {META}.place WHERE name = {text}; \
                 DELETE FROM {META}.script WHERE name = {text}; DELETE FROM {META}.tab WHERE template = {text}"
            );
            self.run("drop a database", &sql).await
        }
        .await;
        lease.release().await;
        dropped.map(|()| true)
    }

    fn sandbox(&self, name: &Name) -> Result<Sandboxing> {
        if let Some(why) = &self.facts.no_xa {
            return Err(Error::unsupported(
                format!(
                    "the strategy \"rollback\" keeps a test in {name} ({}) by XA, and: {why}",
                    self.shown()
                ),
                "use the strategy \"truncate\" or \"template\" on this server",
            ));
        }
        let xid = format!("'dbtest-{}'", crate::name::unique());
        let before = if self.flavour.detaches_xa { "SET SESSION xa_detach_on_prepare = OFF" } else { "" };
        Ok(Sandboxing::Handle(Sandbox {
            before: before.to_owned(),
            // Inside XA a COMMIT, a BEGIN and every DDL statement fail, instead of committing.
            begin: format!("XA START {xid}"),
            after: "SET SESSION TRANSACTION READ ONLY; SAVEPOINT _dbtest".to_owned(),
            checks: vec![Check::Succeeds("RELEASE SAVEPOINT _dbtest".to_owned())],
            rollback: format!("XA END {xid}; XA ROLLBACK {xid}"),
            commit: format!("XA END {xid}; XA COMMIT {xid} ONE PHASE"),
            refuse_commit: false,
        }))
    }

    fn explain(&self, error: &DbError) -> (String, &'static str) {
        const OTHER: &str =
            "use the ORM's own transactions, or the strategy \"truncate\" or \"template\" for this test";
        let why = match error.code.as_deref() {
            Some("1305") => {
                "it was ended by a ROLLBACK or COMMIT that was not the ORM's own; what came after ran without it"
                    .to_owned()
            }
            Some("1613" | "1614") => "a deadlock or timeout rolled it back".to_owned(),
            _ => error.message.clone(),
        };
        (why, OTHER)
    }
}

/// Joins statements to batches that are well below the packet limits (16 MB on MariaDB).
fn batches(statements: impl Iterator<Item = String>) -> Vec<String> {
    const MOST: usize = 1 << 20;
    let mut batches: Vec<String> = Vec::new();
    for statement in statements {
        match batches.last_mut() {
            Some(batch) if batch.len() + statement.len() < MOST => {
                batch.push_str(";\n");
                batch.push_str(&statement);
            }
            _ => batches.push(statement),
        }
    }
    batches
}

async fn lock(hub: &Arc<Hub>, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
    // Ten minutes: somebody else's template may take long, and its holder's death frees it.
    let seconds = if wait { 600 } else { 0 };
    let lock = format!("SELECT GET_LOCK({}, {seconds})", literal(name));
    let (mut lent, rows) = hub.first("lock a name", &lock).await?;
    if scalar(&rows) == Some("1") {
        lent.holds(true);
        return Ok(Some(Box::new(Locked { lent, name: name.to_owned() })));
    }
    if wait {
        return Err(Error::cleanup(name, "another process has held its lock for ten minutes"));
    }
    Ok(None)
}

#[derive(Debug)]
struct Locked {
    lent: Lent,
    name: String,
}

#[async_trait]
impl Hold for Locked {
    async fn release(mut self: Box<Self>) {
        let unlock = format!("SELECT RELEASE_LOCK({})", literal(&self.name));
        if self.lent.query("unlock a name", &unlock).await.is_ok() {
            self.lent.holds(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_on_everything_or_on_our_names_lets_us_create() {
        for grant in [
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
            "GRANT SELECT, CREATE, DROP ON *.* TO `u`@`%`",
            "GRANT ALL PRIVILEGES ON `dbtest\\_%`.* TO `u`@`%`",
        ] {
            assert!(may_create(grant), "{grant}");
        }
        for grant in [
            "GRANT USAGE ON *.* TO `u`@`%`",
            "GRANT ALL PRIVILEGES ON `app`.* TO `u`@`%`",
            "GRANT `r` TO `u`",
        ] {
            assert!(!may_create(grant), "{grant}");
        }
    }

    #[test]
    fn a_connection_that_only_passes_by_is_not_killed() {
        let cells =
            |cells: [&str; 4]| cells.into_iter().map(|cell| Some(cell.to_owned())).collect::<Vec<_>>();
        let row = |id, idle, catalogue| cells([id, idle, catalogue, "0"]);
        let mut others = Others::default();
        assert_eq!(
            others.overstaying(&vec![row("1", "1", "0"), row("2", "0", "0")]),
            [1],
            "idle ones at once"
        );
        for _ in 2..Others::SEEN {
            assert!(others.overstaying(&vec![row("2", "0", "0"), row("3", "0", "1")]).is_empty());
        }
        assert_eq!(others.overstaying(&vec![row("2", "0", "0"), row("3", "0", "1")]), [2], "one that stays");
        // Elsewhere for one poll: it begins anew.
        assert!(others.overstaying(&vec![row("3", "0", "1")]).is_empty());
        assert!(others.overstaying(&vec![row("2", "0", "0")]).is_empty());
        // Busy: not killed, not forgotten, and nothing is quiet.
        for _ in 0..2 * Others::SEEN {
            assert_eq!(others.told(Ok(vec![cells(["2", "0", "0", "1"])])).expect("told"), Some(Vec::new()));
        }
        for _ in 2..Others::SEEN {
            assert!(others.overstaying(&vec![row("2", "0", "0")]).is_empty());
        }
        assert_eq!(others.overstaying(&vec![row("2", "0", "0")]), [2]);
        assert_eq!(others.told(Ok(Vec::new())).expect("told"), None);
    }

    #[test]
    fn the_version_tells_the_server() {
        assert_eq!(flavour("9.7.0"), Ok(Flavour { mariadb: false, detaches_xa: true }));
        assert_eq!(flavour("8.0.28-debian"), Ok(Flavour { mariadb: false, detaches_xa: false }));
        assert_eq!(flavour("10.11.6-MariaDB-0+deb12u1"), Ok(Flavour { mariadb: true, detaches_xa: false }));
        assert_eq!(flavour("5.7.44"), Err("8.0"));
        assert_eq!(flavour("10.4.32-MariaDB"), Err("10.5"));
        assert_eq!(flavour("nonsense"), Err("8.0"));
    }

    #[test]
    fn a_batch_holds_whole_statements() {
        let long = "x".repeat(700_000);
        let batches = batches([long.clone(), "a".to_owned(), long.clone()].into_iter());
        assert_eq!(batches.len(), 2);
        assert!(batches[0].ends_with(";\na"));
        assert_eq!(batches[1], long);
    }
}
