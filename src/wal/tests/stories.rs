//! Short stories, one for each promise.

use super::disk::MemDisk;
use super::*;

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

    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(1000));
    assert_eq!(recovery.records, 1000);
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.damaged, []);
    log.append(batch(1001..=1001)).await.unwrap();
    log.flush(Seq(1001)).await.unwrap();
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=1001).collect::<Vec<_>>());
}
