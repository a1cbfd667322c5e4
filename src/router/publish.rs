//! From a publication to its copies: log, acknowledgement, subscribers, delivery state.

use super::accounts::Owner;
use super::conversation::Conversation;
use super::core::{Held, Router};
use super::deliver::Queued;
use super::event::{Delivery, Effect, Entry, LinkId, Now, Outbound, Refusal, Token};
use super::groups::GroupKey;
use super::outgoing::Parcel;
use super::session::{SessionKey, UNRELEASED_AGE_MAX};
use super::state::{Change, Route};
use super::trail::Mark;
use super::tree::{Dest, Target};
use crate::access::Action;
use crate::bridge::has_been_at;
use crate::clock::{Mono, Wall};
use crate::message::{Dialect, Message, Qos, Reach, Seq};
use crate::wal::Health;
use ahash::AHashSet;
use std::sync::Arc;
use std::time::Duration;

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
        if !self.options.names.allow(&message.topic) {
            return self.refuse(link, token, qos, Refusal::TopicTooLong, effects);
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
        if let Some(refusal) = self.log_refuses(qos, &message).or_else(|| self.behind_refused(link, qos)).filter(|_| logged) {
            if let Some(known) = self.links.get_mut(&link).filter(|_| self.log.health == Health::Fine) {
                known.no_room.get_or_insert(self.now.mono);
            }
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
        if let Some(refusal) = self.log_refuses(message.qos, &message) {
            *self.counters.refused.entry(refusal.name()).or_default() += 1;
            return;
        }
        self.accept(from, message, None, effects);
    }

    /// What an MQTT 3.1.1 client sent behind a message that was refused must not come before it: the connection is about to be
    /// closed, and the client sends all of it again.
    fn behind_refused(&mut self, link: LinkId, qos: Qos) -> Option<Refusal> {
        let now = self.now.mono;
        let known = self.links.get_mut(&link).filter(|known| qos > Qos::AtMostOnce && known.info.dialect == Dialect::Mqtt)?;
        known.no_room = known.no_room.filter(|at| now.since(*at) < BEHIND_REFUSED);
        known.no_room.map(|_| Refusal::DiskFull)
    }

    fn log_refuses(&self, qos: Qos, message: &Message) -> Option<Refusal> {
        match self.log.health {
            _ if qos == Qos::AtMostOnce => None,
            Health::Fine if !self.fits(message) => Some(Refusal::DiskFull),
            Health::Fine => None,
            Health::Full => Some(Refusal::DiskFull),
            Health::Poisoned => Some(Refusal::LogFailed),
        }
    }

    /// Whether the log surely has room for a message; one that would have to wait for room would keep others waiting.
    fn fits(&self, message: &Message) -> bool {
        self.log.room.is_none_or(|room| record_bytes(message) <= room)
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
        let owner = from.and_then(|key| self.sessions.get(key)).map(|session| self.accounts.owner(session.account).clone());
        let owner = owner.filter(|_| message.retain).unwrap_or(Owner::Gateway);
        if message.retain && !message.payload.is_empty() {
            route.owner = owner.to_text();
        }
        let conversation = self.conversation(&message.topic);
        let touched = self.route(from, &message, conversation, deadline, &mut route);
        self.append(&message, conversation, route.encode(), effects);
        for key in touched {
            self.pump(key, effects);
        }
        if message.retain && self.retain(owner, &message, deadline).is_err() {
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
        self.log.room = self.log.room.map(|room| room.saturating_sub(record_bytes(message)));
        let message = Arc::clone(message);
        let entry = if private { Entry::Conversation { message, route } } else { Entry::Message { message, route } };
        effects.push(Effect::Append { seq: self.last, entry, ack_waits: waits });
    }

    fn is_logged(&self, message: &Message) -> bool {
        let gives_way = self.log.health != Health::Fine || !self.fits(message) || (self.log_behind && !message.retain);
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
        // A set: one topic may have thousands of either.
        let excluded: AHashSet<Dest> = self.exclusions.matches_any(&message.topic).iter().map(|target| target.dest).collect();
        let qos = if message.reach == Reach::Everywhere { message.qos } else { Qos::AtMostOnce };
        if targets.is_empty() && is_booked(message) {
            self.counters.unmatched += 1;
        }
        let copies = Copies {
            from,
            message,
            conversation,
            deadline,
            qos,
            seq: self.last.next(),
            // Nobody finds a conversation in the log again.
            is_logged: conversation == Conversation::None && self.is_logged(message),
            excluded: &excluded,
        };
        let mut touched = Vec::with_capacity(targets.len());
        for target in targets.iter() {
            let mut taker = None;
            let mut give = |router: &mut Self, target: &Target, share| {
                let Dest::Session(key) = target.dest else { return Queued::NotWanted };
                taker = Some(key);
                router.copy_to(key, target, share, &copies)
            };
            let outcome = match target.dest {
                Dest::Session(_) => give(self, target, None),
                Dest::Group(group) => self.give_to_one_of(group, message, |router, member| give(router, &member, Some(group))),
            };
            match outcome {
                Queued::NotWanted | Queued::Full => {}
                Queued::NoRoom(reason) => self.count_dropped(reason),
                Queued::Yes(copy) => {
                    route.to.extend(copy);
                    touched.extend(taker);
                }
            }
        }
        // A component may have thousands of patterns for one topic.
        touched.dedup();
        touched
    }

    /// Queues a copy for one session, if it wants one.
    fn copy_to(&mut self, key: SessionKey, target: &Target, share: Option<GroupKey>, copies: &Copies<'_>) -> Queued {
        let Copies { from, message, conversation, deadline, seq, .. } = *copies;
        if target.no_local && Some(key) == from {
            return Queued::NotWanted;
        }
        if !self.crosses(message, key) || copies.excluded.contains(&target.dest) {
            return Queued::NotWanted;
        }
        let dialect = self.sessions.get(key).map(|session| session.dialect);
        if dialect == Some(Dialect::Rembus) && !conversation.is_for_component(target.pattern.is_some()) {
            return Queued::NotWanted;
        }
        if dialect == Some(Dialect::Mqtt) && message.is_withheld_from_mqtt() {
            return Queued::NoRoom("not_an_object");
        }
        // What is not in the log is delivered out of its order rather than not at all.
        let mut mark = None;
        if copies.is_logged
            && target.number > 0
            && let Some(follower) = self.follower(key)
        {
            let this = Mark { number: target.number, seq };
            if follower.leaves_to_log(this, message) {
                return Queued::NotWanted;
            }
            mark = follower.tracks(target.number, message.qos).then_some(this);
        }
        let delivery = Delivery {
            message: Arc::clone(message),
            qos: copies.qos.min(target.qos),
            id: None,
            dup: false,
            // [MQTT-3.3.1-9]: a copy of a live message has no retain flag, unless the subscription wants it as published.
            retain: message.retain && target.retain_as_published,
            pattern: target.pattern.clone(),
            identifiers: target.identifiers.clone(),
            expiry_s: None,
            author: if dialect == Some(Dialect::Internal) { self.publisher(from) } else { None },
        };
        let line = mark.and_then(Mark::line);
        let outcome = self.try_queue(key, Parcel { delivery, deadline, seq, after: Seq(0), share, line });
        match &outcome {
            Queued::Yes(_) if mark.is_none() && target.number > 0 => {
                self.follower(key).into_iter().for_each(|follower| follower.brought(target.number, seq));
            }
            Queued::Full if mark.is_some() => self.fall_behind(key, seq),
            Queued::Yes(_) | Queued::Full | Queued::NotWanted | Queued::NoRoom(_) => {}
        }
        outcome
    }
}

/// What all copies of a message have in common.
struct Copies<'a> {
    from: Option<SessionKey>,
    message: &'a Arc<Message>,
    conversation: Conversation,
    deadline: Option<Mono>,
    qos: Qos,
    /// The record that it will be.
    seq: Seq,
    is_logged: bool,
    excluded: &'a AHashSet<Dest>,
}

/// So long a connection is refused more after a message for which there was no room.
const BEHIND_REFUSED: Duration = Duration::from_secs(2);

/// About what a message takes in the log; who gets it comes on top, which is little.
fn record_bytes(message: &Message) -> u64 {
    message.weight() as u64
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
