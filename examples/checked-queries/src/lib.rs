//! Queries that the compiler checks: a table or column that no migration makes is a compile error.

use sqlx::SqlitePool;

/// A book, as a query returns it.
#[derive(Debug, PartialEq, Eq)]
pub struct Book {
    /// Its number.
    pub id: i64,
    /// No two have the same.
    pub title: String,
    /// Unknown for some.
    pub pages: Option<i64>,
}

/// Adds a book and returns its number.
///
/// # Errors
/// There is one of this title.
pub async fn add(pool: &SqlitePool, title: &str, pages: Option<i64>) -> sqlx::Result<i64> {
    let added = sqlx::query!("INSERT INTO book (title, pages) VALUES (?, ?)", title, pages);
    Ok(added.execute(pool).await?.last_insert_rowid())
}

/// The book of this title.
///
/// # Errors
/// The database's own.
pub async fn find(pool: &SqlitePool, title: &str) -> sqlx::Result<Option<Book>> {
    let found = sqlx::query_as!(Book, "SELECT id, title, pages FROM book WHERE title = ?", title);
    found.fetch_optional(pool).await
}
