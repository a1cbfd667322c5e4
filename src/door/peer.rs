//! Who is at the other end of a connection, as far as its transport knows.

use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;

/// What the login hears about a newcomer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Behind a proxy that says so, the address of the client itself.
    pub addr: SocketAddr,
    pub transport: Transport,
    /// The client's own certificate (DER), if it showed one; then `[tls] client_ca` vouches for it.
    pub certificate: Option<CertificateDer<'static>>,
    /// A proxy on this machine asks for it, by a header of HTTP: the address is the proxy's.
    pub forwarded: bool,
}

/// How the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

impl Transport {
    /// Nobody on the way can read along.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    #[must_use]
    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
