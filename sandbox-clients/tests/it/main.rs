//! Every check is a function over a URL and runs twice: at a database of its own, and through
//! the sandbox. A file per client.

mod fingerprint;
mod libpq;
mod place;
mod process;

mod orm_diesel;
mod orm_diesel_async;
mod orm_sea_orm;
mod orm_sqlx;
mod pg_dump;
mod pgbench;
mod psql;
mod python;
mod rust_postgres;
mod url;
