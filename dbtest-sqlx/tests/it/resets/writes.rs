//! What a test does to a schema, at random. Some of it fails, as in a test of errors.

use dbtest_sqlx::Engine;

use super::rng::Rng;
use super::schema::{Key, Schema};

/// Statements that run on one connection, one after the other.
pub(super) fn random(schema: &Schema, rng: &mut Rng) -> Vec<String> {
    let mut statements = Vec::new();
    for _ in 0..1 + rng.below(6) {
        if rng.chance(30) {
            statements.push("BEGIN".to_owned());
            for _ in 0..1 + rng.below(4) {
                statements.push(write(schema, rng));
            }
            statements.push(if rng.chance(60) { "ROLLBACK" } else { "COMMIT" }.to_owned());
        } else {
            statements.push(write(schema, rng));
        }
    }
    if rng.chance(8) {
        statements.push(change(schema, rng));
    }
    statements
}

fn write(schema: &Schema, rng: &mut Rng) -> String {
    let engine = schema.engine;
    let number = rng.below(schema.tables.len());
    let table = &schema.tables[number];
    let (name, n, id) = (&table.name, rng.below(100), 1 + rng.below(12));
    let given = matches!(table.key, Key::Given | Key::Always);
    let select = format!("SELECT MIN(id) FROM {name}");
    match rng.below(12) {
        0..=2 if given => format!("INSERT INTO {name} (n, word) VALUES ({n}, 'new'), ({}, NULL)", n + 1),
        0..=2 => format!("INSERT INTO {name} (id, n, word) VALUES ('{id}', {n}, 'new')"),
        // Below and above what the server has given so far.
        3 => {
            let overriding = if engine == Engine::Postgres && table.key == Key::Always {
                "OVERRIDING SYSTEM VALUE "
            } else {
                ""
            };
            let id = ["-5", "3", "77", "1000"][rng.below(4)];
            format!("INSERT INTO {name} (id, n, word) {overriding}VALUES ('{id}', {n}, 'own')")
        }
        4 => format!("UPDATE {name} SET word = 'changed', n = n + 1"),
        5 => format!("UPDATE {name} SET word = 'changed' WHERE n < {n}"),
        6 => format!("DELETE FROM {name} WHERE n < {n}"),
        7 => format!("DELETE FROM {name}"),
        8 if table.key == Key::None => {
            format!("INSERT INTO {name} (id, n, word) SELECT id, n, word FROM {name}")
        }
        8 => match engine {
            Engine::MySql => format!(
                "INSERT INTO {name} (id, n, word) VALUES ('{id}', {n}, 'up') ON DUPLICATE KEY UPDATE word = 'upserted'"
            ),
            _ if table.key == Key::Composite => format!("DELETE FROM {name} WHERE id < {id}"),
            _ => format!(
                "INSERT INTO {name} (id, n, word) VALUES ('{id}', {n}, 'up') ON CONFLICT (id) DO UPDATE SET word = 'upserted'"
            ),
        },
        9 if engine == Engine::Postgres => format!("TRUNCATE {name} CASCADE"),
        9 if engine == Engine::MySql => format!("TRUNCATE {name}"),
        9 => format!("REPLACE INTO {name} (id, n, word) VALUES ('{id}', {n}, 'replaced')"),
        10 if !table.refers.is_empty() => {
            let at = rng.below(table.refers.len());
            format!("UPDATE {name} SET r{at} = {id}")
        }
        // A row that is referred to, by its number.
        _ if engine == Engine::MySql => {
            format!("DELETE FROM {name} WHERE id = (SELECT x.m FROM (SELECT MIN(id) AS m FROM {name}) x)")
        }
        _ => format!("DELETE FROM {name} WHERE id = ({select})"),
    }
}

/// A change of the schema, or of what hangs on it.
fn change(schema: &Schema, rng: &mut Rng) -> String {
    let name = &schema.tables[rng.below(schema.tables.len())].name;
    match rng.below(6) {
        0 => "CREATE TABLE of_the_test (x integer)".to_owned(),
        1 => format!("CREATE INDEX of_the_test_index ON {name} (word)"),
        2 => format!("ALTER TABLE {name} ADD COLUMN of_the_test integer"),
        3 if schema.engine == Engine::Sqlite => format!("DROP TABLE {name}"),
        3 => format!("DROP TABLE {name} CASCADE"),
        4 => format!("CREATE VIEW of_the_test_view AS SELECT n FROM {name}"),
        _ if schema.engine == Engine::Postgres => "REFRESH MATERIALIZED VIEW a_copy".to_owned(),
        _ => "DROP VIEW a_view".to_owned(),
    }
}
