//! JSON-RPC 2.0 on `POST /`: calls, publications (notifications), and batches of both.
//!
//! Errors carry the code -32000, as Rembus.jl's do, or one of the standard for what is no request; `data` has Rembus's status.

use super::guest::{Guest, Outcome, Wish};
use super::rest::json;
use super::who::Asker;
use super::{Api, Failure, whole};
use crate::mapping::{self, Part};
use crate::rembus::codec::NAME_MAX;
use crate::router::Status;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;

/// Requests in a batch.
const BATCH_MAX: usize = 1000;
/// Bytes of an id as it is written.
const ID_MAX: usize = 1 << 10;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;
const SERVER_ERROR: i32 = -32000;

/// One entry of a batch.
#[derive(Debug)]
enum Entry {
    /// `id` is `None` for a publication, which is never answered (JSON-RPC 2.0 section 4.1).
    Asked {
        id: Option<Value>,
        wish: Wish,
    },
    Wrong {
        id: Value,
        code: i32,
        why: &'static str,
    },
}

pub(super) async fn serve(State(api): State<Api>, asker: Asker, body: Body) -> Result<Response, Failure> {
    let body = whole(body).await?;
    let refuse = |code, why| Ok(json(error(&Value::Null, code, why, None)));
    if body.is_empty() {
        return refuse(INVALID_REQUEST, "the body is empty");
    }
    let Some(whole) = std::str::from_utf8(&body).ok().and_then(Part::of) else {
        return refuse(PARSE_ERROR, "the body is not JSON");
    };
    let is_batch = whole.is_array();
    let entries: Vec<Entry> = match whole.elements().take(BATCH_MAX + 1).count() {
        _ if !is_batch => vec![entry(whole)],
        0 => return refuse(INVALID_REQUEST, "the batch is empty"),
        1..=BATCH_MAX => whole.elements().map(entry).collect(),
        _ => return refuse(INVALID_REQUEST, "a batch has at most 1000 requests"),
    };
    let mut guest = Guest::enter(&api, asker.peer, asker.admission.identity.clone()).await?;
    let wishes: Vec<Wish> = entries.iter().filter_map(Entry::wish).cloned().collect();
    let mut outcomes = guest.ask(wishes).await?.into_iter();
    let mut answers = Vec::new();
    for entry in entries {
        match entry {
            Entry::Wrong { id, code, why } => answers.push(error(&id, code, why, None)),
            Entry::Asked { id, wish } => {
                let Some(outcome) = outcomes.next() else { return Err(Failure::stopping()) };
                let outcome = directly(&mut guest, wish, outcome).await?;
                match id {
                    Some(id) => answers.push(answer(&id, &outcome)),
                    // The message is not on the disk, and a client that repeats it should know.
                    None if !is_batch => {
                        if let Outcome::Published(Err(refusal)) = outcome {
                            return Err(super::guest::refused(refusal));
                        }
                    }
                    None => {}
                }
            }
        }
    }
    Ok(match (is_batch, answers.is_empty()) {
        (_, true) => StatusCode::NO_CONTENT.into_response(),
        (true, false) => json(format!("[{}]", answers.join(","))),
        (false, false) => json(answers.remove(0)),
    })
}

impl Entry {
    fn wish(&self) -> Option<&Wish> {
        match self {
            Self::Asked { wish, .. } => Some(wish),
            Self::Wrong { .. } => None,
        }
    }
}

fn entry(request: Part<'_>) -> Entry {
    let wrong = |id, code, why| Entry::Wrong { id, code, why };
    if !request.is_object() {
        return wrong(Value::Null, INVALID_REQUEST, "a request is an object");
    }
    let [id, method, params] = request.members(["id", "method", "params"]);
    let id = match id.map(|id| mapping::tree_of(id.text().as_bytes()).filter(|_| id.text().len() <= ID_MAX)) {
        Some(None) => return wrong(Value::Null, INVALID_REQUEST, "the id is too long"),
        known => known.flatten(),
    };
    let told = id.clone().unwrap_or_default();
    if !matches!(told, Value::Null | Value::String(_) | Value::Number(_)) {
        return wrong(Value::Null, INVALID_REQUEST, "the id is neither text nor number");
    }
    let Some(name) = method.and_then(|method| method.string(6 * NAME_MAX)).map(Cow::into_owned) else {
        return wrong(told, INVALID_REQUEST, "the method is not a text");
    };
    let data = match arguments(params) {
        Ok(data) => data,
        Err(why) => return wrong(told, INVALID_PARAMS, why),
    };
    let wish = match &id {
        Some(_) => Wish::Call { method: name, target: None, data },
        None => Wish::Publish { topic: name, data },
    };
    Entry::Asked { id, wish }
}

/// Positional parameters are the arguments; named ones are one argument.
fn arguments(params: Option<Part<'_>>) -> Result<Bytes, &'static str> {
    let Some(params) = params.filter(|params| !params.is_null()) else { return Ok(Bytes::from_static(&[0x80])) };
    if !params.is_array() && !params.is_object() {
        return Err("params is neither an array nor an object");
    }
    mapping::json_text_to_arguments(params.text().as_bytes()).ok_or("params is nested too deeply, or has too many names")
}

/// `target/method` is a call to one component, unless there is a method of that very name (`protocol/rembus.md` section 3).
async fn directly(guest: &mut Guest, wish: Wish, outcome: Outcome) -> Result<Outcome, Failure> {
    let (Outcome::Answer(Status::METHOD_NOT_FOUND, _), Wish::Call { method: name, data, .. }) = (&outcome, wish) else {
        return Ok(outcome);
    };
    let Some((target, method)) = name.rsplit_once('/').filter(|(target, method)| !target.is_empty() && !method.is_empty())
    else {
        return Ok(outcome);
    };
    let wish = Wish::Call { method: method.to_owned(), target: Some(target.to_owned()), data };
    Ok(match guest.ask_one(wish).await? {
        Outcome::Answer(Status::TARGET_NOT_FOUND, _) => outcome,
        answer => answer,
    })
}

fn answer(id: &Value, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(Status::OK, data) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, mapping::cbor_to_json(data))
        }
        Outcome::Answer(status, data) => {
            let why = super::guest::failed(*status, data).text;
            error(id, SERVER_ERROR, &why, Some(*status))
        }
        Outcome::Published(_) => error(id, SERVER_ERROR, "a call was taken for a publication", None),
    }
}

fn error(id: &Value, code: i32, why: &str, status: Option<Status>) -> String {
    let mut error = serde_json::json!({ "code": code, "message": why });
    if let Some(Status(status)) = status {
        error["data"] = serde_json::json!({ "sts": status });
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}
