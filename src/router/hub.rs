//! Runs the router: carries events in and effects out, between doors, log and history.
//!
//! One task. It takes what lies in the inbox, up to a bound, lets the router decide, and then acts once: one batch to the log,
//! one batch to each link. It never waits for a link: what a door may still have to take is bounded by the router's windows.
//! It does wait for the log, by not taking more from the inbox; then the doors stop reading their sockets.

mod handle;

pub(super) use handle::Letter;
pub use handle::{HubHandle, HubStopped};

use super::event::{CallId, CommandId, Effect, Entry, Event, Inbound, LinkId, Now, Outbound, ReadId, Refusal, Status};
use super::interest::{Interest, Search};
use super::keeper::{KeepError, Keeper, Restored};
use super::link::Gone;
use super::{Options, Router, StateFolder};
use crate::clock::SharedClock;
use crate::message::{self, Seq, kind};
use crate::wal::{Batch, Health, LogHandle};
use ahash::AHashMap;
use bytes::Bytes;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

/// Batches that may wait for the router. A door's batch is bounded by what it reads at once.
const INBOX: usize = 256;
/// Batches taken in one turn, so that answers and deliveries leave while more comes in.
const TURN: usize = 64;
/// Log bytes not yet written at which QoS 0 messages are no longer logged, and at which nothing more is taken in.
const LOG_BEHIND: usize = 1 << 20;
const LOG_FULL: usize = 3 << 20;

/// Components for which the log is looked through at the same time. Others wait, and their turn is short.
const LOOKS: usize = 2;
/// After a failure.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Services that the gateway itself offers as RPC methods; in the product that is history.
pub trait Services: Send + Sync + 'static {
    /// Answers a call of the link `caller`. It sees every record up to `upto`. Runs beside the router, which forgets about it if
    /// it never ends. Dropped when the caller goes.
    fn call(
        &self,
        caller: LinkId,
        method: Arc<str>,
        data: Bytes,
        upto: Seq,
    ) -> Pin<Box<dyn Future<Output = (Status, Bytes)> + Send>>;
}

/// A gateway without services of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoServices;

impl Services for NoServices {
    fn call(
        &self,
        _caller: LinkId,
        _method: Arc<str>,
        _data: Bytes,
        _upto: Seq,
    ) -> Pin<Box<dyn Future<Output = (Status, Bytes)> + Send>> {
        Box::pin(std::future::ready((Status::METHOD_UNAVAILABLE, super::core::NULL)))
    }
}

/// The router at work.
pub struct Hub {
    router: Router,
    inbox: mpsc::Receiver<Letter>,
    /// For services that answer later. Weak, so that the hub ends when nobody else can reach it.
    answers: mpsc::WeakSender<Letter>,
    gone: Arc<Gone>,
    log: LogHandle,
    clock: SharedClock,
    services: Arc<dyn Services>,
    links: AHashMap<LinkId, Outlet>,
    /// Links that have something to hand over at the end of this turn.
    touched: Vec<LinkId>,
    commands: AHashMap<CommandId, oneshot::Sender<Result<Seq, Refusal>>>,
    last_command: u64,
    /// Services at work.
    invoked: AHashMap<CallId, AbortHandle>,
    /// Places in the log of components that catch up, between two looks.
    searches: AHashMap<ReadId, Box<Search>>,
    /// Looks at the same time.
    looks: Arc<Semaphore>,
    /// Keeps the router's state over a restart, if it is to be kept.
    keeper: Option<Keeper>,
}

