//! Rembus over a plain stream, TCP or TLS, as Rembus.jl speaks it (`protocol/rembus.md` section 17): CBOR messages, each behind its
//! length.
//!
//! ```text
//!  81 LL            below 2^8 bytes
//!  8d LL LL         below 2^16         big endian
//!  8f LL LL LL LL   longer
//! ```
//!
//! Any other first byte ends the connection. There are no pings and no words for why a connection ends: whoever is silent may be,
//! and TCP finds out about a cut cable when something is sent.

use super::carrier::{Carrier, hang_up};
use super::traffic::Metered;
use crate::net::Stream;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::Sink;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Room that is made at once for what comes: a length alone claims no memory.
const ROOM: usize = 8 << 10;

#[derive(Debug)]
pub(super) struct Framed<S> {
    stream: Metered<S>,
    inbox: BytesMut,
    /// Length of the message that is coming, once its header has.
    coming: Option<usize>,
    message_max: usize,
    /// Pieces of the message that is being said.
    pieces: Vec<Bytes>,
    /// For the socket, in order.
    outbox: VecDeque<Bytes>,
}

impl<S: Stream> Framed<S> {
    pub(super) fn new(stream: Metered<S>, message_max: usize) -> Self {
        Self { stream, inbox: BytesMut::new(), coming: None, message_max, pieces: Vec::new(), outbox: VecDeque::new() }
    }

    /// The next whole message among what has been read.
    fn parse(&mut self) -> Result<Option<Bytes>, Error> {
        let length = match self.coming {
            Some(length) => length,
            None => {
                let Some((header, length)) = header(&self.inbox)? else { return Ok(None) };
                if length > self.message_max {
                    return Err(CapacityError::MessageTooLong { size: length, max_size: self.message_max }.into());
                }
                self.inbox.advance(header);
                *self.coming.insert(length)
            }
        };
        if self.inbox.len() < length {
            return Ok(None);
        }
        self.coming = None;
        Ok(Some(self.inbox.split_to(length).freeze()))
    }

    fn say(&mut self, piece: Bytes, last: bool) {
        self.pieces.push(piece);
        if last {
            let length = self.pieces.iter().map(Bytes::len).sum();
            self.outbox.push_back(head(length));
            self.outbox.extend(self.pieces.drain(..).filter(|piece| !piece.is_empty()));
        }
    }
}

/// Bytes of the header and of the message behind it; `None` if there is not enough yet.
fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let size = match first {
        0x81 => 1,
        0x8d => 2,
        0x8f => 4,
        other => return Err(ProtocolError::InvalidOpcode(*other)),
    };
    let Some(digits) = rest.get(..size) else { return Ok(None) };
    Ok(Some((1 + size, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))))
}

fn head(length: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(5);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) => head.extend_from_slice(&[0x81, length]),
        (_, Ok(length)) => {
            head.put_u8(0x8d);
            head.put_u16(length);
        }
        _ => {
            head.put_u8(0x8f);
            head.put_u32(u32::try_from(length).expect("no message has 4 GiB"));
        }
    }
    head.freeze()
}

impl<S: Stream> futures_util::Stream for Framed<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.parse() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Message::Binary(message)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let Self { stream, inbox, .. } = &mut *self;
            inbox.reserve(ROOM);
            match ready!(pin!(stream.read_buf(inbox)).poll(cx)) {
                Ok(0) if inbox.is_empty() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

impl<S: Stream> Sink<Message> for Framed<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        match message {
            Message::Frame(frame) => {
                let last = frame.header().is_final;
                self.say(frame.into_payload(), last);
            }
            Message::Binary(whole) => self.say(whole, true),
            // Nothing like it here.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Text(_) => {}
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { stream, outbox, .. } = &mut *self;
        while let Some(piece) = outbox.front_mut() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, piece))?;
            if count == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            piece.advance(count);
            if piece.is_empty() {
                outbox.pop_front();
            }
        }
        Pin::new(stream).poll_flush(cx).map_err(Error::from)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx).map_err(Error::from)
    }
}

impl<S: Stream> Carrier for Framed<S> {
    const PINGS: bool = false;

    fn moved(&self) -> (u64, u64) {
        (self.stream.read, self.stream.written)
    }

    fn is_known(&mut self) {
        self.stream.is_known();
    }

    async fn part(&mut self, _why: CloseFrame, _broken: bool) {
        hang_up(&mut self.stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    fn pair(message_max: usize) -> (Framed<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1 << 20);
        (Framed::new(Metered::new(near), message_max), far)
    }

    #[test]
    fn lengths_have_the_header_that_they_need() {
        for (length, hex) in [
            (0, &[0x81, 0][..]),
            (255, &[0x81, 255]),
            (256, &[0x8d, 1, 0]),
            (65_535, &[0x8d, 255, 255]),
            (65_536, &[0x8f, 0, 1, 0, 0]),
        ] {
            assert_eq!(head(length), hex);
            assert_eq!(header(hex).unwrap(), Some((hex.len(), length)));
            assert_eq!(header(&hex[..hex.len() - 1]).unwrap(), None, "half a header");
        }
        assert!(header(&[0x80]).is_err());
    }

    #[tokio::test]
    async fn messages_come_whole_whatever_pieces_their_bytes_come_in() {
        let (mut framed, mut far) = pair(1 << 20);
        let long = vec![7; 300];
        let bytes = [&[0x81, 3, 1, 2, 3][..], &[0x8d, 1, 44], &long, &[0x81, 0]].concat();
        tokio::spawn(async move {
            for byte in bytes {
                far.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(framed.next().await.unwrap().unwrap(), Message::Binary(vec![1, 2, 3].into()));
        assert_eq!(framed.next().await.unwrap().unwrap(), Message::Binary(long.into()));
        assert_eq!(framed.next().await.unwrap().unwrap(), Message::Binary(Bytes::new()));
        assert!(framed.next().await.is_none(), "an orderly end is none of an error");
    }

    #[tokio::test]
    async fn what_is_no_header_or_claims_too_much_ends_it_and_so_does_half_a_message() {
        for (bytes, size) in [(&b"GET / HTTP/1.1\r\n"[..], 0), (&[0x8f, 0xff, 0xff, 0xff, 0xff], 0), (&[0x81, 4, 1], 0)] {
            let (mut framed, mut far) = pair(1 << 10);
            far.write_all(bytes).await.unwrap();
            drop(far);
            assert!(framed.next().await.unwrap().is_err(), "{bytes:x?}");
            assert!(framed.inbox.capacity() <= 2 * ROOM + size, "nothing is allocated for a claim");
        }
    }

    #[tokio::test]
    async fn a_message_in_fragments_leaves_behind_one_length() {
        let (mut framed, mut far) = pair(1 << 10);
        let first = Frame::message(Bytes::from_static(b"ab"), OpCode::Data(Data::Binary), false);
        let last = Frame::message(Bytes::from_static(b"c"), OpCode::Data(Data::Continue), true);
        framed.send(Message::Frame(first)).await.unwrap();
        framed.send(Message::Ping(Bytes::new())).await.unwrap();
        framed.send(Message::Frame(last)).await.unwrap();
        let mut got = [0; 5];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\x81\x03abc");
    }
}
