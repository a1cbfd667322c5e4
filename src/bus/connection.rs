//! Serves one program after its registration: a single task that reads, hands over, takes from the router and watches the time.
//!
//! Writing is not its own alone: whoever puts a frame into the program's outbox also writes it to the socket, so that a message
//! from one program to another needs one task to wake up and not two. Only when the socket takes no more this task waits for it.
//!
//! ```text
//!  socket ─▶ inbox ─▶ dialogue ─┬▶ outboxes of others ─▶ their sockets
//!                               └▶ batch ─▶ router          reading stops while its inbox is full, while too many requests are
//!  socket ◀─ outbox ◀─ dialogue ◀─ router                   unanswered, and while the program does not read what it gets
//! ```

use super::announce;
use super::client::Client;
use super::dialogue::Dialogue;
use super::frame::{self, Broken, Kind, NOP};
use super::inbox::Inbox;
use super::outbox::Origin;
use super::settings::Settings;
use crate::door::Stats;
use crate::router::{CloseReason, Closed, HubStopped, Inbound, Link, LinkReceiver, LinkSender, Outbound, Unsent};
use bytes::Bytes;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// Reads in a row before others get their turn.
const READS: usize = 8;
/// Looks at the clock in a timeout.
const LOOKS: u32 = 4;

/// How a connection ends.
#[derive(Debug)]
enum End {
    Peer(Closed),
    Broken(Broken),
    /// Nothing was heard for too long, or a frame did not get on.
    Silent(&'static str),
    /// It took nothing for a timeout.
    Stalled,
    /// The router, the board or a stop wants it.
    Ours(CloseReason),
}

type Handing = Pin<Box<dyn Future<Output = (LinkSender, Result<(), HubStopped>)> + Send>>;

pub(super) struct Connection {
    client: Arc<Client>,
    dialogue: Dialogue,
    inbox: Inbox,
    /// Away while it waits for room in the router's inbox.
    sender: Option<LinkSender>,
    handing: Option<Handing>,
    receiver: LinkReceiver,
    settings: Arc<Settings>,
    clock: Watch,
    /// Set by a stop: until when answers may still leave.
    leave_by: Option<Instant>,
}

impl Connection {
    pub(super) fn new(client: Arc<Client>, dialogue: Dialogue, link: Link, settings: Arc<Settings>) -> Self {
        let clock = Watch::new(settings.timeout);
        let Link { sender, receiver } = link;
        let inbox = Inbox::new();
        Self { client, dialogue, inbox, sender: Some(sender), handing: None, receiver, settings, clock, leave_by: None }
    }

