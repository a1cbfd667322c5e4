//! Short stories about what the log finds when it opens, and what it makes of it.

use super::disk::MemDisk;
use super::*;
use std::path::{Path, PathBuf};

/// A disk with a closed log of so many records, and the files of their segments.
async fn filled(records: u64) -> (MemDisk, Vec<PathBuf>) {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    // In commits of ten, so that there are marks.
    for first in (1..=records).step_by(10) {
        log.append(batch(first..=records.min(first + 9))).await.unwrap();
        log.sync(Seq(records.min(first + 9))).await.unwrap();
    }
    log.close().await;
    let mut paths = disk.paths();
    // The last one may have been made ahead.
    paths.retain(|path| disk.content(path).iter().skip(64).any(|byte| *byte != 0));
    (disk, paths)
}

/// Where in `path` the record `seq` begins.
fn place(disk: &MemDisk, path: &Path, seq: u64) -> usize {
    let content = disk.content(path);
    let mut at = 64;
    loop {
        let head = format::Head::parse(&content[at..]).unwrap();
        if head.seq == Seq(seq) && head.kind == 1 {
            return at;
        }
        at += head.record_bytes();
    }
}

fn flip(disk: &MemDisk, path: &Path, at: usize) {
    disk.tamper(path, |content| content[at] ^= 0x10);
}

fn name(path: &Path) -> PathBuf {
    path.file_name().unwrap().into()
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_told_exactly() {
    let (disk, paths) = filled(20).await;
    let at = place(&disk, &paths[0], 20);
    // The last record lacks its end.
    disk.tamper(&paths[0], |content| content[at + 30..].fill(0));
    let (log, recovery) = open_on(disk.shared(), options());
    let torn = recovery.torn.unwrap();
    assert_eq!((torn.file.clone(), torn.at, torn.kept), (name(&paths[0]), at as u64, 19));
    assert!(torn.bytes > 17 && torn.bytes <= 30);
    assert_eq!(recovery.last, Seq(19));
    assert_eq!(disk.content(&paths[0]).len(), at);
    assert!(torn.to_string().contains("19 records kept"));
    // The number is used again.
    log.append(batch(20..=21)).await.unwrap();
    log.close().await;
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!((recovery.torn, recovery.damaged), (None, vec![]));
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flipped_bit_in_the_newest_segment_costs_one_record_and_is_told() {
    let (disk, paths) = filled(40).await;
    let at = place(&disk, &paths[0], 17);
    flip(&disk, &paths[0], at + 20);
    let (log, recovery) = open_on(disk.shared(), options());
    let damage = Damage::Records { file: name(&paths[0]), first: Seq(17), last: Seq(17), acknowledged: true };
    assert_eq!(recovery.damaged, [damage]);
    assert_eq!((recovery.last, recovery.records), (Seq(40), 39));
    let mut reader = log.reader(Seq(1));
    assert_eq!(read_all(&mut reader).len(), 39);
    assert_eq!(reader.skipped(), Skipped { damaged: 1, ..Skipped::default() });
}

#[tokio::test]
async fn every_flipped_bit_of_a_record_costs_that_record_only() {
    let (disk, paths) = filled(40).await;
    let (from, to) = (place(&disk, &paths[0], 17), place(&disk, &paths[0], 18));
    for at in from..to {
        flip(&disk, &paths[0], at);
        let recovered = recovery::recover(disk.shared().as_ref(), Path::new("/data/wal")).unwrap();
        assert_eq!((recovered.report.last, recovered.report.records), (Seq(40), 39), "byte {}", at - from);
        flip(&disk, &paths[0], at);
    }
}

#[tokio::test]
async fn damage_in_an_older_segment_is_skipped_and_counted_by_readers() {
    let (disk, paths) = filled(1000).await;
    let at = place(&disk, &paths[0], 5);
    flip(&disk, &paths[0], at + 18);
    let (log, recovery) = open_on(disk.shared(), options());
    // Starting does not wait for reading everything.
    assert_eq!(recovery.damaged, []);
    let mut reader = log.reader(Seq(3));
    assert_eq!(numbers(&read_all(&mut reader))[..3], [3, 4, 6]);
    assert_eq!(reader.skipped().damaged, 1);
    assert_eq!(reader.position(), Seq(1001));
}

#[tokio::test]
async fn a_missing_segment_is_skipped_and_counted() {
    let (disk, paths) = filled(1000).await;
    disk.delete(&paths[1]);
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(1000));
    let mut reader = log.reader(Seq(1));
    let found = read_all(&mut reader).len() as u64;
    assert!(reader.skipped().damaged > 50);
    assert_eq!(found + reader.skipped().damaged, 1000);
}

#[tokio::test]
async fn a_damaged_header_costs_no_record() {
    let (disk, paths) = filled(1000).await;
    flip(&disk, &paths[1], 20);
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.damaged, [Damage::Header { file: name(&paths[1]) }]);
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 1000);
}

