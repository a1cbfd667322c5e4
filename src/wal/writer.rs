//! The one who writes: segments, the one made ahead, retention. Blocking; [`Log`](super::Log) decides when.

use super::error::{Trouble, is_out_of_files};
use super::format::{self, HEADER_BYTES, Header};
use super::handle::permits;
use super::pace::{Cut, PAGE_BYTES, Pace};
use super::recovery::Recovered;
use super::segment::{Segment, file_name};
use super::shared::Shared;
use super::{Batch, Health, Options};
use crate::clock::{SharedClock, Wall};
use crate::disk::DiskFile;
use crate::message::Seq;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use tokio::time::Instant;

/// Largest single write; more is written in turns.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// With so much room beyond the reserve any record fits.
const PLENTY: u64 = format::RECORD_BYTES_MAX as u64;
/// What a record takes beside its body: its head, a mark before it, the header of a segment of its own.
const OVERHEAD_BYTES: u64 = format::HEAD_BYTES as u64 + format::MARK_BYTES as u64 + HEADER_BYTES;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    clock: SharedClock,
    options: Options,
    /// Where records go; none until there is room for the first one.
    current: Option<Active>,
    /// Made while there was still room, durable, not yet used.
    ahead: Option<Active>,
    queue: VecDeque<Batch>,
    /// Bytes of the first batch in the queue that are already written.
    front_done: usize,
    buffer: Vec<u8>,
    /// Number of the next record to be written.
    next: Seq,
    /// What the newest mark says.
    marked: Seq,
    pace: Pace,
    /// Whether a segment was begun since the old ones were looked at.
    rolled: bool,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    at: u64,
    size: u64,
}

/// Records gathered for one write.
struct Gathered {
    last: Seq,
    /// Batches that are written completely with it.
    batches: usize,
    /// Bytes of the batch after those.
    rest: usize,
    durable: Option<Seq>,
}

