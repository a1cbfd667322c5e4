//! From a publication to its copies: log, acknowledgement, subscribers, delivery state.

use super::conversation::Conversation;
use super::core::{Held, Router};
use super::event::{CloseReason, Delivery, DeliveryId, Effect, Entry, LinkId, Now, Outbound, Refusal, Stage, Token};
use super::outgoing::{Item, Next, Parcel};
use super::session::{SessionId, SessionKey, UNRELEASED_AGE_MAX};
use super::state::{Change, Copy, Route};
use super::timers::Timer;
use super::trail::Mark;
use super::tree::Dest;
use crate::access::Action;
use crate::bridge::has_been_at;
use crate::clock::{Mono, Wall};
use crate::message::{Dialect, Message, Qos, Reach, Seq};
use crate::wal::Health;
use std::sync::Arc;
use std::time::Duration;

/// Rembus: transmissions of one message before it is given up (`send_retries` + 1).
const RESENDS_MAX: u32 = 10;

/// What became of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// The session takes nothing now, or may not see it; or there was no room, and that was counted.
    NotWanted,
    /// There was no room, and the session finds it in the log.
    Full,
    /// With what must outlive the process, if it must.
    Yes(Option<(SessionId, Copy)>),
}

impl Router {
    pub(super) fn publish(
        &mut self,
        link: LinkId,
        from: SessionKey,
        mut message: Message,
        token: Token,
        effects: &mut Vec<Effect>,
    ) {
        let qos = message.qos;
        if let Some(session) = self.sessions.get(from).filter(|session| session.named && session.dialect == Dialect::Rembus) {
            // Its tenant follows from it, in the log too, so it is not the door's to say.
            message.publisher = Arc::clone(&session.name);
        }
        // `$` topics are the gateway's own [MQTT-4.7.2-1].
        let own = message.topic.starts_with("$SYS/") && message.reach != Reach::Dialect;
        if own || !self.may(link, Action::Publish, &message.topic) {
            return self.refuse(link, token, qos, Refusal::NotAuthorized, effects);
        }
        if self.is_back(link, &message) {
            // Whoever brought it back must not bring it again.
            *self.counters.refused.entry("loop").or_default() += 1;
            if qos > Qos::AtMostOnce {
                effects.push(Effect::Send { link, out: Outbound::Accepted { token, qos, outcome: Ok(()) } });
            }
            return;
        }
        if qos == Qos::ExactlyOnce {
            match self.note_unreleased(from, token) {
                Ok(true) => {}
                Ok(false) => {
                    // Known already: answered again, not routed again. The first one may still be on its way to the disk.
                    self.gate.hold(self.last, Held::Accepted { link, token, qos });
                    let state = self.log;
                    self.release_if_idle(state, effects);
                    return;
                }
                Err(refusal) => return self.refuse(link, token, qos, refusal, effects),
            }
        }
        let logged = message.reach == Reach::Everywhere;
        if let Some(refusal) = self.log_refuses(qos).filter(|_| logged) {
            if let Some(session) = self.sessions.get_mut(from) {
                session.unreleased.remove(&token);
            }
            return self.refuse(link, token, qos, refusal, effects);
        }
        self.accept(Some(from), message, (qos == Qos::ExactlyOnce).then_some(token), effects);
        if qos > Qos::AtMostOnce && logged {
            self.gate.hold(self.last, Held::Accepted { link, token, qos });
        } else if qos > Qos::AtMostOnce {
            effects.push(Effect::Send { link, out: Outbound::Accepted { token, qos, outcome: Ok(()) } });
        }
    }

    /// Whether a message went round in a circle of links. One that a link of this gateway fetched has its mark too, and is new.
    fn is_back(&self, link: LinkId, message: &Message) -> bool {
        let by_mqtt = self.links.get(&link).is_some_and(|known| known.info.dialect == Dialect::Mqtt);
        by_mqtt && has_been_at(message, &self.options.number)
    }

    /// A publication of the gateway itself, or a will. Nobody waits for an answer.
    pub(super) fn publish_own(&mut self, from: Option<SessionKey>, message: Message, effects: &mut Vec<Effect>) {
        if let Some(refusal) = self.log_refuses(message.qos) {
            *self.counters.refused.entry(refusal.name()).or_default() += 1;
            return;
        }
        self.accept(from, message, None, effects);
    }

    fn log_refuses(&self, qos: Qos) -> Option<Refusal> {
        match self.log.health {
            _ if qos == Qos::AtMostOnce => None,
            Health::Fine => None,
            Health::Full => Some(Refusal::DiskFull),
            Health::Poisoned => Some(Refusal::LogFailed),
        }
    }

