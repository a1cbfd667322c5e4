//! Stories about the whole log.

use super::*;
use crate::clock::SystemClock;
use crate::disk::{SharedDisk, SystemDisk};
use std::path::Path;

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 16 << 10,
        reserve_bytes: 0,
        ack_delay_max: Duration::from_millis(5),
        ..Options::new(dir.join("wal"))
    }
}

fn body(seq: u64) -> Vec<u8> {
    (0..seq % 97 + 8).map(|i| (seq.wrapping_mul(31).wrapping_add(i)) as u8).collect()
}

fn batch(seqs: std::ops::RangeInclusive<u64>) -> Batch {
    let mut batch = Batch::default();
    for seq in seqs {
        batch.push(Seq(seq), 1, true, |out| out.extend_from_slice(&body(seq)));
    }
    batch
}

fn read_all(reader: &mut Reader) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        let records = reader.read(4096).unwrap();
        if records.is_empty() {
            return seqs;
        }
        for record in records {
            assert_eq!(record.body[..], body(record.seq.0));
            seqs.push(record.seq.0);
        }
    }
}

fn open_on(disk: SharedDisk, options: Options) -> (LogHandle, Recovery) {
    let (log, handle, recovery) = open(disk, SystemClock::shared(), options).unwrap();
    tokio::spawn(log.run());
    (handle, recovery)
}

#[tokio::test]
async fn what_was_synced_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (log, recovery) = open_on(SystemDisk::shared(), options(dir.path()));
    assert!(recovery.is_new);
    assert_eq!(recovery.last, Seq(0));
    for turn in 0..100 {
        log.append(batch(turn * 10 + 1..=turn * 10 + 10)).await.unwrap();
    }
    log.sync(Seq(1000)).await.unwrap();
    assert_eq!(log.state().borrow().durable, Seq(1000));
    assert_eq!(read_all(&mut log.reader(Seq(1))), (1..=1000).collect::<Vec<_>>());
    assert_eq!(read_all(&mut log.reader(Seq(777))), (777..=1000).collect::<Vec<_>>());
    assert!(log.stats().segments > 3);
    log.close().await;

    let (log, recovery) = open_on(SystemDisk::shared(), options(dir.path()));
    assert_eq!(recovery.last, Seq(1000));
    assert_eq!(recovery.records, 1000);
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.damaged, []);
    log.append(batch(1001..=1001)).await.unwrap();
    log.flush(Seq(1001)).await.unwrap();
    assert_eq!(read_all(&mut log.reader(Seq(1))), (1..=1001).collect::<Vec<_>>());
}
