//! What each path answers.

use super::api::{self, Api};
use super::guard::{browser, guard};
use crate::access::{Access, Counts};
use crate::bridge::LinkReport;
use crate::commlib::Figures;
use crate::door::Origins;
use crate::metrics::{self, Doors, History, Log, Process, Snapshot};
use crate::router::Report;
use crate::wal::Health;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;

/// The router answers within microseconds; one that needs longer than this is not well.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the numbers come from.
pub trait Sources: Send + Sync + 'static {
    /// The router's counters; `None` when the gateway stops.
    fn report(&self) -> impl Future<Output = Option<Report>> + Send;
    /// What the open doors count.
    fn doors(&self) -> Doors;
    fn log(&self) -> Log;
    /// `None` without a schema.
    fn history(&self) -> Option<History>;
    /// Doors that should listen and do not (yet, or any more).
    fn doors_closed(&self) -> Vec<String>;
    /// Who decides about readers; `None` if everybody may read.
    fn guard(&self) -> Option<Arc<Access>>;
    /// The same for those for whom a proxy on this machine asks.
    fn guard_behind_proxy(&self) -> Option<Arc<Access>> {
        self.guard()
    }
    /// Pages of others that may ask.
    fn origins(&self) -> Origins {
        Origins::default()
    }
    /// What access counts.
    fn access(&self) -> Option<Counts>;
    /// What is done for commlib nodes.
    fn commlib(&self) -> Option<Figures> {
        None
    }
    /// How the links to other brokers are.
    fn links(&self) -> Vec<LinkReport>;
    /// What programs on the bus send each other; `None` if there is no bus.
    fn bus(&self) -> Option<Arc<crate::bus::Counts>>;
}

pub(super) fn router<S: Sources>(sources: Arc<S>, api: Option<Api>) -> axum::Router {
    let origins = sources.origins();
    let pages = axum::Router::new()
        .route("/readyz", get(ready::<S>))
        .route("/metrics", get(scrape::<S>))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&sources), guard::<S>))
        .route("/healthz", get(async || "alive\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "not here; there are /healthz, /readyz and /metrics\n"))
        .with_state(sources);
    let all = match api {
        Some(api) => pages.merge(api::routes(api)),
        None => pages,
    };
    all.layer(middleware::from_fn_with_state(origins, browser))
}

/// For a request that is not waited for any longer. It may have had its effect.
pub(super) fn displaced() -> Response {
    let words = "too many connections: this one had to make room, and what was asked may have been done\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], words).into_response()
}

async fn ask_router<S: Sources>(sources: &S) -> Option<Report> {
    tokio::time::timeout(ROUTER_TIMEOUT, sources.report()).await.ok().flatten()
}

async fn ready<S: Sources>(State(sources): State<Arc<S>>) -> Response {
    let mut reasons: Vec<String> =
        sources.doors_closed().into_iter().map(|door| format!("door {door} does not listen")).collect();
    match sources.log().health {
        Health::Fine => {}
        Health::Full => reasons.push("the disk has no room beyond the reserve; publishers are refused".into()),
        Health::Poisoned => reasons.push("the log failed; the gateway must restart".into()),
    }
    if ask_router(&*sources).await.is_none() {
        reasons.push("the router does not answer".into());
    }
    // Routing does not depend on history, so its troubles are told but do not make the gateway unready.
    let history = match sources.history() {
        None => "off".to_owned(),
        Some(History { trouble: None, tables, .. }) => {
            let refused = tables.iter().filter_map(|(name, table)| Some(format!("{name}: {}", table.refused.as_ref()?)));
            let refused: Vec<_> = refused.collect();
            if refused.is_empty() { "running".to_owned() } else { format!("tables that take no rows: {}", refused.join("; ")) }
        }
        Some(History { trouble: Some(trouble), .. }) => trouble,
    };
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons, "history": history });
    (status, axum::Json(body)).into_response()
}

async fn scrape<S: Sources>(State(sources): State<Arc<S>>) -> Response {
    let router = ask_router(&*sources).await;
    let (doors, log, history) = (sources.doors(), sources.log(), sources.history());
    let (access, commlib, links, bus) = (sources.access(), sources.commlib(), sources.links(), sources.bus());
    let snapshot = Snapshot { router, doors, log, history, access, commlib, links, bus, process: Process::read() };
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], snapshot.render()).into_response()
}
