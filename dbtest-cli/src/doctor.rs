//! `cargo dbtest doctor`: which server a test would have, and why.

use std::fmt::Write;

use dbtest_sqlx::{Diagnosis, Health, SqlxMySql, SqlxPostgres, SqlxSqlite};
use serde_json::{Value, json};

use crate::args::EngineWord;
use crate::outcome::Outcome;
use crate::show;

pub(crate) async fn run(engines: &[EngineWord], json: bool) -> Outcome {
    let asked = |engine| engines.is_empty() || engines.contains(&engine);
    let mut found = Vec::new();
    if asked(EngineWord::Postgres) {
        found.push(Diagnosis::of::<SqlxPostgres>().await);
    }
    if asked(EngineWord::Mysql) {
        found.push(Diagnosis::of::<SqlxMySql>().await);
    }
    if asked(EngineWord::Sqlite) {
        found.push(Diagnosis::of::<SqlxSqlite>().await);
    }
    if json {
        show::json(&json!({ "engines": found.iter().map(value).collect::<Vec<_>>() }));
    } else {
        let texts: Vec<_> = found.iter().map(text).collect();
        print!("{}", texts.join("\n"));
    }
    if found.iter().all(Diagnosis::is_well) { Outcome::Good } else { Outcome::Failed }
}

fn value(diagnosis: &Diagnosis) -> Value {
    let findings: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| {
            let health = word(finding.health);
            json!({ "about": finding.about, "health": health, "what": finding.what, "next": finding.next })
        })
        .collect();
    json!({
        "engine": diagnosis.engine.word(),
        "server": diagnosis.server,
        "well": diagnosis.is_well(),
        "findings": findings,
    })
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Note => "note",
        _ => "bad",
    }
}

fn text(diagnosis: &Diagnosis) -> String {
    let server = diagnosis.server.as_deref().unwrap_or("no server");
    let mut text = format!("{}: a test would have {server}\n", diagnosis.engine);
    for finding in &diagnosis.findings {
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {:<4}  {:<11}  {}", word(finding.health), finding.about, finding.what);
        if let Some(next) = &finding.next {
            let _ = writeln!(text, "  {:<4}  {:<11}  next step: {next}", "", "");
        }
    }
    text
}
