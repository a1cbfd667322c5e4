//! MQTT in WebSocket frames (MQTT 5.0, section 6; 3.1.1 has the same as section 6).
//!
//! ```text
//!  bytes of the peer  │82 8e│mask│CONNECT… ││82 83│mask│PUB││80 91│mask│LISH… │   frames begin and end where they like
//!  what the door reads       CONNECT…             PUB           LISH…             [MQTT-6.0.0-2]
//! ```
//!
//! tungstenite shakes hands and knows the frame header. The payload is unmasked where it lies, in the buffer of whoever reads,
//! so a connection holds no frame of its own, however long one claims to be.

#[cfg(test)]
mod tests;

use crate::door::{Foreign, Line, Origins, Peer, TransportError, is_near};
use crate::net::Stream;
use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The name that the specifications want [MQTT-6.0.0-3], and the one that clients of 3.1 still offer.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Bytes of one frame that we send.
const FRAME_MAX: usize = 32 << 10;
/// What a drained connection keeps.
const IDLE_CAPACITY: usize = 1 << 10;
/// The longest header, with mask.
const HEADER_MAX: usize = 14;

/// Shakes hands, if it is no browser that asks for a stranger's page.
pub(super) async fn upgrade<S: Stream>(line: Line<S>, origins: &Origins, peer: &mut Peer) -> Result<Line<S>, TransportError> {
    let config = WebSocketConfig::default().read_buffer_size(1 << 10).write_buffer_size(0);
    let mut refused = None;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let look = |request: &Request, response: Response| {
        if let Err(foreign) = origins.check(request.headers(), peer.addr.ip()) {
            refused = Some(foreign);
            return Err(forbidden(foreign));
        }
        peer.forwarded = !is_near(request.headers(), peer.addr.ip()) && peer.addr.ip().to_canonical().is_loopback();
        choose(request, response)
    };
    let shaken = tokio_tungstenite::accept_hdr_async_with_config(line, look, Some(config)).await;
    if let Some(foreign) = refused {
        return Err(foreign.into());
    }
    // Nothing is lost here: a client waits for the answer before it sends frames, and one that does not is refused.
    let socket = shaken.map_err(|error| match error {
        Error::Io(_) | Error::ConnectionClosed | Error::Protocol(ProtocolError::HandshakeIncomplete) => TransportError::Lost,
        Error::Protocol(ProtocolError::HttparseError(_)) => TransportError::NotHttp,
        Error::Http(_) => TransportError::WebSocket("the client does not offer the subprotocol `mqtt`".into()),
        other => TransportError::WebSocket(other.to_string()),
    })?;
    Ok(Line::Wrapped(Box::new(Frames::new(socket.into_inner()))))
}

/// What a page hears that may not connect.
pub(crate) fn forbidden(foreign: Foreign) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(format!("{foreign}\n")));
    *refusal.status_mut() = if foreign == Foreign::Twice { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
    refusal
}

