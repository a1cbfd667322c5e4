//! How a command is told no.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// What went wrong, for people: the answer of a control route that could not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(skip)]
    code: StatusCodeOf,
    /// One sentence.
    pub error: String,
    /// What would make it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StatusCodeOf(StatusCode);

impl Default for StatusCodeOf {
    fn default() -> Self {
        Self(StatusCode::BAD_REQUEST)
    }
}

impl Failure {
    pub fn new(code: StatusCode, error: impl Into<String>) -> Self {
        Self { code: StatusCodeOf(code), error: error.into(), hint: None }
    }

    /// The request asks for something that cannot be.
    pub fn wrong(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What it names is not there.
    pub fn missing(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// The gateway could not do it.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.code.0, axum::Json(self)).into_response()
    }
}