impl Writer {
    /// Begins a new segment behind what was recovered; without room for it the log opens nevertheless, and is full.
    pub(super) fn start(
        shared: Arc<Shared>,
        clock: SharedClock,
        options: Options,
        recovered: Recovered,
    ) -> Result<Self, io::Error> {
        let next = recovered.report.last.next();
        let pace = Pace::new(options.ack_delay_max, options.idle_delay_max);
        let mut writer = Self {
            shared,
            clock,
            options,
            current: None,
            ahead: None,
            queue: VecDeque::new(),
            front_done: 0,
            buffer: Vec::new(),
            next,
            marked: Seq(0),
            pace,
            rolled: false,
        };
        let now = writer.clock.wall();
        let segments = recovered.segments;
        for (i, segment) in segments.iter().enumerate() {
            // A segment is made when the one before it is not quite full, so the next but one is surely younger than its end.
            segment.set_ended(segments.get(i + 2).map_or(now, |younger| younger.created));
        }
        if let Some((path, file, bytes)) = recovered.unused {
            match writer.write_header(file.as_ref(), next).map_err(Trouble::from) {
                Ok(()) => writer.ahead = Some(Active::new(path, file, next, now, bytes)),
                // File systems that never overwrite in place need room even for this.
                Err(Trouble::NoRoom | Trouble::NoFiles) => writer.shared.disk.remove(&path)?,
                Err(Trouble::Broken(error)) => return Err(error),
            }
        }
        match writer.roll(0) {
            Ok(()) => {}
            Err(Trouble::NoRoom) => writer.shared.set_health(Health::Full),
            // The first write tries again.
            Err(Trouble::NoFiles) => {}
            Err(Trouble::Broken(error)) => return Err(error),
        }
        Ok(writer)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn push(&mut self, batch: Batch, now: Instant) {
        self.pace.stretch(self.shared.stretch.load(Relaxed));
        self.pace.add(batch.len(), batch.ack_waits(), now);
        self.queue.push_back(batch);
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Number of the newest record that was appended.
    pub(super) fn appended(&self) -> Seq {
        self.queue.back().and_then(Batch::last).unwrap_or(Seq(self.next.0 - 1))
    }

    pub(super) fn unwritten_bytes(&self) -> usize {
        self.queue.iter().map(Batch::len).sum::<usize>() - self.front_done
    }

    /// What a commit that is due takes.
    pub(super) fn cut(&self, now: Instant) -> Cut {
        let Some(current) = &self.current else { return Cut::Everything };
        let waiting = (self.unwritten_bytes() + self.mark().map_or(0, |_| format::MARK_BYTES)) as u64;
        match self.pace.cut(current.at, waiting, now) {
            // The last pages of a segment are as they come.
            Cut::Pages(bytes) if current.at + bytes + PAGE_BYTES > current.size => Cut::Everything,
            cut => cut,
        }
    }

    /// Writes what is queued, or whole pages of it. What was written before trouble came stays written. The router is woken only
    /// once a commit, so nobody is told yet if a sync follows at once.
    pub(super) fn write(&mut self, cut: Cut, sync_follows: bool) -> Result<(), Trouble> {
        if let Cut::Pages(bytes) = cut {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            // The second time with room for the void, if records nearly filled the page.
            for room in [bytes, bytes - format::HEAD_BYTES] {
                let gathered = self.gather(room, false);
                if gathered.last >= self.next && self.fill_page() {
                    return self.write_gathered(gathered, sync_follows);
                }
            }
        }
        while let Some(front) = self.queue.front() {
            let need = record_bytes(&front.bytes()[self.front_done..]) + format::MARK_BYTES;
            let room =
                self.current.as_ref().map_or(0, |current| usize::try_from(current.size - current.at).unwrap_or(usize::MAX));
            if need > room {
                self.roll(need)?;
                continue;
            }
            let gathered = self.gather(room, true);
            if sync_follows && gathered.batches == self.queue.len() {
                self.fill_page();
            }
            self.write_gathered(gathered, sync_follows)?;
        }
        Ok(())
    }

    /// What the next mark says, if it says something new.
    fn mark(&self) -> Option<Seq> {
        Some(self.shared.state.borrow().durable).filter(|durable| *durable > self.marked)
    }

    /// Fills the page that the buffer ends in with a void, if half of it is full: to write it again with the next records would
    /// cost the card more than the rest of it. True if the buffer ends with its page then.
    fn fill_page(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        let end = current.at + self.buffer.len() as u64;
        let rest = end.next_multiple_of(PAGE_BYTES) - end;
        if rest > PAGE_BYTES / 2 || end + rest > current.size {
            return false;
        }
        // Number one is behind every reader: whatever else is lost, this void does not speak for it.
        if let Some(void) = format::encode_void(rest, Seq(1)) {
            self.buffer.extend_from_slice(&void);
        }
        (current.at + self.buffer.len() as u64).is_multiple_of(PAGE_BYTES)
    }

    /// Copies whole records, as many as fit, side by side into the buffer; `at_least_one` even if none fits.
    fn gather(&mut self, room: usize, at_least_one: bool) -> Gathered {
        self.buffer.clear();
        let durable = self.mark();
        if durable.is_some() {
            let state = *self.shared.state.borrow();
            format::encode_mark(&mut self.buffer, self.next, &state);
        }
        let mut gathered = Gathered { last: Seq(self.next.0 - 1), batches: 0, rest: self.front_done, durable };
        for batch in &self.queue {
            let bytes = &batch.bytes()[gathered.rest..];
            let room = room - self.buffer.len();
            let first = at_least_one && gathered.is_nothing(self.next);
            if bytes.len() <= room && (self.buffer.len() + bytes.len() <= WRITE_BYTES_MAX || first) {
                self.buffer.extend_from_slice(bytes);
                gathered.last = batch.last().expect("an empty batch is never appended");
                gathered.batches += 1;
                gathered.rest = 0;
                continue;
            }
            let room = room.min(WRITE_BYTES_MAX.saturating_sub(self.buffer.len()));
            let whole = whole_records(bytes, room, first);
            let records = count_records(&bytes[..whole]);
            self.buffer.extend_from_slice(&bytes[..whole]);
            gathered.last.0 += records;
            gathered.rest += whole;
            break;
        }
        gathered
    }

    fn write_gathered(&mut self, gathered: Gathered, sync_follows: bool) -> Result<(), Trouble> {
        let current = self.current.as_mut().expect("there is room in it");
        current.file.write_all_at(&self.buffer, current.at)?;
        current.at += self.buffer.len() as u64;
        current.segment.publish(self.next, current.at);
        self.shared.counters.writes.fetch_add(1, Relaxed);
        self.shared.counters.bytes.fetch_add(self.buffer.len() as u64, Relaxed);

        self.next = gathered.last.next();
        self.marked = gathered.durable.unwrap_or(self.marked);
        for batch in self.queue.drain(..gathered.batches) {
            self.shared.pending.fetch_sub(batch.len(), AcqRel);
            self.shared.room.add_permits(permits(batch.len()) as usize);
        }
        self.front_done = gathered.rest;
        self.shared.state.send_if_modified(|state| {
            state.written = gathered.last;
            !sync_follows
        });
        // One huge message must not hold its size in memory for ever.
        if self.buffer.capacity() > 2 * WRITE_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Makes everything that is written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let state = *self.shared.state.borrow();
        if state.written == state.durable {
            self.pace.synced(self.unwritten_bytes());
            return Ok(());
        }
        let current = self.current.as_ref().expect("something was written into it");
        current.file.sync()?;
        self.shared.counters.syncs.fetch_add(1, Relaxed);
        self.shared.counters.commits.fetch_add(1, Relaxed);
        self.shared.state.send_modify(|state| state.durable = state.written);
        self.pace.synced(self.unwritten_bytes());
        Ok(())
    }

    /// Goes on to the next segment, which gets room for at least `need` bytes. All records in the old one are durable then.
    fn roll(&mut self, need: usize) -> Result<(), Trouble> {
        // No space on a sync means that accepted pages are gone: not a trouble that passes.
        self.sync().map_err(Trouble::Broken)?;
        let bytes = (need as u64 + HEADER_BYTES).max(self.options.segment_bytes);
        // A segment without records is not left behind: it grows.
        if let Some(mut empty) = self.current.take_if(|current| current.at == HEADER_BYTES) {
            let enlarged = self.enlarge(&mut empty, bytes);
            self.current = Some(empty);
            return enlarged;
        }
        let mut ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.make_segment(bytes)?,
        };
        if ahead.size < bytes
            && let Err(trouble) = self.enlarge(&mut ahead, bytes)
        {
            self.ahead = Some(ahead);
            return Err(trouble);
        }
        if let Some(old) = &self.current {
            old.segment.set_ended(self.clock.wall());
        }
        self.shared.segments().push_back(ahead.segment.clone());
        self.current = Some(ahead);
        self.rolled = true;
        Ok(())
    }

    fn enlarge(&self, ahead: &mut Active, bytes: u64) -> Result<(), Trouble> {
        self.ask_for_room(bytes - ahead.size)?;
        ahead.file.allocate(bytes)?;
        ahead.file.sync().map_err(Trouble::Broken)?;
        self.shared.counters.syncs.fetch_add(1, Relaxed);
        ahead.size = bytes;
        ahead.segment.set_size(bytes);
        Ok(())
    }

    fn ask_for_room(&self, bytes: u64) -> Result<(), Trouble> {
        // If the disk does not tell, it will tell when it is written to.
        let free = self.shared.disk.free_bytes(&self.shared.dir).unwrap_or(u64::MAX);
        let urgent = self.queue.iter().any(Batch::may_make_room);
        let reserve = if urgent { self.options.reserve_bytes / 4 * 3 } else { self.options.reserve_bytes };
        if free < reserve.saturating_add(bytes) { Err(Trouble::NoRoom) } else { Ok(()) }
    }

    /// Says which records still fit.
    pub(super) fn tell_room(&self) {
        let free = self.shared.disk.free_bytes(&self.shared.dir).unwrap_or(u64::MAX);
        let beyond = free.saturating_sub(self.options.reserve_bytes);
        let room = (beyond < PLENTY).then(|| {
            let rest = self.current.as_ref().map_or(0, |current| current.size - current.at);
            // The next segment is enlarged to its first record, but there must be one.
            let following = match &self.ahead {
                Some(ahead) => ahead.size + beyond,
                None if beyond >= self.options.segment_bytes => beyond,
                None => 0,
            };
            rest.max(following).saturating_sub(OVERHEAD_BYTES)
        });
        self.shared.state.send_if_modified(|state| std::mem::replace(&mut state.room, room) != room);
    }

    /// Makes a segment: preallocated, with its header, on the disk with its name when this returns.
    fn make_segment(&self, bytes: u64) -> Result<Active, Trouble> {
        self.ask_for_room(bytes)?;
        let disk = &self.shared.disk;
        let path = self.shared.dir.join(file_name(self.next));
        let file = disk.create(&path)?;
        let filled = file
            .allocate(bytes)
            .map_err(Trouble::from)
            .and_then(|()| Ok(self.write_header(file.as_ref(), self.next)?))
            .and_then(|()| self.sync_dir());
        if let Err(trouble) = filled {
            drop(file);
            disk.remove(&path)?;
            self.sync_dir()?;
            return Err(trouble);
        }
        self.shared.counters.syncs.fetch_add(1, Relaxed);
        Ok(Active::new(path, file, self.next, self.clock.wall(), bytes))
    }

    /// Without a descriptor the folder cannot even be opened for it, so nothing has failed to be synced yet.
    fn sync_dir(&self) -> Result<(), Trouble> {
        match self.shared.disk.sync_dir(&self.shared.dir) {
            Err(error) if is_out_of_files(&error) => Err(Trouble::NoFiles),
            done => done.map_err(Trouble::Broken),
        }
    }

    fn write_header(&self, file: &dyn DiskFile, first: Seq) -> io::Result<()> {
        let header = Header { log_id: self.shared.identity.log_id(), first, created: self.clock.wall() };
        file.write_all_at(&header.encode(), 0)?;
        file.sync()?;
        self.shared.counters.syncs.fetch_add(1, Relaxed);
        Ok(())
    }

    /// True when the segment to follow should be there and is not.
    pub(super) fn wants_ahead(&self) -> bool {
        self.ahead.is_none() && self.current.as_ref().is_none_or(|current| current.at >= current.size / 4 * 3)
    }

    /// Makes the segment to follow while there is time and room. Its name is taken from the next number, which is higher than
    /// that of any file before it: the current one has at least one record by now.
    pub(super) fn make_ahead(&mut self) -> Result<(), Trouble> {
        self.ahead = Some(self.make_segment(self.options.segment_bytes)?);
        Ok(())
    }

    /// Removes segments that nobody needs and that are too old or too many. True if one went.
    pub(super) fn retain(&mut self) -> Result<bool, Trouble> {
        let mut removed = false;
        self.rolled = false;
        while let Some(path) = self.removable() {
            match self.shared.disk.remove(&path) {
                // Nothing is lost with that, so it is no reason to end; the next time it may go.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!(path:% = path.display(), error:%; "a segment of the log that nobody needs cannot be removed");
                    return Err(Trouble::NoFiles);
                }
                _ => {}
            }
            // One by one: after a power cut no younger segment may be gone while an older one is still there.
            self.sync_dir()?;
            self.shared.counters.syncs.fetch_add(1, Relaxed);
            self.shared.segments().pop_front();
            removed = true;
        }
        self.shared.want(self.wanted());
        Ok(removed)
    }

