//! Who may read the pages: with `[http] anonymous = false` every user, by HTTP's own login (Basic).

use super::api::who::{login, no, status};
use super::pages::Sources;
use crate::access::Admits;
use crate::door::Peer;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(super) async fn guard<S: Sources>(State(sources): State<Arc<S>>, request: Request, next: Next) -> Response {
    let Some(access) = sources.guard() else { return next.run(request).await };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who is asking\n").into_response();
    };
    match login(&access, Admits::Users, &peer, request.headers()).await {
        // The seat is kept while the page is made.
        Ok(_admission) => next.run(request).await,
        Err(why) => no(why, (status(why), format!("{}\n", why.why())).into_response()),
    }
}
