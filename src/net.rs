//! The only way to the network. Doors are generic over the byte stream, so the simulation can hand them its own sockets.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected byte stream, whatever carries it (TCP, TLS, a simulated link).
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Accepts connections.
pub trait Listener: Send + 'static {
    type Stream: Stream;
    /// The next connection. A failure concerns that one connection only; the caller goes on.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// TCP of the machine.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    pub async fn bind(addr: &str) -> io::Result<Self> {
        Ok(Self(tokio::net::TcpListener::bind(addr).await?))
    }
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        // Acknowledgements are small; waiting to fill a packet would only add latency.
        stream.set_nodelay(true)?;
        // A listener on `[::]` sees IPv4 peers as ::ffff:192.0.2.1; logs and rules have one name for each.
        Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
