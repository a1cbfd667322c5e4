//! From an accepted socket to bytes of the dialect.

use super::Stats;
use super::entrance::Way;
use super::line::Line;
use super::peer::Peer;
use super::proxy::{self, ProxyError};
use super::web::Foreign;
use crate::clock::Clock;
use crate::net::Stream;
use crate::tls::{Ticket, TlsRefusal};
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a connection never got to speak.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsRefusal),
    #[error("the client speaks TLS where plain bytes are expected: it wants the port of `tls_listen`")]
    TlsUnasked,
    #[error("what came is not HTTP: a TLS client on a port without, which wants that of `tls_listen`?")]
    NotHttp,
    #[error("the connection ended before its handshake")]
    Lost,
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error("the WebSocket handshake failed: {0}")]
    WebSocket(String),
}

impl TransportError {
    /// Hung up before it said anything, as port scanners and health checks do: nothing to tell.
    fn is_silent(&self) -> bool {
        matches!(self, Self::Lost | Self::Proxy(ProxyError::Lost) | Self::Tls(TlsRefusal::Lost))
    }

    /// Counts it, and tells the operator what is wrong with that client.
    pub(crate) fn report(&self, door: &'static str, peer: SocketAddr, stats: &Stats, clock: &dyn Clock) {
        if self.is_silent() {
            Stats::count(&stats.abandoned);
            log::debug!(door, peer:%; "{self}");
            return;
        }
        Stats::count(&stats.transport);
        if let Some(suppressed) = stats.may_warn(clock) {
            log::warn!(door, peer:%, reason:% = self, suppressed; "connection refused");
        }
    }
}

/// An accepted socket.
#[derive(Debug)]
pub(crate) struct Arrival<S> {
    pub(crate) stream: S,
    pub(crate) addr: SocketAddr,
    pub(super) way: Arc<Way>,
    /// Its place among the TLS handshakes.
    pub(super) ticket: Option<Ticket>,
}

impl<S: Stream> Arrival<S> {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn new(stream: S, addr: SocketAddr, way: Way) -> Self {
        Self { stream, addr, way: Arc::new(way), ticket: None }
    }

    /// Takes the PROXY header and shakes hands over TLS, where its way says so. For as long as the peer likes: the caller has
    /// a deadline.
    pub(crate) async fn carry(self) -> Result<(Line<S>, Peer), TransportError> {
        let Self { mut stream, mut addr, way, ticket } = self;
        if way.proxy_protocol {
            addr = proxy::read(&mut stream).await?.unwrap_or(addr);
        }
        let mut peer = Peer { addr, transport: way.transport(), certificate: None, forwarded: false };
        let Some(tls) = &way.tls else { return Ok((Line::Plain(stream), peer)) };
        let (stream, certificate) = tls.accept(stream, ticket).await?;
        peer.certificate = certificate;
        Ok((Line::Wrapped(Box::new(stream)), peer))
    }
}