#[tokio::test]
async fn a_destroyed_beginning_of_the_tail_costs_only_what_was_in_it() {
    let (disk, paths) = filled(1000).await;
    let tail = paths.last().unwrap();
    disk.tamper(tail, |content| content[..600].fill(0xa5));
    let (log, recovery) = open_on(disk.shared(), options());
    assert!(
        matches!(&recovery.damaged[..], [Damage::Header { .. }, Damage::Records { acknowledged: true, .. }]),
        "{recovery:?}"
    );
    assert_eq!(recovery.last, Seq(1000));
    let mut reader = log.reader(Seq(1));
    assert_eq!(read_all(&mut reader).len() as u64, recovery.records);
    assert_eq!(reader.skipped().damaged + recovery.records, 1000);
}

#[tokio::test]
async fn what_is_not_ours_stays_and_is_told() {
    let (disk, paths) = filled(30).await;
    let dir = Path::new("/data/wal");
    disk.plant(&dir.join("notes.txt"), b"hello");
    disk.plant(
        &dir.join("00000000000000000002.seg"),
        b"not a segment at all, but with the name of one, and longer than a header",
    );
    let other = format::Header { log_id: 1, first: Seq(50), created: crate::clock::Wall(0) }.encode();
    disk.plant(&dir.join("00000000000000000050.seg"), &other);
    let (log, recovery) = open_on(disk.shared(), options());
    let told: Vec<String> = recovery.damaged.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|line| line.contains("`notes.txt` is not a log segment")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("`00000000000000000050.seg` belongs to another log")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("`00000000000000000002.seg`: no record could be read")), "{told:?}");
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=30).collect::<Vec<_>>());
    // New segments keep clear of their names.
    assert_eq!(recovery.last, Seq(50));
    log.append(batch(51..=1000)).await.unwrap();
    log.sync(Seq(1000)).await.unwrap();
    log.close().await;
    assert_eq!(disk.content(&dir.join("00000000000000000050.seg")), other);
    assert_eq!(disk.content(&dir.join("notes.txt")), b"hello");
    assert_eq!(disk.content(&dir.join("00000000000000000002.seg"))[..5], *b"not a");
    assert!(disk.paths().contains(&paths[0]));
}

#[tokio::test]
async fn a_segment_of_a_newer_gateway_is_left_alone() {
    let (disk, _) = filled(30).await;
    let path = Path::new("/data/wal/00000000000000000031.seg");
    let mut newer = format::Header { log_id: 1, first: Seq(31), created: crate::clock::Wall(0) }.encode();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..60]);
    newer[60..].copy_from_slice(&crc.to_le_bytes());
    disk.delete(path);
    disk.plant(path, &newer);
    let (_, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.damaged, [Damage::Newer { file: name(path), version: 2 }]);
    assert_eq!(recovery.last, Seq(31));
    assert_eq!(disk.content(path), newer);
}

#[tokio::test]
async fn an_empty_file_left_by_a_power_cut_is_removed_without_fuss() {
    let (disk, _) = filled(30).await;
    let path = Path::new("/data/wal/00000000000000000099.seg");
    disk.plant(path, b"");
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!((recovery.damaged, recovery.torn), (vec![], None));
    assert!(!disk.paths().contains(&path.to_owned()));
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 30);
}

