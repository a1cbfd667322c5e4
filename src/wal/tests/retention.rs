//! Short stories about what is kept, and for whom.

use super::disk::MemDisk;
use super::*;
use crate::clock::{Clock, Mono, SharedClock, Wall};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn mono(&self) -> Mono {
        Mono(0)
    }

    fn wall(&self) -> Wall {
        Wall(self.0.load(Relaxed))
    }
}

const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;
/// In 2026.
const TODAY: u64 = 20_500 * DAY;

async fn filled(options: Options, wall: u64) -> (LogHandle, Hold, Arc<SetClock>) {
    let clock = Arc::new(SetClock(AtomicU64::new(wall)));
    let shared: SharedClock = clock.clone();
    let (log, handle, _) = open(MemDisk::new().shared(), shared, options).unwrap();
    let hold = handle.hold(Seq(0));
    tokio::spawn(log.run());
    for first in (1..=2000).step_by(100) {
        handle.append(batch(first..=first + 99)).await.unwrap();
    }
    handle.sync(Seq(2000)).await.unwrap();
    (handle, hold, clock)
}

fn small() -> Options {
    Options { keep_bytes: 48 << 10, ..options() }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_it_is_released() {
    let (log, _hold, clock) = filled(small(), TODAY).await;
    clock.0.store(TODAY + 30 * DAY, Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(log.stats().oldest, Seq(1));
    assert!(log.stats().bytes_on_disk > 48 << 10);
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn released_segments_go_when_there_are_too_many() {
    let (log, hold, _) = filled(small(), TODAY).await;
    hold.release(Seq(1000));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let oldest = log.stats().oldest;
    assert!(oldest > Seq(1) && oldest <= Seq(1001), "{oldest}");
    hold.release(Seq(2000));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(log.stats().bytes_on_disk <= 48 << 10);
    // What fits is kept, released or not: it is the archive.
    assert!(log.stats().bytes_on_disk > 24 << 10);
}

#[tokio::test(start_paused = true)]
async fn released_segments_go_when_they_are_old() {
    let (log, hold, clock) = filled(options(), TODAY).await;
    hold.release(Seq(2000));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(log.stats().oldest, Seq(1));
    clock.0.store(TODAY + 2 * DAY, Relaxed);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(log.stats().oldest > Seq(1000));
    // The one in use stays.
    assert_eq!(log.stats().segments, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_not_set_makes_nothing_old() {
    let (log, hold, clock) = filled(options(), 1000).await;
    hold.release(Seq(2000));
    clock.0.store(TODAY, Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(log.stats().oldest, Seq(1));
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_position_was_removed_goes_on_with_what_is_left_and_says_so() {
    let (log, hold, _) = filled(small(), TODAY).await;
    let mut early = log.reader(Seq(1));
    let mut reading = log.reader(Seq(1));
    assert_eq!(reading.read(1).unwrap().len(), 1);
    hold.release(Seq(2000));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let oldest = log.stats().oldest.0;

    let records = read_all(&mut early);
    assert_eq!(numbers(&records), (oldest..=2000).collect::<Vec<_>>());
    assert_eq!(early.skipped().removed, oldest - 1);

    // This one has the removed file open, and may finish it.
    let records = read_all(&mut reading);
    assert_eq!(records.last().unwrap().seq, Seq(2000));
    assert_eq!(1 + records.len() as u64 + reading.skipped().removed, 2000);
    assert_eq!(reading.skipped().damaged, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_the_writer_across_segments() {
    let (log, handle, _) = open(MemDisk::new().shared(), SystemClock::shared(), options()).unwrap();
    tokio::spawn(log.run());
    let mut reader = handle.reader(Seq(1));
    let mut found = Vec::new();
    for first in (1..=3000).step_by(7) {
        assert_eq!(reader.read(1).unwrap(), []);
        handle.append(batch(first..=first + 6)).await.unwrap();
        handle.flush(Seq(first + 6)).await.unwrap();
        found.extend(numbers(&read_all(&mut reader)));
    }
    let last = *found.last().unwrap();
    assert_eq!(found, (1..=last).collect::<Vec<_>>());
    assert!(handle.stats().segments > 3);
    assert_eq!(reader.skipped(), Skipped::default());
}

#[tokio::test(start_paused = true)]
async fn removed_segments_make_room_on_a_full_disk() {
    let disk = MemDisk::new();
    disk.state().capacity = 100 << 10;
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), small()).unwrap();
    tokio::spawn(log.run());
    let hold = handle.hold(Seq(0));
    let mut next = 1;
    let mut state = handle.state();
    while state.borrow_and_update().health != Health::Full {
        handle.append(batch(next..=next + 9)).await.unwrap();
        handle.sync(Seq(next + 9)).await.unwrap();
        next += 10;
        tokio::task::yield_now().await;
    }
    hold.release(Seq(next - 1));
    state.wait_for(|state| state.health == Health::Fine).await.unwrap();
    handle.append(batch(next..=next + 500)).await.unwrap();
    handle.sync(Seq(next + 500)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_descriptor_for_the_next_segment_publishers_wait_and_nothing_is_poisoned() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    tokio::spawn(log.run());
    handle.append(batch(1..=2)).await.unwrap();
    handle.sync(Seq(2)).await.unwrap();

    // Longer than one try, at the name as well as at the folder that has to be opened to be synced.
    disk.state().no_files = 5;
    for first in (3..=1000).step_by(100) {
        handle.append(batch(first..=first + 99)).await.unwrap();
        handle.sync(Seq(first + 99)).await.unwrap();
    }
    assert_eq!(disk.state().no_files, 0, "the fault was met");
    assert_eq!(handle.state().borrow().health, Health::Fine);
    assert!(handle.stats().segments > 1);
    disk.cut_power(0);
    assert_eq!(open_on(disk.shared(), options()).1.last, Seq(1002));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_larger_than_it_is_meant_to_be_says_up_to_where_it_is_held_up() {
    let (log, hold, _) = filled(small(), TODAY).await;
    let mut released = Seq(0);
    assert!(log.is_held_up_by(released));
    while log.is_held_up_by(released) {
        released = Seq(released.0 + 1);
    }
    assert!(released < Seq(2000), "no more than is in the way: {released}");
    hold.release(released);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(log.stats().bytes_on_disk <= 48 << 10);
    assert!(!log.is_held_up_by(hold.released()));
}

#[tokio::test(start_paused = true)]
async fn a_nearly_full_log_says_which_records_still_fit_and_a_reader_does_not_wait_for_one_that_does_not() {
    let disk = MemDisk::new();
    disk.state().capacity = 60 << 10;
    let options = Options { reserve_bytes: 20 << 10, ..options() };
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options).unwrap();
    tokio::spawn(log.run());
    handle.append(batch(1..=10)).await.unwrap();
    handle.sync(Seq(10)).await.unwrap();
    let room = handle.state().borrow().room.unwrap() as usize;
    assert!(room > 10 << 10 && room < 40 << 10, "{room}");
    let large = |seq, bytes| {
        let mut batch = Batch::default();
        batch.push(Seq(seq), 1, true, |out| out.resize(out.len() + bytes, 7));
        batch
    };
    handle.append(large(11, room)).await.unwrap();
    handle.sync(Seq(11)).await.unwrap();
    // One that is too large for what is left now: nobody should append it, and a reader does not wait for it.
    handle.append(large(12, 30 << 10)).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(5), handle.flush(Seq(12))).await;
    assert_eq!(waited.unwrap().unwrap(), Seq(11));
    assert_eq!(handle.state().borrow().health, Health::Full);
    disk.state().capacity = u64::MAX;
    handle.sync(Seq(12)).await.unwrap();
    assert_eq!(handle.state().borrow().room, None);
}

#[tokio::test(start_paused = true)]
async fn what_may_make_room_gets_a_part_of_the_reserve() {
    let disk = MemDisk::new();
    disk.state().capacity = 200 << 10;
    let options = Options { reserve_bytes: 120 << 10, ..options() };
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options).unwrap();
    tokio::spawn(log.run());
    let mut next = 1;
    // Until what is left of the segments is full, too.
    while handle.state().borrow().room.is_none_or(|room| room > 400) {
        handle.append(batch(next..=next)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(1), handle.sync(Seq(next))).await.unwrap().unwrap();
        next += 1;
    }
    let mut deletion = Batch::default();
    deletion.push(Seq(next), 1, true, |out| out.resize(out.len() + 2000, 7));
    deletion.makes_room();
    handle.append(deletion).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), handle.sync(Seq(next))).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_removed_poisons_nothing() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), small()).unwrap();
    tokio::spawn(log.run());
    disk.state().keeps_files = true;
    for first in (1..=2000).step_by(100) {
        handle.append(batch(first..=first + 99)).await.unwrap();
        handle.sync(Seq(first + 99)).await.unwrap();
    }
    assert!(handle.stats().bytes_on_disk > 48 << 10, "the fault was met");
    disk.state().keeps_files = false;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(handle.stats().bytes_on_disk <= 48 << 10);
}
