//! One connection at work: a task that reads, writes and waits for the router at the same time.
//!
//! ```text
//!  socket ─▶ inbox ─▶ dialogue ─▶ batch ─▶ router       reading stops while too many requests are unanswered
//!  socket ◀─ frames ◀─ dialogue ◀─ queue ◀─ router       bounded by the router's window, in bytes by FEED
//! ```
//!
//! Writing never waits for reading, nor reading for writing: a peer that only writes, or only reads, is served. A peer that
//! does not read is dropped when nothing moves for a while; a silent one when it does not answer pings either.

use super::carrier::Carrier;
use super::dialogue::{Dialogue, Farewell, Said};
use super::ending::{End, end};
use super::login::{Done, Errand};
use super::packet::Packet;
use super::watch::{Verdict, Watch};
use super::{Settings, handshake};
use crate::door::{self, Present, Stats};
use crate::router::{Closed, HubStopped, Inbound, Link, Outbound};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages decoded before the router hears of them.
const BATCH: usize = 256;
/// Bytes of messages decoded before the router hears of them; one message may always be larger.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes handed to the socket at once.
const FEED: usize = 128 << 10;

pub(super) struct Connection<C> {
    socket: C,
    link: Link,
    dialogue: Dialogue,
    settings: Arc<Settings>,
    watch: Watch,
    /// Messages from the peer that are not looked at yet.
    inbox: Vec<Message>,
    /// How reading ended, once it has.
    ended: Option<End>,
    /// From the router, not yet encoded.
    queue: VecDeque<Outbound>,
    /// Answers that needed no router.
    answers: Vec<Packet>,
    /// For the router, found while answering.
    reconsidered: Vec<Inbound>,
    /// The router wants to know whether the peer lives: the next thing heard says so.
    probed: bool,
    /// Encoded, not yet with the socket.
    frames: VecDeque<Message>,
    /// Deliveries that are complete when `frames` is empty and flushed.
    unreported: u32,
    /// The socket has bytes that are not flushed.
    dirty: bool,
    /// What the peer sends is no WebSocket any more.
    broken: bool,
    /// Its place among those who have not logged in, as long as it has to.
    newcomer: Option<door::Entry>,
    /// What the peer waits for; it is not read meanwhile.
    errand: Option<Errand>,
    /// Set when the router or we want to end the connection; what is queued still goes out.
    leaving: Option<Farewell>,
}

/// What woke the connection up.
enum Woken {
    Read,
    Flushed(Result<(), Error>),
    Router(Option<Vec<Outbound>>),
    Errand(Done),
    /// The peer has not logged in in time.
    Late,
    /// It has not logged in, and another one needs its place.
    Displaced,
    Stop,
    Tick,
}

impl<C: Carrier> Connection<C> {
    pub(super) fn new(
        socket: C,
        link: Link,
        dialogue: Dialogue,
        settings: Arc<Settings>,
        watch: Watch,
        newcomer: Option<door::Entry>,
    ) -> Self {
        Self {
            socket,
            link,
            dialogue,
            settings,
            watch,
            inbox: Vec::new(),
            ended: None,
            queue: VecDeque::new(),
            answers: Vec::new(),
            reconsidered: Vec::new(),
            probed: false,
            frames: VecDeque::new(),
            unreported: 0,
            dirty: false,
            broken: false,
            newcomer,
            errand: None,
            leaving: None,
        }
    }

