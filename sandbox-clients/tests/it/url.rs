//! The URL as dbtest gives it: every client here takes it as it stands.

use sqlx::{Connection, PgConnection};

use crate::place::{Place, each, run as block_on};
use crate::process::{program, run};

#[test]
fn psql_and_all_of_libpq_take_the_url_as_it_stands() {
    each(|place| {
        let ran = run(
            program("psql").args(["-X", "-A", "-t", "-c", "SELECT count(*) FROM author", &place.plain]),
            "",
        );
        assert_eq!(ran.ok(), "2\n");
    });
}

#[test]
fn sqlx_and_tokio_postgres_take_the_url_as_it_stands() {
    each(|place| {
        block_on(async {
            let Place { plain, .. } = place;
            PgConnection::connect(plain).await.expect("sqlx").close().await.expect("closed");
            let (client, connection) =
                tokio_postgres::connect(plain, tokio_postgres::NoTls).await.expect("tokio-postgres");
            drop(client);
            connection.await.expect("closed");
        });
    });
}
