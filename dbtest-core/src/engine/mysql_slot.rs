//! A leased slot on MySQL and MariaDB: how it is known which tables a test wrote to, and how they
//! are put back.
//!
//! A server counts the writes to each table: MySQL in the performance schema, MariaDB where
//! `userstat` is on. A table whose count is what it was when the slot was clean was not written to,
//! neither by what was rolled back. What counts nothing are foreign keys that cascade inside the
//! storage engine, and statements that change a table as a whole, such as TRUNCATE. Rows that the
//! setup wrote can be reached by a cascade from other such rows only, so those few tables are known
//! beforehand; and while nobody on the whole server runs a statement of the second kind, which
//! status variables tell, the counts are believed. Else, and where the user may not read them, every
//! table is emptied, the schema is compared, and the setup's rows are looked at.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::mysql::{
    CASCADES, META, Others, PATIENCE, Table, digest_sql, literal, others_of, others_sql, quoted,
};
use super::{Attached, Settle, Settled};
use crate::backend::{DbError, Rows, Session};
use crate::config::patient;
use crate::description::now;
use crate::error::{Error, Result};
use crate::hub::scalar;
use crate::name::Name;

/// A leased slot.
pub(super) struct Slot {
    pub(super) name: Name,
    pub(super) template: Name,
    /// Those first that have triggers which fire while they are put back.
    pub(super) tables: Vec<Table>,
    /// The slot's schema when it was made.
    pub(super) digest: Option<String>,
    pub(super) mariadb: bool,
    pub(super) session: Box<dyn Session>,
    pub(super) signs: Option<Signs>,
    /// What was seen when the slot was last clean.
    pub(super) clean: Option<Seen>,
    /// The test's handle was closed a moment ago.
    pub(super) closing: bool,
}

/// By what a write or a change of the schema is noticed here.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Signs {
    /// The status variables that count statements which change a schema, empty a table at once, or
    /// set the counts back.
    statements: String,
    /// Whether this user may read the counts of writes.
    counts: bool,
    /// Tables with rows of the setup, and one to which a change of these cascades.
    cascades: Vec<(String, String)>,
}

/// What a look at the signs tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    statements: Option<String>,
    /// Writes to each table since the server was started; `None` where nobody counts them.
    counts: Option<HashMap<String, u64>>,
}

/// What the process that had the slot last tells the next one of its run.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) signs: Signs,
    pub(super) clean: Seen,
    /// Milliseconds since 1970.
    at: u64,
}

impl Told {
    /// `None` too if the server was started since, so that it counts from nothing: `uptime`, in seconds.
    pub(super) fn read(text: &str, uptime: u64) -> Option<Self> {
        let told: Self = serde_json::from_str(text).ok()?;
        (now().saturating_sub(told.at) / 1_000 <= uptime).then_some(told)
    }
}

impl Seen {
    /// Tables that were written to since `clean`, by their names in small letters; `None` if that
    /// can't be said.
    fn written(&self, clean: Option<&Self>) -> Option<HashSet<String>> {
        let clean = clean?;
        if self.statements.is_none() || self.statements != clean.statements {
            return None;
        }
        Some(moved(self.counts.as_ref()?, clean.counts.as_ref()?))
    }
}

fn moved(now: &HashMap<String, u64>, before: &HashMap<String, u64>) -> HashSet<String> {
    now.iter()
        .filter(|(table, count)| before.get(*table).copied().unwrap_or(0) != **count)
        .map(|(table, _)| table.to_lowercase())
        .collect()
}

/// Whether a status variable counts statements after which counts of writes tell nothing.
fn is_sign(variable: &str) -> bool {
    let variable = variable.to_ascii_lowercase();
    let Some(statement) = variable.strip_prefix("com_") else { return false };
    let verbs = ["create", "alter", "drop", "rename", "truncate", "flush", "import"];
    // Not those of temporary tables, where they are counted apart.
    verbs.iter().any(|verb| statement.starts_with(verb)) && !statement.contains("temporary")
}

/// How often it is asked, one answer after the other, whether the others have ended by themselves,
/// which a server notices within a millisecond.
const QUICK: u32 = 10;

/// Not zero if the performance schema had no room for all tables.
const LOST: &str = "'Performance_schema_table_handles_lost', 'Performance_schema_table_instances_lost'";

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.name)
    }
}