    /// Serves until the end, and tells both sides.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let end = match self.work(&mut stop).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let closed = match &end {
            End::Peer(closed) => *closed,
            _ => Closed::Lost,
        };
        self.report(&end);
        // What it asked of others before it went is done.
        self.dialogue.flush();
        let mut batch = std::mem::take(&mut self.dialogue.batch);
        batch.push(Inbound::Closed { reason: closed });
        let sender = match (self.sender.take(), self.handing.take()) {
            (Some(sender), _) => Some(sender),
            (None, Some(handing)) => Some(handing.await.0),
            (None, None) => None,
        };
        if let Some(mut sender) = sender {
            // The router may have gone, and then it knows.
            sender.send(batch).await.ok();
        }
    }

    fn report(&self, end: &End) {
        let (stats, name) = (&self.settings.stats, &*self.client.name);
        match end {
            End::Peer(_) => log::debug!(client = name; "program left"),
            End::Broken(broken) => {
                Stats::count(&stats.malformed);
                if let Some(suppressed) = stats.may_warn(&*self.dialogue.board.clock) {
                    log::warn!(client = name, reason:% = broken, suppressed; "program disconnected: it breaks the protocol");
                }
            }
            End::Silent(why) => {
                Stats::count(&stats.silent);
                log::debug!(client = name, reason = *why; "program disconnected");
            }
            End::Stalled => {
                Stats::count(&stats.stalled);
                if let Some(suppressed) = stats.may_warn(&*self.dialogue.board.clock) {
                    log::warn!(client = name, suppressed; "program disconnected: it does not read");
                }
            }
            End::Ours(reason) => log::debug!(client = name, reason = reason.name(); "program disconnected"),
        }
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) -> Result<std::convert::Infallible, End> {
        let client = Arc::clone(&self.client);
        let mut timer = std::pin::pin!(tokio::time::sleep(self.clock.period));
        loop {
            self.hear()?;
            self.dialogue.flush();
            self.report_written();
            self.hand_over()?;
            if client.closing.load(Relaxed) {
                return Err(End::Ours(CloseReason::TakenOver));
            }
            if self.leave_by.is_some_and(|by| self.is_settled() || Instant::now() >= by) {
                return Err(End::Ours(CloseReason::ShuttingDown));
            }
            let blocked = client.outbox().blocked;
            let may_read = self.may_read();
            tokio::select! {
                biased;
                () = timer.as_mut() => self.look(timer.as_mut(), may_read)?,
                // An error means that whoever could say stop is gone, which says it as well.
                _ = stop.wait_for(|stop| *stop), if self.leave_by.is_none() => self.stop(timer.as_mut()),
                (sender, outcome) = finish(&mut self.handing), if self.handing.is_some() => {
                    self.handing = None;
                    self.sender = Some(sender);
                    outcome.map_err(|HubStopped| End::Ours(CloseReason::ShuttingDown))?;
                }
                batch = self.receiver.recv() => self.take_in(batch)?,
                () = client.wake.notified() => {}
                ready = client.socket.writable(), if blocked => {
                    ready.map_err(|_| End::Peer(Closed::Lost))?;
                    client.outbox().blocked = false;
                }
                ready = client.socket.readable(), if may_read => {
                    ready.map_err(|_| End::Peer(Closed::Lost))?;
                    self.read()?;
                }
            }
        }
    }

    fn may_read(&self) -> bool {
        self.handing.is_none() && self.leave_by.is_none() && self.dialogue.may_hear()
    }

    /// Reads what is there, up to a bound, and looks at it at once.
    fn read(&mut self) -> Result<(), End> {
        for _ in 0..READS {
            let room = self.inbox.room();
            let free = room.capacity() - room.len();
            let is_all = match self.client.socket.try_read_buf(room) {
                Ok(0) => {
                    // Everything that came before was looked at.
                    return Err(End::Peer(Closed::Orderly));
                }
                Ok(count) => {
                    self.inbox.arrived(count);
                    self.clock.heard();
                    count < free
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => false,
                Err(_) => return Err(End::Peer(Closed::Lost)),
            };
            self.hear()?;
            // Whoever waits for an acknowledgement has it before the socket is asked in vain.
            if is_all || !self.may_read() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks at whole frames, as far as limits allow.
    fn hear(&mut self) -> Result<(), End> {
        while self.handing.is_none() && self.leave_by.is_none() && self.dialogue.may_hear() {
            match self.inbox.next(self.settings.max_frame).map_err(End::Broken)? {
                Some(frame) => {
                    self.clock.frame(false);
                    self.dialogue.hear(frame).map_err(End::Broken)?;
                }
                None => {
                    self.clock.frame(!self.inbox.is_empty());
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_in(&mut self, batch: Option<Vec<Outbound>>) -> Result<(), End> {
        let Some(batch) = batch else { return Err(End::Ours(CloseReason::ShuttingDown)) };
        for outbound in batch {
            self.dialogue.say(outbound).map_err(End::Ours)?;
        }
        Ok(())
    }

    fn report_written(&mut self) {
        let count = self.client.outbox().take_reported() + std::mem::take(&mut self.dialogue.unsaid);
        if count > 0 {
            self.dialogue.batch.push(Inbound::Written { count });
        }
    }

    fn hand_over(&mut self) -> Result<(), End> {
        if self.dialogue.batch.is_empty() {
            return Ok(());
        }
        let Some(mut sender) = self.sender.take() else { return Ok(()) };
        match sender.try_send(std::mem::take(&mut self.dialogue.batch)) {
            Ok(()) => self.sender = Some(sender),
            Err(Unsent::Stopped) => return Err(End::Ours(CloseReason::ShuttingDown)),
            Err(Unsent::Full(batch)) => {
                self.handing = Some(Box::pin(async move {
                    let outcome = sender.send(batch).await;
                    (sender, outcome)
                }));
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.handing.is_none() && self.dialogue.unanswered == 0 && self.client.outbox().is_empty()
    }

    /// Says goodbye; what is under way may still leave.
    fn stop(&mut self, mut timer: Pin<&mut Sleep>) {
        let payload: Bytes = announce::event("shutdown", None, self.dialogue.board.clock.wall()).into();
        let prefix = frame::prefix(Kind::Publication, announce::BROKER, Some(announce::WARN), payload.len(), false);
        if self.client.wanted().wants(announce::WARN) {
            self.client.put(&prefix, &payload, Origin::Other);
        }
        let by = Instant::now() + self.settings.drain;
        self.leave_by = Some(by);
        timer.as_mut().reset(by);
    }

    fn look(&mut self, mut timer: Pin<&mut Sleep>, listening: bool) -> Result<(), End> {
        let mut outbox = self.client.outbox();
        let (waiting, taken) = (!outbox.is_empty(), outbox.taken());
        outbox.shrink();
        drop(outbox);
        self.inbox.shrink();
        if self.clock.look(listening, waiting, taken)? && !waiting {
            self.client.put(&NOP, &Bytes::new(), Origin::Other);
        }
        let next = Instant::now() + self.clock.period;
        timer.as_mut().reset(self.leave_by.map_or(next, |by| by.min(next)));
        Ok(())
    }
}

async fn finish(handing: &mut Option<Handing>) -> (LinkSender, Result<(), HubStopped>) {
    match handing {
        Some(handing) => handing.await,
        None => std::future::pending().await,
    }
}

/// Decides when a program is dead; precise to a quarter of the timeout.
#[derive(Debug)]
struct Watch {
    timeout: Duration,
    period: Duration,
    heard: Instant,
    /// Since when a frame is there in part.
    begun: Option<Instant>,
    /// Bytes that the socket had taken at the last look, and when that changed.
    taken: u64,
    moved: Instant,
    looks: u32,
}

impl Watch {
    fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self { timeout, period: timeout / LOOKS, heard: now, begun: None, taken: 0, moved: now, looks: 0 }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Whether the last frame is incomplete.
    fn frame(&mut self, begun: bool) {
        self.begun = begun.then(|| self.begun.unwrap_or(self.heard));
    }

    /// True if it is time for a sign of life.
    fn look(&mut self, listening: bool, waiting: bool, taken: u64) -> Result<bool, End> {
        let now = Instant::now();
        // Who is made to wait is not silent.
        if !listening {
            self.heard = now;
            self.begun = self.begun.map(|_| now);
        }
        if !waiting || taken != self.taken {
            self.taken = taken;
            self.moved = now;
        }
        if now - self.moved >= self.timeout {
            return Err(End::Stalled);
        }
        if now - self.heard >= self.timeout * 5 / 4 {
            return Err(End::Silent("nothing was heard"));
        }
        if self.begun.is_some_and(|since| now - since >= self.timeout) {
            return Err(End::Silent("a frame did not get on"));
        }
        self.looks += 1;
        Ok(self.looks.is_multiple_of(LOOKS / 2))
    }
}
