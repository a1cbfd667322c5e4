//! Rembus over plain HTTP, for programs that have nothing but HTTP (`protocol/rembus.md` section 17).
//!
//! | request | does | answer |
//! |---|---|---|
//! | `POST /` | JSON-RPC 2.0: a call if it has an id, else a publication; or a batch | results; 204 if there is nothing to answer |
//! | `POST /TOPIC` | publishes the body | 200 when the message is on the disk |
//! | `GET /METHOD` | calls with the body | 200 and the result |
//! | `POST /subscribe/TOPIC/CID`, `unsubscribe`, `expose`, `unexpose` | prepares a component that is not connected | 200; admins only |
//! | `POST /private_topic/TOPIC`, `public_topic`; `POST /authorize/CID/TOPIC`, `unauthorize` | as the admin commands | 200; admins only |
//! | `GET /admin/private_topics_config`, `GET /admin/broker_config` | as the admin commands | 200 and the map; admins only |
//!
//! A body is JSON: an array holds the arguments, anything else is the only one, none is none. A frame in an answer is an array
//! of row objects. Paths that the door has for itself (`/metrics` and others) are no topics here; `POST /` reaches every name.
//!
//! Who asks: a user by HTTP's own login (Basic), a component with a shared secret likewise, a client certificate. Where nobody
//! has to log in that holds for this machine only: others always do.
//!
//! A browser that runs a stranger's page sits on this machine, too. What browsers send for one page about another is refused, and
//! from those who do not log in so is a host name that is not this machine's own (it may have been made to point here).
//!
//! Each request is a link of its own, and ends with it.

mod admin;
mod guest;
mod jsonrpc;
mod rest;
pub(super) mod who;

#[cfg(test)]
mod tests;

use crate::access::Access;
use crate::clock::SharedClock;
use crate::door::Origins;
use crate::router::HubHandle;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Largest body taken; larger messages have the WebSocket.
const BODY_MAX: usize = 8 << 20;
/// From the head of a request to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the API needs of the gateway.
#[derive(Debug, Clone)]
pub struct Api {
    pub hub: HubHandle,
    pub clock: SharedClock,
    pub access: Arc<Access>,
    /// Whether programs on this machine need no user.
    pub anonymous: bool,
    /// Pages of others that may ask.
    pub origins: Origins,
}

/// The routes of this folder.
pub(super) fn routes(api: Api) -> axum::Router {
    axum::Router::new()
        .route("/", post(jsonrpc::serve))
        .route("/admin/{command}", get(admin::tell))
        .route("/private_topic/{*topic}", post(admin::private_topic))
        .route("/public_topic/{*topic}", post(admin::public_topic))
        .route("/authorize/{cid}/{*topic}", post(admin::authorize))
        .route("/unauthorize/{cid}/{*topic}", post(admin::unauthorize))
        .route("/subscribe/{*topic_and_cid}", post(admin::subscribe))
        .route("/unsubscribe/{*topic_and_cid}", post(admin::unsubscribe))
        .route("/expose/{*topic_and_cid}", post(admin::expose))
        .route("/unexpose/{*topic_and_cid}", post(admin::unexpose))
        .route("/{*topic}", post(rest::publish).get(rest::call))
        .with_state(api)
}

/// The whole body, within bounds of size and time.
async fn whole(body: Body) -> Result<Bytes, Failure> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.to_string().contains("length limit") => {
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {BODY_MAX} bytes here")))
        }
        Ok(Err(_)) => Err(Failure::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// A request that is not done: the status and one sentence, as `{"error": …}`.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway stops")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, axum::Json(serde_json::json!({ "error": self.text }))).into_response()
    }
}
