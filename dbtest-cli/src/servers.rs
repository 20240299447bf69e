//! The servers that there are, and what is on each.

use dbtest_sqlx::{Inventory, Listed, Result, SqlxMySql, SqlxPostgres, SqlxSqlite};
use serde_json::json;

use crate::args::EngineWord;
use crate::outcome::Outcome;
use crate::show;

/// A server and what was listed on it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) server: Inventory,
    pub(crate) places: Vec<Listed>,
}

/// Every server of every engine; an error stands for one that is named or there, and can't be used.
pub(crate) async fn all() -> Vec<Result<Inventory>> {
    // Of different engines at the same time: each may have to wait for one that hangs.
    let (postgres, mysql, sqlite) = tokio::join!(
        Inventory::all::<SqlxPostgres>(),
        Inventory::all::<SqlxMySql>(),
        Inventory::all::<SqlxSqlite>()
    );
    postgres.into_iter().chain(mysql).chain(sqlite).collect()
}

/// The same, listed.
pub(crate) async fn listed() -> Vec<Result<Seen>> {
    let mut seen = Vec::new();
    for server in all().await {
        seen.push(match server {
            Ok(server) => server.list().await.map(|places| Seen { server, places }),
            Err(error) => Err(error),
        });
    }
    seen
}

/// The place of that name and its server. Servers that can't be looked at are told on stderr.
pub(crate) async fn find(wanted: impl Fn(&Listed) -> bool) -> Vec<(Inventory, Listed)> {
    let mut found = Vec::new();
    for seen in listed().await {
        match seen {
            Ok(Seen { server, places }) => {
                if let Some(place) = places.into_iter().find(&wanted) {
                    found.push((server, place));
                }
            }
            Err(error) => eprintln!("dbtest: {error}"),
        }
    }
    found
}

/// `cargo dbtest up ENGINE`
pub(crate) async fn up(engine: EngineWord, json: bool) -> Result<Outcome> {
    let server = match engine {
        EngineWord::Postgres => Inventory::up::<SqlxPostgres>().await?,
        EngineWord::Mysql => Inventory::up::<SqlxMySql>().await?,
        EngineWord::Sqlite => Inventory::up::<SqlxSqlite>().await?,
    };
    if json {
        show::json(&show::server_json(&server));
    } else {
        print!("{}", show::heading(&server));
    }
    Ok(Outcome::Good)
}

/// `cargo dbtest down ENGINE`
pub(crate) async fn down(engine: EngineWord, json: bool) -> Result<Outcome> {
    let servers = match engine {
        EngineWord::Postgres => Inventory::all::<SqlxPostgres>().await,
        EngineWord::Mysql => Inventory::all::<SqlxMySql>().await,
        EngineWord::Sqlite => Inventory::all::<SqlxSqlite>().await,
    };
    let mut ended = Vec::new();
    for server in servers {
        let server = server?;
        let (what, value) = (show::heading(&server), show::server_json(&server));
        server.down().await?;
        if !json {
            print!("ended {what}");
        }
        ended.push(value);
    }
    if json {
        show::json(&json!({ "ended": ended }));
    }
    Ok(Outcome::Good)
}

/// `cargo dbtest status`
pub(crate) async fn status(all: bool, json: bool) -> Result<Outcome> {
    let seen = listed().await;
    if json {
        show::json(&show::status_json(&seen));
    } else {
        print!("{}", show::status(&seen, all));
    }
    Ok(if seen.iter().any(Result::is_err) { Outcome::Failed } else { Outcome::Good })
}
