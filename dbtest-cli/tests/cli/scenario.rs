//! One story for every engine: test processes leave places behind, and a person looks at them.

use std::collections::BTreeSet;
use std::time::Instant;

use dbtest_sqlx::{Backend, Engine, Fixture, Session, Strategy};
use serde_json::Value;

use crate::home::{CHILD, Home, READY};

/// The test whose database is kept last.
const FAILED: &str = "shop::tests::an_order_fails";

fn fixture<B: Backend>(strategy: Strategy) -> Fixture<B> {
    Fixture::new().label("shop").sql("schema.sql", "CREATE TABLE note (what VARCHAR(50))").strategy(strategy)
}

/// A test whose database is kept although it passes.
const PASSED: &str = "shop::tests::an_order_is_looked_at";

async fn session<B: Backend>(url: &str) -> Box<dyn Session> {
    B::session(url).await.expect("a session")
}

/// A test that writes and fails.
async fn fail<B: Backend>(test: &str) {
    let db = fixture::<B>(Strategy::Truncate).open_for(test).await.expect("a database");
    let mut session = session::<B>(&db.database_url()).await;
    session.execute("INSERT INTO note VALUES ('left behind')").await.expect("a row");
    session.close().await;
    db.close_failed().await.expect("kept");
}

/// In a process of its own: what it was told.
async fn act<B: Backend>(what: &str) {
    if what == "leave" {
        fail::<B>("shop::tests::another_fails").await;
        fail::<B>(FAILED).await;
        for strategy in [Strategy::Truncate, Strategy::Schema] {
            let db = fixture::<B>(strategy).open_for("shop::tests::passes").await.expect("a database");
            db.close().await.expect("closed");
        }
        return;
    }
    if what == "keep" {
        let mut db = fixture::<B>(Strategy::Truncate).open_for(PASSED).await.expect("a database");
        db.keep();
        return db.close().await.expect("closed");
    }
    let db = fixture::<B>(Strategy::Truncate).open_for("shop::tests::runs").await.expect("a database");
    println!("\n{READY}{}", db.name());
    // Until it is killed.
    std::io::stdin().read_line(&mut String::new()).expect("stdin");
}

/// A test that every strategy can have.
pub(crate) async fn write<B: Backend>() {
    let db = fixture::<B>(Strategy::Truncate).open().await.expect("a database");
    assert!(db.name().starts_with("dbtest_"));
    db.close().await.expect("closed");
}

/// A test that says it is not for `rollback`.
pub(crate) async fn look_from_outside<B: Backend>() {
    let db = fixture::<B>(Strategy::Truncate).open().await.expect("a database");
    assert_ne!(db.strategy(), "rollback", "what this test writes must be seen from outside");
    db.close().await.expect("closed");
}

/// All places that the one server has.
fn places(home: &Home) -> Vec<Value> {
    let status = home.cli(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status = status.json();
    assert_eq!(status["servers"].as_array().expect("servers").len(), 1, "{status}");
    status["servers"][0]["places"].as_array().expect("places").clone()
}

fn those<'a>(places: &'a [Value], kind: &str, kept: bool) -> Vec<&'a Value> {
    places.iter().filter(|place| place["kind"] == kind && place["kept"].is_null() != kept).collect()
}

fn name(place: &Value) -> String {
    place["name"].as_str().expect("a name").to_owned()
}

/// Names that a person made, and that begin like ours.
const LOOK_ALIKES: [&str; 3] =
    ["dbtest_production", "dbtest_t_0123456789ab_backup", "dbtest_s_0123456789ab_01_0123456789ab"];

async fn make_look_alikes<B: Backend>(home: &Home, session: &mut dyn Session) {
    for name in LOOK_ALIKES {
        if B::ENGINE == Engine::Sqlite {
            std::fs::write(home.folder().join("sqlite").join(format!("{name}.db")), "mine").expect("written");
        } else {
            session.execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        }
    }
}

async fn assert_look_alikes<B: Backend>(home: &Home, session: &mut dyn Session) {
    let there: Vec<String> = match B::ENGINE {
        Engine::Sqlite => {
            let entries = std::fs::read_dir(home.folder().join("sqlite")).expect("the folder");
            entries
                .map(|entry| {
                    entry.expect("an entry").path().file_stem().expect("a name").display().to_string()
                })
                .collect()
        }
        engine => {
            let sql =
                if engine == Engine::Postgres { "SELECT datname FROM pg_database" } else { "SHOW DATABASES" };
            let rows = session.query(sql).await.expect("the databases");
            rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
        }
    };
    for name in LOOK_ALIKES {
        assert!(there.iter().any(|there| there == name), "{name} is gone: {there:?}");
    }
}

