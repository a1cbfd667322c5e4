//! A byte stream that counts, so that a deadline can tell slow from dead: a large message over a bad radio link takes minutes
//! and is fine as long as it moves.

use crate::door::Origin;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    pub(super) read: u64,
    pub(super) written: u64,
    /// As long as nobody knows who it is.
    newcomer: Option<Origin>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read: 0, written: 0, newcomer: None }
    }

    /// Little is read of who has not said who it is.
    pub(super) fn of_newcomer(stream: S, newcomer: Origin) -> Self {
        Self { newcomer: Some(newcomer), ..Self::new(stream) }
    }

    /// It has.
    pub(super) fn is_known(&mut self) {
        self.newcomer = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.read += (buffer.filled().len() - before) as u64;
        if let Some(newcomer) = &self.newcomer {
            let read = usize::try_from(self.read).unwrap_or(usize::MAX);
            newcomer.has_sent(read).map_err(|why| io::Error::new(io::ErrorKind::QuotaExceeded, why))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
