//! Short stories, one for each promise.

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

    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(1000));
    assert_eq!(recovery.records, 1000);
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.damaged, []);
    log.append(batch(1001..=1001)).await.unwrap();
    log.flush(Seq(1001)).await.unwrap();
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=1001).collect::<Vec<_>>());
}
