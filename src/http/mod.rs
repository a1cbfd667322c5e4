//! The HTTP door: is it alive, is it ready, what does it count.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 if every door listens, the router answers and the log takes writes; else 503 with the reasons, as JSON |
//! | `/metrics` | everything counted, for Prometheus ([`crate::metrics`]) |
//!
//! Whoever connects here costs the others nothing: at most [`CONNECTIONS_MAX`] connections (a newcomer beyond takes the place of
//! the oldest, which has either had its answer or is in no hurry), [`HEADER_TIMEOUT`] to send a request, [`LIFE_MAX`] in all, and
//! no bodies are read. `axum::serve` knows none of these limits, so the loop is our own, on hyper.

mod pages;

#[cfg(test)]
mod tests;

use crate::net::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use pages::Sources;

const CONNECTIONS_MAX: usize = 64;
/// For the head of a request, and for the next one on a connection that is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long a connection may finish its request and is closed; scrapers connect again.
const LIFE_MAX: Duration = Duration::from_secs(600);
/// What a request that is under way may still take when the connection must end.
const LAST_REQUEST: Duration = Duration::from_secs(2);
/// Between attempts to accept when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then finishes the requests under way.
pub async fn serve<L: Listener, S: Sources>(mut listener: L, sources: Arc<S>, stop: impl Future<Output = ()> + Send) {
    let (stopping, _) = watch::channel(false);
    let service = TowerToHyperService::new(pages::router(sources));
    let mut connections = JoinSet::new();
    // Oldest first; each ends its connection when it is dropped.
    let mut places = VecDeque::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                places.retain(|place: &oneshot::Sender<()>| !place.is_closed());
                while places.len() >= CONNECTIONS_MAX {
                    places.pop_front();
                }
                let (place, displaced) = oneshot::channel();
                places.push_back(place);
                connections.spawn(connection(stream, service.clone(), stopping.subscribe(), displaced));
            }
            Err(error) => {
                log::debug!(door = "http", error:%; "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
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

async fn connection(
    stream: impl crate::net::Stream,
    service: Service,
    mut stopping: watch::Receiver<bool>,
    displaced: oneshot::Receiver<()>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How a connection ends is the peer's business.
        _ = &mut connection => return,
        _ = displaced => return,
        () = tokio::time::sleep(LIFE_MAX) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(tokio::time::timeout(LAST_REQUEST, connection).await);
}
