//! The service's own test suite. Every test has a real database to itself: migrated, filled as
//! it asks for, and clean again afterwards. They all run in parallel.

mod fixtures;
mod items;
mod lists;
mod made;
mod reminders;
mod rows;
mod upgrades;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use sea_orm::DatabaseConnection;
use serde_json::Value;
use todo_seaorm::clock::Clock;
use tower::ServiceExt;

/// A client of the service, without a network between them.
#[derive(Clone)]
struct Client(axum::Router);

impl Client {
    fn new(pool: &DatabaseConnection) -> Self {
        Self(todo_seaorm::router(pool.clone(), Clock::system()))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, Body::empty()).await
    }

    async fn post(&self, path: &str, json: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, json.to_string().into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .expect("a request");
        let response = self.0.clone().oneshot(request).await.expect("the router does not fail");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}