#[tokio::test]
async fn a_copy_of_a_segment_brings_nothing_twice() {
    let (disk, paths) = filled(1000).await;
    let copy = disk.content(&paths[0]);
    for number in [700, 5000] {
        disk.plant(Path::new(&format!("/data/wal/{number:020}.seg")), &copy);
    }
    let (log, recovery) = open_on(disk.shared(), options());
    assert!(recovery.last >= Seq(1000));
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), (1..=1000).collect::<Vec<_>>());
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(720)))), (720..=1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_costs_what_is_in_it_and_no_number_is_used_twice() {
    let (disk, paths) = filled(100).await;
    let path = paths.last().unwrap().clone();
    let size = disk.content(&path).len() as u64;
    disk.state().unreadable = Some((path.clone(), 4096..8192));
    let (log, recovery) = open_on(disk.shared(), options());
    assert!(recovery.damaged.contains(&Damage::Unreadable { file: name(&path), bytes: 4096 }), "{recovery:?}");
    assert!(recovery.last >= Seq(100));
    assert_eq!(disk.content(&path).len() as u64, size, "nothing is cut off that may be readable later");
    log.close().await;
    // And later it is.
    disk.state().unreadable = None;
    let (log, _) = open_on(disk.shared(), options());
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 100);
}

#[tokio::test]
async fn numbers_never_go_back_even_if_all_records_are_lost() {
    let (disk, paths) = filled(1000).await;
    let tail = paths.last().unwrap().clone();
    let number: u64 = segment::parse_name(&name(&tail)).unwrap().0;
    disk.tamper(&tail, |content| content.truncate(64));
    for path in paths.iter().filter(|path| **path != tail) {
        disk.delete(path);
    }
    let (_, recovery) = open_on(disk.shared(), options());
    assert!(recovery.last.0 + 1 >= number);
}

#[tokio::test]
async fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    let mut forged = Vec::new();
    format::encode_record(&mut forged, Seq(1 << 40), 1, |out| out.extend_from_slice(b"forged"));
    let mut batch = Batch::default();
    batch.push(Seq(1), 1, true, |out| out.extend_from_slice(&forged));
    batch.push(Seq(2), 1, true, |out| out.extend_from_slice(b"honest"));
    log.append(batch).await.unwrap();
    log.close().await;
    let path = disk.paths()[0].clone();
    flip(&disk, &path, 64 + 12);
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.last, Seq(2));
    assert_eq!(numbers(&read_all(&mut log.reader(Seq(1)))), [2]);
}

#[tokio::test]
async fn what_a_power_cut_left_out_is_remembered_as_such() {
    let disk = MemDisk::new();
    let (log, _) = open_on(disk.shared(), options());
    log.append(batch(1..=10)).await.unwrap();
    log.sync(Seq(10)).await.unwrap();
    log.append(batch(11..=30)).await.unwrap();
    log.flush(Seq(30)).await.unwrap();
    let path = disk.paths()[0].clone();
    // Written and not synced: the page of record 15 did not make it, later ones did.
    let (from, to) = (place(&disk, &path, 15), place(&disk, &path, 17));
    disk.tamper(&path, |content| content[from..to].fill(0));
    let (log, recovery) = open_on(disk.shared(), options());
    let caught = Damage::Records { file: name(&path), first: Seq(15), last: Seq(16), acknowledged: false };
    assert_eq!(recovery.damaged, [caught]);
    log.append(batch(31..=40)).await.unwrap();
    log.sync(Seq(40)).await.unwrap();
    log.close().await;

    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.damaged, []);
    let mut reader = log.reader(Seq(1));
    assert_eq!(read_all(&mut reader).len(), 38);
    assert_eq!(reader.skipped(), Skipped { unsaved: 2, ..Skipped::default() });
}