pub(crate) async fn run<B: Backend>(engine: &str) {
    if let Ok(what) = std::env::var(CHILD) {
        return act::<B>(&what).await;
    }
    let test = format!("{engine}::what_tests_left_is_seen_opened_and_cleaned");
    let (home, start) = (Home::new(), Instant::now());
    home.process(&test, "leave");

    // Kept by a person: the same test's next failure does not push it out.
    let first = places(&home);
    let pinned = name(those(&first, "slot", true)[1]);
    assert_eq!(home.cli(&["keep", &name(those(&first, "template", false)[0])]).code, 4);
    assert_eq!(home.cli(&["keep", "dbtest_production"]).code, 3);
    assert_eq!(home.cli(&["keep", &pinned]).code, 0);
    home.process(&test, "leave");
    let second = places(&home);
    let kept: Vec<_> = those(&second, "slot", true).into_iter().map(name).collect();
    assert_eq!(kept.len(), 3, "both tests' latest, and the one that a person keeps: {kept:?}");
    assert!(kept.contains(&pinned) && !kept.contains(&name(those(&first, "slot", true)[0])), "{kept:?}");
    assert_eq!(home.cli(&["drop", &pinned]).code, 0);

    // Seen: the kept ones first, the latest of them first.
    let all = places(&home);
    let kept = those(&all, "slot", true);
    let tests: Vec<_> = kept.iter().filter_map(|place| place["kept"]["test"].as_str()).collect();
    assert_eq!(tests, [FAILED, "shop::tests::another_fails"]);
    assert_eq!(all[0], *kept[0]);
    let [template] = those(&all, "template", false)[..] else { panic!("one template: {all:#?}") };
    let slots = those(&all, "slot", false);
    assert!(slots.iter().all(|slot| slot["held"] == false), "{slots:#?}");
    for place in all.iter().filter(|place| place["form"] != "schema") {
        assert_eq!(place["setup"], template["setup"], "{place}");
        assert!(place["size"].as_u64() > Some(0) && place["label"] == "shop", "{place}");
    }
    let schemas = slots.iter().filter(|slot| slot["form"] == "schema").count();
    assert_eq!(schemas, usize::from(B::ENGINE == Engine::Postgres), "{slots:#?}");
    let table = home.cli(&["status"]).stdout;
    assert!(table.contains(&format!("{FAILED} failed")) && table.contains(&name(template)), "{table}");
    // Free slots are a number, unless all are asked for.
    assert!(slots.iter().all(|slot| !table.contains(&name(slot))) && !slots.is_empty(), "{table}");
    let count = if slots.len() == 1 {
        "1 slot that is free".to_owned()
    } else {
        format!("{} slots that are free", slots.len())
    };
    assert!(table.contains(&count), "{count}: {table}");
    let table = home.cli(&["status", "--all"]).stdout;
    assert!(slots.iter().all(|slot| table.contains(&name(slot))) && !table.contains("--all"), "{table}");

    let doctor = home.cli(&["doctor", engine, "--json"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let findings = doctor.json()["engines"][0]["findings"].clone();
    if B::ENGINE != Engine::Sqlite {
        for about in ["installed", "running", "version", "rights", "connections"] {
            let finding = findings.as_array().expect("findings").iter().find(|it| it["about"] == about);
            assert!(finding.is_some(), "nothing about {about}: {findings:#}");
        }
    }

    // Opened: by URL, and with the engine's own client.
    let latest = name(kept[0]);
    let url = home.cli(&["url", &latest]);
    assert_eq!(url.code, 0, "{url:?}");
    let mut session = session::<B>(url.stdout.trim()).await;
    let rows = session.query("SELECT what FROM note").await.expect("the kept row");
    assert_eq!(rows, [[Some("left behind".to_owned())]]);
    let maintenance = match B::ENGINE {
        Engine::Postgres => url.stdout.trim().replace(&latest, "postgres"),
        Engine::MySql => url.stdout.trim().replace(&latest, "information_schema"),
        _ => "sqlite::memory:".to_owned(),
    };
    let shell = home.cli_fed(&["shell"], &[], "SELECT what FROM note;\n");
    assert!(shell.code == 0 && shell.stdout.contains("left behind"), "{shell:?}");
    assert!(shell.stderr.contains(FAILED), "{shell:?}");

    assert_eq!(home.cli(&["url", "dbtest_production"]).code, 3);
    let gone = home.cli(&["shell", &pinned]);
    assert!(gone.code == 3 && gone.stderr.contains("DBTEST_KEEP_MAX"), "{gone:?}");
    make_look_alikes::<B>(&home, &mut *session).await;
    assert_look_alikes::<B>(&home, &mut *session).await;

    // Leased: by a process that can be named, except on MySQL.
    let (holder, leased) = home.held(&test, "hold");
    let before = places(&home);
    let slots = those(&before, "slot", false);
    let [held] = slots.iter().filter(|slot| slot["held"] == true).collect::<Vec<_>>()[..] else {
        panic!("one is leased: {slots:#?}")
    };
    assert_eq!(name(held), leased);
    if B::ENGINE == Engine::MySql {
        assert!(held["holder"]["connection"].is_u64(), "{held}");
    } else if cfg!(target_os = "linux") {
        assert_eq!(held["holder"]["process"], holder.id(), "{held}");
    }

    // Dropped by name: a kept one, and nothing else that is not free to go.
    let older = name(those(&before, "slot", true)[1]);
    for refused in [&leased, &name(those(&before, "template", false)[0])] {
        let said = home.cli(&["drop", refused]);
        assert!(said.code == 4 && said.stderr.contains("held by a living process"), "{said:?}");
    }
    for look_alike in LOOK_ALIKES {
        assert_eq!(home.cli(&["drop", look_alike]).code, 3);
    }
    assert_eq!(home.cli(&["drop", &older]).code, 0);
    let names = |places: &[Value]| places.iter().map(name).collect::<BTreeSet<_>>();
    let mut expected = names(&before);
    expected.remove(&older);
    assert_eq!(names(&places(&home)), expected);

    // Cleaned: only what nobody holds; what is kept only when that is said, and agreed to.
    let cleaned = home.cli(&["clean", "--json"]);
    assert_eq!(cleaned.code, 0, "{cleaned:?}");
    let template = name(those(&before, "template", false)[0]);
    assert_eq!(names(&places(&home)), BTreeSet::from([latest.clone(), leased.clone(), template.clone()]));
    assert_eq!(home.cli(&["clean", "--all"]).code, 4, "nobody can be asked");
    assert_eq!(names(&places(&home)).len(), 3);
    assert_eq!(home.cli(&["clean", "--yes"]).code, 2);
    session.close().await;
    assert_eq!(home.cli(&["clean", "--all", "--yes"]).code, 0);
    assert_eq!(names(&places(&home)), BTreeSet::from([leased.clone(), template.clone()]));

    // A server with a living process on it is not ended.
    assert_eq!(home.cli(&["down", engine]).code, 4);

    // Kept, and not for a failure.
    home.process(&test, "keep");
    let table = home.cli(&["status"]).stdout;
    assert!(table.contains(&format!("{PASSED} passed")) && !table.contains("failed"), "{table}");

    // Its holder is gone: free.
    holder.kill();
    let mut session = self::session::<B>(&maintenance).await;
    while home.cli(&["clean", "--all", "--yes"]).code == 0 && !places(&home).is_empty() {
        // The server notices in its own time that a client is gone.
        assert!(start.elapsed().as_secs() < 60, "{:#?}", places(&home));
    }
    assert_look_alikes::<B>(&home, &mut *session).await;

    // Down, and up again: for SQLite there is nothing to end.
    session.close().await;
    let down = home.cli(&["down", engine]);
    if B::ENGINE == Engine::Sqlite {
        assert!(down.code == 4 && down.stderr.contains("did not start"), "{down:?}");
        return;
    }
    assert_eq!(down.code, 0, "{down:?}");
    assert_eq!(home.cli(&["status", "--json"]).json()["servers"], serde_json::json!([]));
    assert_eq!(home.servers().count(), 0, "its folder is gone");
    let up = home.cli(&["up", engine, "--json"]);
    assert!(up.code == 0 && up.json()["engine"] == engine, "{up:?}");
    assert_eq!(places(&home), [] as [Value; 0]);
}
