//! Short stories about writing: when, what happens when it fails, and when there is no room.

use super::disk::MemDisk;
use super::*;

#[tokio::test]
async fn what_was_synced_is_there_after_reopening() {
    let disk = MemDisk::new();
    let (log, recovery) = open_on(disk.shared(), options());
    assert!(recovery.is_new);
    assert_eq!(recovery.last, Seq(0));
    for turn in 0..100 {
        log.append(batch(turn * 10 + 1..=turn * 10 + 10)).await.unwrap();
    }
    log.sync(Seq(1000)).await.unwrap();
    assert_eq!(log.state().borrow().durable, Seq(1000));
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=1000).collect::<Vec<_>>());
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(777)))), (777..=1000).collect::<Vec<_>>());
    assert!(log.stats().segments > 3);
    log.close().await;

    let (again, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(1000));
    assert_eq!(recovery.records, 1000);
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.damaged, []);
    assert_eq!(again.log_id(), log.log_id());
    again.append(batch(1001..=1001)).await.unwrap();
    again.flush(Seq(1001)).await.unwrap();
    assert_eq!(numbers(&read_all(&mut again.reader(Seq(1)))), (1..=1001).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_machines_own_disk_does_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: dir.path().join("wal"), ..options() };
    let disk = crate::disk::SystemDisk::shared();
    let (log, _) = open_on(disk.clone(), options.clone());
    log.append(batch(1..=500)).await.unwrap();
    log.sync(Seq(500)).await.unwrap();
    log.close().await;
    let (log, recovery) = open_on(disk, options);
    assert_eq!((recovery.last, recovery.records, recovery.torn), (Seq(500), 500, None));
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 500);
}

#[tokio::test]
async fn a_record_larger_than_a_segment_gets_a_larger_segment() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let huge = |seq| {
        let mut batch = Batch::default();
        batch.push(Seq(seq), 1, true, |out| out.resize(out.len() + (40 << 10), 7));
        batch
    };
    // The first into an empty segment, the third behind small ones.
    log.append(huge(1)).await.unwrap();
    log.append(batch(2..=20)).await.unwrap();
    log.append(huge(21)).await.unwrap();
    log.sync(Seq(21)).await.unwrap();
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=21).collect::<Vec<_>>());
    log.close().await;
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!((recovery.last, recovery.records, recovery.damaged), (Seq(21), 21, vec![]));
    assert_eq!(read_all(&mut log.reader(Seq(21)))[0].body.len(), 40 << 10);
}

#[tokio::test(start_paused = true)]
async fn a_small_record_is_committed_when_its_ack_waited_long_enough() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let mut state = log.state();
    let before = tokio::time::Instant::now();
    log.append(batch(1..=1)).await.unwrap();
    let durable = *state.wait_for(|state| state.durable == Seq(1)).await.unwrap();
    assert_eq!(durable.written, Seq(1));
    assert!(before.elapsed() >= Duration::from_millis(5) && before.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_page_full_of_records_is_committed_at_once_and_together() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let [syncs, writes, _] = disk.work();
    let before = tokio::time::Instant::now();
    log.append(batch(1..=30)).await.unwrap();
    log.append(batch(31..=80)).await.unwrap();
    let mut state = log.state();
    let first = state.wait_for(|state| state.durable > Seq(0)).await.unwrap().durable;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(disk.work()[..2], [syncs + 1, writes + 1]);
    assert!(first > Seq(50) && first < Seq(80), "a page of them: {first}");
    // What did not fit into the page goes when its time has come, or with the next page.
    assert_eq!(state.wait_for(|state| state.durable == Seq(80)).await.unwrap().durable, Seq(80));
    assert!(before.elapsed() >= Duration::from_millis(5) && before.elapsed() < Duration::from_millis(10));
    assert_eq!(log.stats().commits, 2);
}

