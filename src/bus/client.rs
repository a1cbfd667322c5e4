//! A program as the others see it: a name, and somewhere to put frames.

use super::board::Counts;
use super::frame::{self, Code, Kind};
use super::name;
use super::outbox::{Origin, Outbox};
use super::settings::Settings;
use super::socket::Socket;
use crate::router::BusFilters;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Frames and bytes of them, in one direction.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, bytes: usize) {
        self.frames.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

/// What it wants to hear, for publications that do not go through the router.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) subscribed: BTreeSet<String>,
    pub(super) excluded: BTreeSet<String>,
}

impl Wanted {
    pub(super) fn len(&self) -> usize {
        self.subscribed.len() + self.excluded.len()
    }

    pub(super) fn wants(&self, topic: &str) -> bool {
        let any = |filters: &BTreeSet<String>| filters.iter().any(|filter| BusFilters::match_one(filter, topic));
        any(&self.subscribed) && !any(&self.excluded)
    }
}

/// One connection that has a name.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Arc<str>,
    pub(super) socket: Socket,
    pub(super) peer: SocketAddr,
    /// Where it came in: the socket's path, or the address.
    pub(super) entrance: Arc<str>,
    outbox: Mutex<Outbox>,
    /// Its own task has something to look at: a socket that takes no more, frames of the router that were written, an end.
    pub(super) wake: Notify,
    /// It has to go.
    pub(super) closing: AtomicBool,
    pub(super) wanted: Mutex<Wanted>,
    pub(super) read: Traffic,
    pub(super) written: Traffic,
    pub(super) counts: Arc<Counts>,
    queue: usize,
    queue_bytes: usize,
}

impl Client {
    pub(super) fn new(name: &str, socket: Socket, peer: SocketAddr, entrance: Arc<str>, settings: &Settings) -> Self {
        let wanted = Wanted { subscribed: BTreeSet::from([super::announce::WARN.to_owned()]), ..Wanted::default() };
        Self {
            name: name.into(),
            socket,
            peer,
            entrance,
            outbox: Mutex::default(),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
            wanted: Mutex::new(wanted),
            read: Traffic::default(),
            written: Traffic::default(),
            counts: Arc::clone(&settings.counts),
            queue: settings.queue,
            queue_bytes: settings.queue_bytes,
        }
    }

    pub(super) fn primary(&self) -> &str {
        name::primary(&self.name)
    }

    pub(super) fn is_primary(&self) -> bool {
        self.primary().len() == self.name.len()
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing that is done with it can panic half way.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has so much to read that it should not be read itself.
    pub(super) fn is_full(&self) -> bool {
        self.outbox().is_full(0, self.queue, self.queue_bytes)
    }

    /// A frame of another program. Refused when its queue is full; the sender decides what that means.
    pub(super) fn offer(&self, frame: &Sent<'_>) -> Result<(), Code> {
        let prefix = frame::prefix(frame.kind, frame.sender, frame.topic, frame.payload.len(), frame.realtime);
        let mut outbox = self.outbox();
        if outbox.closed {
            return Err(Code::NOT_REGISTERED);
        }
        let len = prefix.len() + frame.payload.len();
        if outbox.is_full(len, self.queue, self.queue_bytes) {
            return Err(Code::NOT_DELIVERED);
        }
        outbox.push(&prefix, frame.payload, Origin::Other);
        drop(outbox);
        self.count_written(len);
        Ok(())
    }

    /// A frame that is bounded elsewhere: by the router's window, or by not reading on.
    pub(super) fn put(&self, prefix: &[u8], payload: &Bytes, origin: Origin) {
        self.outbox().push(prefix, payload, origin);
        self.count_written(prefix.len() + payload.len());
    }

    fn count_written(&self, bytes: usize) {
        self.written.add(bytes);
        self.counts.written.add(bytes);
    }

    /// Writes what the socket takes, from whatever task. If that is not all, the program's own task waits for the socket.
    pub(super) fn flush(&self) {
        let mut outbox = self.outbox();
        if outbox.blocked {
            return;
        }
        while !outbox.is_empty() {
            match self.socket.try_write_vectored(&outbox.slices()) {
                Ok(count) if count > 0 => outbox.written(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    outbox.blocked = true;
                    self.wake.notify_one();
                    return;
                }
                // It has gone. What it said before is still to be read, and ends with that.
                Ok(_) | Err(_) => {
                    outbox.discard();
                    self.wake.notify_one();
                    return;
                }
            }
        }
        if outbox.has_to_report() {
            self.wake.notify_one();
        }
    }

    /// Tells its task to end.
    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
        self.wake.notify_one();
    }
}

/// A frame on its way to somebody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) kind: Kind,
    pub(super) sender: &'a str,
    pub(super) topic: Option<&'a str>,
    pub(super) payload: &'a Bytes,
    pub(super) realtime: bool,
}