    /// Copies, log record, retained store: what one accepted message means. `token` is that of a QoS 2 publication.
    fn accept(&mut self, from: Option<SessionKey>, mut message: Message, token: Option<Token>, effects: &mut Vec<Effect>) {
        if is_booked(&message) {
            *self.counters.received.entry(message.dialect.name()).or_default() += 1;
        }
        message.form = self.options.forms.of(&message.topic);
        let message = Arc::new(message);
        let deadline = deadline(&message, self.now.mono);
        self.commit_what_comes_before_messages(effects);
        let mut route = Route { from: from.and_then(|key| self.kept(key)).zip(token.map(|token| token.0)), ..Route::default() };
        let conversation = self.conversation(&message.topic);
        let touched = self.route(from, &message, conversation, deadline, &mut route);
        self.append(&message, conversation, route.encode(), effects);
        for key in touched {
            self.pump(key, effects);
        }
        if message.retain && self.retained.set(&message, deadline).is_err() {
            self.counters.not_retained += 1;
        }
        if message.retain && deadline.is_some() {
            self.watch_retained(deadline);
        }
    }

    /// `Ok(false)`: this id was accepted before and not released since.
    fn note_unreleased(&mut self, from: SessionKey, token: Token) -> Result<bool, Refusal> {
        let (now, max) = (self.now.mono, self.options.unreleased_max);
        let Some(session) = self.sessions.get_mut(from) else { return Err(Refusal::LimitReached) };
        if session.unreleased.contains_key(&token) {
            return Ok(false);
        }
        if session.unreleased.len() >= max {
            session.unreleased.retain(|_, since| now.since(*since) < UNRELEASED_AGE_MAX);
            if session.unreleased.len() >= max {
                return Err(Refusal::LimitReached);
            }
        }
        session.unreleased.insert(token, now);
        Ok(true)
    }

    /// The publisher forgets the id of a QoS 2 message, and so may we. The answer lets it use the id for another message:
    /// after a crash that must not be taken for the old one.
    pub(super) fn released(&mut self, link: LinkId, key: SessionKey, token: Token, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let known = session.unreleased.remove(&token).is_some();
        let kept = session.kept.filter(|_| known);
        let out = Outbound::Completed { token, known };
        match kept {
            Some(id) => self.note_then(Change::Release { id, token: token.0 }, Held::Say { link, out: Box::new(out) }),
            None => effects.push(Effect::Send { link, out }),
        }
    }

    /// When nothing is on its way to the disk, no movement of the log will come to open the gate.
    fn release_if_idle(&mut self, state: crate::wal::LogState, effects: &mut Vec<Effect>) {
        if state.durable >= self.last {
            self.log_moved(state, effects);
        }
    }

    fn refuse(&mut self, link: LinkId, token: Token, qos: Qos, refusal: Refusal, effects: &mut Vec<Effect>) {
        *self.counters.refused.entry(refusal.name()).or_default() += 1;
        if qos == Qos::AtMostOnce {
            return;
        }
        effects.push(Effect::Send { link, out: Outbound::Accepted { token, qos, outcome: Err(refusal) } });
    }

    /// Everything is logged, also what nobody waits for; only QoS 0 gives way when the log has no room or too much to do, or
    /// belongs to a conversation, and what the gateway tells of itself.
    fn append(&mut self, message: &Arc<Message>, conversation: Conversation, route: Vec<u8>, effects: &mut Vec<Effect>) {
        let waits = message.qos > Qos::AtMostOnce;
        let private = conversation != Conversation::None;
        if !self.is_logged(message) || (private && !waits && !message.retain) {
            self.counters.not_logged += u64::from(is_booked(message));
            return;
        }
        self.last = self.last.next();
        self.counters.logged += 1;
        let message = Arc::clone(message);
        let entry = if private { Entry::Conversation { message, route } } else { Entry::Message { message, route } };
        effects.push(Effect::Append { seq: self.last, entry, ack_waits: waits });
    }

    fn is_logged(&self, message: &Message) -> bool {
        let gives_way = self.log.health != Health::Fine || (self.log_behind && !message.retain);
        is_booked(message) && message.reach == Reach::Everywhere && (message.qos > Qos::AtMostOnce || !gives_way)
    }

