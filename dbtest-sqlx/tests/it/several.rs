//! Several servers: tests are spread over them, and one that ends is left out.

use std::net::TcpListener;

use dbtest_sqlx::{ErrorKind, Fixture, Server, SqlxPostgres};
use sqlx::postgres::PgConnectOptions;

use crate::round_trips::{Count, postgres_address, postgres_logged_in, relay};

/// The same server at another address: to dbtest it is another one.
fn another(url: &str) -> (String, Count) {
    let options: PgConnectOptions = url.parse().expect("a URL");
    let (port, count) = relay(postgres_address(&options), postgres_logged_in);
    let user = url.split_once('@').expect("a user").0;
    (format!("{user}@127.0.0.1:{port}/postgres"), count)
}

fn nowhere(url: &str) -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    format!("{}@127.0.0.1:{port}/postgres", url.split_once('@').expect("a user").0)
}

fn fixture(urls: &[String]) -> Fixture<SqlxPostgres> {
    Fixture::new().sql("several.sql", "CREATE TABLE a (x INT)").server(Server::urls(urls.iter().cloned()))
}

#[tokio::test]
async fn tests_go_to_the_server_with_the_fewest() {
    let db = Fixture::<SqlxPostgres>::new().empty().open().await.expect("a database");
    let (urls, counts): (Vec<_>, Vec<_>) = (0..2).map(|_| another(&db.database_url())).unzip();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(fixture(&urls).open().await.expect("a database"));
    }
    let on = |url: &String| {
        let port = url.rsplit_once(':').expect("a port").1.split('/').next().expect("a port").to_owned();
        open.iter().filter(|db| db.database_url().contains(&port)).count()
    };
    assert_eq!(urls.iter().map(on).collect::<Vec<_>>(), [2, 2]);
    for count in counts {
        assert!(!count.lock().expect("counts").is_empty(), "each was connected to");
    }
    for one in open {
        one.close().await.expect("closed");
    }
    db.close().await.expect("closed");
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_left_out() {
    let db = Fixture::<SqlxPostgres>::new().empty().open().await.expect("a database");
    let dead = nowhere(&db.database_url());
    let (alive, count) = another(&db.database_url());
    let urls = [dead.clone(), alive];
    for _ in 0..3 {
        let one = fixture(&urls).open().await.expect("a database on the one that is there");
        sqlx::query("INSERT INTO a VALUES (1)").execute(one.handle()).await.expect("a row");
        one.close().await.expect("closed");
    }
    assert!(!count.lock().expect("counts").is_empty());
    // With no other there is nothing to go on with, and the error says why.
    let error = fixture(&[dead.clone(), nowhere(&dead)]).open().await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    db.close().await.expect("closed");
}
