//! Retained messages on their way to new subscriptions: any number of them, a few at a time.

use super::core::Router;
use super::deliver::Queued;
use super::event::{Delivery, Effect};
use super::outgoing::Parcel;
use super::retained::Retained;
use super::session::SessionKey;
use super::state::Change;
use super::timers::Timer;
use crate::clock::Mono;
use crate::message::Seq;
use std::time::Duration;

/// A queue with less gets more.
const QUEUE_LOW: usize = 64;
/// Retained messages queued at once.
const CHUNK: usize = 512;
/// Retained topics looked at in one turn, for one session: a filter that matches few of many must not hold up the others.
const LOOKED_AT_MAX: usize = 4_096;
/// When the search goes on.
const PAUSE: Duration = Duration::from_millis(1);
/// Expired retained messages may stay so much longer, so that many go at once.
const SWEEP: Duration = Duration::from_secs(1);

impl Router {
    /// Queues the next retained messages of a session that has room.
    pub(super) fn backfill(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let can_keep = self.can_keep();
        let (now, mut budget) = (self.now.mono, LOOKED_AT_MAX);
        loop {
            let Some(session) = self.sessions.get_mut(key) else { return };
            let Some(fill) = session.backfill.front_mut() else { return };
            let wait = session.link.is_none()
                || session.waits_for_answer
                || session.pauses_backfill
                || session.out.queue_len() >= QUEUE_LOW
                || (session.kept.is_some() && !can_keep);
            if wait {
                return;
            }
            if budget == 0 {
                session.pauses_backfill = true;
                self.timers.set(now.plus(PAUSE), Timer::Backfill(key));
                return;
            }
            // A filter that nothing begins like costs a look too.
            budget -= 1;
            let subscription = fill.subscription.clone();
            let after = fill.after.as_deref();
            let (found, more) = self.retained.matching(subscription.filter.pattern(), after, CHUNK, &mut budget);
            let (kept, done) = (session.kept, more.is_none());
            match more {
                Some(after) => fill.after = Some(after),
                None => {
                    session.backfill.pop_front();
                }
            }
            for Retained { message, deadline, .. } in found {
                let delivery = Delivery {
                    qos: message.qos.min(subscription.qos),
                    id: None,
                    dup: false,
                    // [MQTT-3.3.1-8]
                    retain: true,
                    pattern: None,
                    identifiers: subscription.identifier.into_iter().collect(),
                    expiry_s: None,
                    author: None,
                    message,
                };
                let topic = delivery.message.topic.clone();
                // The record that is written below.
                let seq = self.last.next();
                let parcel = Parcel { delivery, deadline, seq, after: Seq(0), share: None, line: None };
                if let Queued::Yes(Some((id, copy))) = self.queue(key, parcel) {
                    self.note(Change::Retained { id, topic, delivery: copy });
                }
            }
            if let (Some(id), true) = (kept, done) {
                self.note(Change::Backfilled { id, filter: subscription.filter });
            }
            self.commit_what_comes_before_messages(effects);
        }
    }

    /// A search among the retained messages goes on.
    pub(super) fn resume_backfill(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.pauses_backfill = false;
        }
        self.pump(key, effects);
    }

    /// A message with a deadline was retained.
    pub(super) fn watch_retained(&mut self, deadline: Option<Mono>) {
        let Some(due) = deadline.map(|deadline| deadline.plus(SWEEP)) else { return };
        // One timer for all of them: the first that is due sets the next.
        if self.retained_due.is_none_or(|set| due < set) {
            if let Some(later) = self.retained_due.replace(due) {
                self.timers.cancel(later, Timer::Retained);
            }
            self.timers.set(due, Timer::Retained);
        }
    }

    /// [MQTT-3.3.2-5]: for retained messages too. Their time over is in their records, so nothing is noted.
    pub(super) fn expire_retained(&mut self) {
        self.retained_due = None;
        let next = self.retained.expire(self.now.mono, &mut self.accounts);
        self.watch_retained(next);
    }
}
