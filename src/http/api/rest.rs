//! Topics and methods as paths.

use super::guest::{Guest, Outcome, Wish, failed, refused};
use super::who::Asker;
use super::{Api, Failure, whole};
use crate::mapping;
use crate::router::Status;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

/// The body as CBOR arguments.
pub(super) fn arguments(body: &[u8]) -> Result<Bytes, Failure> {
    if body.is_empty() {
        return Ok(mapping::json_to_cbor(&Value::Array(Vec::new())));
    }
    mapping::json_text_to_arguments(body).ok_or_else(|| {
        let why = serde_json::from_slice::<serde::de::IgnoredAny>(body).err();
        let why = why.map_or_else(|| "nested too deeply, or too many names".to_owned(), |error| error.to_string());
        Failure::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {why}"))
    })
}

pub(super) fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

pub(super) async fn publish(
    State(api): State<Api>,
    asker: Asker,
    Path(topic): Path<String>,
    body: Body,
) -> Result<Response, Failure> {
    let data = arguments(&whole(body).await?)?;
    let mut guest = Guest::enter(&api, asker.peer, asker.admission.identity.clone()).await?;
    match guest.ask_one(Wish::Publish { topic, data }).await? {
        Outcome::Published(Ok(())) => Ok(json("null".into())),
        Outcome::Published(Err(refusal)) => Err(refused(refusal)),
        Outcome::Answer(status, data) => Err(failed(status, &data)),
    }
}

pub(super) async fn call(
    State(api): State<Api>,
    asker: Asker,
    Path(method): Path<String>,
    body: Body,
) -> Result<Response, Failure> {
    let data = arguments(&whole(body).await?)?;
    let mut guest = Guest::enter(&api, asker.peer, asker.admission.identity.clone()).await?;
    match guest.ask_one(Wish::Call { method, target: None, data }).await? {
        Outcome::Answer(Status::OK, data) => Ok(json(mapping::cbor_to_json(&data))),
        Outcome::Answer(status, data) => Err(failed(status, &data)),
        Outcome::Published(_) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "a call was taken for a publication")),
    }
}
