//! Refuses what is not a test server. What can be read off a URL is a pure function.

use ::url::Url;

use crate::backend::{Rows, Session};
use crate::config::config;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::server::Running;

/// Words that, as a component of a host's or database's name, say that it is not for tests.
const PRODUCTION: &[&str] = &["prod", "production", "live"];

/// More sessions than this in databases that dbtest did not make are somebody's work.
const MANY_SESSIONS: u64 = 20;

/// Reads a URL that a person set, and refuses it unless it names a test server: a unix socket,
/// a loopback host, or a host that is `allowed` by name, and no name that says production.
/// `source` says where the URL was set, `operation` what was to be done there.
///
/// # Errors
/// A malformed URL, another engine's URL, or a refusal that names the host.
pub(crate) fn check(
    url: &str,
    engine: Engine,
    source: &str,
    operation: &str,
    allowed: &[String],
) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|why| Error::malformed_url(source, engine, why))?;
    if crate::url::engine(url) != Some(engine) {
        return Err(Error::malformed_url(source, engine, format!("its scheme is {:?}", parsed.scheme())));
    }
    let hosts = hosts(&parsed);
    if hosts.is_empty() {
        // Drivers would fill it in from PGHOST and the like, where nobody can see it.
        return Err(Error::malformed_url(source, engine, "it names no host"));
    }
    if let Some(host) = hosts.iter().find(|host| !is_local(host) && !is_allowed(host, allowed)) {
        return Err(Error::refused(
            format!("dbtest will not {operation} on the host {host} ({source}): it is not this machine"),
            allow(host, source),
        ));
    }
    let host = shown_host(&hosts);
    if !hosts.iter().any(|host| is_allowed(host, allowed)) {
        let database = parsed.path().trim_start_matches('/');
        for (what, name) in hosts.iter().map(|host| ("host", host.as_str())).chain([("database", database)]) {
            if let Some(word) = production_word(name) {
                return Err(Error::refused(
                    format!(
                        "dbtest will not {operation} on {host} ({source}): the {what} {name:?} says {word:?}"
                    ),
                    allow(&host, source),
                ));
            }
        }
    }
    Ok(parsed)
}

/// Looks for signs of production on a server that dbtest did not start: a standby, attached
/// replicas, archiving, many sessions in databases that dbtest did not make. One query.
///
/// Marks the session as dbtest's own on Postgres, so that the next process does not count it.
///
/// # Errors
/// A refusal that names the sign, unless the host is allowed by name.
pub(crate) async fn signs(engine: Engine, session: &mut dyn Session, running: &Running) -> Result<()> {
    let hosts = Url::parse(&running.url).map(|url| hosts(&url)).unwrap_or_default();
    let query = match engine {
        Engine::Postgres => POSTGRES_SIGNS,
        Engine::MySql => MYSQL_SIGNS,
        Engine::Sqlite => return Ok(()),
    };
    if running.started || hosts.iter().any(|host| config().is_ok_and(|c| is_allowed(host, &c.allow_hosts))) {
        return Ok(());
    }
    let place = crate::url::shown(&running.url);
    let rows = session
        .query(query)
        .await
        .map_err(|error| Error::database("look for signs of production", &place, error))?;
    let number = |at: usize| -> u64 {
        let text = rows.last().and_then(|row| row.get(at)).and_then(Option::as_deref);
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    if let Some(nodes) = cluster(&rows) {
        return Err(Error::unsupported(
            format!(
                "{place} ({}) is one of {nodes} nodes of a Galera cluster: dbtest's leases are named locks, \
                 which each node has for itself, and what a test writes is certified by all of them",
                running.origin
            ),
            "give dbtest a server that stands alone, or a cluster of one node",
        ));
    }
    match sign(number(0), number(1), number(2), number(3)) {
        None => Ok(()),
        Some(sign) => Err(Error::refused(
            format!("dbtest will not use the server {place} ({}): {sign}", running.origin),
            allow(&shown_host(&hosts), &running.origin),
        )),
    }
}

/// How many nodes the cluster has that the server is one of, if they are more than one.
fn cluster(rows: &Rows) -> Option<u64> {
    let told =
        rows.iter().find(|row| row.first().and_then(Option::as_deref) == Some("wsrep_cluster_size"))?;
    told.get(1)?.as_deref()?.parse().ok().filter(|nodes| *nodes > 1)
}

fn sign(read_only: u64, archives: u64, replicas: u64, sessions: u64) -> Option<String> {
    if read_only > 0 {
        Some("it is a read-only standby".to_owned())
    } else if archives > 0 {
        Some("it archives its write-ahead log (archive_mode)".to_owned())
    } else if replicas > 0 {
        Some(format!("{replicas} replicas are attached to it"))
    } else if sessions > MANY_SESSIONS {
        Some(format!("{sessions} sessions are open in databases that dbtest did not make"))
    } else {
        None
    }
}

/// Tells other processes' [`signs`] that a session is dbtest's own.
pub(crate) const MARK: &str = "SET application_name = 'dbtest'";

const POSTGRES_SIGNS: &str = r"SET application_name = 'dbtest';
SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END,
  CASE WHEN current_setting('archive_mode') = 'off' THEN 0 ELSE 1 END,
  (SELECT count(*) FROM pg_stat_replication),
  (SELECT count(*) FROM pg_stat_activity
   WHERE datname NOT LIKE 'dbtest\_%' AND application_name NOT LIKE 'dbtest%'
     AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid())";

// Without PROCESS a user sees only its own sessions; then this finds less, and no error.
const MYSQL_SIGNS: &str = r"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size';
SELECT @@global.read_only, 0,
  coalesce(sum(command LIKE 'Binlog Dump%'), 0),
  coalesce(sum(db IS NOT NULL AND db NOT LIKE 'dbtest\_%' AND db <> 'information_schema'), 0)
FROM information_schema.processlist";

fn allow(host: &str, source: &str) -> String {
    format!("if it is a test server, set DBTEST_ALLOW_HOST={host}; if not, correct or unset {source}")
}

/// Every host that a driver might read off this URL: libpq and sqlx let parameters override
/// the authority, and libpq takes lists.
fn hosts(url: &Url) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        for host in text.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            hosts.push(host.trim_start_matches('[').trim_end_matches(']').to_lowercase());
        }
    };
    add(&url.host_str().unwrap_or_default().replace("%2F", "/").replace("%2f", "/").replace("%2C", ","));
    for (key, value) in url.query_pairs() {
        if matches!(&*key, "host" | "hostaddr" | "socket" | "unix_socket") {
            add(&value);
        }
    }
    hosts
}

