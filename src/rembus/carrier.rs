//! What carries Rembus messages: a WebSocket, or length headers on a plain stream ([`super::tcp`]).

use super::traffic::Metered;
use crate::net::Stream;
use futures_util::{Sink, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages in and out, in WebSocket's terms. Nothing waits for anything else, and every call may be dropped half way.
pub(super) trait Carrier:
    futures_util::Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin + Send
{
    /// Whether a peer that says nothing can be asked whether it lives.
    const PINGS: bool;

    /// Bytes read and written so far.
    fn moved(&self) -> (u64, u64);

    /// The peer has said who it is, and may send as much as others.
    fn is_known(&mut self);

    /// Says why, where there are words for it, and reads on until the peer has seen it: closing a socket with unread bytes would
    /// reset it. `broken`: what the peer sends makes no sense any more. The caller has a deadline.
    fn part(&mut self, why: CloseFrame, broken: bool) -> impl Future<Output = ()> + Send;
}

impl<S: Stream> Carrier for WebSocketStream<Metered<S>> {
    const PINGS: bool = true;

    fn moved(&self) -> (u64, u64) {
        let meter = self.get_ref();
        (meter.read, meter.written)
    }

    fn is_known(&mut self) {
        self.get_mut().is_known();
    }

    async fn part(&mut self, why: CloseFrame, broken: bool) {
        if self.close(Some(why)).await.is_ok() && !broken {
            // Until the peer's own close frame. It waits for us to close the transport first (RFC 6455, 7.1.1).
            while let Some(Ok(_)) = self.next().await {}
            return;
        }
        hang_up(self.get_mut()).await;
    }
}

/// Ends our half and reads away what still comes.
pub(super) async fn hang_up<S: Stream>(stream: &mut Metered<S>) {
    stream.shutdown().await.ok();
    let mut rest = [0; 4096];
    while let Ok(1..) = stream.read(&mut rest).await {}
}
