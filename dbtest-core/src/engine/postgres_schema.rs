//! Postgres: schemas as places, for users who may not create databases. They stand in a database
//! of our own where the user may create one, else in the URL's; each is filled by the setup.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::url::Url;
use async_trait::async_trait;

use super::postgres::{self, Facts, SLOT_SQL, Slot, slot_sql};
use super::{Attached, Details, Engine, Found, Hold, Places, Sandboxing, Settle, Settled};
use crate::backend::DbError;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::name::Name;
use crate::server::Connect;
use crate::sql::literal;

/// The database in which schemas stand where we may create one.
const HOME: &str = "dbtest_home";

/// The schema that extensions are moved to, so that every slot finds their types.
const EXTENSIONS: &str = "dbtest_ext";

/// Schemas in one Postgres database.
#[derive(Debug)]
pub(crate) struct Schemas {
    hub: Arc<Hub>,
    url: Url,
    facts: Facts,
    version: String,
}

impl Schemas {
    /// `hub` is on the URL's own database.
    pub(crate) async fn new(
        hub: Arc<Hub>,
        facts: Facts,
        connect: Connect,
        is_recalled: bool,
    ) -> Result<Self> {
        let mut url = parsed(&hub)?;
        let mut home = hub;
        if facts.may_create && !is_recalled {
            let hold = postgres::hold(&home, HOME, true).await?;
            let exists = format!("SELECT FROM pg_database WHERE datname = '{HOME}'");
            if home.query("look for the schemas' database", &exists).await?.is_empty() {
                let create = format!("CREATE DATABASE {HOME} TEMPLATE template0");
                home.execute("create the schemas' database", &create).await?;
            }
            if let Some(hold) = hold {
                hold.release().await;
            }
        }
        if facts.may_create {
            url.set_path(&format!("/{HOME}"));
            home = Hub::new(Engine::Postgres, url.to_string(), connect, None);
        }
        let version = facts.version();
        if is_recalled {
            return Ok(Self { hub: home, url, facts, version });
        }
        let hold = postgres::hold(&home, EXTENSIONS, true).await?;
        let mut create = format!("CREATE SCHEMA IF NOT EXISTS {EXTENSIONS}");
        if facts.may_create {
            // The database is ours, and for all users of this server, whoever came first. From one who
            // does not own it this is no more than a warning.
            create.push_str(&format!(
                "; GRANT CREATE ON DATABASE {HOME} TO PUBLIC; GRANT USAGE, CREATE ON SCHEMA {EXTENSIONS} TO PUBLIC"
            ));
        }
        home.execute("create the extensions' schema", &create).await?;
        if let Some(hold) = hold {
            hold.release().await;
        }
        Ok(Self { hub: home, url, facts, version })
    }

    /// The same, if there are any. Makes nothing.
    pub(crate) async fn existing(hub: Arc<Hub>, facts: Facts, connect: Connect) -> Result<Option<Self>> {
        let mut url = parsed(&hub)?;
        let mut home = hub;
        if facts.may_create {
            let exists = format!("SELECT FROM pg_database WHERE datname = '{HOME}'");
            if home.query("look for the schemas' database", &exists).await?.is_empty() {
                return Ok(None);
            }
            url.set_path(&format!("/{HOME}"));
            home = Hub::new(Engine::Postgres, url.to_string(), connect, None);
        }
        let version = format!("postgres {}", facts.number / 10_000);
        Ok(Some(Self { hub: home, url, facts, version }))
    }

    /// The schema beside a slot's that holds what its reset needs.
    fn meta(name: &Name) -> String {
        name.to_string().replacen("dbtest_s_", "dbtest_m_", 1)
    }

    async fn run(&self, operation: &str, sql: &str) -> Result<()> {
        self.hub.execute(operation, sql).await
    }
}