    /// Queues a copy for everybody who wants one. `route` gets those that must outlive the process. Returns the sessions that
    /// have something to send.
    fn route(
        &mut self,
        from: Option<SessionKey>,
        message: &Arc<Message>,
        conversation: Conversation,
        deadline: Option<Mono>,
        route: &mut Route,
    ) -> Vec<SessionKey> {
        let targets = self.tree.matches(&message.topic);
        let excluded = self.exclusions.matches_any(&message.topic);
        let qos = if message.reach == Reach::Everywhere { message.qos } else { Qos::AtMostOnce };
        if targets.is_empty() && is_booked(message) {
            self.counters.unmatched += 1;
        }
        // Nobody finds a conversation in the log again.
        let is_logged = conversation == Conversation::None && self.is_logged(message);
        let seq = self.last.next();
        let mut touched = Vec::with_capacity(targets.len());
        for target in targets.iter() {
            let picked;
            let (target, share) = match target.dest {
                Dest::Session(_) => (target, None),
                Dest::Group(group) => match self.pick(group) {
                    Some(member) => {
                        picked = member;
                        (&picked, Some(group))
                    }
                    None => continue,
                },
            };
            let Dest::Session(key) = target.dest else { continue };
            if target.no_local && Some(key) == from {
                continue;
            }
            if !self.crosses(message, key) || excluded.iter().any(|excluded| excluded.dest == target.dest) {
                continue;
            }
            let dialect = self.sessions.get(key).map(|session| session.dialect);
            if dialect == Some(Dialect::Rembus) && !conversation.is_for_component(target.pattern.is_some()) {
                continue;
            }
            if dialect == Some(Dialect::Mqtt) && message.is_withheld_from_mqtt() {
                self.counters.copies += 1;
                *self.counters.dropped.entry("not_an_object").or_default() += 1;
                continue;
            }
            // What is not in the log is delivered out of its order rather than not at all.
            let mut mark = None;
            if is_logged
                && target.number > 0
                && let Some(follower) = self.follower(key)
            {
                let this = Mark { number: target.number, seq };
                if follower.leaves_to_log(this, message) {
                    continue;
                }
                mark = follower.tracks(target.number, message.qos).then_some(this);
            }
            let delivery = Delivery {
                message: Arc::clone(message),
                qos: qos.min(target.qos),
                id: None,
                dup: false,
                // [MQTT-3.3.1-9]: a copy of a live message has no retain flag, unless the subscription wants it as published.
                retain: message.retain && target.retain_as_published,
                pattern: target.pattern.clone(),
                identifiers: target.identifiers.clone(),
                expiry_s: None,
                author: if dialect == Some(Dialect::Internal) { self.publisher(from) } else { None },
            };
            match self.queue(key, Parcel { delivery, deadline, seq, after: Seq(0), share, line: mark.and_then(Mark::line) }) {
                Queued::NotWanted => {}
                Queued::Yes(copy) => {
                    route.to.extend(copy);
                    touched.push(key);
                }
                Queued::Full => {
                    if mark.is_some() {
                        self.fall_behind(key, seq);
                    }
                }
            }
        }
        touched
    }

    /// Puts an item into a session's queue, or hands it back.
    #[expect(clippy::result_large_err, reason = "the caller gets back what it gave, and chooses")]
    pub(super) fn offer(&mut self, key: SessionKey, item: Item) -> Result<Option<DeliveryId>, Item> {
        let Some(session) = self.sessions.get_mut(key) else { return Err(item) };
        let before = session.out.queue_bytes();
        let outcome = session.out.offer(item);
        self.queued_bytes += session.out.queue_bytes() - before;
        outcome
    }

