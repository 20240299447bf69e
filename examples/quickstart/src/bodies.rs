//! The tests' bodies. Each believes that the database is its own: it finds the baseline, and
//! then inserts, changes and deletes as it likes, in the same rows as all the others.

use std::fmt;

use crate::shop::{BASELINE, Calls, End};

/// Why a test failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// dbtest could not open the database or make it clean.
    Dbtest(dbtest_sqlx::Error),
    /// A statement failed that works in a database of one's own.
    Statement(sqlx::Error),
    /// The test saw rows that are not its own, or lost some.
    Rows { from: String, expected: i64, found: i64 },
    /// A statement was let through that breaks a constraint.
    NotRefused(String),
}

impl From<dbtest_sqlx::Error> for Failure {
    fn from(error: dbtest_sqlx::Error) -> Self {
        Self::Dbtest(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dbtest(error) => write!(f, "{error}"),
            Self::Statement(sqlx::Error::Database(error)) => f.write_str(error.message()),
            Self::Statement(error) => write!(f, "{error}"),
            Self::Rows { from, expected, found } => {
                write!(f, "{from}: expected {expected} rows, found {found}")
            }
            Self::NotRefused(sql) => write!(f, "this should have been refused: {sql}"),
        }
    }
}

type Done = Result<(), Failure>;

async fn expect(shop: &impl Calls, from: &str, expected: i64) -> Done {
    let found = shop.count(from).await?;
    if found == expected { Ok(()) } else { Err(Failure::Rows { from: from.to_owned(), expected, found }) }
}

/// What every test finds: the rows of the setup, as the setup wrote them, and no others.
async fn baseline(shop: &impl Calls) -> Done {
    for (table, rows) in BASELINE {
        expect(shop, table, rows).await?;
    }
    expect(shop, "book WHERE cents = 999 AND title = 'The Left Hand of Darkness'", 1).await
}

/// How many different bodies there are.
pub(crate) const BODIES: usize = 7;

/// Runs one of the bodies; every number has one.
pub(crate) async fn body(number: usize, shop: &impl Calls) -> Done {
    baseline(shop).await?;
    match number % BODIES {
        0 => buys_the_last_copy(shop).await,
        1 => changes_its_mind(shop).await,
        2 => changes_what_the_setup_wrote(shop).await,
        3 => deletes_what_the_setup_wrote(shop).await,
        4 => registers_twice(shop).await,
        5 => writes_many_rows(shop).await,
        _ => closes_the_shop(shop).await,
    }
}

async fn buys_the_last_copy(shop: &impl Calls) -> Done {
    let order = [
        "INSERT INTO purchase (customer_id) SELECT id FROM customer WHERE email = 'reader@example.org'",
        "INSERT INTO purchase_line (purchase_id, book_id, pieces, cents) SELECT MAX(id), 3, 1, 2450 FROM purchase",
        "UPDATE stock SET pieces = pieces - 1 WHERE book_id = 3",
    ];
    shop.transaction(&order, End::Commit).await?;
    shop.run("UPDATE purchase SET state_code = 'paid'").await?;
    expect(shop, "purchase WHERE state_code = 'paid'", 1).await?;
    expect(shop, "stock WHERE pieces = 0", 1).await
}

async fn changes_its_mind(shop: &impl Calls) -> Done {
    let order = ["INSERT INTO purchase (customer_id) VALUES (1)", "DELETE FROM stock", "DELETE FROM review"];
    shop.transaction(&order, End::Rollback).await?;
    expect(shop, "purchase", 0).await?;
    expect(shop, "stock", 3).await
}

async fn changes_what_the_setup_wrote(shop: &impl Calls) -> Done {
    shop.run("UPDATE genre SET name = 'Speculative' WHERE code = 'sf'").await?;
    shop.run("UPDATE book SET cents = cents * 2").await?;
    expect(shop, "genre WHERE name = 'Speculative'", 1).await?;
    expect(shop, "book WHERE cents = 1998", 1).await
}

async fn deletes_what_the_setup_wrote(shop: &impl Calls) -> Done {
    shop.run("DELETE FROM book WHERE isbn = '9780802713728'").await?;
    shop.run("DELETE FROM genre WHERE code IN ('essay', 'crime')").await?;
    // With the book went its stock and its authors.
    expect(shop, "stock", 2).await?;
    expect(shop, "book_author", 2).await?;
    expect(shop, "genre", 1).await
}

async fn registers_twice(shop: &impl Calls) -> Done {
    let register = "INSERT INTO customer (email, name) VALUES ('herbert@example.org', 'Frank')";
    shop.transaction(&[register], End::Commit).await?;
    if shop.transaction(&[register], End::Commit).await.is_ok() {
        return Err(Failure::NotRefused(register.to_owned()));
    }
    expect(shop, "customer", 2).await
}

async fn writes_many_rows(shop: &impl Calls) -> Done {
    for number in 0..20 {
        let customer =
            format!("INSERT INTO customer (email, name) VALUES ('c{number}@example.org', 'C{number}')");
        shop.run(&customer).await?;
    }
    shop.run("INSERT INTO review (book_id, customer_id, stars) SELECT 2, id, 5 FROM customer").await?;
    expect(shop, "customer", 21).await?;
    expect(shop, "review WHERE stars = 5", 21).await
}

async fn closes_the_shop(shop: &impl Calls) -> Done {
    // Children first, as foreign keys want it.
    let tables = BASELINE.iter().rev().map(|(table, _)| format!("DELETE FROM {table}"));
    let statements: Vec<_> = tables.collect();
    let statements: Vec<_> = statements.iter().map(String::as_str).collect();
    shop.transaction(&statements, End::Commit).await?;
    for (table, _) in BASELINE {
        expect(shop, table, 0).await?;
    }
    Ok(())
}

/// The first half of the proof: everybody writes what the others write.
pub(crate) async fn writes_the_same_keys(number: usize, shop: &impl Calls) -> Done {
    shop.run("INSERT INTO customer (email, name) VALUES ('same@example.org', 'The same')").await?;
    shop.run("INSERT INTO author (name) VALUES ('The same')").await?;
    shop.run("DELETE FROM genre WHERE code = 'crime'").await?;
    shop.run(&format!("UPDATE book SET cents = {} WHERE isbn = '9780441013593'", 5000 + number)).await?;
    Ok(())
}

/// The second half, when all have written: each sees what it wrote itself, and nothing else.
pub(crate) async fn sees_only_its_own(number: usize, shop: &impl Calls) -> Done {
    expect(shop, "customer", 2).await?;
    expect(shop, "customer WHERE email = 'same@example.org'", 1).await?;
    expect(shop, "author", 3).await?;
    expect(shop, "genre", 2).await?;
    expect(shop, &format!("book WHERE cents = {}", 5000 + number), 1).await
}
