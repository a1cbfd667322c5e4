//! One WebSocket message on its way out, in pieces that the socket can take.

use super::codec::{self, Flags, MessageId};
use bytes::Bytes;
use std::collections::VecDeque;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Larger data is not copied into the message but sent as further fragments: a table of 60 MiB for a hundred subscribers
/// stays one table.
const COPY_MAX: usize = 64 << 10;
/// What is handed to the socket at once of such data.
const FRAGMENT: usize = 256 << 10;

/// An encoded Rembus message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    head: Bytes,
    body: Bytes,
}

impl Packet {
    /// A publication as section 7 says, or in the form of section 7.1 when a pattern matched.
    pub(super) fn publish(flags: Flags, id: MessageId, topic: &str, pattern: Option<&str>, data: &Bytes) -> Self {
        let copied = data.len() <= COPY_MAX;
        let Some(pattern) = pattern else {
            return if copied {
                codec::publish(flags, id, topic, data).into()
            } else {
                Self { head: codec::publish(flags, id, topic, &[]), body: data.clone() }
            };
        };
        let (mut opening, from) = codec::pattern_data(topic, data);
        let arguments = data.slice(from..);
        if copied {
            opening.extend_from_slice(&arguments);
            return codec::publish(flags, id, pattern, &opening).into();
        }
        Self { head: codec::publish(flags, id, pattern, &opening), body: arguments }
    }

    /// A call for an exposer: the target is always null (section 9).
    pub(super) fn request(id: MessageId, method: &str, data: &Bytes) -> Self {
        if data.len() <= COPY_MAX {
            codec::rpc(id, method, None, data).into()
        } else {
            Self { head: codec::rpc(id, method, None, &[]), body: data.clone() }
        }
    }

    pub(super) fn response(id: MessageId, status: crate::router::Status, data: &Bytes) -> Self {
        if data.len() <= COPY_MAX {
            codec::response(id, status, data).into()
        } else {
            Self { head: codec::response(id, status, &[]), body: data.clone() }
        }
    }

    /// Takes the message apart into WebSocket frames.
    pub(super) fn frames(mut self, into: &mut VecDeque<Message>) {
        if self.body.is_empty() {
            into.push_back(Message::Binary(self.head));
            return;
        }
        into.push_back(Message::Frame(Frame::message(self.head, OpCode::Data(Data::Binary), false)));
        while !self.body.is_empty() {
            let piece = self.body.split_to(self.body.len().min(FRAGMENT));
            let last = self.body.is_empty();
            into.push_back(Message::Frame(Frame::message(piece, OpCode::Data(Data::Continue), last)));
        }
    }
}

impl From<Bytes> for Packet {
    fn from(head: Bytes) -> Self {
        Self { head, body: Bytes::new() }
    }
}
