//! The routes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::{self, Item, List, Pool, Statistics};

#[derive(Clone)]
struct App {
    pool: Pool,
    clock: Clock,
}

/// The service on this pool.
pub fn router(pool: Pool, clock: Clock) -> Router {
    Router::new()
        .route("/lists", get(lists).post(create_list))
        .route("/lists/{list}/items", get(items).post(add_item))
        .route("/lists/{list}/statistics", get(statistics))
        .route("/items/{item}/complete", post(complete))
        .route("/items/{item}/activity", get(activity))
        .with_state(App { pool, clock })
}

#[derive(Deserialize)]
struct NewList {
    name: String,
}

#[derive(Deserialize)]
struct NewItem {
    title: String,
    #[serde(default = "normal")]
    priority: String,
    remind_in_seconds: Option<u32>,
}

fn normal() -> String {
    "normal".to_owned()
}

async fn lists(State(app): State<App>) -> Result<Json<Vec<List>>> {
    store::lists(&app.pool).await.map(Json)
}

async fn create_list(State(app): State<App>, Json(new): Json<NewList>) -> Result<(StatusCode, Json<List>)> {
    let name = text("name", &new.name)?;
    let list = store::create_list(&app.pool, name).await?;
    Ok((StatusCode::CREATED, Json(list)))
}

async fn items(State(app): State<App>, Path(list): Path<i64>) -> Result<Json<Vec<Item>>> {
    store::items(&app.pool, list).await.map(Json)
}

async fn add_item(
    State(app): State<App>,
    Path(list): Path<i64>,
    Json(new): Json<NewItem>,
) -> Result<(StatusCode, Json<Item>)> {
    let title = text("title", &new.title)?;
    let remind_at = new.remind_in_seconds.map(|seconds| app.clock.now() + i64::from(seconds));
    let item = store::add_item(&app.pool, list, title, &new.priority, remind_at).await?;
    Ok((StatusCode::CREATED, Json(item)))
}

async fn statistics(State(app): State<App>, Path(list): Path<i64>) -> Result<Json<Statistics>> {
    store::statistics(&app.pool, list).await.map(Json)
}

async fn complete(State(app): State<App>, Path(item): Path<i64>) -> Result<StatusCode> {
    store::complete(&app.pool, item).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn activity(State(app): State<App>, Path(item): Path<i64>) -> Result<Json<Vec<String>>> {
    store::activity(&app.pool, item).await.map(Json)
}

fn text<'a>(what: &str, given: &'a str) -> Result<&'a str> {
    let text = given.trim();
    if text.is_empty() { Err(Error::Invalid(format!("{what} is empty"))) } else { Ok(text) }
}
