//! What can go wrong, and what the client is told.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A result of the service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no such list or item.
    NotFound,
    /// There is one of this name already.
    Conflict(String),
    /// The request can't be understood.
    Invalid(String),
    /// The database failed.
    Database(Box<dyn std::error::Error + Send + Sync>),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such list or item"),
            Self::Conflict(name) => write!(f, "there is a {name:?} already"),
            Self::Invalid(why) => f.write_str(why),
            Self::Database(error) => write!(f, "the database failed: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // What the database says is for the log and not for the client.
        let error = match &self {
            Self::Database(error) => {
                eprintln!("the database failed: {error}");
                "the service has a problem".to_owned()
            }
            other => other.to_string(),
        };
        (status, Json(serde_json::json!({ "error": error }))).into_response()
    }
}