fn is_local(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = if host.starts_with('/') { "localhost" } else { host };
    allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed == host)
}

fn shown_host(hosts: &[String]) -> String {
    // A unix socket stands beside a "localhost" that no driver looks at.
    hosts.iter().find(|host| !host.starts_with('/')).map_or_else(|| "localhost".to_owned(), Clone::clone)
}

fn production_word(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric())
        .map(|part| part.trim_end_matches(|c: char| c.is_ascii_digit()))
        .find_map(|part| PRODUCTION.iter().find(|word| **word == part).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn pg(url: &str, allowed: &[&str]) -> Result<Url> {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        check(url, Engine::Postgres, "DATABASE_URL", "make test databases", &allowed)
    }

    #[test]
    fn a_cluster_of_several_nodes_is_told_from_one_that_is_none() {
        let rows = |cells: &[[&str; 2]]| -> Rows {
            cells.iter().map(|row| row.iter().map(|cell| Some((*cell).to_owned())).collect()).collect()
        };
        assert_eq!(cluster(&rows(&[["wsrep_cluster_size", "3"], ["0", "0"]])), Some(3));
        for none in
            [&[["wsrep_cluster_size", "1"], ["0", "0"]][..], &[["wsrep_cluster_size", "0"]], &[["0", "0"]]]
        {
            assert_eq!(cluster(&rows(none)), None);
        }
    }

    #[test]
    fn sockets_loopback_and_allowed_hosts_pass() {
        for url in [
            "postgres://u@localhost/app",
            "postgres://u@LOCALHOST:1/app",
            "postgres://u@127.0.0.2/app",
            "postgres://u@[::1]/app",
            "postgres:///app?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/app",
        ] {
            pg(url, &[]).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        pg("postgres://u@db.ci/app", &["other", "DB.ci"]).expect("allowed by name");
    }

    #[test]
    fn another_host_is_refused_by_name_wherever_the_url_names_it() {
        for url in [
            "postgres://u:secret@db.internal/app",
            "postgres://localhost/app?host=db.internal",
            "postgres://localhost/app?hostaddr=db.internal",
            "postgres:///app?host=localhost,db.internal",
            "postgres://localhost%2Cdb.internal/app",
        ] {
            let error = pg(url, &[]).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            let text = error.to_string();
            assert!(text.contains("db.internal") && text.contains("make test databases"), "{text}");
            assert!(text.contains("DBTEST_ALLOW_HOST=db.internal"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_name_that_says_production_is_refused_until_allowed() {
        for url in [
            "postgres://localhost/app_prod",
            "postgres://localhost/Production",
            "postgres://live-2.localhost/app",
            "postgres://localhost/prod1",
        ] {
            assert_eq!(pg(url, &[]).expect_err(url).kind(), ErrorKind::Refused);
        }
        pg("postgres://localhost/app_prod", &["localhost"]).expect("allowed by name");
        pg("postgres://localhost/products", &[]).expect("only whole words count");
        pg("postgres://localhost/delivery", &[]).expect("only whole words count");
    }

    #[test]
    fn a_bad_url_says_what_is_wrong_and_shows_no_password() {
        for url in ["postgres://u:se/cret@h/", "mysql://u:secret@localhost/d", "secret", "postgres:///app"] {
            let error = pg(url, &[]).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let text = error.to_string();
            assert!(text.contains("DATABASE_URL") && !text.contains("cret"), "{text}");
        }
    }

    #[test]
    fn each_sign_of_production_is_named() {
        assert_eq!(sign(0, 0, 0, MANY_SESSIONS), None);
        for (numbers, word) in [
            ((1, 0, 0, 0), "standby"),
            ((0, 1, 0, 0), "archive"),
            ((0, 0, 2, 0), "replicas"),
            ((0, 0, 0, 21), "sessions"),
        ] {
            let (a, b, c, d) = numbers;
            assert!(sign(a, b, c, d).expect("a sign").contains(word));
        }
    }
}