    /// Up to where the holds would have to release to let the log be as small as it is meant to be; zero if it is.
    fn wanted(&self) -> Seq {
        let segments = self.shared.segments();
        let mut excess = segments.iter().map(|segment| segment.size()).sum::<u64>().saturating_sub(self.options.keep_bytes);
        let mut wanted = Seq(0);
        for (segment, following) in segments.iter().zip(segments.iter().skip(1)) {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(segment.size());
            wanted = following.first().map_or(wanted, |first| Seq(first.0 - 1));
        }
        wanted
    }

    /// The oldest segment, if it may go.
    fn removable(&self) -> Option<PathBuf> {
        let released = self.shared.released();
        let segments = self.shared.segments();
        let oldest = segments.front()?;
        // Its records end where those of the next begin. The one being written to has no next and always stays.
        let end = segments.iter().skip(1).find_map(|segment| segment.first())?;
        if end > released.next() {
            return None;
        }
        let total: u64 = segments.iter().map(|segment| segment.size()).sum();
        let age_ns = u128::from(self.clock.wall().0.saturating_sub(oldest.ended().0));
        let is_old = self.clock.is_trusted() && oldest.ended().is_set() && age_ns >= self.options.keep.as_nanos();
        (is_old || total > self.options.keep_bytes).then(|| oldest.path.clone())
    }

