//! Limits by user, and who gives way when a total is reached.
//!
//! | what | at the limit of one account | at the total |
//! |---|---|---|
//! | sessions | its oldest offline session ends, else the newcomer is refused | of the heaviest account the oldest offline session ends, else its newest connection is closed; the heaviest itself is refused |
//! | filters, methods | refused | of the heaviest account the session with the most ends |
//! | queues | its longest queue loses its newest message to a shorter one, else the message is dropped | of the heaviest account the longest queue loses its newest |
//! | retained messages | not retained | of the heaviest account the oldest gives way |
//! | calls under way | refused | |
//! | wills | the newcomer is refused | of the heaviest account the session with the largest will ends, and leaves it |
//!
//! What gives way is counted by reason. What a component finds again in the log is not lost and comes from there.

use super::accounts::{AccountKey, Owner, Presence, Resource};
use super::core::Router;
use super::event::{CloseReason, Effect, Refusal};
use super::outgoing::Item;
use super::session::SessionKey;
use super::state::Change;
use super::trail::Mark;
use crate::clock::Mono;
use std::time::Duration;

/// Between two log lines about sessions that were ended.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Wills of one user, and of all.
const WILLS_BYTES_PER_USER: usize = 4 << 20;
const WILLS_BYTES: usize = 32 << 20;

/// What one user may use; also all clients of one address together that did not say who they are.
#[derive(Debug, Clone, Copy)]
pub struct UserLimits {
    pub sessions: usize,
    /// Filters, exclusions and exposed methods.
    pub registrations: usize,
    pub queued_bytes: usize,
    pub retained_bytes: usize,
    pub calls: usize,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self { sessions: 10_000, registrations: 100_000, queued_bytes: 64 << 20, retained_bytes: 64 << 20, calls: 10_000 }
    }
}

impl UserLimits {
    /// The limit of an account. Parts of the gateway bound themselves.
    pub(super) fn of(self, owner: &Owner, resource: Resource) -> usize {
        if *owner == Owner::Gateway {
            return usize::MAX;
        }
        match resource {
            Resource::Sessions => self.sessions,
            Resource::Registrations => self.registrations,
            Resource::Queued => self.queued_bytes,
            Resource::RetainedBytes => self.retained_bytes,
            Resource::RetainedMessages => usize::MAX,
            Resource::Calls => self.calls,
            Resource::Wills => WILLS_BYTES_PER_USER,
        }
    }
}

/// What ended with a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ended {
    pub connections: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    /// Messages that waited for these sessions.
    pub queued: u64,
    pub retained: u64,
}

/// Why a session ended before its time; the label of the metric.
pub(super) mod ended {
    pub(in crate::router) const USER_LIMIT: &str = "user_limit";
    pub(in crate::router) const SHARE: &str = "share";
    pub(in crate::router) const USER_REMOVED: &str = "user_removed";
}

/// What must be done about things that gave way, once there are effects to say it with.
#[derive(Debug, Default)]
pub(super) struct GaveWay {
    pub(super) calls: Vec<super::event::CallId>,
    pub(super) reads: Vec<super::event::ReadId>,
    /// Components that get from the log what they had in their queues.
    pub(super) sessions: Vec<SessionKey>,
}

/// Log lines about sessions that were ended, some time apart.
#[derive(Debug, Default)]
pub(super) struct Notices {
    last: Option<Mono>,
    suppressed: u64,
}