impl Slot {
    /// Finds out what there is to look at.
    async fn find_signs(&mut self) -> Result<Signs, DbError> {
        let sql = format!(
            "SHOW GLOBAL STATUS LIKE 'Com\\_%'; \
             SELECT 'cascades', text FROM {META}.script WHERE name = {} AND ord = {CASCADES}",
            literal(&self.template.to_string())
        );
        let rows = self.session.query(&sql).await?;
        let (mut statements, mut cascades) = (Vec::new(), Vec::new());
        for row in &rows {
            match (row.first().and_then(Option::as_deref), row.get(1).and_then(Option::as_deref)) {
                (Some("cascades"), Some(pairs)) => cascades = serde_json::from_str(pairs).unwrap_or_default(),
                (Some(variable), _) if is_sign(variable) => statements.push(literal(variable)),
                _ => {}
            }
        }
        let mut signs = Signs { statements: statements.join(", "), counts: true, cascades };
        // Without the right to see them there are none.
        let sql = format!("{}; {}", self.counts_sql(None), self.counted_sql());
        signs.counts = self.session.query(&sql).await.is_ok();
        Ok(signs)
    }

    fn status(&self) -> &'static str {
        status(self.mariadb)
    }

    /// MySQL's tables of status variables leave those out that count statements.
    fn statements_sql(&self, signs: &Signs) -> String {
        if !self.mariadb {
            return format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({}, {LOST})", signs.statements);
        }
        format!(
            // A thousand variables are looked at, and a comparison is cheaper than a list.
            "SELECT 'statements', CAST(SUM(CAST(VARIABLE_VALUE AS UNSIGNED)) AS CHAR), 0 FROM {} \
             WHERE VARIABLE_NAME BETWEEN 'COM_A' AND 'COM_Z' AND VARIABLE_NAME IN ({})",
            self.status(),
            signs.statements
        )
    }

    /// The counts of all tables, or of some.
    fn counts_sql(&self, among: Option<&[Table]>) -> String {
        let schema = literal(&self.name.to_string());
        let among = |column: &str| {
            let Some(tables) = among else { return String::new() };
            let names: Vec<_> = tables.iter().map(|table| literal(&table.name)).collect();
            format!(" AND {column} IN ({})", names.join(", "))
        };
        if self.mariadb {
            return format!(
                "SELECT 'count', TABLE_NAME, ROWS_CHANGED FROM information_schema.TABLE_STATISTICS \
                 WHERE TABLE_SCHEMA = {schema}{}",
                among("TABLE_NAME")
            );
        }
        format!(
            "SELECT 'count', OBJECT_NAME, COUNT_WRITE FROM performance_schema.table_io_waits_summary_by_table \
             WHERE OBJECT_TYPE = 'TABLE' AND OBJECT_SCHEMA = {schema}{} AND COUNT_WRITE > 0",
            among("OBJECT_NAME")
        )
    }

    /// Whether the server counts at all, which anybody may have switched off. MySQL 9.7 takes 0.8 ms
    /// for it, which the look behind a reset saves: the next one asks again.
    fn counted_sql(&self) -> &'static str {
        if self.mariadb {
            return "SELECT 'counted', @@global.userstat";
        }
        "SELECT 'counted', EXISTS (SELECT 1 FROM performance_schema.setup_instruments \
           WHERE NAME = 'wait/io/table/sql/handler' AND ENABLED = 'YES') \
         AND EXISTS (SELECT 1 FROM performance_schema.setup_consumers \
           WHERE NAME = 'global_instrumentation' AND ENABLED = 'YES') \
         AND NOT EXISTS (SELECT 1 FROM performance_schema.setup_objects WHERE OBJECT_TYPE = 'TABLE' \
           AND ENABLED <> 'YES' AND OBJECT_SCHEMA NOT IN ('mysql', 'performance_schema', 'information_schema'))"
    }

    /// Waits until nobody else is connected, and looks at the signs after that.
    async fn alone(&mut self, look: bool) -> Result<Seen, DbError> {
        if look && self.signs.is_none() {
            self.signs = Some(self.find_signs().await?);
        }
        let mut sql = others_sql(self.mariadb, &self.name);
        if let Some(signs) = self.signs.as_ref().filter(|signs| look && !signs.statements.is_empty()) {
            sql.push_str("; ");
            sql.push_str(&self.statements_sql(signs));
            if signs.counts {
                for one in [&self.counts_sql(None), self.counted_sql()] {
                    sql.push_str("; ");
                    sql.push_str(one);
                }
            }
        }
        let deadline = Instant::now() + patient(PATIENCE);
        let (mut others, mut quick) = (Others::default(), QUICK);
        let only_others = others_sql(self.mariadb, &self.name);
        // A look costs more than to ask a few times more whether the connections have ended.
        let mut looks = !std::mem::take(&mut self.closing);
        loop {
            let answer = self.session.query(if looks { &sql } else { &only_others }).await;
            let seen = answer.as_ref().map(|rows| seen_in(rows, false)).unwrap_or_default();
            let rows = answer.map(|rows| others_of(&rows, &self.name));
            if quick > 0 && rows.as_ref().is_ok_and(|rows| !rows.is_empty()) {
                (quick, looks) = (quick - 1, false);
                continue;
            }
            let Some(kill) = others.told(rows)? else {
                if looks || !look {
                    return Ok(seen);
                }
                looks = true;
                continue;
            };
            looks = false;
            for id in kill {
                let _ = self.session.execute(&format!("KILL {id}")).await;
            }
            if Instant::now() > deadline {
                return Err(DbError::statement(None, "a connection to it does not end"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Tables whose content differs from the template's.
    async fn differing(&mut self, among: &[Table]) -> Result<Vec<Table>, DbError> {
        if among.is_empty() {
            return Ok(Vec::new());
        }
        // One answer for each, in their order.
        let sql = |table: &Table| match table {
            Table { filled: true, checksum: None, .. } => table.is_same(&self.template),
            _ => format!("CHECKSUM TABLE {}", quoted(&table.name)),
        };
        let sql: Vec<_> = among.iter().map(sql).collect();
        let rows = self.session.query(&sql.join("; ")).await?;
        Ok(among
            .iter()
            .zip(rows)
            .filter(|(table, row)| {
                let sum = row.get(1).cloned().flatten().and_then(|text| text.parse::<i64>().ok());
                let baseline = if table.filled { table.checksum.unwrap_or(1) } else { 0 };
                sum != Some(baseline)
            })
            .map(|(table, _)| table.clone())
            .collect())
    }

    /// Tables that the test may have changed, and of these the ones that need no second look.
    fn suspects(&self, written: &HashSet<String>) -> Vec<Table> {
        let mut names = written.clone();
        let cascades = self.signs.as_ref().map_or(&[][..], |signs| &signs.cascades);
        while let Some((_, child)) =
            cascades.iter().find(|(from, to)| names.contains(from) && !names.contains(to))
        {
            names.insert(child.clone());
        }
        let suspect = |table: &&Table| !table.transactional || names.contains(&table.name.to_lowercase());
        self.tables.iter().filter(suspect).cloned().collect()
    }

    /// Empties the tables, gives them the template's rows, and looks at their counts behind that.
    async fn put_back(&mut self, tables: &[Table], all_counts: bool) -> Result<Seen, DbError> {
        let mut work = String::from("START TRANSACTION; ");
        // Tables with triggers come first: what their triggers write is cleared after them.
        for table in tables {
            work.push_str(&table.clear());
            work.push_str("; ");
            if table.filled {
                work.push_str(&table.restore(&self.template));
                work.push_str("; ");
            }
        }
        work.push_str("COMMIT");
        let counts = self.signs.as_ref().is_some_and(|signs| signs.counts);
        if counts {
            work.push_str("; ");
            work.push_str(&self.counts_sql(Some(tables).filter(|_| !all_counts)));
        }
        Ok(seen_in(&self.session.query(&work).await?, counts))
    }

    async fn reset(&mut self, how: Settle) -> Result<Settled, DbError> {
        let mut seen = self.alone(!how.rolled_back).await?;
        let written = seen.written(self.clean.as_ref());
        if !how.rolled_back && written.is_none() {
            let digest = self.session.query(&digest_sql(&self.name)).await?;
            if self.digest.as_deref() != scalar(&digest) {
                return Ok(Settled::Rebuild("the test changed the schema".to_owned()));
            }
        }
        let mut suspects = match &written {
            Some(written) => self.suspects(written),
            None if how.rolled_back => {
                self.tables.iter().filter(|table| !table.transactional).cloned().collect()
            }
            None => self.tables.clone(),
        };
        // To write the setup's rows anew costs more than to read them, unless they were written to.
        let sure = |table: &Table| {
            !table.filled
                || written.as_ref().is_some_and(|written| written.contains(&table.name.to_lowercase()))
        };
        let doubtful: Vec<Table> = suspects.iter().filter(|table| !sure(table)).cloned().collect();
        if !doubtful.is_empty() {
            let differing = self.differing(&doubtful).await?;
            suspects.retain(|table| sure(table) || differing.contains(table));
        }
        if let Some(outcome) = self.put_all_back(suspects, &mut seen).await? {
            return Ok(outcome);
        }
        if !how.rolled_back {
            self.clean = Some(seen);
        }
        if how.restart_identity && self.restart().await? {
            // Our own statements moved the signs. Nobody else was here since.
            self.clean = Some(self.alone(true).await?);
        }
        Ok(Settled::Clean)
    }

    /// Puts these back, and what triggers write meanwhile. `seen` is then what is to be seen when
    /// the slot is clean.
    async fn put_all_back(
        &mut self,
        suspects: Vec<Table>,
        seen: &mut Seen,
    ) -> Result<Option<Settled>, DbError> {
        let triggers = suspects.iter().any(|table| table.triggers);
        let (mut todo, mut done) = (suspects, Vec::<Table>::new());
        while !todo.is_empty() {
            let after = self.put_back(&todo, triggers).await?;
            done.append(&mut todo);
            let (Some(before), Some(now)) = (&mut seen.counts, after.counts) else {
                // Nobody counts, or nobody does any more.
                seen.counts = None;
                break;
            };
            if triggers {
                let moved = moved(&now, before);
                let news =
                    |table: &&Table| moved.contains(&table.name.to_lowercase()) && !done.contains(table);
                todo = self.tables.iter().filter(news).cloned().collect();
            }
            before.extend(now);
        }
        if triggers {
            let among = if seen.counts.is_some() { done } else { self.tables.clone() };
            let differing = self.differing(&among).await?;
            if !differing.is_empty() {
                let names: Vec<_> = differing.iter().map(|table| table.name.as_str()).collect();
                return Ok(Some(Settled::Rebuild(format!(
                    "triggers write to {} while tables are put back",
                    names.join(", ")
                ))));
            }
        }
        Ok(None)
    }

    /// Identity values start where the template's do. DDL, and only for those that moved: `true`
    /// if any did.
    async fn restart(&mut self) -> Result<bool, DbError> {
        let stats = if self.mariadb { "" } else { "SET SESSION information_schema_stats_expiry = 0; " };
        let sql = format!(
            "{stats}SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND AUTO_INCREMENT IS NOT NULL",
            literal(&self.name.to_string())
        );
        let rows = self.session.query(&sql).await?;
        let mut work = Vec::new();
        for row in rows {
            let name = row.first().cloned().flatten().unwrap_or_default();
            let now: Option<u64> = row.get(1).cloned().flatten().and_then(|text| text.parse().ok());
            let table = self.tables.iter().find(|table| table.name == name);
            if let Some(next) = table.and_then(|table| table.next_id).filter(|next| now != Some(*next)) {
                work.push(format!("ALTER TABLE {} AUTO_INCREMENT = {next}", quoted(&name)));
            }
        }
        if !work.is_empty() {
            self.session.execute(&work.join("; ")).await?;
        }
        Ok(!work.is_empty())
    }
}

/// Where the server's status variables stand.
pub(super) fn status(mariadb: bool) -> &'static str {
    if mariadb { "information_schema.GLOBAL_STATUS" } else { "performance_schema.global_status" }
}

/// Reads the signs out of an answer. That the server counts is said in it, or known.
fn seen_in(rows: &Rows, mut counted: bool) -> Seen {
    let (mut seen, mut lost) = (Seen::default(), false);
    let mut counts = HashMap::new();
    for row in rows {
        let cell = |at: usize| row.get(at).cloned().flatten();
        match cell(0).as_deref() {
            Some("statements") => {
                seen.statements = cell(1);
                lost = cell(2).is_some_and(|lost| lost != "0");
            }
            Some(variable) if is_sign(variable) => {
                let so_far = seen.statements.as_deref().and_then(|sum| sum.parse().ok()).unwrap_or(0_u64);
                let more = cell(1).and_then(|count| count.parse().ok()).unwrap_or(0_u64);
                seen.statements = Some((so_far + more).to_string());
            }
            Some(variable) if LOST.contains(&literal(variable)) => {
                lost |= cell(1).is_some_and(|lost| lost != "0")
            }
            Some("count") => {
                if let (Some(table), Some(count)) = (cell(1), cell(2).and_then(|count| count.parse().ok())) {
                    counts.insert(table, count);
                }
            }
            Some("counted") => counted = cell(1).as_deref() == Some("1"),
            _ => {}
        }
    }
    seen.counts = (counted && !lost).then_some(counts);
    seen
}

#[async_trait]
impl Attached for Slot {
    async fn settle(&mut self, how: Settle) -> Result<Settled> {
        match self.reset(how).await {
            Ok(settled) => Ok(settled),
            // A table is gone, another one is new, a row can't be deleted: make it anew.
            Err(error) if !error.connect && error.code.is_some() => {
                Ok(Settled::Rebuild(format!("it could not be put back: {}", error.message)))
            }
            Err(error) => Err(Error::cleanup(&self.name.to_string(), error)),
        }
    }

    fn closing(&mut self) {
        self.closing = true;
    }

    fn note(&self) -> Option<String> {
        let told = Told { signs: self.signs.clone()?, clean: self.clean.clone()?, at: now() };
        serde_json::to_string(&told).ok()
    }

    async fn detach(mut self: Box<Self>) {
        // The server notices a closed connection later, and whoever drops the place asks now.
        let unlock = format!("SELECT RELEASE_LOCK({})", literal(&self.name.to_string()));
        let _ = self.session.execute(&unlock).await;
        self.session.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(statements: &str, counts: &[(&str, u64)]) -> Seen {
        let counts = counts.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect();
        Seen { statements: Some(statements.to_owned()), counts: Some(counts) }
    }

    fn written(now: &Seen, clean: &Seen) -> Option<Vec<String>> {
        let mut tables: Vec<_> = now.written(Some(clean))?.into_iter().collect();
        tables.sort();
        Some(tables)
    }

    #[test]
    fn counts_that_moved_tell_the_tables() {
        let clean = seen("7", &[("Book", 3), ("author", 9)]);
        assert_eq!(written(&clean, &clean), Some(Vec::new()));
        let now = seen("7", &[("Book", 4), ("author", 9), ("new", 1)]);
        assert_eq!(written(&now, &clean), Some(vec!["book".to_owned(), "new".to_owned()]));
    }

    #[test]
    fn a_statement_that_nobody_counts_leaves_all_in_doubt() {
        let clean = seen("7", &[("book", 3)]);
        assert_eq!(written(&seen("8", &[("book", 3)]), &clean), None);
        assert_eq!(written(&Seen { counts: None, ..clean.clone() }, &clean), None);
        assert_eq!(written(&Seen { statements: None, ..clean.clone() }, &clean), None);
        assert_eq!(clean.written(None), None);
    }

    #[test]
    fn what_was_told_before_the_server_was_started_is_not_believed() {
        let signs = Signs { statements: String::new(), counts: true, cascades: Vec::new() };
        let told = Told { signs, clean: seen("7", &[("book", 3)]), at: now() - 90_000 };
        let text = serde_json::to_string(&told).expect("text");
        assert!(Told::read(&text, 89).is_none());
        assert_eq!(Told::read(&text, 100).expect("told").clean, seen("7", &[("book", 3)]));
    }

    #[test]
    fn statements_that_change_tables_as_a_whole_are_signs() {
        for variable in ["Com_create_table", "COM_TRUNCATE", "Com_alter_db", "Com_flush", "Com_drop_sequence"]
        {
            assert!(is_sign(variable), "{variable}");
        }
        for variable in ["Com_insert", "Com_create_temporary_table", "Com_set_option", "Created_tmp_tables"] {
            assert!(!is_sign(variable), "{variable}");
        }
    }

    #[test]
    fn counts_are_believed_only_where_the_server_counts() {
        let row = |cells: &[&str]| cells.iter().map(|cell| Some((*cell).to_owned())).collect::<Vec<_>>();
        let rows = |counted| {
            vec![row(&["statements", "5", "0"]), row(&["count", "book", "2"]), row(&["counted", counted])]
        };
        assert_eq!(seen_in(&rows("1"), false), seen("5", &[("book", 2)]));
        assert_eq!(seen_in(&rows("0"), false).counts, None);
        let shown =
            vec![row(&["Com_create_table", "4"]), row(&["Com_drop_db", "1"]), row(&["count", "book", "2"])];
        let lost_none = row(&["Performance_schema_table_handles_lost", "0"]);
        let behind = [lost_none, row(&["counted", "1"])];
        assert_eq!(seen_in(&shown.iter().cloned().chain(behind).collect(), false), seen("5", &[("book", 2)]));
        let lost_some = row(&["Performance_schema_table_handles_lost", "1"]);
        let behind = [lost_some, row(&["counted", "1"])];
        assert_eq!(seen_in(&shown.into_iter().chain(behind).collect(), false).counts, None);
        let counts = vec![row(&["count", "book", "2"])];
        assert!(seen_in(&counts, false).counts.is_none(), "nobody said that the server counts");
        assert_eq!(seen_in(&counts, true).counts.expect("counts")["book"], 2);
        let mut lost = rows("1");
        lost[0][2] = Some("1".to_owned());
        assert_eq!(seen_in(&lost, false).counts, None);
    }
}