    /// Serves the peer until it goes, the router ends the link, or `stop` is true.
    pub(super) async fn serve(mut self, mut stop: watch::Receiver<bool>) {
        let end = match self.work(&mut stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let reason = match &end {
            End::Peer(reason) => *reason,
            End::Ours(_) | End::Dead(_) => Closed::Lost,
        };
        // The router may be gone or have dropped the link itself.
        self.link.sender.send(vec![Inbound::Closed { reason }]).await.ok();
        match end {
            End::Peer(_) => {}
            End::Dead(why) => {
                Stats::count(if why == SILENT { &self.settings.stats.silent } else { &self.settings.stats.stalled });
                log::debug!(component = self.dialogue.peer_name(), why; "connection dropped");
            }
            End::Ours(farewell) => self.part(farewell).await,
        }
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) -> Result<std::convert::Infallible, End> {
        let mut tick = pin!(tokio::time::sleep(self.watch.period()));
        let mut stopping: Option<Instant> = None;
        self.answers.extend(self.dialogue.greeting());
        let settings = Arc::clone(&self.settings);
        let mut half_open = self.newcomer.as_ref().map(|_| Present::new(&settings.stats.half_open));
        loop {
            if self.newcomer.is_some() && !self.dialogue.is_stranger() {
                self.socket.is_known();
                drop((self.newcomer.take(), half_open.take()));
            }
            self.feed()?;
            if self.errand.is_none() {
                self.errand = self.dialogue.next_errand();
            }
            if !self.reconsidered.is_empty() {
                let batch = std::mem::take(&mut self.reconsidered);
                self.hand_over(batch).await?;
            }
            if let Some(farewell) = self.done_leaving() {
                return Err(End::Ours(farewell));
            }
            match stopping {
                Some(until) if self.idle() || Instant::now() >= until => return Err(HubStopped.into()),
                _ => {}
            }
            match self.woken(stop, stopping.is_some(), tick.as_mut()).await {
                Woken::Read => self.take_inbox().await?,
                Woken::Flushed(Ok(())) => self.flushed().await?,
                Woken::Flushed(Err(_)) => return Err(End::Peer(Closed::Lost)),
                Woken::Router(Some(batch)) => self.queue.extend(batch),
                Woken::Router(None) => return Err(HubStopped.into()),
                Woken::Errand(done) => self.take_done(done).await?,
                Woken::Late => self.leave(self.dialogue.too_late()),
                Woken::Displaced => {
                    drop((self.newcomer.take(), half_open.take()));
                    self.leave(Farewell::new(CloseCode::Policy, handshake::DISPLACED));
                }
                Woken::Stop => {
                    let until = Instant::now() + self.settings.drain;
                    stopping = Some(until);
                    tick.as_mut().reset(until);
                }
                Woken::Tick => {
                    // Where nobody can be asked, silence says nothing.
                    let reading = C::PINGS && self.may_read() && stopping.is_none();
                    let waiting = self.dirty;
                    match self.watch.tick(self.socket.moved(), reading, waiting) {
                        Verdict::Fine => {}
                        Verdict::Ping => self.give(Message::Ping(Bytes::new()))?,
                        Verdict::Silent => return Err(End::Dead(SILENT)),
                        Verdict::Stalled => return Err(End::Dead(STALLED)),
                    }
                    let next = Instant::now() + self.watch.period();
                    tick.as_mut().reset(stopping.map_or(next, |until| until.min(next)));
                }
            }
        }
    }

    /// Waits for the first thing to do. Everything in here may be dropped half way.
    async fn woken(&mut self, stop: &mut watch::Receiver<bool>, stopping: bool, mut tick: Pin<&mut Sleep>) -> Woken {
        let mut stopped = pin!(async {
            // A stop channel whose sender is gone counts as a stop.
            stop.wait_for(|stop| *stop).await.ok();
        });
        let late = self.dialogue.login_by().filter(|_| self.leaving.is_none() && self.errand.is_none());
        let mut late = pin!(async {
            match late {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        std::future::poll_fn(|cx| {
            if !stopping && stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Stop);
            }
            if self.dirty
                && let Poll::Ready(done) = Pin::new(&mut self.socket).poll_flush(cx)
            {
                return Poll::Ready(Woken::Flushed(done));
            }
            // Once we leave, the router dropping the link is no news.
            if self.queue.is_empty()
                && self.leaving.is_none()
                && let Poll::Ready(batch) = pin!(self.link.receiver.recv()).poll(cx)
            {
                return Poll::Ready(Woken::Router(batch));
            }
            if let Some(errand) = &mut self.errand
                && let Poll::Ready(done) = errand.as_mut().poll(cx)
            {
                self.errand = None;
                return Poll::Ready(Woken::Errand(done));
            }
            // A stopping gateway takes nothing new: what it has not read it has not acknowledged.
            if !stopping && self.may_read() && self.poll_inbox(cx) {
                return Poll::Ready(Woken::Read);
            }
            if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Late);
            }
            if let Some(newcomer) = &mut self.newcomer
                && pin!(newcomer.displaced()).poll(cx).is_ready()
            {
                return Poll::Ready(Woken::Displaced);
            }
            tick.as_mut().poll(cx).map(|()| Woken::Tick)
        })
        .await
    }

