//! How a connection ends, and what its peer is told of that.

use super::dialogue::Farewell;
use crate::router::{Closed, HubStopped};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer said goodbye, or the transport is gone.
    Peer(Closed),
    /// We end it and say why.
    Ours(Farewell),
    /// The peer takes nothing any more; there is nobody to tell.
    Dead(&'static str),
}

impl From<HubStopped> for End {
    fn from(_: HubStopped) -> Self {
        Self::Ours(Farewell::new(CloseCode::Away, "the gateway stops"))
    }
}

/// What a failed read means.
pub(super) fn end(error: Error) -> End {
    let ours = |code, reason: String| End::Ours(Farewell::new(code, reason));
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => ours(CloseCode::Size, error.to_string()),
        Error::Utf8(_) => ours(CloseCode::Invalid, "a text message is not UTF-8".into()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Peer(Closed::Lost),
        Error::Protocol(broken) => ours(CloseCode::Protocol, broken.to_string()),
        Error::ConnectionClosed | Error::AlreadyClosed => End::Peer(Closed::Orderly),
        // More than a newcomer may send.
        Error::Io(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => ours(CloseCode::Size, error.to_string()),
        _ => End::Peer(Closed::Lost),
    }
}
