//! The PROXY protocol, version 2: a load balancer or TLS terminator says who the client behind it is.
//!
//! ```text
//!  0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a   21 = version 2, PROXY   11 = TCP over IPv4   00 0c   source, destination, ports
//!  ────────────── signature ──────────   20 = version 2, LOCAL   21 = TCP over IPv6   length  then extensions, not looked at
//! ```
//!
//! Only a door with `proxy_protocol = true` reads it, and there everybody must send it: a door that took both would let any
//! client say that it is another.

use ppp::v2::{Addresses, Command, Header, ParseError};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

const FIXED: usize = 16;
/// With the extensions that proxies send (names, TLS details, checksums) a header has a few hundred bytes.
const LENGTH_MAX: usize = 2048;

/// Why there is no usable header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the connection begins without a PROXY header (version 2), which `proxy_protocol = true` asks for")]
    Missing,
    #[error("the PROXY header is broken: {0:?}")]
    Broken(ParseError),
    #[error("the PROXY header claims {0} bytes; at most {LENGTH_MAX} are read")]
    TooLong(usize),
    #[error("the connection ended before its PROXY header")]
    Lost,
}

impl From<io::Error> for ProxyError {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// Reads the header and nothing behind it. `None`: the proxy speaks for itself (a health check), or names no address.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = vec![0; FIXED];
    // The first byte of MQTT, TLS and HTTP is another one; whoever speaks those is not waited for.
    let (first, rest) = header.split_at_mut(1);
    stream.read_exact(first).await?;
    if first != &ppp::v2::PROTOCOL_PREFIX[..1] {
        return Err(ProxyError::Missing);
    }
    stream.read_exact(rest).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    match Header::try_from(header.as_slice()) {
        Ok(_) | Err(ParseError::Partial(..)) => {}
        Err(ParseError::Prefix) => return Err(ProxyError::Missing),
        Err(error) => return Err(ProxyError::Broken(error)),
    }
    if length > LENGTH_MAX {
        return Err(ProxyError::TooLong(length));
    }
    header.resize(FIXED + length, 0);
    stream.read_exact(header.get_mut(FIXED..).unwrap_or_default()).await?;
    let header = Header::try_from(header.as_slice()).map_err(ProxyError::Broken)?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) | (_, Addresses::Unspecified | Addresses::Unix(_)) => None,
        (Command::Proxy, Addresses::IPv4(found)) => Some((found.source_address, found.source_port).into()),
        (Command::Proxy, Addresses::IPv6(found)) => {
            Some(SocketAddr::new(found.source_address.to_canonical(), found.source_port))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// What comes out of these bytes, and what is left of them for the dialect.
    async fn heard(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(1 << 17);
        far.write_all(bytes).await.unwrap();
        drop(far);
        let outcome = read(&mut near).await;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        (outcome, rest)
    }

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[tokio::test]
    async fn the_client_behind_the_proxy_is_the_peer_and_not_a_byte_of_its_own_is_lost() {
        let ipv4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x07, 0x5b];
        let (peer, rest) = heard(&[&header(0x21, 0x11, &ipv4)[..], b"\x10mqtt"].concat()).await;
        assert_eq!(peer.unwrap(), Some("192.0.2.7:8080".parse().unwrap()));
        assert_eq!(rest, b"\x10mqtt");

        let mut ipv6 = [0; 36];
        ipv6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        ipv6[32..34].copy_from_slice(&[0x1f, 0x90]);
        let (peer, _) = heard(&header(0x21, 0x21, &ipv6)).await;
        assert_eq!(peer.unwrap(), Some("[2001:db8::7]:8080".parse().unwrap()));
    }

    #[tokio::test]
    async fn extensions_behind_the_addresses_are_passed_over() {
        let extended = [&[192, 0, 2, 7, 10, 0, 0, 1, 0, 1, 0, 2][..], &[0x02, 0, 3], b"abc"].concat();
        let (peer, rest) = heard(&[&header(0x21, 0x11, &extended)[..], b"x"].concat()).await;
        assert_eq!((peer.unwrap(), rest), (Some("192.0.2.7:1".parse().unwrap()), b"x".to_vec()));
    }

    #[tokio::test]
    async fn a_proxy_that_speaks_for_itself_keeps_its_own_address() {
        for (command, family, rest) in
            [(0x20, 0x00, &[][..]), (0x20, 0x11, &[0; 12]), (0x21, 0x00, &[]), (0x21, 0x31, &[0; 216])]
        {
            assert_eq!(heard(&header(command, family, rest)).await.0.unwrap(), None, "{command:x} {family:x}");
        }
    }

    #[tokio::test]
    async fn who_sends_no_header_is_told_apart_at_the_first_byte() {
        for bytes in [&b"\x10\x0c\x00\x04MQTT"[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3.4 "] {
            assert!(matches!(heard(bytes).await.0, Err(ProxyError::Missing)), "{bytes:?}");
        }
        assert!(matches!(heard(b"\r\nGET / HTTP/1.1\r\n\r\n").await.0, Err(ProxyError::Missing)));
    }

    #[tokio::test]
    async fn broken_headers_are_refused() {
        for broken in [header(0x11, 0x11, &[0; 12]), header(0x2f, 0x11, &[0; 12]), header(0x21, 0x11, &[0; 4])] {
            assert!(matches!(heard(&broken).await.0, Err(ProxyError::Broken(_))), "{broken:x?}");
        }
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(matches!(heard(&long).await.0, Err(ProxyError::TooLong(65535))));
        assert!(matches!(heard(&header(0x21, 0x11, &[0; 12])[..20]).await.0, Err(ProxyError::Lost)));
    }
}