#[tokio::test]
async fn a_flipped_bit_in_the_header_of_the_only_segment_does_not_make_it_another_log() {
    let (disk, paths) = filled(20).await;
    assert_eq!(paths.len(), 1);
    let (log, before) = open_on(disk.shared(), options());
    let stated = log.identity().stated(Seq(20));
    log.close().await;
    // What the start above made ahead says who the log is, too.
    let others: Vec<PathBuf> = disk.paths().into_iter().filter(|path| *path != paths[0]).collect();
    others.iter().for_each(|path| disk.delete(path));
    for bit in 0..64 * 8 {
        let flip = |disk: &MemDisk| disk.tamper(&paths[0], |content| content[bit / 8] ^= 1 << (bit % 8));
        flip(&disk);
        let recovered = recovery::recover(disk.shared().as_ref(), Path::new("/data/wal")).unwrap();
        assert_eq!((recovered.report.log_id, recovered.report.records), (before.log_id, 20), "bit {bit}");
        flip(&disk);
    }
    // Without the file nobody can say who it was: then it goes on with whatever was stated of it.
    disk.delete(&identity::path(Path::new("/data/wal")));
    flip(&disk, &paths[0], 20);
    for _ in 0..2 {
        let (log, recovery) = open_on(disk.shared(), options());
        assert_ne!(recovery.log_id, before.log_id);
        assert_eq!(log.identity().place_of(stated), Some(Seq(20)));
        log.close().await;
    }
}

#[tokio::test]
async fn a_damaged_file_of_the_logs_identity_is_told_and_written_anew() {
    let (disk, _) = filled(20).await;
    let file = identity::path(Path::new("/data/wal"));
    let (before, whole) = (open_on(disk.shared(), options()).1, disk.content(&file));
    for content in [vec![], vec![0; 4096], whole[..whole.len() / 2].to_vec(), [whole.clone(), whole.clone()].concat()] {
        disk.tamper(&file, |bytes| *bytes = content);
        let (log, recovery) = open_on(disk.shared(), options());
        assert!(matches!(&recovery.damaged[..], [Damage::Identity { .. }]), "{recovery:?}");
        assert_eq!((recovery.log_id, recovery.records), (before.log_id, 20));
        log.close().await;
        assert_eq!(open_on(disk.shared(), options()).1.damaged, []);
    }
    // Of another gateway, in one of its two places.
    let (other, _) = filled(5).await;
    disk.tamper(&file, |bytes| *bytes = other.content(&file));
    let (_, recovery) = open_on(disk.shared(), options());
    assert_eq!((recovery.log_id, recovery.records), (before.log_id, 20), "the segments are more");
}

#[tokio::test]
async fn numbers_that_the_log_lost_are_known_at_every_later_start() {
    let (disk, paths) = filled(20).await;
    let (log, _) = open_on(disk.shared(), options());
    let (at_20, at_10) = (log.identity().stated(Seq(20)), log.identity().stated(Seq(10)));
    log.close().await;
    let at = place(&disk, &paths[0], 14);
    disk.tamper(&paths[0], |content| content.truncate(at));
    disk.paths().into_iter().filter(|path| *path != paths[0]).for_each(|path| disk.delete(&path));
    for (start, first) in [14, 21, 41].into_iter().enumerate() {
        let (log, recovery) = open_on(disk.shared(), options());
        assert_eq!(recovery.last, Seq(first - 1));
        assert_eq!(log.identity().place_of(at_20), Some(Seq(13)), "start {start} behind the loss");
        assert_eq!(log.identity().place_of(at_10), Some(Seq(10)));
        log.append(batch(first..=[20, 40, 60][start])).await.unwrap();
        log.sync(Seq(u64::MAX)).await.unwrap();
        // Killed: what is stated now is of this start.
        let now = log.identity().stated(Seq(first));
        assert_eq!(log.identity().place_of(now), Some(Seq(first)));
        log.close().await;
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_left_as_it_is_and_the_log_goes_on_without_it() {
    let (disk, paths) = filled(1000).await;
    let newest = paths.len() - 1;
    for refused in [0, 1, newest] {
        disk.state().refused = Some(paths[refused].clone());
        let (log, recovery) = open_on(disk.shared(), options());
        assert!(matches!(&recovery.damaged[..], [Damage::Refused { .. }]), "{recovery:?}");
        let found = read_all(&mut log.reader(Seq(1)));
        assert!(found.len() > 500 && found.len() < 1000, "{}", found.len());
        assert!(recovery.last >= Seq(1000), "its numbers are not given to others: {}", recovery.last);
        log.close().await;
    }
    disk.state().refused = None;
    let (log, recovery) = open_on(disk.shared(), options());
    assert_eq!(recovery.damaged, []);
    assert_eq!(read_all(&mut log.reader(Seq(1))).len(), 1000, "all is back when the cause is gone");
}
