//! For `fuzz/`: the decoder, and what looks into payloads behind it.

use super::frame::{self, Broken, Frame};
use super::rpc;
use crate::mapping;
use bytes::BytesMut;

/// Largest frame under test; small, so that its limit is met.
const FRAME_MAX: usize = 4 << 10;

fn decode(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<Broken>) {
    let (mut inbox, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        inbox.extend_from_slice(piece);
        loop {
            match frame::next(&mut inbox, FRAME_MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(broken) => return (frames, Some(broken)),
            }
        }
    }
    (frames, None)
}

/// Decodes bytes as one piece and as several of the same length; must return, and alike.
pub fn decode_all(piece: usize, bytes: &[u8]) {
    let whole = decode(bytes, bytes.len());
    assert_eq!(decode(bytes, piece), whole);
    for frame in whole.0 {
        assert!(frame.body.len() <= FRAME_MAX);
        drop(frame::texts(&frame.body));
        if let Some(rpc::Rpc::Request { parameters, .. }) = rpc::parse(&frame.body) {
            if let Some(data) = mapping::pack_to_arguments(&parameters) {
                drop(mapping::parameters_to_pack(&data));
            }
        }
    }
}
