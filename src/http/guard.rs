//! Who may read the pages: with `[http] anonymous = false` every user, by HTTP's own login (Basic). And what holds for every request:
//! no browser asks in a stranger's name ([`crate::door::Origins`]).

use super::api::who::{login, no, status};
use super::pages::Sources;
use crate::access::Admits;
use crate::door::{Foreign, Origins, Peer, is_near};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Says nothing about anybody, and load balancers ask for it by any name.
const HEALTH: &str = "/healthz";

pub(super) async fn guard<S: Sources>(State(sources): State<Arc<S>>, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else { return nobody() };
    let near = is_near(request.headers(), peer.addr.ip()) || !peer.addr.ip().to_canonical().is_loopback();
    let guard = if near { sources.guard() } else { sources.guard_behind_proxy() };
    let Some(access) = guard else {
        return match sources.origins().check_host(request.headers(), peer.addr.ip()) {
            Ok(()) => next.run(request).await,
            Err(foreign) => refuse(foreign),
        };
    };
    match login(&access, Admits::Users, &peer, request.headers()).await {
        // The seat is kept while the page is made.
        Ok(_admission) => next.run(request).await,
        Err(why) => no(why, (status(why), format!("{}\n", why.why())).into_response()),
    }
}

/// Before everything else: a page may ask for its own gateway, or is one of those that the operator has named, which can read the
/// answers then (CORS).
pub(super) async fn browser(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>() else { return nobody() };
    match origins.check(request.headers(), peer.addr.ip()) {
        Err(foreign) if foreign == Foreign::Twice || request.uri().path() != HEALTH => return refuse(foreign),
        _ => {}
    }
    let named = origins.named(request.headers()).and_then(|origin| HeaderValue::from_str(origin).ok());
    let Some(origin) = named else { return next.run(request).await };
    let mut response = match *request.method() {
        // Asked before a request that is more than a form could send.
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type"));
    response
}

fn refuse(foreign: Foreign) -> Response {
    let status = if foreign == Foreign::Twice { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
    (status, format!("{foreign}\n")).into_response()
}

fn nobody() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who is asking\n").into_response()
}
