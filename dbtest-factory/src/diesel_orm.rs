//! Diesel, sync and async: the derive writes the statement, this reads what was refused.

use diesel::result::Error as DieselError;

use crate::error::Error;
use crate::refusal::Refusal;

// Functions, since of a text Diesel can't know that it is always the same, and would prepare it each time.
diesel::define_sql_function!(fn last_insert_id() -> BigInt);
diesel::define_sql_function!(fn last_insert_rowid() -> BigInt);

/// What a database said through Diesel, in words.
pub fn refused(factory: &'static str, table: &str, columns: &[&str], error: DieselError) -> Error {
    let refusal = match &error {
        DieselError::DatabaseError(_, information) => {
            let mut message = information.message().to_owned();
            if let Some(details) = information.details() {
                message.push_str(&format!(" ({details})"));
            }
            let constraint = information.constraint_name();
            Refusal::read(&message, constraint, information.column_name(), table, columns)
        }
        other => Refusal { message: other.to_string(), ..Refusal::default() },
    };
    Error::refused(factory, table, refusal)
}
