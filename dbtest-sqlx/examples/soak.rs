//! Many tiny tests in one process, for `cargo xtask soak`: `soak run ENGINE TESTS` runs them on two
//! threads and says what they took, `soak look ENGINE` says what is on the server.

use dbtest_sqlx::conformance::Op;
use dbtest_sqlx::{Fixture, Inventory, PlaceKind, Probe, SqlxMySql, SqlxPostgres, SqlxSqlite, Strategy};

fn fixture<B: Probe>() -> Fixture<B> {
    Fixture::new()
        .label("soak")
        .sql("schema.sql", "CREATE TABLE book (id INT PRIMARY KEY, title VARCHAR(50) NOT NULL)")
        .seed_sql("books.sql", "INSERT INTO book VALUES (1, 'Dune')")
}

async fn test<B: Probe>(number: usize) -> Result<(), String> {
    let strategy = match number % 4 {
        0 => Strategy::Rollback,
        1 => Strategy::Template,
        2 => Strategy::Schema,
        _ => Strategy::Truncate,
    };
    let text = |error: dbtest_sqlx::Error| error.to_string();
    let fixture = fixture::<B>().strategy(strategy).max_connections(4);
    let mut db = fixture.open_for(&format!("soak {number}")).await.map_err(text)?;
    let ops = [
        Op::query("SELECT title AS v FROM book"),
        Op::execute("UPDATE book SET title = 'dirty'"),
        Op::execute("INSERT INTO book VALUES (2, 'left behind')"),
    ];
    let seen = B::run(db.handle_mut(), &ops).await;
    db.close().await.map_err(text)?;
    match seen?.first() {
        Some(titles) if *titles == [Some("Dune".to_owned())] => Ok(()),
        other => Err(format!("it saw {other:?}")),
    }
}

/// Memory in kilobytes and open files, of this process.
fn size() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    (memory, std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count))
}

async fn run<B: Probe>(tests: usize) {
    let mut failed = 0;
    // Memory settles in the first tenth.
    let early = (tests / 10).max(1);
    let mut first = (0, 0);
    for number in (0..tests).step_by(2) {
        let both = tokio::join!(tokio::spawn(test::<B>(number)), tokio::spawn(test::<B>(number + 3)));
        for outcome in [both.0, both.1] {
            if let Err(why) = outcome.map_err(|error| error.to_string()).flatten() {
                failed += 1;
                eprintln!("FAILED {why}");
            }
        }
        if number <= early {
            first = size();
        }
    }
    let last = size();
    println!("failed {failed} memory {} {} files {} {}", first.0, last.0, first.1, last.1);
}

async fn look<B: Probe>() {
    for inventory in Inventory::all::<B>().await {
        match inventory {
            Ok(inventory) => match inventory.list().await {
                Ok(places) => {
                    let held = places.iter().filter(|place| place.held).count();
                    // A clone is described when a test takes it; until then it is one that was made ahead.
                    let unnamed = places.iter().filter(|place| place.label.is_none());
                    let (ahead, half): (Vec<_>, Vec<_>) =
                        unnamed.partition(|place| place.kind == PlaceKind::Clone);
                    println!(
                        "places {} held {held} half-made {} made ahead {}",
                        places.len(),
                        half.len(),
                        ahead.len()
                    );
                }
                Err(error) => println!("cannot look: {error}"),
            },
            Err(error) => println!("no server: {error}"),
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is not a number of tests"));
    match words[..] {
        ["run", "postgres", tests] => run::<SqlxPostgres>(number(tests)).await,
        ["run", "mysql", tests] => run::<SqlxMySql>(number(tests)).await,
        ["run", "sqlite", tests] => run::<SqlxSqlite>(number(tests)).await,
        ["look", "postgres"] => look::<SqlxPostgres>().await,
        ["look", "mysql"] => look::<SqlxMySql>().await,
        ["look", "sqlite"] => look::<SqlxSqlite>().await,
        _ => panic!("say `soak run postgres 300` or `soak look mysql`"),
    }
}
