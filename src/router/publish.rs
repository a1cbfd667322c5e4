//! From a publication to its copies: log, acknowledgement, subscribers, delivery state.

use super::core::{Held, Router};
use super::event::{CloseReason, Delivery, DeliveryId, Effect, Entry, LinkId, Outbound, Refusal, Stage, Token};
use super::outgoing::Item;
use super::session::SessionKey;
use super::timers::Timer;
use super::tree::Target;
use crate::access::Action;
use crate::message::{Dialect, Message, Qos};
use crate::wal::Health;
use std::sync::Arc;
use std::time::Duration;

/// Rembus: transmissions of one message before it is given up (`send_retries` + 1).
const RESENDS_MAX: u32 = 10;
/// An unreleased QoS 2 id is forgotten after this; a Rembus client stops after 22 s.
const UNRELEASED_AGE_MAX: Duration = Duration::from_secs(3600);

impl Router {
    pub(super) fn publish(
        &mut self,
        link: LinkId,
        from: SessionKey,
        message: Message,
        token: Token,
        effects: &mut Vec<Effect>,
    ) {
        let qos = message.qos;
        if !self.may(link, Action::Publish, &message.topic) {
            return self.refuse(link, token, qos, Refusal::NotAuthorized, effects);
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
        if qos > Qos::AtMostOnce {
            let refusal = match self.log.health {
                Health::Fine => None,
                Health::Full => Some(Refusal::DiskFull),
                Health::Poisoned => Some(Refusal::LogFailed),
            };
            if let Some(refusal) = refusal {
                if let Some(session) = self.sessions.get_mut(from) {
                    session.unreleased.remove(&token);
                }
                return self.refuse(link, token, qos, refusal, effects);
            }
        }
        *self.counters.received.entry(message.dialect.name()).or_default() += 1;
        let message = Arc::new(message);
        self.append(&message, effects);
        if qos > Qos::AtMostOnce {
            self.gate.hold(self.last, Held::Accepted { link, token, qos });
        }
        self.route(from, &message, effects);
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

    /// Everything is logged, also what nobody waits for; only QoS 0 gives way when the log has no room or too much to do.
    fn append(&mut self, message: &Arc<Message>, effects: &mut Vec<Effect>) {
        let waits = message.qos > Qos::AtMostOnce;
        if !waits && (self.log.health != Health::Fine || self.log_behind) {
            self.counters.not_logged += 1;
            return;
        }
        self.last = self.last.next();
        self.counters.logged += 1;
        effects.push(Effect::Append { seq: self.last, entry: Entry::Message(Arc::clone(message)), ack_waits: waits });
    }

    fn route(&mut self, from: SessionKey, message: &Arc<Message>, effects: &mut Vec<Effect>) {
        let targets = self.tree.matches(&message.topic);
        if targets.is_empty() {
            self.counters.unmatched += 1;
        }
        for target in targets.iter() {
            self.copy_to(target, from, message, effects);
        }
    }

    fn copy_to(&mut self, target: &Target, from: SessionKey, message: &Arc<Message>, effects: &mut Vec<Effect>) {
        if target.no_local && target.session == from {
            return;
        }
        let Some(session) = self.sessions.get_mut(target.session) else { return };
        let (Some(_), true) = (session.link, session.reactive) else { return };
        self.counters.copies += 1;
        let delivery = Delivery {
            message: Arc::clone(message),
            qos: message.qos.min(target.qos),
            id: None,
            dup: false,
            // [MQTT-3.3.1-9]: a copy of a live message has no retain flag, unless the subscription wants it as published.
            retain: message.retain && target.retain_as_published,
            pattern: target.pattern.clone(),
            identifiers: target.identifiers.clone(),
        };
        match session.out.offer(Item::Delivery(delivery)) {
            Ok(()) => {
                self.counters.queued += 1;
                self.pump(target.session, effects);
            }
            Err(_) => *self.counters.dropped.entry("queue_full").or_default() += 1,
        }
    }

    /// Sends what may be sent to a session now.
    pub(super) fn pump(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(link) = session.link else { return };
        while let Some(item) = session.out.next() {
            let out = match item {
                Item::Delivery(delivery) => {
                    self.counters.queued -= 1;
                    self.counters.in_flight += 1;
                    if let (Some(after), Some(id)) = (session.resend_after, delivery.id) {
                        self.timers.set(now.plus(after), Timer::Resend(key, id));
                    }
                    Outbound::Deliver(delivery)
                }
                Item::Request { call, method, data } => Outbound::Request { call, method, data },
            };
            effects.push(Effect::Send { link, out });
        }
    }

    pub(super) fn written(&mut self, key: SessionKey, count: u32, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let done = session.out.written(count);
        self.counters.in_flight -= done.delivered + done.unsendable;
        self.counters.delivered += done.delivered;
        if done.unsendable > 0 {
            *self.counters.dropped.entry("unsendable").or_default() += done.unsendable;
        }
        self.pump(key, effects);
    }

    pub(super) fn delivered(&mut self, link: LinkId, key: SessionKey, id: DeliveryId, stage: Stage, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let rembus = session.dialect == Dialect::Rembus;
        match session.out.acknowledged(id, stage) {
            // A second answer, or one to a delivery of an earlier connection. PUBREC still wants its PUBREL [MQTT-4.3.3-1].
            None => {
                if stage == Stage::Received {
                    effects.push(Effect::Send { link, out: Outbound::Release { id } });
                }
                return;
            }
            Some(Stage::Received) => {
                effects.push(Effect::Send { link, out: Outbound::Release { id } });
                if !rembus {
                    // PUBCOMP ends it.
                    return;
                }
                // Nothing answers an ACK2: the peer has the message and that was all.
                session.out.give_up(id);
                self.counters.delivered += 1;
            }
            Some(Stage::Done) => self.counters.delivered += 1,
            Some(Stage::Refused) => *self.counters.dropped.entry("refused_by_subscriber").or_default() += 1,
        }
        self.counters.in_flight -= 1;
        self.pump(key, effects);
    }

    /// Rembus: no acknowledgement in time; the same message again, until the peer has had its chances.
    pub(super) fn resend(&mut self, key: SessionKey, id: DeliveryId, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (Some(link), Some(after)) = (session.link, session.resend_after) else { return };
        let Some(flight) = session.out.in_flight_mut(id) else { return };
        if flight.resends >= RESENDS_MAX {
            session.out.give_up(id);
            self.counters.in_flight -= 1;
            *self.counters.dropped.entry("unacknowledged").or_default() += 1;
            return self.pump(key, effects);
        }
        flight.resends += 1;
        let delivery = Delivery { dup: true, ..flight.delivery.clone() };
        session.out.resent(delivery.message.weight());
        self.timers.set(now.plus(after), Timer::Resend(key, id));
        effects.push(Effect::Send { link, out: Outbound::Deliver(delivery) });
    }
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
            Self::ProtocolError => "protocol_error",
            Self::PublishRefused => "publish_refused",
        }
    }
}