#[tokio::test(start_paused = true)]
async fn a_steady_flow_writes_no_page_twice() {
    let disk = MemDisk::new();
    let options = Options { segment_bytes: 8 << 20, ack_delay_max: Duration::from_millis(50), ..options() };
    let (log, _) = open_on(disk.shared(), options);
    // Five hundred messages a second of 100 bytes with what the gateway adds, each acknowledged within 50 ms.
    for seq in 1..=5000 {
        let mut batch = Batch::default();
        batch.push(Seq(seq), 1, true, |out| out.resize(out.len() + 146, 7));
        log.append(batch).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let durable = log.state().borrow().durable;
        assert!(durable.0 + 27 >= seq, "record {seq} came, and only {durable} is durable");
    }
    log.sync(Seq(5000)).await.unwrap();
    let (commits, bytes) = (log.stats().commits, log.stats().bytes_written);
    assert!(bytes <= (commits + 1) * 4096, "{commits} commits of {bytes} bytes");
    assert!(bytes < 5000 * 100 * 2, "{bytes}");
    log.close().await;

    let (log, recovery) = open_on(disk.shared(), Options { segment_bytes: 8 << 20, ..super::options() });
    assert_eq!((recovery.last, recovery.records, recovery.damaged), (Seq(5000), 5000, vec![]));
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=5000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn records_that_nobody_waits_for_are_synced_after_the_idle_delay() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let before = tokio::time::Instant::now();
    let mut batch = Batch::default();
    batch.push(Seq(1), 1, false, |out| out.push(7));
    log.append(batch).await.unwrap();
    log.state().wait_for(|state| state.durable == Seq(1)).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_happens() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    log.append(batch(1..=2000)).await.unwrap();
    log.sync(Seq(2000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = disk.work();
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(disk.work(), before);
}

#[tokio::test(start_paused = true)]
async fn flushed_records_can_be_read_before_they_are_durable() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let syncs = disk.state().syncs;
    log.append(batch(1..=3)).await.unwrap();
    log.flush(Seq(3)).await.unwrap();
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(2)))), [2, 3]);
    assert_eq!(*log.state().borrow(), LogState { written: Seq(3), ..LogState::default() });
    assert_eq!(disk.state().syncs, syncs);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_poisons_the_log_for_good() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    let running = tokio::spawn(log.run());
    handle.append(batch(1..=3)).await.unwrap();
    handle.sync(Seq(3)).await.unwrap();
    disk.state().fail_syncs = 1;
    handle.append(batch(4..=5)).await.unwrap();
    assert!(matches!(handle.sync(Seq(5)).await, Err(WalError::Poisoned(_))));
    assert!(matches!(running.await.unwrap(), Err(WalError::Poisoned(_))));
    assert!(matches!(handle.append(batch(6..=6)).await, Err(WalError::Poisoned(_))));
    assert!(matches!(handle.sync(Seq(5)).await, Err(WalError::Poisoned(_))));
    let state = *handle.state().borrow();
    assert_eq!((state.durable, state.health), (Seq(3), Health::Poisoned));
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_and_a_restart_what_is_found_is_brought_to_the_disk() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    disk.state().fail_syncs = 1;
    log.append(batch(1..=60)).await.unwrap();
    assert!(log.sync(Seq(60)).await.is_err());

    // The page cache still shows the records, and calls their pages clean.
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(60));
    log.close().await;
    disk.cut_power(0);
    let (log, _) = open_on(disk.shared(), options());
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=60).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_segment_whose_name_did_not_reach_the_disk_is_not_trusted_after_a_restart() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    disk.state().fail_dir_syncs = 1;
    // Three quarters of a segment: the next one is made, and its name cannot be synced.
    log.append(batch(1..=190)).await.unwrap();
    log.sync(Seq(190)).await.unwrap();
    log.state().wait_for(|state| state.health == Health::Poisoned).await.unwrap();

    // It is there after the restart, and would be used.
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(190));
    log.append(batch(191..=195)).await.unwrap();
    log.sync(Seq(195)).await.unwrap();
    disk.cut_power(0);
    let (log, _) = open_on(disk.shared(), options());
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=195).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_known_while_there_is_room_for_what_is_under_way() {
    let disk = MemDisk::new();
    // Room for the first segment and half of another, beside the reserve.
    disk.state().capacity = (16 << 10) + (16 << 10) + (8 << 10);
    let (log, _) = open_on(disk.shared(), Options { reserve_bytes: 16 << 10, ..options() });
    log.append(batch(1..=150)).await.unwrap();
    log.sync(Seq(150)).await.unwrap();
    assert_eq!(log.state().borrow().health, Health::Fine);
    log.append(batch(151..=190)).await.unwrap();
    log.sync(Seq(190)).await.unwrap();
    let mut state = log.state();
    state.wait_for(|state| state.health == Health::Full).await.unwrap();

    // There is still room in this segment.
    log.append(batch(191..=200)).await.unwrap();
    log.sync(Seq(200)).await.unwrap();
    // And none for this; it waits and is not lost.
    log.append(batch(201..=400)).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), log.sync(Seq(400))).await.is_err());
    assert!(log.state().borrow().durable < Seq(400));

    disk.state().capacity = 1 << 30;
    log.sync(Seq(400)).await.unwrap();
    state.wait_for(|state| state.health == Health::Fine).await.unwrap();
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=400).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_log_opens_on_a_full_disk_and_can_be_read() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    log.append(batch(1..=100)).await.unwrap();
    log.close().await;
    disk.state().capacity = 0;
    let (log, recovery) = open_on(disk.shared(), Options { reserve_bytes: 1 << 20, ..options() });
    assert_eq!(recovery.last, Seq(100));
    assert_eq!(log.state().borrow().health, Health::Full);
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 100);
    log.append(batch(101..=101)).await.unwrap();
    disk.state().capacity = 1 << 30;
    log.sync(Seq(101)).await.unwrap();
    assert_eq!(log.state().borrow().health, Health::Fine);
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_memory_has_a_bound() {
    let disk = MemDisk::new();
    disk.state().capacity = 20 << 10;
    let (log, _) = open_on(disk.shared(), options());
    let mut next = 1;
    let append = async {
        loop {
            log.append(batch(next..=next + 999)).await.unwrap();
            next += 1000;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), append).await.is_err(), "it waits");
    assert!(log.pending_bytes() <= 4 << 20 && log.pending_bytes() > 3 << 20);
    disk.state().capacity = 1 << 30;
    log.sync(Seq(next - 1)).await.unwrap();
    assert_eq!(log.pending_bytes(), 0);
    assert_eq!(read_all(&mut log.reader(Seq(1))).len() as u64, next - 1);
}