/// The way to one door.
#[derive(Debug)]
struct Outlet {
    out: mpsc::Sender<Vec<Outbound>>,
    pending: Vec<Outbound>,
    ending: bool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// A router on an opened log.
    #[must_use]
    pub fn new(options: Options, log: LogHandle, clock: SharedClock, services: Arc<dyn Services>) -> (Self, HubHandle) {
        let (tx, inbox) = mpsc::channel(INBOX);
        let gone = Arc::new(Gone::default());
        let state = *log.state().borrow();
        let hub = Self {
            router: Router::new(options, state),
            inbox,
            answers: tx.downgrade(),
            gone: Arc::clone(&gone),
            log,
            clock,
            services,
            links: AHashMap::new(),
            touched: Vec::new(),
            commands: AHashMap::new(),
            last_command: 0,
            invoked: AHashMap::new(),
            searches: AHashMap::new(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            keeper: None,
        };
        (hub, HubHandle { inbox: tx, gone, last_link: Arc::default() })
    }

    /// Finds the state of an earlier life again, in `folder` and in the log, and keeps it there from now on. To be called once,
    /// before [`run`](Self::run).
    pub fn restore(&mut self, folder: StateFolder) -> Result<Restored, KeepError> {
        let now = self.now();
        let (keeper, restored) = Keeper::restore(&mut self.router, folder, &self.log, now)?;
        self.keeper = Some(keeper);
        Ok(restored)
    }

    /// Works until every [`HubHandle`] and every link is gone, or the log has ended.
    pub async fn run(mut self) {
        self.router.start_system();
        let mut state = self.log.state();
        let mut letters = Vec::with_capacity(TURN);
        let mut effects = Vec::new();
        let mut behind = false;
        // What expired while the gateway was down ends before anybody meets it.
        self.handle(Event::Tick, &mut effects);
        // Letters opened so far, and links that are lost once so many are.
        let mut opened = 0;
        let mut leaving = VecDeque::<(u64, Vec<LinkId>)>::new();
        loop {
            let pending = self.log.pending_bytes();
            let log_fine = state.borrow().health == Health::Fine;
            // With a full disk nothing is appended, so there is nothing to wait for.
            let takes = pending < LOG_FULL || !log_fine;
            tokio::select! {
                biased;
                moved = state.changed() => {
                    if moved.is_err() {
                        break;
                    }
                    let mut now = *state.borrow_and_update();
                    // What is on its way takes some of the room.
                    now.room = now.room.map(|room| room.saturating_sub(self.log.pending_bytes() as u64));
                    self.handle(Event::Log(now), &mut effects);
                }
                () = self.gone.noted.notified() => {}
                count = self.inbox.recv_many(&mut letters, TURN), if takes => {
                    if count == 0 {
                        break;
                    }
                }
                () = sleep_until(self.router.next_due(), &self.clock) => self.handle(Event::Tick, &mut effects),
            }
            if behind != (self.log.pending_bytes() > LOG_BEHIND) {
                behind = !behind;
                self.handle(Event::LogBehind(behind), &mut effects);
            }
            for letter in letters.drain(..) {
                self.open_letter(letter, &mut effects);
                opened += 1;
            }
            // What a link sent before it went must count, and lies in the inbox at the latest when its note is here: a sensor
            // that publishes, says goodbye and hangs up is heard.
            let gone = self.gone.take();
            if !gone.is_empty() {
                leaving.push_back((opened + self.inbox.len() as u64, gone));
            }
            while let Some((_, links)) = leaving.pop_front_if(|(after, _)| *after <= opened) {
                for link in links {
                    self.handle(Event::Link { link, inbound: Inbound::LOST }, &mut effects);
                }
            }
            self.router.settle(&mut effects);
            if self.act(&mut effects).await.is_err() {
                break;
            }
            if let Some(keeper) = &mut self.keeper
                && (self.router.wants_snapshot() || keeper.is_due(self.clock.mono()))
            {
                keeper.save(&self.router, None);
            }
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.mono(), wall: self.clock.wall() }
    }

    fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.router.handle(self.now(), event, effects);
    }

    fn open_letter(&mut self, letter: Letter, effects: &mut Vec<Effect>) {
        match letter {
            Letter::Open { link, info, out } => {
                self.links.insert(link, Outlet { out, pending: Vec::new(), ending: false });
                self.handle(Event::Opened { link, info }, effects);
            }
            Letter::Batch { link, batch } => {
                let now = self.now();
                for inbound in batch {
                    self.router.handle(now, Event::Link { link, inbound }, effects);
                }
            }
            Letter::Answered { call, status, data } => {
                self.invoked.remove(&call);
                self.handle(Event::Answered { call, status, data }, effects);
            }
            Letter::Command { body, done } => {
                self.last_command += 1;
                let id = CommandId(self.last_command);
                self.commands.insert(id, done);
                self.handle(Event::Command { id, body }, effects);
            }
            Letter::Builtins(methods) => self.router.set_builtins(methods),
            Letter::Found { read, search, found, reached } => {
                // Before the router decides: it may want to read on at once.
                if self.router.is_reading(read) {
                    self.searches.insert(read, search);
                }
                self.handle(Event::Found { read, found, reached }, effects);
            }
            Letter::EndUser { name, done } => {
                let now = self.now();
                // Whoever asked may be gone; it is done all the same.
                done.send(self.router.user_removed(now, &name, effects)).ok();
            }
            Letter::PolicyChanged => self.handle(Event::PolicyChanged, effects),
            // The asker may have given up.
            Letter::Save(done) => match &mut self.keeper {
                Some(keeper) => keeper.save(&self.router, Some(done)),
                None => drop(done),
            },
            Letter::Report(to) => {
                to.send(self.router.report()).ok();
            }
        }
    }

