//! Tests of the whole log, on a disk in memory that forgets what was not synced.

mod damage;
mod disk;
mod model;
mod retention;
mod stories;

use super::*;
use crate::clock::SystemClock;
use crate::disk::SharedDisk;

/// Small segments, short waits, no reserve.
fn options() -> Options {
    Options { segment_bytes: 16 << 10, reserve_bytes: 0, ack_delay_max: Duration::from_millis(5), ..Options::new("/data/wal") }
}

/// The body of record `seq` in its `life`th life: numbers of records that a power cut took are used again.
fn body(seq: u64, life: u64) -> Vec<u8> {
    (0..seq % 97 + 8).map(|i| (seq.wrapping_mul(31).wrapping_add(i).wrapping_add(life << 3)) as u8).collect()
}

fn batch(seqs: std::ops::RangeInclusive<u64>) -> Batch {
    let mut batch = Batch::default();
    for seq in seqs {
        batch.push(Seq(seq), 1, true, |out| out.extend_from_slice(&body(seq, 0)));
    }
    batch
}

/// Opens the log and lets it run beside the test.
fn open_on(disk: SharedDisk, options: Options) -> (LogHandle, Recovery) {
    let (log, handle, recovery) = open(disk, SystemClock::shared(), options).unwrap();
    tokio::spawn(log.run());
    (handle, recovery)
}

fn read_all(reader: &mut Reader) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let records = reader.read(4096).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records);
    }
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq.0).collect()
}