    /// Whether a segment was begun since the old ones were looked at.
    pub(super) fn has_rolled(&self) -> bool {
        self.rolled
    }

    /// Whether age alone may let a segment go later on.
    pub(super) fn has_old(&self) -> bool {
        self.shared.segments().len() > 1
    }
}

impl Active {
    fn new(path: PathBuf, file: Arc<dyn DiskFile>, floor: Seq, created: Wall, size: u64) -> Self {
        Self { segment: Arc::new(Segment::new(path, floor, created, HEADER_BYTES, size)), file, at: HEADER_BYTES, size }
    }
}

impl Gathered {
    fn is_nothing(&self, next: Seq) -> bool {
        self.last.next() == next
    }
}

/// Bytes of the first record in `bytes`.
fn record_bytes(bytes: &[u8]) -> usize {
    format::Head::parse(bytes).expect("a batch holds whole records").record_bytes()
}

/// Bytes of the whole records at the beginning of `bytes` that take no more than `room`; the first counts always if `at_least_one`.
fn whole_records(bytes: &[u8], room: usize, at_least_one: bool) -> usize {
    let mut whole = 0;
    while whole < bytes.len() {
        let record = record_bytes(&bytes[whole..]);
        if whole + record > room && !(at_least_one && whole == 0) {
            break;
        }
        whole += record;
    }
    whole
}

fn count_records(mut bytes: &[u8]) -> u64 {
    let mut records = 0;
    while !bytes.is_empty() {
        bytes = &bytes[record_bytes(bytes)..];
        records += 1;
    }
    records
}