    /// Puts a copy into a session's queue. What does not fit is counted as dropped, unless the session finds it in the log.
    pub(super) fn queue(&mut self, key: SessionKey, mut parcel: Parcel) -> Queued {
        let Some(session) = self.sessions.get(key) else { return Queued::NotWanted };
        let qos = parcel.delivery.qos;
        let keeps = session.keeps_queue() && qos > Qos::AtMostOnce;
        if !(session.reactive && (session.link.is_some() || keeps)) {
            return Queued::NotWanted;
        }
        if !session.may_see(&parcel.delivery.message) {
            return Queued::NotWanted;
        }
        let mark = parcel.mark();
        if let Some(mark) = mark
            && qos > Qos::AtMostOnce
        {
            parcel.delivery.id = Some(mark.delivery_id());
        }
        if (keeps || mark.is_some()) && qos == Qos::ExactlyOnce {
            // Its id must mean this message after a crash as well.
            parcel.after = parcel.seq;
        }
        let (after, share, id) = (parcel.after, parcel.share, session.kept.filter(|_| keeps));
        let (sent, retain) = (session.link.is_some(), parcel.delivery.retain);
        let identifiers = if keeps { parcel.delivery.identifiers.clone() } else { Vec::new() };
        let weight = parcel.delivery.message.weight();
        // Room for all is for those whose queue would grow; who takes what it is given always gets a little.
        let crowded = self.queued_bytes + weight > self.options.queues_bytes && session.out.queue_len() > 16;
        let outcome = if crowded { None } else { self.offer(key, Item::Delivery(parcel)).ok() };
        let is_stored = mark.is_some_and(|mark| self.is_stored_for(key, mark));
        let Some(delivery) = outcome else {
            if !is_stored {
                self.counters.copies += 1;
                *self.counters.dropped.entry(if crowded { "queues_full" } else { "queue_full" }).or_default() += 1;
            }
            return if is_stored { Queued::Full } else { Queued::NotWanted };
        };
        self.counters.copies += 1;
        self.counters.queued += 1;
        if let (Some(mark), Some(follower)) = (mark, self.follower(key)) {
            follower.offered(mark);
        }
        if after > self.log.durable && sent {
            // Of a stored message, the gate may hold younger ones already.
            self.gate.hold(after.max(self.last), Held::Pump(key));
        }
        Queued::Yes(id.zip(delivery).map(|(id, delivery)| {
            let share = share.and_then(|group| self.groups.name(group));
            (id, Copy { delivery: delivery.0, qos, retain, sent, identifiers, share })
        }))
    }

    /// Sends what may be sent to a session now.
    pub(super) fn pump(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let durable = self.log.durable;
        self.backfill(key, effects);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(link) = session.link else { return };
        if session.waits_for_answer {
            return;
        }
        let before = session.out.queue_bytes();
        let (mut sent, mut over, mut marks) = (0, Vec::new(), Vec::new());
        while let Some(next) = session.out.next(now, durable) {
            let out = match next {
                Next::Expired(parcel) => {
                    over.extend(parcel.delivery.id.filter(|_| parcel.line.is_none()));
                    marks.extend(parcel.mark());
                    self.counters.queued -= 1;
                    self.counters.expired += 1;
                    continue;
                }
                Next::Send(Item::Delivery(parcel)) => {
                    sent += 1;
                    if let (Some(after), Some(id)) = (session.resend_after, parcel.delivery.id) {
                        let due = now.plus(after);
                        self.timers.set(due, Timer::Resend(key, id));
                        session.out.in_flight_mut(id).into_iter().for_each(|flight| flight.due = due);
                    }
                    Outbound::Deliver(parcel.delivery)
                }
                Next::Send(Item::Release(id)) => {
                    sent += 1;
                    Outbound::Release { id }
                }
                Next::Send(Item::Request { call, method, data, caller }) => Outbound::Request { call, method, data, caller },
            };
            effects.push(Effect::Send { link, out });
        }
        self.counters.queued -= sent;
        self.counters.in_flight += sent;
        self.queued_bytes = self.queued_bytes + session.out.queue_bytes() - before;
        let (kept, more) = (session.kept, !session.backfill.is_empty() && session.out.queue_len() == 0);
        if let (Some(id), false) = (kept, over.is_empty()) {
            self.note(Change::Done { id, deliveries: over.into_iter().map(|id| id.0).collect() });
        }
        self.settled(key, marks);
        self.read_on(key, effects);
        if more && sent > 0 {
            self.pump(key, effects);
        }
    }

    pub(super) fn written(&mut self, key: SessionKey, count: u32, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let done = session.out.written(count);
        self.counters.in_flight -= done.delivered + done.unsendable;
        self.counters.delivered += done.delivered;
        self.settled(key, done.marks);
        if done.unsendable > 0 {
            *self.counters.dropped.entry("unsendable").or_default() += done.unsendable;
        }
        self.pump(key, effects);
    }

