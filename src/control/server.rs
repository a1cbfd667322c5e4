//! Answers commands until the gateway stops.

use super::{BODY_MAX, CONNECTIONS_MAX, Failure, HEADER_TIMEOUT, Socket};
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a command that is under way may still take when the gateway stops.
const LAST_REQUEST: Duration = Duration::from_secs(2);
/// Between attempts to accept when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes` until `stop` resolves, then lets commands under way end.
pub async fn serve(socket: Socket, routes: axum::Router, stop: impl Future<Output = ()> + Send) {
    let routes = routes
        .fallback(async || Failure::missing("this gateway does not know that command").hint("is it older than the command?"))
        .method_not_allowed_fallback(async || Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not in that way"))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    let full = axum::Router::new().fallback(async || {
        let what = format!("{CONNECTIONS_MAX} commands are at work already");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, what).hint("try again when some of them are done")
    });
    let (service, full) = (TowerToHyperService::new(routes), TowerToHyperService::new(full));
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            // As many again may be told that there is no room; the rest waits in the kernel.
            accepted = socket.accept(), if connections.len() < 2 * CONNECTIONS_MAX => accepted,
        };
        match accepted {
            Ok(stream) => {
                let service = if connections.len() < CONNECTIONS_MAX { &service } else { &full };
                connections.spawn(connection(stream, service.clone(), stopping.subscribe()));
            }
            Err(error) => {
                log::warn!(error:%; "a command could not be heard");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    stopping.send_replace(true);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(2 * LAST_REQUEST, all_gone).await.is_err() {
        log::warn!("commands were cut off by the stop");
    }
}

async fn connection(stream: UnixStream, service: TowerToHyperService<axum::Router>, mut stopping: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How a connection ends is the peer's business.
        _ = &mut connection => return,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(tokio::time::timeout(LAST_REQUEST, connection).await);
}
