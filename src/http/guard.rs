//! Who may read the pages: with `[http] anonymous = false` every user, by HTTP's own login (Basic).

use super::pages::Sources;
use crate::access::{Admits, Credentials, Denied, Refused, basic};
use crate::door::Peer;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(super) async fn guard<S: Sources>(State(sources): State<Arc<S>>, request: Request, next: Next) -> Response {
    let Some(access) = sources.guard() else { return next.run(request).await };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who is asking\n").into_response();
    };
    let said = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(basic);
    let (user, password) = match &said {
        Some((user, password)) => (Some(user.as_str()), Some(password.as_slice())),
        None => (None, None),
    };
    let credentials = Credentials { user, password, certificate: peer.certificate.as_deref(), client: None };
    match access.login("http", Admits::Users, peer.addr, credentials).await {
        // The seat is kept while the page is made.
        Ok(_admission) => next.run(request).await,
        Err(Denied(why)) => no(why),
    }
}

fn no(why: Refused) -> Response {
    let status = match why {
        Refused::Credentials | Refused::Anonymous | Refused::Certificate | Refused::Attestation | Refused::Pin => {
            StatusCode::UNAUTHORIZED
        }
        Refused::Disabled => StatusCode::FORBIDDEN,
        Refused::Throttled | Refused::Connections => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut response = (status, format!("{}\n", why.why())).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"rembus-gateway\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
