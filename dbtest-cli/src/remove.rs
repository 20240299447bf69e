//! Keeps and drops what dbtest made: one by name, or all that nobody needs.

use std::io::{IsTerminal, Write};

use dbtest_sqlx::Result;
use serde_json::json;

use crate::outcome::Outcome;
use crate::{open, servers, show};

/// `cargo dbtest drop NAME`
pub(crate) async fn one(name: &str, json: bool) -> Result<Outcome> {
    let found = servers::find(|place| place.name == name).await;
    // Two servers may have a template of the same name.
    if found.is_empty() {
        return Ok(open::not_found(name));
    }
    for (server, place) in &found {
        server.remove(place).await?;
        if !json {
            println!("dropped {name} ({} {})", server.engine(), server.place());
        }
    }
    if json {
        show::json(&json!({ "dropped": [name] }));
    }
    Ok(Outcome::Good)
}

/// `cargo dbtest keep NAME`
pub(crate) async fn keep(name: &str, json: bool) -> Result<Outcome> {
    let found = servers::find(|place| place.name == name).await;
    if found.is_empty() {
        return Ok(open::not_found(name));
    }
    for (server, place) in &found {
        server.keep(place).await?;
        if !json {
            println!("{name} stays until you drop it ({} {})", server.engine(), server.place());
        }
    }
    if json {
        show::json(&json!({ "kept": [name] }));
    }
    Ok(Outcome::Good)
}

/// `cargo dbtest clean`
pub(crate) async fn all(kept: bool, yes: bool, json: bool) -> Result<Outcome> {
    let (mut dropped, mut problems) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for server in servers::all().await {
        match server {
            Ok(server) => all.push(server),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if kept && !yes {
        let mut count = 0;
        for server in &all {
            count += server.free(true).await?.iter().filter(|place| place.kept.is_some()).count();
        }
        if count > 0 && !agreed(count) {
            eprintln!("nothing was dropped\n  next step: say --yes, or leave out --all to keep them");
            return Ok(Outcome::Refused);
        }
    }
    for server in &all {
        match server.clean(kept).await {
            Ok(names) => dropped.extend(names),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if json {
        show::json(&json!({ "dropped": dropped, "problems": problems }));
    } else {
        for name in &dropped {
            println!("dropped {name}");
        }
        println!("{} dropped", dropped.len());
        for problem in &problems {
            eprintln!("{problem}");
        }
    }
    Ok(if problems.is_empty() { Outcome::Good } else { Outcome::Failed })
}

/// Asks on a terminal. Where there is none nobody can answer, and the answer is no.
fn agreed(kept: usize) -> bool {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return false;
    }
    let what = if kept == 1 { "1 kept database".to_owned() } else { format!("{kept} kept databases") };
    eprint!("Drop {what} too? [y/N] ");
    let mut answer = String::new();
    let _ = std::io::stderr().flush();
    stdin.read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
