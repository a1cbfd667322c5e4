//! The only way to the network. Doors are generic over the byte stream, so the simulation can hand them its own sockets.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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

/// What counts as one address where places and attempts are shared out: an IPv4 address, or the /64 of an IPv6 address, which is what
/// one household has.
#[must_use]
pub fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether an error of `accept` says that the process or the machine has nothing left to accept with. It fails at once and for as
/// long as that lasts; others concern one connection, which is gone.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_household_is_one_address() {
        let v6 = |text: &str| block(text.parse().unwrap());
        assert_eq!(v6("2001:db8:1:2:a::1"), v6("2001:db8:1:2:b::2"));
        assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
        assert_eq!(v6("::ffff:192.0.2.1"), IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn what_ends_one_connection_is_told_from_what_ends_all() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_exhausted(&errno.into()));
        }
        assert!(!is_exhausted(&Errno::CONNABORTED.into()) && !is_exhausted(&io::ErrorKind::InvalidInput.into()));
    }
}