    /// Carries out what the router wants: first the log, then the links.
    async fn act(&mut self, effects: &mut Vec<Effect>) -> Result<(), HubStopped> {
        let mut batch = Batch::default();
        let mut reads = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Append { seq, entry, ack_waits } => match entry {
                    Entry::Message { message, route } => {
                        batch.push(seq, kind::MESSAGE, ack_waits, |out| message::encode(&message, &route, out));
                    }
                    Entry::Conversation { message, route } => {
                        batch.push(seq, kind::CONVERSATION, ack_waits, |out| message::encode(&message, &route, out));
                    }
                    Entry::Copy { message, route } => {
                        batch.push(seq, kind::COPY, ack_waits, |out| message::encode(&message, &route, out));
                    }
                    Entry::State(body) => batch.push(seq, kind::STATE, ack_waits, |out| out.extend_from_slice(&body)),
                    Entry::Command(body) => {
                        batch.makes_room();
                        batch.push(seq, kind::TABLE_COMMAND, ack_waits, |out| out.extend_from_slice(&body));
                    }
                },
                Effect::Send { link, out } => {
                    if let Some(outlet) = self.links.get_mut(&link) {
                        if outlet.pending.is_empty() {
                            self.touched.push(link);
                        }
                        outlet.pending.push(out);
                    }
                }
                Effect::Drop { link } => {
                    if let Some(outlet) = self.links.get_mut(&link) {
                        outlet.ending = true;
                        self.touched.push(link);
                    }
                }
                Effect::Invoke { call, caller, method, data, upto } => {
                    let answer = self.services.call(caller, method, data, upto);
                    self.invoke(call, answer);
                }
                Effect::Cancel { call } => {
                    if let Some(task) = self.invoked.remove(&call) {
                        task.abort();
                    }
                }
                // What is to be read may be in this batch.
                Effect::Read { read, after, upto, interest } => reads.push((read, after, upto, interest)),
                Effect::EndRead { read } => drop(self.searches.remove(&read)),
                Effect::CommandDone { id, outcome } => {
                    if let Some(done) = self.commands.remove(&id) {
                        // Whoever asked may have given up waiting; the record is in the log all the same.
                        done.send(outcome).ok();
                    }
                }
            }
        }
        if !batch.is_empty() {
            if let Some(keeper) = &mut self.keeper {
                keeper.appended(batch.len());
            }
            self.log.append(batch).await.map_err(|_| HubStopped)?;
        }
        for (read, after, upto, interest) in reads {
            self.look(read, after, upto, interest);
        }
        for link in std::mem::take(&mut self.touched) {
            self.hand_over(link);
        }
        Ok(())
    }

    fn hand_over(&mut self, link: LinkId) {
        let Some(outlet) = self.links.get_mut(&link) else { return };
        let pending = std::mem::take(&mut outlet.pending);
        // A closed channel: the door is gone and its note is on the way.
        let overflow = !pending.is_empty() && matches!(outlet.out.try_send(pending), Err(mpsc::error::TrySendError::Full(_)));
        if overflow {
            log::warn!(link = link.0; "a door let its link overflow; the link is dropped");
        }
        if outlet.ending || overflow {
            self.links.remove(&link);
        }
    }

    /// Looks for messages in the log beside everything else.
    fn look(&mut self, read: ReadId, after: Seq, upto: Seq, interest: Arc<Interest>) {
        let Some(answers) = self.answers.upgrade() else { return };
        let (log, looks) = (self.log.clone(), Arc::clone(&self.looks));
        let known = self.searches.remove(&read).filter(|search| search.at() == after);
        // Who was never here does not miss what went before it came.
        let from = if after == Seq(0) { log.stats().oldest } else { after.next() };
        let mut search = known.unwrap_or_else(|| Box::new(Search::new(log.reader(from), after)));
        tokio::spawn(async move {
            let Ok(_turn) = looks.acquire_owned().await else { return };
            let found = match log.flush(upto).await {
                Ok(upto) => {
                    let upto = log.state().borrow().written.min(upto);
                    let look = move || {
                        let found = search.look(&interest, upto);
                        (search, found)
                    };
                    let found;
                    (search, found) = tokio::task::spawn_blocking(look).await.expect("a look at the log does not panic");
                    found
                }
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    log::warn!(error:%; "the log cannot be read for a component that catches up; trying again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    Vec::new()
                }
            };
            let reached = search.at();
            // Fails only when the hub is gone.
            answers.send(Letter::Found { read, search, found, reached }).await.ok();
        });
    }

    fn invoke(&mut self, call: CallId, answer: impl Future<Output = (Status, Bytes)> + Send + 'static) {
        let Some(answers) = self.answers.upgrade() else { return };
        let task = tokio::spawn(async move {
            let (status, data) = answer.await;
            // Fails only when the hub is gone, and the caller with it.
            answers.send(Letter::Answered { call, status, data }).await.ok();
        });
        self.invoked.insert(call, task.abort_handle());
    }
}

async fn sleep_until(due: Option<crate::clock::Mono>, clock: &SharedClock) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock.mono())).await,
        None => std::future::pending().await,
    }
}
