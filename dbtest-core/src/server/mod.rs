//! TEMPORARY
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::hub::Connect;
use std::sync::Arc;
/// Server
#[derive(Clone, Debug, Default)]
pub struct Server {
    url: Option<String>,
}
impl Server {
    /// auto
    pub fn auto() -> Self {
        Self::default()
    }
    /// url
    pub fn url(u: impl Into<String>) -> Self {
        Self { url: Some(u.into()) }
    }
}
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) url: String,
}
pub(crate) async fn find(server: &Server, engine: Engine, _c: &Connect) -> Result<Arc<Running>> {
    if let Some(url) = &server.url {
        return Ok(Arc::new(Running { url: url.clone() }));
    }
    if engine == Engine::Sqlite {
        let dir = crate::config::config()?.dir.join("sqlite");
        return Ok(Arc::new(Running { url: format!("sqlite://{}", dir.display()) }));
    }
    match crate::config::url_for(engine) {
        Some((_, url)) => Ok(Arc::new(Running { url })),
        None => Err(Error::no_server(engine, &[])),
    }
}
