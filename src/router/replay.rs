//! What a named component missed, from the log (`protocol/rembus.md` section 11).
//!
//! ```text
//!            reactive, or its queue overflows
//!  follows ────────────────────────────────────▶ catches up ◀─┐ Read ─▶ Found, a queue's worth at a time,
//!  (copies as they come) ◀── at the log's end ──    │  └──────┘ when the component has taken the last ones
//! ```
//!
//! While it catches up nothing new is queued for it: that is in the log too, and will be read in its turn. So order is that of
//! the log, nothing waits in memory, and a component that is slow is served from the disk instead of losing messages, as long as
//! the log keeps them. Only in the last lap, when the end is near, what comes meanwhile is put aside (a bounded list), because
//! otherwise a busy log would never be caught up with.
//!
//! What has reached the component, and so does not come again, is in its [trails](super::trail).

use super::accounts::Resource;
use super::core::Router;
use super::deliver::Queued;
use super::event::{Delivery, Effect, Filter, Found, Past, ReadId};
use super::interest::{FOUND_MAX, Interest};
use super::outgoing::Parcel;
use super::publish::stored_deadline;
use super::session::SessionKey;
use super::state::Change;
use super::trail::{Mark, Progress, Trail};
use super::tree::Target;
use crate::message::{Message, Qos, Seq};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A queue with more gets nothing from the log for now.
const QUEUE_LOW: usize = 1_024;
const QUEUE_BYTES_LOW: usize = 1 << 20;
/// So many records before the end of the log begins the last lap.
const NEAR: u64 = 4_096;
/// What may be put aside in the last lap. Beyond, there is another.
const ASIDE_MAX: usize = 2_048;
const ASIDE_BYTES_MAX: usize = 1 << 20;

/// The subscriptions of a named component, and how far each has come.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) lines: BTreeMap<u32, Line>,
    pub(super) last_number: u32,
    pub(super) catch_up: Option<CatchUp>,
    /// Noted in [`Router::progressed`].
    pub(super) is_noted: bool,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) filter: Filter,
    pub(super) target: Target,
    pub(super) trail: Trail,
}

/// A component on its way through the log.
#[derive(Debug)]
pub(super) struct CatchUp {
    id: ReadId,
    /// Everything up to here was queued for it, or is not for it.
    read: Seq,
    interest: Arc<Interest>,
    /// What is being read.
    asked: Option<Asked>,
    /// What came in the last lap.
    aside: Vec<Aside>,
    aside_bytes: usize,
    /// The queue had no room for what was found.
    was_full: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    upto: Seq,
    /// What comes meanwhile is put aside; false also when that was too much.
    is_last: bool,
}

#[derive(Debug)]
struct Aside {
    mark: Mark,
    message: Arc<Message>,
}

impl Follower {
    /// How far it was served; `last` is the newest record.
    pub(super) fn position(&self, last: Seq) -> Seq {
        self.catch_up.as_ref().map_or(last, |catch_up| catch_up.read)
    }

    /// A number that no subscription of the session had before.
    pub(super) fn number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn tracks(&self, number: u32, qos: Qos) -> bool {
        self.lines.get(&number).is_some_and(|line| line.trail.tracks(qos))
    }

    /// A copy that is not tracked was queued.
    pub(super) fn brought(&mut self, number: u32, seq: Seq) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.trail.bring(seq);
        }
    }

    /// A copy was queued.
    pub(super) fn offered(&mut self, mark: Mark) {
        if let Some(line) = self.lines.get_mut(&mark.number) {
            line.trail.offer(mark.seq);
        }
    }

    /// The log will bring this record; if the end is near it is put aside. False if the component follows.
    pub(super) fn leaves_to_log(&mut self, mark: Mark, message: &Arc<Message>) -> bool {
        let Some(catch_up) = &mut self.catch_up else { return false };
        if let Some(asked) = &mut catch_up.asked
            && asked.is_last
        {
            catch_up.aside_bytes += message.weight();
            asked.is_last = catch_up.aside.len() < ASIDE_MAX && catch_up.aside_bytes < ASIDE_BYTES_MAX;
            catch_up.aside.push(Aside { mark, message: Arc::clone(message) });
        }
        true
    }

    /// How far each subscription has come, for a snapshot.
    pub(super) fn progress(&self, is_reactive: bool, last: Seq) -> impl Iterator<Item = (u32, Progress)> + '_ {
        let position = if is_reactive { self.position(last) } else { Seq(0) };
        self.lines.iter().map(move |(number, line)| (*number, line.trail.all(position)))
    }

    /// Where its subscriptions were when it left.
    pub(super) fn left(&self) -> Option<Seq> {
        self.lines.values().map(|line| line.trail.left()).max()
    }
}