#[tokio::test]
async fn a_batch_beyond_the_bound_is_taken_when_nothing_else_is_pending() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let mut batch = Batch::default();
    batch.push(Seq(1), 1, true, |out| out.resize(out.len() + (9 << 20), 7));
    log.append(batch).await.unwrap();
    log.sync(Seq(1)).await.unwrap();
    assert_eq!(log.pending_bytes(), 0);
    assert_eq!(read_all(&mut log.reader(Seq(1)))[0].body.len(), 9 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_full_log_still_answers_its_watchdog_and_a_dead_one_does_not() {
    let disk = MemDisk::new();
    disk.state().capacity = 0;
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    let running = tokio::spawn(log.run());
    handle.append(batch(1..=100)).await.unwrap();
    assert_eq!(handle.flush(Seq(u64::MAX)).await.unwrap(), Seq(0), "it has no room, and a reader does not wait for it");
    assert!(tokio::time::timeout(Duration::from_secs(3), handle.sync(Seq(u64::MAX))).await.is_err(), "it has no room");
    handle.ping().await.unwrap();
    running.abort();
    assert!(matches!(handle.ping().await, Err(WalError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn the_router_is_woken_once_a_commit() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let (mut state, mut woken) = (log.state(), 0);
    for first in (1..=1000).step_by(100) {
        log.append(batch(first..=first + 99)).await.unwrap();
        let mut durable = Seq(0);
        while durable < Seq(first + 99) {
            state.changed().await.unwrap();
            let now = *state.borrow_and_update();
            assert_eq!(now.written, now.durable);
            (durable, woken) = (now.durable, woken + 1);
        }
    }
    assert_eq!(woken, log.stats().commits);
}

#[tokio::test]
async fn records_out_of_order_are_refused_and_do_no_harm() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    log.append(batch(1..=2)).await.unwrap();
    let refused = log.append(batch(4..=4)).await;
    assert!(matches!(refused, Err(WalError::OutOfOrder { expected: Seq(3), got: Seq(4) })));
    log.append(batch(3..=3)).await.unwrap();
    log.sync(Seq(3)).await.unwrap();
}

#[tokio::test]
async fn closing_makes_everything_durable_and_ends_the_log() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    let running = tokio::spawn(log.run());
    handle.append(batch(1..=3)).await.unwrap();
    handle.close().await;
    assert_eq!(handle.state().borrow().durable, Seq(3));
    assert!(matches!(handle.append(batch(4..=4)).await, Err(WalError::Closed)));
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_log_ends_with_its_last_handle() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    handle.append(batch(1..=3)).await.unwrap();
    drop(handle);
    log.run().await.unwrap();
    disk.cut_power(0);
    assert_eq!(open_on(disk.shared(), options()).1.last, Seq(3));
}

#[tokio::test]
async fn an_aborted_log_lets_nobody_wait_for_ever() {
    let disk = MemDisk::new();
    let (log, handle, _) = open(disk.shared(), SystemClock::shared(), options()).unwrap();
    let running = tokio::spawn(log.run());
    tokio::task::yield_now().await;
    running.abort();
    assert!(running.await.is_err());
    assert!(matches!(handle.append(batch(1..=1)).await, Err(WalError::Closed)));
    assert!(matches!(handle.sync(Seq(1)).await, Err(WalError::Closed)));
    handle.close().await;
}
