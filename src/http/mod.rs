//! The HTTP door: is it alive, is it ready, what does it count.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 if every door listens, the router answers and the log takes writes; else 503 with the reasons, as JSON |
//! | `/metrics` | everything counted, for Prometheus ([`crate::metrics`]) |
//! | others | Rembus for programs that have nothing but HTTP ([`api`]) |
//!
//! With `[http] anonymous = false` only users may read them, except `/healthz`, which says nothing about anybody.
//!
//! Whoever connects here costs the others nothing: at most [`CONNECTIONS_MAX`] connections (a newcomer beyond takes the place of
//! the oldest from the address that has most of them, whose request, if one is under way, is answered with 503), [`HEADER_TIMEOUT`] to send a request, [`LIFE_MAX`] in all;
//! bodies have limits of their own, and pages read none. `axum::serve` knows none of these limits, so the loop is our own, on hyper.

mod api;
mod guard;
mod pages;

#[cfg(test)]
mod tests;

use crate::clock::SharedClock;
use crate::door::{Arrival, Entrance, Entrances, Entry, Gate, Line, Peer, Stats, TransportError};
use crate::net::{Listener, Stream, is_exhausted};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use api::Api;
pub use pages::Sources;

const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request that are read before its login: its head, and the beginning of its body.
const HEAD_MAX: usize = 32 << 10;
/// For the head of a request, and for the next one on a connection that is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long a connection may finish its request and is closed; scrapers connect again.
const LIFE_MAX: Duration = Duration::from_secs(600);
/// What a request that is under way may still take when the connection must end.
const LAST_REQUEST: Duration = Duration::from_secs(2);
/// Between attempts to accept when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then finishes the requests under way.
pub async fn serve<L: Listener, S: Sources>(
    entrances: Vec<Entrance<L>>,
    sources: Arc<S>,
    api: Option<Api>,
    clock: SharedClock,
    stop: impl Future<Output = ()> + Send,
) {
    let mut entrances = Entrances::new(entrances);
    let stats = Arc::new(Stats::default());
    let (stopping, _) = watch::channel(false);
    let service = TowerToHyperService::new(pages::router(sources, api));
    let mut connections = JoinSet::new();
    let gate = Gate::new(CONNECTIONS_MAX);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = entrances.accept() => accepted,
        };
        match accepted {
            Ok(arrival) => {
                let mut entry = gate.enter(arrival.addr.ip());
                let (service, mut stopping) = (service.clone(), stopping.subscribe());
                let (stats, clock) = (Arc::clone(&stats), Arc::clone(&clock));
                connections.spawn(async move {
                    let origin = entry.origin();
                    let carried = tokio::select! {
                        carried = carry(arrival, &stats, &clock) => carried,
                        () = entry.displaced() => None,
                        _ = stopping.wait_for(|stopping| *stopping) => None,
                    };
                    if let Some((line, peer)) = carried {
                        origin.is(peer.addr.ip());
                        connection(line, peer, service, (&stats, &clock), stopping, entry).await;
                    }
                });
            }
            Err(error) => {
                Stats::count(&stats.accept_errors);
                if let Some(suppressed) = stats.may_warn(&*clock) {
                    log::warn!(door = "http", error:%, suppressed; "a connection could not be accepted");
                }
                if is_exhausted(&error) {
                    gate.show_one_out();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    stopping.send_replace(true);
    // Each connection ends itself within LAST_REQUEST; the deadline is for the case that one does not.
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(2 * LAST_REQUEST, all_gone).await.is_err() {
        log::warn!(door = "http"; "requests were cut off by the stop");
    }
}

type Service = TowerToHyperService<axum::Router>;

/// The transport's handshake, within the time that the head of a request may take.
async fn carry<T: Stream>(arrival: Arrival<T>, stats: &Stats, clock: &SharedClock) -> Option<(Line<T>, Peer)> {
    let addr = arrival.addr;
    match tokio::time::timeout(HEADER_TIMEOUT, Box::pin(arrival.carry())).await {
        Ok(Ok(carried)) => Some(carried),
        Ok(Err(error)) => {
            error.report("http", addr, stats, &**clock);
            None
        }
        Err(_) => None,
    }
}

async fn connection(
    stream: impl Stream,
    peer: Peer,
    service: Service,
    (stats, clock): (&Stats, &SharedClock),
    mut stopping: watch::Receiver<bool>,
    mut entry: Entry,
) {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let addr = peer.addr;
    let (under_way, leave) = (AtomicBool::new(false), watch::Sender::new(false));
    // Whoever asks who is asking finds the peer among the extensions of the request.
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let (answer, mut left) = (service.call(request), leave.subscribe());
        under_way.store(true, Relaxed);
        let under_way = &under_way;
        async move {
            let answer = tokio::select! {
                answer = answer => answer,
                _ = left.wait_for(|left| *left) => Ok(pages::displaced()),
            };
            under_way.store(false, Relaxed);
            answer
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = &mut connection => {
            // How a connection ends is the peer's business, unless it cannot know better.
            if ended.is_err_and(|error| error.is_parse()) {
                TransportError::NotHttp.report("http", addr, stats, &**clock);
            }
            return;
        }
        () = entry.displaced() => {
            leave.send_replace(true);
            if !under_way.load(Relaxed) {
                return;
            }
        }
        () = tokio::time::sleep(LIFE_MAX) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(tokio::time::timeout(LAST_REQUEST, connection).await);
}