#[async_trait]
impl Places for Schemas {
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
        let url = crate::url::with_parameter(
            self.url.as_str(),
            "options",
            &format!("-c search_path={name},{EXTENSIONS}"),
        );
        // By its application name a connection is known to belong to the slot.
        crate::url::with_parameter(&url, "application_name", &name.to_string())
    }

    fn command(&self, name: &Name) -> String {
        let database = self.url.path().trim_start_matches('/').to_owned();
        postgres::command(&self.url, &database, Some(&format!("{name},{EXTENSIONS}")))
    }

    fn copies(&self) -> bool {
        false
    }

    async fn survey(&self) -> Result<Vec<Found>> {
        let sql = format!(
            "SELECT n.nspname, obj_description(n.oid, 'pg_namespace'), (EXISTS (SELECT FROM pg_locks h \
               WHERE h.locktype = 'advisory' AND h.granted AND h.objsubid = 2 AND h.classid = {}::bigint::oid \
               AND h.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
               AND h.objid IN ((hashtext(n.nspname)::bigint & 4294967295)::oid, \
                               (hashtext('lease:' || n.nspname)::bigint & 4294967295)::oid)))::int \
             FROM pg_namespace n WHERE n.nspname LIKE 'dbtest\\_s\\_%'",
            postgres::LOCK
        );
        Ok(postgres::found(self.hub.query("list the test schemas", &sql).await?))
    }

    async fn details(&self) -> Result<HashMap<Name, Details>> {
        let sql = format!(
            "{} SELECT n.nspname, (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c \
               WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'm', 'S')), a.pid, a.application_name \
             FROM pg_namespace n LEFT JOIN LATERAL (SELECT h.pid FROM held h \
               WHERE h.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
               AND h.objid IN ((hashtext(n.nspname)::bigint & 4294967295)::oid, \
                               (hashtext('lease:' || n.nspname)::bigint & 4294967295)::oid) LIMIT 1) h ON true \
             LEFT JOIN pg_stat_activity a ON a.pid = h.pid WHERE n.nspname LIKE 'dbtest\\_s\\_%'",
            postgres::held_sql()
        );
        Ok(postgres::details(self.hub.query("measure the test schemas", &sql).await?))
    }

    async fn hold(&self, name: &str, wait: bool) -> Result<Option<Box<dyn Hold>>> {
        postgres::hold(&self.hub, name, wait).await
    }

    async fn protect(&self, _name: &Name) -> Result<bool> {
        // There are no templates here.
        Ok(true)
    }

    async fn create(&self, name: &Name) -> Result<()> {
        self.run("create a schema", &format!("CREATE SCHEMA {name}")).await
    }

    async fn filled(&self, name: &Name, _description: &mut Description) -> Result<()> {
        // An extension stands in the schema of the slot that created it first.
        let extensions = format!(
            "SELECT e.extname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
             WHERE n.nspname = {}",
            literal(&name.to_string())
        );
        for row in self.hub.query("list the extensions", &extensions).await? {
            if let Some(extension) = row.into_iter().next().flatten() {
                let quoted = extension.replace('"', "\"\"");
                let sql = format!("ALTER EXTENSION \"{quoted}\" SET SCHEMA {EXTENSIONS}");
                self.run("move an extension to the schema that all slots share", &sql).await?;
            }
        }
        // What the setup put elsewhere is shared by all slots: no isolation.
        let elsewhere = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|dbtest_)' \
            AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S') \
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') LIMIT 1";
        if !self.facts.may_create {
            return Ok(()); // In the URL's own database other tables are somebody's.
        }
        let rows = self.hub.query("look for tables outside the schema", elsewhere).await?;
        let Some(object) = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten() else {
            return Ok(());
        };
        // The database is ours; what the setup left there would be blamed on the next one.
        let clear = "DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace \
            WHERE nspname !~ '^(pg_|dbtest_)' AND nspname <> 'information_schema' LOOP \
            EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP; CREATE SCHEMA public; END $$";
        self.run("remove what the setup made outside its schema", clear).await?;
        Err(schema_qualified(&format!("it made {object}")))
    }

    async fn copy(&self, _template: &Name, _description: &Description, name: &Name) -> Result<()> {
        Err(Error::unsupported(
            format!("a schema cannot be cloned ({name})"),
            "use the strategy \"template\" with a user who may create databases",
        ))
    }

    async fn prepare(&self, name: &Name) -> Result<()> {
        let meta = Self::meta(name);
        let mine = format!("n.nspname = {}", literal(&name.to_string()));
        let others = format!("a.application_name = {}", literal(&name.to_string()));
        let mut sql = slot_sql(SLOT_SQL, &meta, &mine, &others, false);
        sql.push_str(&format!("INSERT INTO {meta}.state VALUES ({meta}.settings(), {meta}.digest());\n"));
        self.run("prepare a slot", &sql).await
    }

    async fn describe(&self, name: &Name, description: &Description) -> Result<()> {
        let sql = format!("COMMENT ON SCHEMA {name} IS {}", literal(&description.to_json()));
        self.run("describe a schema", &sql).await
    }

    async fn attach(
        &self,
        name: &Name,
        how: Settle,
        patience: Duration,
        _note: Option<&str>,
    ) -> Result<Option<(Box<dyn Attached>, Settled)>> {
        let session = self.hub.open_own().await?;
        let slot = Slot { place: name.to_string(), meta: Self::meta(name), session };
        let described = format!("SELECT obj_description(to_regnamespace('{name}'), 'pg_namespace')");
        slot.attach(&lease(name), &described, self.facts.superuser, how, patience).await
    }

    async fn destroy(&self, name: &Name) -> Result<bool> {
        // The lease's own lock, for as long as the dropping takes.
        let Some(lease) = postgres::hold(&self.hub, &lease(name), false).await? else {
            return Ok(false);
        };
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = {}",
            literal(&name.to_string())
        );
        self.run("end the connections of a schema", &end).await?;
        let meta = Self::meta(name);
        let dropped =
            self.run("drop a schema", &format!("DROP SCHEMA IF EXISTS {name}, {meta} CASCADE")).await;
        lease.release().await;
        dropped.map(|()| true)
    }

    fn sandbox(&self, name: &Name) -> Result<Sandboxing> {
        Err(Error::unsupported(
            format!("a rolled-back transaction needs a database of its own, and {name} is a schema"),
            "use the strategy \"rollback\" with a user who may create databases, or \"schema\"",
        ))
    }

    fn explain(&self, error: &DbError) -> (String, &'static str) {
        postgres::explain(error)
    }
}

fn parsed(hub: &Hub) -> Result<Url> {
    Url::parse(&hub.url).map_err(|error| Error::malformed_url("the server's URL", Engine::Postgres, error))
}

/// The lock of a slot's lease. Its name's own lock is for making and dropping it.
fn lease(name: &Name) -> String {
    format!("lease:{name}")
}

/// A setup that names a schema can't be kept apart by schemas.
pub(crate) fn schema_qualified(what: &str) -> Error {
    Error::unsupported(
        format!(
            "the setup names a schema of its own, which the strategy \"schema\" cannot keep apart: {what}"
        ),
        "leave the schema out of the migration (every slot sets its search_path), or use another strategy",
    )
}
