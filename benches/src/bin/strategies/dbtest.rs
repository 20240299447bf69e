//! dbtest's strategies.

use std::time::Instant;

use dbtest_benches::schema;
use dbtest_sqlx::{Fixture, Strategy, async_trait};

use crate::Result;
use crate::client::Client;
use crate::contender::{Contender, Kind, Took, body, on_handle};
use crate::site::{Site, server};

pub struct Dbtest<C: Client> {
    fixture: Fixture<C::Backend>,
    test: String,
    body: [&'static str; 3],
}

impl<C: Client> Dbtest<C> {
    pub fn new(kind: Kind, site: &Site, worker: usize, at: &str) -> Self {
        let strategy = match kind {
            Kind::Rollback => Strategy::Rollback,
            Kind::Template => Strategy::Template,
            Kind::Schema => Strategy::Schema,
            _ => Strategy::Truncate,
        };
        let fixture = C::fixture(schema::migrator(C::DIALECT, site.tables))
            .label("bench")
            .server(server(at))
            .require(strategy);
        Self { fixture, test: format!("worker_{worker}"), body: body(site.tables) }
    }
}

#[async_trait(?Send)]
impl<C: Client> Contender for Dbtest<C> {
    async fn test(&mut self) -> Result<Took> {
        let start = Instant::now();
        let db = self.fixture.clone().open_for(&self.test).await?;
        let lease = start.elapsed();
        let (connect, body) = on_handle::<C>(db.handle(), &self.body).await?;
        let end = Instant::now();
        db.close().await?;
        Ok(Took { lease, connect, body, end: end.elapsed() })
    }
}