    pub(super) fn delivered(&mut self, link: LinkId, key: SessionKey, id: DeliveryId, stage: Stage, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let rembus = session.dialect == Dialect::Rembus;
        let kept = session.kept.filter(|_| session.keeps_queue());
        let mark = session.out.mark_of(id);
        match session.out.acknowledged(id, stage) {
            // A second answer, or one to a delivery of an earlier connection. PUBREC still wants its PUBREL [MQTT-4.3.3-1]. Rembus
            // does without an ACK2, and the message may still come again under this id, which the peer then must know.
            None => {
                if stage == Stage::Received && !rembus {
                    effects.push(Effect::Send { link, out: Outbound::Release { id } });
                }
                return;
            }
            Some(Stage::Received) => {
                let out = Outbound::Release { id };
                match kept {
                    // Then the peer may forget the id, and must never see the message again.
                    Some(kept) => {
                        let change = Change::Received { id: kept, deliveries: vec![id.0] };
                        self.note_then(change, Held::Say { link, out: Box::new(out) });
                    }
                    None => {
                        self.settled(key, mark);
                        self.note_progress_of(key);
                        self.after_changes(Held::Say { link, out: Box::new(out) }, effects);
                    }
                }
                if !rembus {
                    // PUBCOMP ends it.
                    return;
                }
                // Nothing answers an ACK2: the peer has the message and that was all.
                if let Some(session) = self.sessions.get_mut(key) {
                    session.out.give_up(id);
                }
                self.counters.delivered += 1;
            }
            Some(Stage::Done) => self.counters.delivered += 1,
            Some(Stage::Refused) => *self.counters.dropped.entry("refused_by_subscriber").or_default() += 1,
        }
        if let Some(kept) = kept {
            self.note(Change::Done { id: kept, deliveries: vec![id.0] });
        }
        self.settled(key, mark);
        self.counters.in_flight -= 1;
        self.pump(key, effects);
    }

    /// Rembus: no acknowledgement in time; the same message again, until the peer has had its chances.
    pub(super) fn resend(&mut self, key: SessionKey, id: DeliveryId, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (Some(link), Some(after)) = (session.link, session.resend_after) else { return };
        let Some(flight) = session.out.in_flight_mut(id) else { return };
        if now < flight.due {
            return;
        }
        if flight.resends >= RESENDS_MAX {
            session.out.give_up(id);
            self.counters.in_flight -= 1;
            *self.counters.dropped.entry("unacknowledged").or_default() += 1;
            return self.pump(key, effects);
        }
        flight.resends += 1;
        flight.due = now.plus(after);
        let Some(delivery) = flight.parcel.as_ref().map(|parcel| Delivery { dup: true, ..parcel.delivery.clone() }) else {
            return;
        };
        session.out.resent(delivery.message.weight());
        self.timers.set(now.plus(after), Timer::Resend(key, id));
        effects.push(Effect::Send { link, out: Outbound::Deliver(delivery) });
    }
}

/// Whether a message is in the books and in the log. What the gateway tells of itself without a promise (`$SYS`) is not.
fn is_booked(message: &Message) -> bool {
    message.dialect != Dialect::Internal || message.qos > Qos::AtMostOnce
}

/// When a message is worthless, if it ever is.
pub(super) fn deadline(message: &Message, now: Mono) -> Option<Mono> {
    let seconds = message.properties.as_ref()?.expiry_s?;
    Some(now.plus(Duration::from_secs(seconds.into())))
}

/// The same of a message that was received some time ago, in another life perhaps.
pub(super) fn stored_deadline(message: &Message, now: Now) -> Option<Mono> {
    let seconds = message.properties.as_ref()?.expiry_s?;
    let rest = Duration::from_secs(seconds.into()).saturating_sub(elapsed(message.received, now.wall));
    Some(now.mono.plus(rest))
}

/// Time between two moments that a restart separates. A board without a battery clock may have no idea of one of them; then
/// nothing has passed, and what should have ended stays a little longer.
pub(super) fn elapsed(since: Wall, now: Wall) -> Duration {
    if since.is_set() && now.is_set() { Duration::from_nanos(now.0.saturating_sub(since.0)) } else { Duration::ZERO }
}

impl Refusal {
    /// The reason as metrics and log lines name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NameInvalid => "name_invalid",
            Self::NameInUse => "name_in_use",
            Self::AlreadyNamed => "already_named",
            Self::DiskFull => "disk_full",
            Self::LogFailed => "log_failed",
            Self::LimitReached => "limit_reached",
            Self::NotAuthorized => "not_authorized",
            Self::Reserved => "reserved",
        }
    }

    /// The text of a Rembus answer with status 10.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NameInvalid => "empty cid",
            Self::NameInUse => "already connected",
            Self::AlreadyNamed => "already named",
            Self::DiskFull => "the disk is full; the message is not stored",
            Self::LogFailed => "the log has failed; the message is not stored",
            Self::LimitReached => "limit reached",
            Self::NotAuthorized => "unauthorized",
            Self::Reserved => "reserved: methods of this name are the gateway's own",
        }
    }
}

impl CloseReason {
    /// The reason as log lines name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TakenOver => "taken_over",
            Self::ShuttingDown => "shutting_down",
            Self::TooSlow => "too_slow",
            Self::Silent => "silent",
            Self::NotAuthorized => "not_authorized",
            Self::ProtocolError => "protocol_error",
            Self::PublishRefused => "publish_refused",
        }
    }
}