impl Notices {
    /// How many were left out since the last one, if it is time for another.
    fn may_tell(&mut self, now: Mono) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < TELL_EVERY) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Router {
    fn limit_of(&self, account: AccountKey, resource: Resource) -> usize {
        self.options.users.of(self.accounts.owner(account), resource)
    }

    /// Makes room for one more session of `owner`.
    pub(super) fn room_for_session(&mut self, owner: &Owner, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let max = self.options.users.of(owner, Resource::Sessions);
        while let Some(account) = self.accounts.key(owner).filter(|key| self.accounts.used(*key, Resource::Sessions) >= max) {
            let oldest = self.accounts.oldest_offline(account).ok_or(Refusal::LimitReached)?;
            self.give_way(oldest, ended::USER_LIMIT, effects);
        }
        if max == 0 {
            return Err(Refusal::LimitReached);
        }
        while self.accounts.total(Resource::Sessions) >= self.options.sessions_max {
            let heavier = self.accounts.heavier(Resource::Sessions, owner, 1);
            let account = heavier.or_else(|| self.accounts.key(owner)).ok_or(Refusal::LimitReached)?;
            let given = match (self.accounts.oldest_offline(account), heavier) {
                (Some(oldest), _) => Some(oldest),
                (None, Some(account)) => self.accounts.members(account).next_back().map(|(_, key)| key),
                (None, None) => None,
            };
            self.give_way(given.ok_or(Refusal::LimitReached)?, ended::SHARE, effects);
        }
        Ok(())
    }

    /// Makes room for one more filter or method of a session.
    pub(super) fn room_for_registration(&mut self, key: SessionKey, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let account = self.sessions.get(key).ok_or(Refusal::LimitReached)?.account;
        if self.accounts.used(account, Resource::Registrations) >= self.limit_of(account, Resource::Registrations) {
            return Err(Refusal::LimitReached);
        }
        while self.accounts.total(Resource::Registrations) >= self.options.registrations_total {
            let owner = self.accounts.owner(account).clone();
            let heavier = self.accounts.heavier(Resource::Registrations, &owner, 1).ok_or(Refusal::LimitReached)?;
            let sessions = self.accounts.members(heavier).filter_map(|(presence, key)| {
                let count = self.sessions.get(key)?.registrations();
                (count > 0).then_some((presence == Presence::Offline, count, key))
            });
            let (.., most) = sessions.max().ok_or(Refusal::LimitReached)?;
            self.give_way(most, ended::SHARE, effects);
        }
        Ok(())
    }

    /// Makes room for a will of `owner`.
    pub(super) fn room_for_will(&mut self, owner: &Owner, weight: usize, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if weight == 0 {
            return Ok(());
        }
        let used = self.accounts.key(owner).map_or(0, |key| self.accounts.used(key, Resource::Wills));
        if used + weight > self.options.users.of(owner, Resource::Wills) {
            return Err(Refusal::LimitReached);
        }
        while self.accounts.total(Resource::Wills) + weight > WILLS_BYTES {
            let heavier = self.accounts.heavier(Resource::Wills, owner, weight).ok_or(Refusal::LimitReached)?;
            let wills = self.accounts.members(heavier).filter_map(|(presence, key)| {
                let weight = self.sessions.get(key)?.will_weight();
                (weight > 0).then_some((presence == Presence::Offline, weight, key))
            });
            let (.., most) = wills.max().ok_or(Refusal::LimitReached)?;
            self.give_way(most, ended::SHARE, effects);
        }
        Ok(())
    }

    /// Ends a session so that others have room.
    fn give_way(&mut self, key: SessionKey, reason: &'static str, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(key) else { return };
        *self.counters.sessions_ended.entry(reason).or_default() += 1;
        if let Some(suppressed) = self.notices.may_tell(self.now.mono) {
            let (client, door) = (&*session.name, session.dialect.name());
            let (user, waiting) = (self.accounts.owner(session.account), session.out.queue_len());
            log::warn!(user:%, client, door, reason, waiting, suppressed; "session ended to make room for others");
        }
        if let Some(link) = session.link {
            self.close(link, CloseReason::QuotaExceeded, effects);
        }
        // Somebody may have waited for its name.
        if self.sessions.get(key).is_some_and(|session| session.link.is_none()) {
            self.end_session_as(key, "session_ended", effects);
        }
    }

    /// Ends everything that a user has: connections, sessions with what waits for them, retained messages.
    pub(super) fn end_user(&mut self, name: &str, effects: &mut Vec<Effect>) -> Ended {
        let mut ended = Ended::default();
        let owner = Owner::User(name.into());
        let links = self.links.iter().filter(|(_, known)| known.info.identity.user.as_deref() == Some(name));
        let links: Vec<_> = links.map(|(link, _)| *link).collect();
        ended.connections = links.len() as u64;
        let Some(account) = self.accounts.key(&owner) else {
            links.into_iter().for_each(|link| self.close(link, CloseReason::NotAuthorized, effects));
            return ended;
        };
        // It may end with the last session, and what follows still asks about it.
        self.accounts.hold_again(account);
        let sessions: Vec<_> = self.accounts.members(account).map(|(_, key)| key).collect();
        for key in &sessions {
            let Some(session) = self.sessions.get(*key) else { continue };
            ended.sessions += 1;
            ended.subscriptions += session.filters.len() as u64;
            ended.queued += session.out.queue_len() as u64;
        }
        links.into_iter().for_each(|link| self.close(link, CloseReason::NotAuthorized, effects));
        for key in sessions {
            if self.sessions.get(key).is_some() {
                *self.counters.sessions_ended.entry(ended::USER_REMOVED).or_default() += 1;
                self.end_session_as(key, "session_ended", effects);
            }
        }
        let topics = self.retained.remove_all_of(account, &mut self.accounts);
        ended.retained = topics.len() as u64;
        if !topics.is_empty() {
            self.note(Change::Unretain { topics });
        }
        self.hurry();
        self.accounts.release(account);
        ended
    }

    /// Makes room for so much more in the queue of a session, or says why there is none.
    pub(super) fn room_in_queues(&mut self, key: SessionKey, weight: usize) -> Result<(), &'static str> {
        let Some(session) = self.sessions.get(key) else { return Err("queue_full") };
        let (account, waiting) = (session.account, session.out.queue_bytes());
        // Who takes what it is given, and waits for nothing, has it in its socket before the next one comes.
        if session.link.is_some() && session.out.queue_len() == 0 && !session.waits_for_answer {
            return Ok(());
        }
        let most = self.limit_of(account, Resource::Queued);
        while self.accounts.used(account, Resource::Queued) + weight > most {
            if !self.shorten_longest_of(account, waiting + weight) {
                return Err("user_queues_full");
            }
        }
        while self.accounts.total(Resource::Queued) + weight > self.options.queues_bytes {
            let heavier = self.accounts.heavier(Resource::Queued, self.accounts.owner(account), weight);
            let shortened = match heavier {
                Some(heavier) => self.shorten_longest_of(heavier, 0),
                None => self.shorten_longest_of(account, waiting + weight),
            };
            if !shortened {
                return Err("queues_full");
            }
        }
        Ok(())
    }

    /// What waits must not be more than there is room for: a link that went has left what was under way to it.
    pub(super) fn keep_queues_bounded(&mut self) {
        // No user has an empty name: whoever is the heaviest gives way.
        let nobody = Owner::User("".into());
        while self.accounts.total(Resource::Queued) > self.options.queues_bytes {
            let Some(heaviest) = self.accounts.heavier(Resource::Queued, &nobody, 0) else { return };
            if !self.shorten_longest_of(heaviest, 0) {
                return;
            }
        }
    }

    /// Takes the newest out of the longest queue of an account, if that is longer than `than`.
    fn shorten_longest_of(&mut self, account: AccountKey, than: usize) -> bool {
        let bytes = |key: &SessionKey| self.sessions.get(*key).map_or(0, |session| session.out.queue_bytes());
        // Those of the highest class are about as long: the first few will do.
        let ranked = self.accounts.longest_queues(account).take(16).max_by_key(bytes);
        let longest = ranked.or_else(|| self.accounts.members(account).map(|(_, key)| key).max_by_key(bytes));
        longest.filter(|key| bytes(key) > than).is_some_and(|key| self.shorten(key))
    }

    /// Takes the newest out of a queue.
    fn shorten(&mut self, key: SessionKey) -> bool {
        let Some(item) = self.pop_newest(key) else { return false };
        match item {
            Item::Delivery(parcel) => {
                let mark = parcel.mark();
                match mark.filter(|mark| self.is_stored_for(key, *mark)) {
                    Some(mark) => self.leave_newest_to_log(key, mark),
                    None => {
                        self.counters.queued -= 1;
                        *self.counters.dropped.entry("gave_way").or_default() += 1;
                        self.settled(key, mark);
                    }
                }
                let kept = self.sessions.get(key).filter(|session| session.keeps_queue()).and_then(|session| session.kept);
                if let (Some(id), Some(delivery)) = (kept, parcel.delivery.id) {
                    self.note(Change::Done { id, deliveries: vec![delivery.0] });
                }
            }
            Item::Request { call, .. } => self.gave_way.calls.push(call),
            Item::Release(_) => {}
        }
        true
    }

    fn pop_newest(&mut self, key: SessionKey) -> Option<Item> {
        let session = self.sessions.get_mut(key)?;
        let before = session.out.queue_bytes();
        let item = session.out.pop_newest()?;
        self.accounts.queue_moved(session.account, key, before, session.out.queue_bytes());
        Some(item)
    }

    /// `newest` was taken from the queue of a component that finds it in the log. Half of the queue goes with it: what comes from
    /// the log again costs a look into it, and nothing is lost.
    fn leave_newest_to_log(&mut self, key: SessionKey, newest: Mark) {
        let mut marks = vec![newest];
        let enough = self.sessions.get(key).map_or(0, |session| session.out.queue_len()) / 2;
        while let Some(session) = self.sessions.get(key).filter(|session| session.out.queue_len() > enough)
            && let Some(mark) = session.out.newest_mark()
            && self.is_stored_for(key, mark)
            && self.pop_newest(key).is_some()
        {
            marks.push(mark);
        }
        self.counters.queued -= marks.len() as u64;
        *self.counters.dropped.entry("left_in_log").or_default() += marks.len() as u64;
        self.take_back_from(key, &marks);
        self.gave_way.sessions.push(key);
    }

    /// Says what followed from things that gave way in this turn.
    pub(super) fn settle_what_gave_way(&mut self, effects: &mut Vec<Effect>) {
        for call in std::mem::take(&mut self.gave_way.calls) {
            self.fail_call(call, effects);
        }
        effects.extend(std::mem::take(&mut self.gave_way.reads).into_iter().map(|read| Effect::EndRead { read }));
        for key in std::mem::take(&mut self.gave_way.sessions) {
            self.pump(key, effects);
        }
    }
}
