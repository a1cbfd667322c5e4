//! One WebSocket message on its way out, in pieces that the socket can take.

use super::codec::json::Spelling;
use super::codec::{self, Flags, MessageId};
use crate::router::Status;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Larger data is not copied into the message but sent as further fragments: a table of 60 MiB for a hundred subscribers
/// stays one table.
const COPY_MAX: usize = 64 << 10;
/// What is handed to the socket at once of such data.
const FRAGMENT: usize = 256 << 10;

/// The encoding a peer is spoken to in: that of its last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    Cbor,
    Json(Spelling),
}

/// An encoded Rembus message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    head: Bytes,
    body: Bytes,
    is_text: bool,
}

impl Packet {
    /// A publication as section 7 says, or in the form of section 7.1 when a pattern matched.
    pub(super) fn publish(voice: Voice, flags: Flags, id: MessageId, topic: &str, pattern: Option<&str>, data: &Bytes) -> Self {
        let (name, opening, from) = match pattern {
            None => (topic, Vec::new(), 0),
            Some(pattern) => {
                let (opening, from) = codec::pattern_data(topic, data);
                (pattern, opening, from)
            }
        };
        let arguments = data.slice(from..);
        match voice {
            Voice::Cbor => Self::with_data(codec::publish(flags, id, name, &opening), arguments),
            Voice::Json(spelling) => Self::text(spelling.publish(flags, id, name, &[opening, arguments.to_vec()].concat())),
        }
    }

    /// A call for an exposer: the target is always null (section 9).
    pub(super) fn request(voice: Voice, id: MessageId, method: &str, data: &Bytes) -> Self {
        match voice {
            Voice::Cbor => Self::with_data(codec::rpc(id, method, None, &[]), data.clone()),
            Voice::Json(spelling) => Self::text(spelling.rpc(id, method, data)),
        }
    }

    pub(super) fn response(voice: Voice, id: MessageId, status: Status, data: &Bytes) -> Self {
        match voice {
            Voice::Cbor => Self::with_data(codec::response(id, status, &[]), data.clone()),
            Voice::Json(spelling) => Self::text(spelling.response(id, status, data)),
        }
    }

    pub(super) fn ack(voice: Voice, id: MessageId) -> Self {
        match voice {
            Voice::Cbor => codec::ack(id).into(),
            Voice::Json(spelling) => Self::text(spelling.ack(id)),
        }
    }

    pub(super) fn ack2(voice: Voice, id: MessageId) -> Self {
        match voice {
            Voice::Cbor => codec::ack2(id).into(),
            Voice::Json(spelling) => Self::text(spelling.ack2(id)),
        }
    }

    fn with_data(head: Bytes, data: Bytes) -> Self {
        if data.len() > COPY_MAX {
            return Self { head, body: data, is_text: false };
        }
        let mut whole = BytesMut::from(head);
        whole.extend_from_slice(&data);
        whole.freeze().into()
    }

    fn text(text: String) -> Self {
        let mut head = Bytes::from(text);
        let body = head.split_off(head.len().min(FRAGMENT));
        Self { head, body, is_text: true }
    }

    /// The whole message, and whether it is text.
    #[cfg(feature = "fuzzing")]
    pub(super) fn bytes(&self) -> (Bytes, bool) {
        ([&self.head[..], &self.body].concat().into(), self.is_text)
    }

    /// Takes the message apart into WebSocket frames.
    pub(super) fn frames(mut self, into: &mut VecDeque<Message>) {
        let kind = if self.is_text { Data::Text } else { Data::Binary };
        into.push_back(Message::Frame(Frame::message(self.head, OpCode::Data(kind), self.body.is_empty())));
        while !self.body.is_empty() {
            let piece = self.body.split_to(self.body.len().min(FRAGMENT));
            let last = self.body.is_empty();
            into.push_back(Message::Frame(Frame::message(piece, OpCode::Data(Data::Continue), last)));
        }
    }
}

impl From<Bytes> for Packet {
    fn from(head: Bytes) -> Self {
        Self { head, body: Bytes::new(), is_text: false }
    }
}
