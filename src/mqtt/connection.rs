//! Serves one client after CONNACK: a single task that reads, hands over, takes, writes and watches the time, and that never
//! waits for one of them while another could go on.
//!
//! What keeps it bounded, and free of deadlock:
//!
//! * It reads only while no batch waits for the router (back-pressure), and while the answers it owes stay below the receive
//!   maximum. Acknowledgements of the client are read in the same stream; they make no answers and so cost no budget.
//! * It always takes what the router sends. That is bounded by the router's window, which opens as `Written` is reported, and
//!   by the answers owed. The router never waits for this task, and this task's writing never waits for its reading.
//! * A peer that does not read holds one gathered buffer and a window of shared messages, and is dropped after
//!   `write_stall` plus its keep alive without a byte taken.

use super::Settings;
use super::codec::{Connect, Fault, ReasonCode, Version, decode};
use super::dialogue::{Dialogue, Ending};
use super::farewell::farewell;
use super::hub::{Hub, Receiver, Sender};
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::clock::SharedClock;
use crate::door::Line;
use crate::net::Stream;
use crate::router::{CloseReason, Closed, HubStopped, Inbound, Outbound};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

/// Events handed over at once; enough to make the handing over cheap, few enough that others get their turn.
const BATCH_MAX: usize = 256;
/// After so long without traffic the buffers are given back.
const IDLE_AFTER: Duration = Duration::from_secs(5);
/// As good as never.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything one connection holds.
pub(crate) struct Connection<S, H: Hub> {
    reader: ReadHalf<Line<S>>,
    writer: WriteHalf<Line<S>>,
    /// What was written may still be in a buffer of TLS or WebSocket.
    buffered: bool,
    needs_flush: bool,
    /// Away while it hands over a batch.
    sender: Option<H::Sender>,
    receiver: H::Receiver,
    /// The router will send no more.
    receiver_ended: bool,
    version: Version,
    dialogue: Dialogue,
    inbox: Inbox,
    outbox: Outbox,
    /// From the router, not yet encoded.
    waiting: VecDeque<Outbound>,
    /// For the router, not yet handed over.
    batch: Vec<Inbound>,
    batch_len: usize,
    /// Deliveries in the outbox, and deliveries that the socket took.
    encoded: u32,
    written: u32,
    keep_alive: Option<Duration>,
    /// When the last packet came.
    heard: Instant,
    /// Since when we do not listen, if so.
    deaf: Option<Instant>,
    /// When the socket last took a byte, or the outbox ceased to be empty.
    progress: Instant,
    /// Set by a stop, or by the router's `Close`: until when to go on without reading.
    leave_by: Option<Instant>,
    draining: bool,
    settings: Arc<Settings>,
    clock: SharedClock,
}

impl<S, H: Hub> std::fmt::Debug for Connection<S, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("dialogue", &self.dialogue).finish_non_exhaustive()
    }
}

impl<S: Stream, H: Hub> Connection<S, H> {
    pub(crate) fn new(
        stream: Line<S>,
        link: (H::Sender, H::Receiver),
        connect: &Connect,
        dialogue: Dialogue,
        read_already: (Inbox, Outbox, VecDeque<Outbound>),
        settings: Arc<Settings>,
        clock: SharedClock,
    ) -> Self {
        let needs_flush = stream.needs_flush();
        let (reader, writer) = tokio::io::split(stream);
        let (inbox, outbox, waiting) = read_already;
        let now = Instant::now();
        Self {
            reader,
            writer,
            buffered: false,
            needs_flush,
            sender: Some(link.0),
            receiver: link.1,
            receiver_ended: false,
            version: connect.version,
            dialogue,
            inbox,
            outbox,
            waiting,
            batch: Vec::new(),
            batch_len: 0,
            encoded: 0,
            written: 0,
            // One and a half times [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0.
            keep_alive: (connect.keep_alive > 0).then(|| Duration::from_millis(1500 * u64::from(connect.keep_alive))),
            heard: now,
            deaf: None,
            progress: now,
            leave_by: None,
            draining: false,
            settings,
            clock,
        }
    }