/// Answers with the subprotocol that is spoken [MQTT-6.0.0-4].
#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> =
        offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
    let Some(chosen) = SUBPROTOCOLS.into_iter().find(|known| offered.contains(known)) else {
        let mut refusal = ErrorResponse::new(Some("the WebSocket subprotocol here is mqtt\n".into()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    };
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    Ok(response)
}

/// What comes next from the peer.
#[derive(Debug)]
enum Next {
    Header,
    /// Payload for the door.
    Payload {
        left: u64,
        mask: [u8; 4],
    },
    /// The payload of a ping, pong or close, which has at most 125 bytes.
    Control {
        kind: Control,
        left: u64,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
    /// It said goodbye, or broke the protocol.
    Nothing,
}

/// The binary stream inside the frames of one connection.
#[derive(Debug)]
struct Frames<S> {
    stream: S,
    next: Next,
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// A message goes on in the next frame.
    continues: bool,
    /// Frames on their way out, and how much of them is.
    out: Vec<u8>,
    out_at: usize,
    /// The answer to the newest ping (RFC 6455, 5.5.3: older ones need none).
    pong: Option<Vec<u8>>,
    /// No frame may follow our close.
    closing: bool,
}

impl<S: Stream> Frames<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            next: Next::Header,
            header: [0; HEADER_MAX],
            header_len: 0,
            continues: false,
            out: Vec::new(),
            out_at: 0,
            pong: None,
            closing: false,
        }
    }

    /// Moves the payload in `bytes` to their beginning and returns how much there is.
    fn unpack(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut payload) = (0, 0);
        while at < bytes.len() {
            match &mut self.next {
                Next::Nothing => break,
                Next::Header => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let count = rest.len().min(self.header_wanted() - self.header_len);
                    let (taken, _) = rest.split_at(count);
                    if let Some(room) = self.header.get_mut(self.header_len..self.header_len + count) {
                        room.copy_from_slice(taken);
                    }
                    self.header_len += count;
                    at += count;
                    if self.header_len == self.header_wanted() {
                        self.begin_frame();
                    }
                }
                Next::Payload { left, mask } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    bytes.copy_within(at..at + count, payload);
                    unmask(bytes.get_mut(payload..payload + count).unwrap_or_default(), mask);
                    (at, payload, *left) = (at + count, payload + count, *left - count as u64);
                    if *left == 0 {
                        self.next = Next::Header;
                    }
                }
                Next::Control { left, payload: control, mask, .. } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    let from = control.len();
                    control.extend_from_slice(bytes.get(at..at + count).unwrap_or_default());
                    unmask(control.get_mut(from..).unwrap_or_default(), mask);
                    (at, *left) = (at + count, *left - count as u64);
                    if *left == 0 {
                        self.end_control();
                    }
                }
            }
        }
        payload
    }

    /// How long the header is, as far as its beginning tells.
    fn header_wanted(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin_frame(&mut self) {
        let header = self.header.get(..std::mem::take(&mut self.header_len)).unwrap_or_default();
        let Ok(Some((header, left))) = FrameHeader::parse(&mut Cursor::new(header)) else {
            return self.close(CloseCode::Protocol);
        };
        // Clients mask (5.1), and no extension was agreed on (5.2).
        let (Some(mask), false) = (header.mask, header.rsv1 || header.rsv2 || header.rsv3) else {
            return self.close(CloseCode::Protocol);
        };
        match header.opcode {
            OpCode::Data(kind @ (Data::Binary | Data::Continue)) if (kind == Data::Continue) == self.continues => {
                self.continues = !header.is_final;
                self.next = if left > 0 { Next::Payload { left, mask } } else { Next::Header };
            }
            // [MQTT-6.0.0-1]
            OpCode::Data(Data::Text) => self.close(CloseCode::Unsupported),
            OpCode::Control(kind) if header.is_final && left <= 125 => {
                self.next = Next::Control { kind, left, mask, payload: Vec::new() };
                if left == 0 {
                    self.end_control();
                }
            }
            OpCode::Data(_) | OpCode::Control(_) => self.close(CloseCode::Protocol),
        }
    }

    fn end_control(&mut self) {
        let Next::Control { kind, payload, .. } = std::mem::replace(&mut self.next, Next::Header) else { return };
        match kind {
            Control::Ping => self.pong = Some(payload),
            Control::Pong => {}
            Control::Close => self.close(CloseCode::Normal),
            Control::Reserved(_) => self.close(CloseCode::Protocol),
        }
    }

    /// Listens no more, and says so.
    fn close(&mut self, code: CloseCode) {
        self.next = Next::Nothing;
        if !std::mem::replace(&mut self.closing, true) {
            self.frame(OpCode::Control(Control::Close), &[IoSlice::new(&u16::from(code).to_be_bytes())], usize::MAX);
        }
    }

    /// Encodes one frame of at most `max` bytes of payload; returns how many it took.
    fn frame(&mut self, opcode: OpCode, slices: &[IoSlice<'_>], max: usize) -> usize {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(max);
        let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
        header.format(length as u64, &mut self.out).expect("writing to a vector cannot fail");
        let mut left = length;
        for slice in slices {
            let taken = slice.get(..left).unwrap_or(slice);
            self.out.extend_from_slice(taken);
            left -= taken.len();
        }
        length
    }

    /// Gives what is encoded to the stream.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.out.get(self.out_at..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.out_at += count,
                }
            }
            self.out.clear();
            self.out.shrink_to(IDLE_CAPACITY);
            self.out_at = 0;
            match self.pong.take() {
                Some(payload) if !self.closing => {
                    self.frame(OpCode::Control(Control::Pong), &[IoSlice::new(&payload)], usize::MAX);
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn has_answers(&self) -> bool {
        self.pong.is_some() || (self.closing && !self.out.is_empty())
    }
}

/// Unmasks, and turns the mask to where the next byte continues (5.3).
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(bytes.len() % 4);
}

impl<S: Stream> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buffer.filled().len();
        loop {
            if matches!(this.next, Next::Nothing) {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let came = buffer.filled_mut().get_mut(start..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let payload = this.unpack(came);
            buffer.set_filled(start + payload);
            if this.has_answers() {
                // If the peer does not take it now, it gets it with what is written next.
                let answered = this.drain(cx).map_ok(|()| Pin::new(&mut this.stream).poll_flush(cx));
                drop(answered);
            }
            if payload > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: Stream> AsyncWrite for Frames<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.drain(cx))?;
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = self.frame(OpCode::Data(Data::Binary), slices, FRAME_MAX);
        // What does not leave now leaves with the next write, or with a flush.
        if let Poll::Ready(Err(error)) = self.drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(self.drain(cx))?;
            self.closing = true;
            self.frame(
                OpCode::Control(Control::Close),
                &[IoSlice::new(&u16::from(CloseCode::Normal).to_be_bytes())],
                usize::MAX,
            );
        }
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
