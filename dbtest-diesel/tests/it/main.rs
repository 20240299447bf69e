//! Everything about the adapter that needs a database.

mod attribute;
mod bad_input;
#[cfg(feature = "conformance")]
mod conformance;
mod parametrised;
mod traps;

mod schema {
    #![allow(missing_docs)]

    diesel::table! {
        books (id) {
            id -> Integer,
            author_id -> Integer,
            title -> Text,
        }
    }
}

/// The titles of all books, sorted.
macro_rules! titles {
    ($connection:expr) => {
        crate::schema::books::table
            .select(crate::schema::books::title)
            .order(crate::schema::books::title)
            .load::<String>($connection)
            .expect("the titles")
    };
}

/// Adds a book.
macro_rules! add {
    ($connection:expr, $title:expr) => {
        diesel::insert_into(crate::schema::books::table)
            .values((crate::schema::books::author_id.eq(1), crate::schema::books::title.eq($title)))
            .execute($connection)
    };
}

pub(crate) use {add, titles};