impl Router {
    pub(super) fn follower(&mut self, key: SessionKey) -> Option<&mut Follower> {
        self.sessions.get_mut(key)?.follower.as_deref_mut()
    }

    /// The component takes publications from now on; first what it missed, as far back as `reach`.
    pub(super) fn resume(&mut self, key: SessionKey, reach: Past) {
        let (last, wall) = (self.last, self.now.wall);
        let Some(session) = self.sessions.get_mut(key) else { return };
        if std::mem::replace(&mut session.reactive, true) {
            return;
        }
        let Some(follower) = session.follower.as_deref_mut() else { return };
        for line in follower.lines.values_mut() {
            line.trail.resume(reach, last, wall);
        }
        self.note_progress_of(key);
        self.catch_up(key);
    }

    /// A subscription of a component that takes publications already wants stored ones too.
    pub(super) fn resume_one(&mut self, key: SessionKey, number: u32, effects: &mut Vec<Effect>) {
        let (last, wall) = (self.last, self.now.wall);
        let Some(session) = self.sessions.get_mut(key) else { return };
        if !session.reactive {
            return;
        }
        let Some(follower) = session.follower.as_deref_mut() else { return };
        let position = follower.position(last);
        for (known, line) in &mut follower.lines {
            if *known == number {
                line.trail.resume(Past::Unseen, last, wall);
            } else {
                line.trail.pause(position);
            }
        }
        self.end_read(key, effects);
        self.catch_up(key);
    }

    /// Reads the log from where the slowest subscription is, if that is not its end.
    fn catch_up(&mut self, key: SessionKey) {
        let last = self.last;
        let id = ReadId(self.last_read.0 + 1);
        let Some(follower) = self.follower(key) else { return };
        let read = follower.lines.values().map(|line| line.trail.offered()).min().unwrap_or(last);
        if read >= last {
            return;
        }
        let interest = Arc::new(follower.interest());
        follower.catch_up =
            Some(CatchUp { id, read, interest, asked: None, aside: Vec::new(), aside_bytes: 0, was_full: false });
        self.last_read = id;
        self.reads.insert(id, key);
    }

    /// Subscriptions have changed.
    pub(super) fn renew_interest(&mut self, key: SessionKey) {
        let Some(follower) = self.follower(key) else { return };
        if follower.catch_up.is_some() {
            let interest = Arc::new(follower.interest());
            if let Some(catch_up) = &mut follower.catch_up {
                catch_up.interest = interest;
            }
        }
    }

    /// The queue had no room for this one. The log has it.
    pub(super) fn fall_behind(&mut self, key: SessionKey, seq: Seq) {
        if let Some(follower) = self.follower(key) {
            for line in follower.lines.values_mut() {
                line.trail.pause(Seq(seq.0.saturating_sub(1)));
            }
            self.catch_up_from(key, seq);
        }
    }

    /// Copies were taken out of the queue again, the newest first. The log has them, and brings them when there is room.
    pub(super) fn take_back_from(&mut self, key: SessionKey, marks: &[Mark]) {
        let last = self.last;
        let Some(follower) = self.follower(key) else { return };
        let position = follower.position(last);
        let read = follower.catch_up.take().map(|catch_up| catch_up.id);
        for line in follower.lines.values_mut() {
            line.trail.pause(position);
        }
        for mark in marks {
            if let Some(line) = follower.lines.get_mut(&mark.number) {
                line.trail.take_back(mark.seq);
            }
        }
        if let Some(read) = read {
            self.reads.remove(&read);
            self.gave_way.reads.push(read);
        }
        if let Some(newest) = marks.iter().map(|mark| mark.seq).max() {
            self.catch_up_from(key, newest);
        }
    }

