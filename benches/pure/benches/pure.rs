//! What core does without a server: what each piece costs, so that a change that makes one slower is seen.
//!
//! ```text
//! cargo bench -p dbtest-benches-pure
//! ```
//!
//! The pieces are private to core, and each is one file that stands alone: here they are compiled from there.

#[allow(dead_code, unused_imports, reason = "only what is measured is called")]
#[path = "../../../dbtest-core/src/hash.rs"]
mod hash;
#[allow(dead_code, unused_imports, reason = "only what is measured is called")]
#[path = "../../../dbtest-core/src/name.rs"]
mod name;
#[allow(dead_code, unused_imports, reason = "only what is measured is called")]
#[path = "../../../dbtest-core/src/rows.rs"]
mod rows;
#[allow(dead_code, unused_imports, reason = "only what is measured is called")]
#[path = "../../../dbtest-core/src/sql.rs"]
mod sql;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

use crate::name::Name;
use crate::rows::{Format, RowFile, dependency_order};

/// Tables of a schema.
const TABLES: [usize; 3] = [10, 150, 500];

const ROWS: [usize; 2] = [100, 10_000];

fn main() {
    divan::main();
}

#[divan::bench]
fn a_name_is_made() -> String {
    Name::slot("0123456789ab", 7).to_string()
}

#[divan::bench]
fn a_name_is_read() -> Option<Name> {
    Name::parse(divan::black_box("dbtest_s_0123456789ab_7_cdef01234567"))
}

/// What a fixture pays once per process for two migrations a table of a kilobyte each.
#[divan::bench(args = TABLES)]
fn a_setup_has_a_fingerprint(bencher: Bencher, tables: usize) {
    let migration = "CREATE TABLE book (id serial PRIMARY KEY, title text NOT NULL); ".repeat(16);
    bencher.counter(BytesCount::new(2 * tables * migration.len())).bench(|| {
        let mut hash = hash::Hash::default();
        for _ in 0..2 * tables {
            hash.part(divan::black_box(migration.as_bytes()));
        }
        hash.word()
    });
}

#[divan::bench(args = TABLES)]
fn a_script_is_cut_into_statements(bencher: Bencher, tables: usize) {
    let table = |table| {
        format!(
            "-- Table {table}; and its index\nCREATE TABLE \"t{table}\" (id serial PRIMARY KEY, parent int REFERENCES \
             t{table} (id), name text NOT NULL DEFAULT 'a; b', CHECK (name <> $$;$$));\n\
             CREATE INDEX t{table}_parent ON t{table} (parent);\n"
        )
    };
    let text: String = (0..tables).map(table).collect();
    bencher.counter(BytesCount::of_str(&text)).bench(|| sql::statements(divan::black_box(&text)).len());
}

/// Each refers to the one behind it, which is the worst order to begin with.
#[divan::bench(args = TABLES)]
fn tables_are_put_into_an_order(bencher: Bencher, tables: usize) {
    let names: Vec<_> = (0..tables).map(|table| format!("t{table}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let references: Vec<_> = names.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    bencher.counter(ItemsCount::new(tables)).bench(|| dependency_order(&names, &references).len());
}

#[divan::bench(args = ROWS)]
fn rows_are_read_from_csv(bencher: Bencher, rows: usize) {
    let mut content = "id,title,author_id,note\n".to_owned();
    (0..rows).for_each(|row| content += &format!("{row},\"Dune, part {row}\",{},\n", row % 10));
    read(bencher, "books.csv", Format::Csv, content, rows);
}

#[divan::bench(args = ROWS)]
fn rows_are_read_from_json(bencher: Bencher, rows: usize) {
    let row = |row| {
        format!(
            "{{\"id\": {row}, \"title\": \"Dune, part {row}\", \"author_id\": {}, \"note\": null}}",
            row % 10
        )
    };
    let content = format!("[\n{}\n]", (0..rows).map(row).collect::<Vec<_>>().join(",\n"));
    read(bencher, "books.json", Format::Json, content, rows);
}

fn read(bencher: Bencher, name: &str, format: Format, content: String, rows: usize) {
    let file = RowFile { name: name.to_owned(), content: content.into_bytes(), format };
    bencher.counter(ItemsCount::new(rows)).bench(|| file.rows().expect("rows").len());
}