    /// Serves until the end, `report`s it, tells both sides, and closes.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>, report: impl FnOnce(Ending)) {
        let mut handing = pin!(None);
        let mut timer = pin!(tokio::time::sleep(FAR));
        let ending = loop {
            let now = Instant::now();
            if let Err(ending) = self.translate(now) {
                break ending;
            }
            if handing.is_none() && self.has_news() {
                let sender = self.sender.take().expect("the sender is back when nothing is being handed over");
                handing.set(Some(hand_over(sender, self.take_batch(None))));
            }
            let may_read = self.may_read(handing.is_none());
            self.stop_the_clock(!may_read, now);
            if self.is_finished(handing.is_none()) {
                break Ending::Closed(CloseReason::ShuttingDown);
            }
            let due = self.due(now, may_read);
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            let (to_write, slices) = (!self.outbox.is_empty(), self.outbox.slices());
            let to_flush = self.buffered && !to_write;
            tokio::select! {
                (sender, outcome) = finish(handing.as_mut()), if handing.is_some() => {
                    handing.set(None);
                    self.sender = Some(sender);
                    if outcome.is_err() {
                        break Ending::Closed(CloseReason::ShuttingDown);
                    }
                }
                batch = self.receiver.recv(), if !self.receiver_ended => self.take_in(batch),
                taken = push(&mut self.writer, to_write.then_some(&slices)), if to_write || to_flush => match taken {
                    Ok(Taken::Bytes(count @ 1..)) => self.took(count),
                    Ok(Taken::Flushed) => self.flushed(),
                    Ok(Taken::Bytes(0)) | Err(_) => break Ending::Lost,
                },
                came = self.reader.read_buf(self.inbox.room()), if may_read => match came {
                    Ok(count @ 1..) => self.inbox.arrived(count),
                    Ok(0) | Err(_) => break Ending::Lost,
                },
                () = timer.as_mut() => {
                    timer.as_mut().reset(Instant::now() + FAR);
                    if let Err(ending) = self.look_at_the_time(may_read) {
                        break ending;
                    }
                }
                // An error means that whoever could say stop is gone, which says it as well.
                _ = stop.wait_for(|stop| *stop), if !self.draining => {
                    self.draining = true;
                    self.leave_within(self.settings.drain);
                }
            }
        };
        report(ending);
        // Boxed, like the handshake: only the end needs what it needs.
        Box::pin(self.end(ending, handing)).await;
    }

    /// Encodes and decodes as far as limits allow. Encoding comes first, because it makes room for decoding; what decoding
    /// answers by itself is encoded after.
    fn translate(&mut self, now: Instant) -> Result<(), Ending> {
        let was_empty = self.all_sent();
        let outcome = self.encode().and_then(|()| if self.leave_by.is_none() { self.decode(now) } else { Ok(()) });
        let answered = self.dialogue.write_own_answers(&mut self.outbox);
        if was_empty {
            self.progress = now;
        }
        outcome.and(answered)
    }

    fn encode(&mut self) -> Result<(), Ending> {
        if self.waiting.is_empty() && self.encoded == 0 {
            return Ok(());
        }
        while self.outbox.has_room() {
            let Some(outbound) = self.waiting.pop_front() else {
                break;
            };
            self.dialogue.write(outbound, &mut self.outbox, &mut self.batch)?;
        }
        self.encoded += self.dialogue.take_delivered();
        // Deliveries that could not be sent leave nothing to write.
        self.count_written();
        Ok(())
    }

    fn decode(&mut self, now: Instant) -> Result<(), Ending> {
        let mut wall = None;
        // While a batch is under way, nothing is added to the next one but what the router must know.
        while self.sender.is_some() && self.batch.len() < BATCH_MAX && self.dialogue.may_read() {
            let next = self.inbox.next(self.settings.max_packet).map_err(Ending::Fault)?;
            let Some((frame, bytes)) = next else {
                break;
            };
            let packet = decode(self.version, frame, bytes).map_err(Ending::Fault)?;
            let wall = *wall.get_or_insert_with(|| self.clock.wall());
            self.dialogue.read(packet, wall, &mut self.batch)?;
            self.inbox.consume(frame);
            self.heard = now;
        }
        Ok(())
    }

    fn has_news(&self) -> bool {
        !self.batch.is_empty() || self.written > 0
    }

    fn take_batch(&mut self, last: Option<Inbound>) -> Vec<Inbound> {
        if self.written > 0 {
            self.batch.push(Inbound::Written { count: std::mem::take(&mut self.written) });
        }
        self.batch.extend(last);
        // The next batch will be about as long as this one.
        let expected = self.batch.len().min((self.batch_len + self.batch.len()) / 2);
        self.batch_len = self.batch.len();
        std::mem::replace(&mut self.batch, Vec::with_capacity(expected))
    }

    fn may_read(&self, nothing_under_way: bool) -> bool {
        nothing_under_way && self.leave_by.is_none() && self.dialogue.may_read()
    }

    /// Whoever is made to wait is not silent: the keep alive does not count while we do not listen.
    fn stop_the_clock(&mut self, deaf: bool, now: Instant) {
        if deaf {
            self.deaf.get_or_insert(now);
        } else if let Some(since) = self.deaf.take() {
            self.heard = (self.heard + (now - since)).min(now);
        }
    }

    /// A stop lets everything that was read be answered; a router that is gone answers nothing more.
    fn is_finished(&self, nothing_under_way: bool) -> bool {
        let all_sent = self.waiting.is_empty() && self.all_sent();
        let settled = self.dialogue.is_settled() && nothing_under_way && !self.has_news();
        all_sent && (self.receiver_ended || (self.draining && settled))
    }

    fn take_in(&mut self, batch: Option<Vec<Outbound>>) {
        match batch {
            Some(batch) => {
                // It is carried out when everything before it is encoded, or after a while if the peer does not read.
                if matches!(batch.last(), Some(Outbound::Close(_))) {
                    self.leave_within(self.settings.farewell);
                }
                self.waiting.extend(batch);
            }
            None => self.receiver_ended = true,
        }
    }

    fn leave_within(&mut self, wait: Duration) {
        let by = Instant::now() + wait;
        self.leave_by = Some(self.leave_by.map_or(by, |earlier| earlier.min(by)));
    }

    fn took(&mut self, count: usize) {
        self.outbox.written(count);
        self.progress = Instant::now();
        self.buffered = self.needs_flush;
        self.count_written();
    }

    fn flushed(&mut self) {
        self.buffered = false;
        self.progress = Instant::now();
        self.count_written();
    }

    fn all_sent(&self) -> bool {
        self.outbox.is_empty() && !self.buffered
    }

    fn count_written(&mut self) {
        if self.all_sent() {
            self.written += std::mem::take(&mut self.encoded);
        }
    }

    fn stall_limit(&self) -> Duration {
        self.settings.write_stall + self.keep_alive.unwrap_or_default()
    }

    /// When the time must be looked at again.
    fn due(&self, now: Instant, may_read: bool) -> Instant {
        let silent = self.keep_alive.filter(|_| may_read).map(|limit| self.heard + limit);
        let stalled = (!self.all_sent()).then(|| self.progress + self.stall_limit());
        let idle = (self.inbox.holds_idle_memory() || self.outbox.holds_idle_memory()).then(|| now + IDLE_AFTER);
        [silent, stalled, idle, self.leave_by].into_iter().flatten().min().unwrap_or(now + FAR)
    }

    fn look_at_the_time(&mut self, may_read: bool) -> Result<(), Ending> {
        let now = Instant::now();
        if self.leave_by.is_some_and(|by| now >= by) {
            let said = self.waiting.iter().rev().find_map(|outbound| match outbound {
                Outbound::Close(reason) => Some(*reason),
                _ => None,
            });
            return Err(Ending::Closed(said.unwrap_or(CloseReason::ShuttingDown)));
        }
        if may_read && self.keep_alive.is_some_and(|limit| now >= self.heard + limit) {
            let what = "nothing came for one and a half keep alives";
            return Err(Ending::Fault(Fault { reason: ReasonCode::KEEP_ALIVE_TIMEOUT, what }));
        }
        if !self.all_sent() && now >= self.progress + self.stall_limit() {
            return Err(Ending::Stalled);
        }
        if now >= self.heard.max(self.progress) + IDLE_AFTER {
            self.inbox.shrink();
            self.outbox.shrink();
            self.batch = Vec::new();
            self.waiting.shrink_to(4);
        }
        Ok(())
    }

    /// Hands over what was read before the end, and says goodbye to the peer meanwhile.
    async fn end<F>(mut self, ending: Ending, handing: Pin<&mut Option<F>>)
    where
        F: Future<Output = (H::Sender, Result<(), HubStopped>)>,
    {
        let closed = match ending {
            Ending::Goodbye(closed) => Some(closed),
            Ending::Lost | Ending::Fault(_) | Ending::Stalled => Some(Closed::Lost),
            // The router knows. If it does not, because the gateway stops, the dropped sender tells it.
            Ending::Closed(_) => None,
        };
        self.dialogue.last_words(ending, &mut self.outbox);
        let batch = self.take_batch(closed.map(|reason| Inbound::Closed { reason }));
        let sender = self.sender.take();
        let to_router = async move {
            let sender = match (sender, handing.is_some()) {
                (Some(sender), _) => Some(sender),
                (None, true) => Some(finish(handing).await.0),
                (None, false) => None,
            };
            if let Some(mut sender) = sender {
                // It stops only with the whole gateway, and then there is nobody left to tell.
                sender.send(batch).await.ok();
            }
        };
        let to_peer = farewell(self.reader.unsplit(self.writer), self.outbox, ending, self.settings.farewell);
        tokio::join!(to_router, to_peer);
    }
}

async fn hand_over<T: Sender>(mut sender: T, batch: Vec<Inbound>) -> (T, Result<(), HubStopped>) {
    let outcome = sender.send(batch).await;
    (sender, outcome)
}

enum Taken {
    Bytes(usize),
    Flushed,
}

/// Writes what there is to write; else flushes. May be dropped half way.
async fn push<W: AsyncWrite + Unpin>(writer: &mut W, slices: Option<&[IoSlice<'_>; 2]>) -> std::io::Result<Taken> {
    match slices {
        Some(slices) => writer.write_vectored(slices).await.map(Taken::Bytes),
        None => writer.flush().await.map(|()| Taken::Flushed),
    }
}

/// The outcome of what is under way; for ever if nothing is.
async fn finish<F: Future>(under_way: Pin<&mut Option<F>>) -> F::Output {
    match under_way.as_pin_mut() {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