    /// Whether a copy for which there is no room comes from the log instead: it does to who catches up, and to who wants the past.
    pub(super) fn is_stored_for(&mut self, key: SessionKey, mark: Mark) -> bool {
        let Some(follower) = self.follower(key) else { return false };
        let wants_past = || follower.lines.get(&mark.number).is_some_and(|line| line.trail.past != Past::Nothing);
        follower.catch_up.is_some() || wants_past()
    }

    fn catch_up_from(&mut self, key: SessionKey, seq: Seq) {
        // The record is about to be written: it counts as the end of the log.
        let last = self.last;
        self.last = last.max(seq);
        self.catch_up(key);
        self.last = last;
    }

    /// The component takes no more for now.
    pub(super) fn pause(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let last = self.last;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let was_reactive = std::mem::replace(&mut session.reactive, false);
        let kept = session.kept.filter(|_| was_reactive);
        let (Some(id), Some(follower)) = (kept, session.follower.as_deref_mut()) else { return };
        let position = follower.position(last);
        for line in follower.lines.values_mut() {
            line.trail.pause(position);
        }
        if !follower.lines.is_empty() {
            self.note(Change::Passed { id, upto: position });
            self.note_all_progress(key);
        }
        self.end_read(key, effects);
    }

    /// Nobody will acknowledge what is under way to it any more.
    pub(super) fn lose_track(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        self.pause(key, effects);
        if let Some(follower) = self.follower(key) {
            follower.lines.values_mut().for_each(|line| line.trail.lose());
            self.note_all_progress(key);
            self.hurry();
        }
    }

    /// Subscriptions that are not as far as their component.
    fn note_all_progress(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let (Some(id), Some(follower)) = (session.kept, session.follower.as_deref()) else { return };
        let behind: Vec<_> = follower.lines.iter().filter(|(_, line)| line.trail.is_behind()).collect();
        let changes: Vec<_> = behind
            .into_iter()
            .map(|(number, line)| Change::Seen { id, number: *number, progress: line.trail.all(Seq(0)) })
            .collect();
        changes.into_iter().for_each(|change| self.note(change));
    }

    pub(super) fn end_read(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        if let Some(catch_up) = self.follower(key).and_then(|follower| follower.catch_up.take()) {
            self.reads.remove(&catch_up.id);
            effects.push(Effect::EndRead { read: catch_up.id });
        }
    }

    /// Asks for more of the log if the component has room for it.
    pub(super) fn read_on(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let last = self.last;
        let crowded = self.accounts.total(Resource::Queued) >= self.options.queues_bytes;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(catch_up) = session.follower.as_deref_mut().and_then(|follower| follower.catch_up.as_mut()) else { return };
        let waits = session.out.queue_len() > QUEUE_LOW.min(self.options.queue.items / 2)
            || session.out.queue_bytes() > QUEUE_BYTES_LOW.min(self.options.queue.bytes / 2)
            || ((crowded || catch_up.was_full) && session.out.queue_len() > 0);
        if waits || session.link.is_none() || catch_up.asked.is_some() {
            return;
        }
        catch_up.asked = Some(Asked { upto: last, is_last: last.0 - catch_up.read.0.min(last.0) <= NEAR });
        catch_up.aside.clear();
        catch_up.aside_bytes = 0;
        catch_up.was_full = false;
        let interest = Arc::clone(&catch_up.interest);
        effects.push(Effect::Read { read: catch_up.id, after: catch_up.read, upto: last, interest });
    }

    /// Whether somebody waits for what this brings.
    pub(super) fn is_reading(&self, read: ReadId) -> bool {
        self.reads.contains_key(&read)
    }