    /// A peer with too many unanswered requests has to wait, and so has one that does not read our answers to its mistakes.
    fn may_read(&self) -> bool {
        let waiting = self.dialogue.unanswered() + self.frames.len() + self.answers.len();
        waiting < self.settings.unanswered_max && self.leaving.is_none() && !self.has_errands()
    }

    fn has_errands(&self) -> bool {
        self.errand.is_some() || self.dialogue.has_errands()
    }

    /// Reads what is there, up to a bound. False if there is nothing yet.
    fn poll_inbox(&mut self, cx: &mut Context<'_>) -> bool {
        let room = self.settings.unanswered_max.saturating_sub(self.dialogue.unanswered()).min(BATCH);
        let mut bytes = 0;
        while self.inbox.len() < room && bytes < BATCH_BYTES {
            match self.socket.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    bytes += message.len();
                    self.inbox.push(message);
                }
                Poll::Ready(Some(Err(error))) => self.ended = Some(end(error)),
                Poll::Ready(None) => self.ended = Some(End::Peer(Closed::Orderly)),
                Poll::Pending => break,
            }
            if self.ended.is_some() {
                break;
            }
        }
        !self.inbox.is_empty() || self.ended.is_some()
    }

    /// Looks at what was read and tells the router, all at once.
    async fn take_inbox(&mut self) -> Result<(), End> {
        let mut batch = Vec::with_capacity(self.inbox.len());
        if !self.inbox.is_empty() && std::mem::take(&mut self.probed) {
            batch.push(Inbound::Alive);
        }
        for message in std::mem::take(&mut self.inbox) {
            let heard = match message {
                Message::Binary(message) => self.dialogue.hear(&message, &mut batch, &mut self.answers),
                Message::Text(text) => self.dialogue.hear_text(text.as_str(), &mut batch, &mut self.answers),
                // The pong is in the socket's buffer already.
                Message::Ping(_) | Message::Close(_) => {
                    self.dirty = true;
                    Ok(())
                }
                Message::Pong(_) | Message::Frame(_) => Ok(()),
            };
            if let Err(farewell) = heard {
                self.leave(farewell);
                break;
            }
        }
        if !batch.is_empty() {
            self.hand_over(batch).await?;
        }
        match self.ended.take() {
            Some(End::Ours(farewell)) => {
                Stats::count(&self.settings.stats.malformed);
                self.broken = true;
                self.leaving.get_or_insert(farewell);
                Ok(())
            }
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    /// We end the connection, for something that the peer did or left undone.
    fn leave(&mut self, farewell: Farewell) {
        let refused = farewell.code == CloseCode::Policy;
        let stats = &self.settings.stats;
        Stats::count(if refused { &stats.refused } else { &stats.malformed });
        self.leaving = Some(farewell);
    }

    /// What the peer waited for is done.
    async fn take_done(&mut self, done: Done) -> Result<(), End> {
        let mut batch = Vec::new();
        if let Err(farewell) = self.dialogue.done(done, &mut batch, &mut self.answers) {
            self.leave(farewell);
        }
        if batch.is_empty() { Ok(()) } else { self.hand_over(batch).await }
    }

    /// Hands a batch to the router. Its inbox may be full: writing goes on meanwhile.
    async fn hand_over(&mut self, batch: Vec<Inbound>) -> Result<(), End> {
        let Self { link, socket, dirty, .. } = self;
        let mut send = pin!(link.sender.send(batch));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(sent) = send.as_mut().poll(cx) {
                return Poll::Ready(sent.map_err(End::from));
            }
            if *dirty && let Poll::Ready(Err(_)) = Pin::new(&mut *socket).poll_flush(cx) {
                return Poll::Ready(Err(End::Peer(Closed::Lost)));
            }
            Poll::Pending
        })
        .await
    }

    /// Encodes and gives the socket as much as it should have at once.
    fn feed(&mut self) -> Result<(), End> {
        let mut fed = 0;
        while !self.dirty || fed > 0 {
            if fed >= FEED {
                break;
            }
            if let Some(frame) = self.frames.pop_front() {
                fed += frame.len().max(1);
                self.give(frame)?;
            } else if !self.answers.is_empty() {
                for packet in std::mem::take(&mut self.answers) {
                    packet.frames(&mut self.frames);
                }
            } else if let Some(outbound) = self.queue.pop_front() {
                match self.dialogue.say(outbound) {
                    Said::Nothing => {}
                    Said::Answer(packet) => packet.frames(&mut self.frames),
                    Said::Delivery(packet) => {
                        packet.frames(&mut self.frames);
                        self.unreported += 1;
                    }
                    Said::Verdict(verdict) => {
                        for packet in verdict.answers {
                            packet.frames(&mut self.frames);
                        }
                        if let Some(farewell) = verdict.farewell {
                            self.leave(farewell);
                        }
                    }
                    Said::Reconsidered(packet, inbound) => {
                        packet.frames(&mut self.frames);
                        self.reconsidered.push(inbound);
                    }
                    Said::Redirected(inbound) => self.reconsidered.push(inbound),
                    Said::Probe if !C::PINGS => self.reconsidered.push(Inbound::Alive),
                    Said::Probe => {
                        self.probed = true;
                        self.frames.push_back(Message::Ping(Bytes::new()));
                    }
                    Said::Close(farewell) => {
                        self.queue.clear();
                        self.leaving = Some(farewell);
                    }
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    fn give(&mut self, frame: Message) -> Result<(), End> {
        self.dirty = true;
        // Fails when the peer is gone, or when it floods us with pings and does not read the pongs.
        Pin::new(&mut self.socket).start_send(frame).map_err(|_| End::Peer(Closed::Lost))
    }

    async fn flushed(&mut self) -> Result<(), End> {
        self.dirty = false;
        if self.unreported > 0 && self.frames.is_empty() {
            let count = std::mem::take(&mut self.unreported);
            self.hand_over(vec![Inbound::Written { count }]).await?;
        }
        Ok(())
    }

    /// Nothing is owed to the peer.
    fn idle(&self) -> bool {
        let written = self.queue.is_empty() && self.frames.is_empty() && self.answers.is_empty() && !self.dirty;
        written && self.dialogue.unanswered() == 0 && !self.has_errands()
    }

    /// The farewell, once everything said before it is on its way.
    fn done_leaving(&mut self) -> Option<Farewell> {
        let written = self.queue.is_empty() && self.frames.is_empty() && self.answers.is_empty() && !self.dirty;
        // A wrong proof is waited for: whoever could cut that short could try many.
        if written && !self.has_errands() { self.leaving.take() } else { None }
    }

    /// Says why, and gives the peer a moment to read it.
    async fn part(mut self, farewell: Farewell) {
        log::debug!(component = self.dialogue.peer_name(), code = u16::from(farewell.code), reason = farewell.reason.as_str();
            "connection closed");
        let until = Instant::now() + handshake::patience(&self.settings, &farewell.reason);
        let frame = CloseFrame { code: farewell.code, reason: handshake::short(&farewell.reason).into() };
        let parted = self.socket.part(frame, self.broken);
        let mut parted = pin!(parted);
        tokio::select! {
            () = &mut parted => {}
            () = sleep_until(until) => {}
        }
    }
}

const SILENT: &str = "silent: no answer to pings";
const STALLED: &str = "stalled: the peer does not read";