    /// Messages from the log, in order; everything between them and up to `reached` is not for this component.
    pub(super) fn found(&mut self, read: ReadId, found: Vec<Found>, reached: Seq, effects: &mut Vec<Effect>) {
        // It may be gone, or have begun again.
        let Some(key) = self.reads.get(&read).copied() else { return };
        debug_assert!(found.len() <= FOUND_MAX, "a look is bounded");
        let Some(asked) = self.with_catch_up(key, |catch_up| catch_up.asked.take()).flatten() else { return };
        let marks = |found: Found| {
            let Found { seq, message, numbers } = found;
            numbers.into_iter().map(move |number| Aside { mark: Mark { number, seq }, message: Arc::clone(&message) })
        };
        let whole = self.queue_stored(key, found.into_iter().flat_map(marks), reached);
        let last = self.last;
        if whole && reached >= asked.upto && (asked.is_last || last == asked.upto) {
            let aside = self.with_catch_up(key, |catch_up| std::mem::take(&mut catch_up.aside)).unwrap_or_default();
            if self.queue_stored(key, aside.into_iter(), last) {
                self.end_read(key, effects);
            }
        }
        self.pump(key, effects);
    }

    fn with_catch_up<T>(&mut self, key: SessionKey, then: impl FnOnce(&mut CatchUp) -> T) -> Option<T> {
        self.follower(key)?.catch_up.as_mut().map(then)
    }

    /// Queues stored messages up to `upto`; false if there was no room for all.
    fn queue_stored(&mut self, key: SessionKey, stored: impl Iterator<Item = Aside>, upto: Seq) -> bool {
        for Aside { mark, message } in stored {
            if self.queue_from_log(key, mark, message) == Queued::Full {
                self.with_catch_up(key, |catch_up| {
                    catch_up.read = Seq(mark.seq.0 - 1);
                    catch_up.was_full = true;
                });
                return false;
            }
        }
        self.with_catch_up(key, |catch_up| catch_up.read = upto);
        true
    }

    /// A copy of a stored message, if the subscription still wants it.
    fn queue_from_log(&mut self, key: SessionKey, mark: Mark, message: Arc<Message>) -> Queued {
        let Some(session) = self.sessions.get(key) else { return Queued::NotWanted };
        let line = session.follower.as_ref().and_then(|follower| follower.lines.get(&mark.number));
        let Some(line) = line.filter(|line| line.trail.wants(mark.seq, message.qos, message.received)) else {
            return Queued::NotWanted;
        };
        if session.wrote(&message) {
            return Queued::NotWanted;
        }
        let deadline = stored_deadline(&message, self.now);
        if deadline.is_some_and(|deadline| deadline <= self.now.mono) {
            return Queued::NotWanted;
        }
        let target = &line.target;
        let delivery = Delivery {
            qos: message.qos.min(target.qos),
            id: None,
            dup: false,
            retain: false,
            pattern: target.pattern.clone(),
            identifiers: Vec::new(),
            expiry_s: None,
            author: None,
            message,
        };
        self.queue(key, Parcel { delivery, deadline, seq: mark.seq, after: Seq(0), share: None, line: mark.line() })
    }

    /// Copies have found their end.
    pub(super) fn settled(&mut self, key: SessionKey, marks: impl IntoIterator<Item = Mark>) {
        let Some(follower) = self.follower(key) else { return };
        let mut any = false;
        for mark in marks {
            // The subscription may have ended.
            if let Some(line) = follower.lines.get_mut(&mark.number) {
                line.trail.settle(mark.seq);
                any = true;
            }
        }
        if any && !std::mem::replace(&mut follower.is_noted, true) {
            self.progressed.push(key);
        }
    }

    /// Notes how far components have come, for the log.
    pub(super) fn note_progress(&mut self) {
        for key in std::mem::take(&mut self.progressed) {
            self.note_progress_of(key);
        }
    }

    pub(super) fn note_progress_of(&mut self, key: SessionKey) {
        let last = self.last;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (Some(id), Some(follower)) = (session.kept, session.follower.as_deref_mut()) else { return };
        follower.is_noted = false;
        let position = if session.reactive { follower.position(last) } else { Seq(0) };
        let news: Vec<_> = follower
            .lines
            .iter_mut()
            .filter_map(|(number, line)| Some(Change::Seen { id, number: *number, progress: line.trail.news(position)? }))
            .collect();
        news.into_iter().for_each(|change| self.note(change));
    }
}

impl Follower {
    fn interest(&self) -> Interest {
        let mut interest = Interest::default();
        for line in self.lines.values() {
            interest.add(&line.filter, line.target.clone(), line.trail.offered(), line.trail.since());
        }
        interest
    }
}
