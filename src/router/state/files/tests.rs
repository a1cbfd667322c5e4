//! What is found again when files are not as they were left.

use super::*;
use crate::disk::SystemDisk;
use crate::disk::faulty::{FaultyDisk, On};
use crate::router::{Options, Router};
use crate::wal::LogState;

const LOG: u64 = 0xabcd;

fn snapshot(upto: u64) -> Snapshot {
    let mut snapshot = Router::new(Options::default(), LogState::default()).snapshot();
    snapshot.upto = Seq(upto);
    snapshot
}

/// A folder with two snapshots.
fn two() -> (tempfile::TempDir, StateFolder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(SystemDisk::shared(), dir.path().join("state"));
    for upto in [10, 20] {
        folder.save(&LOG.into(), &snapshot(upto)).unwrap();
    }
    (dir, folder)
}

fn newest(folder: &StateFolder) -> Option<u64> {
    folder.load().saved.map(|saved| saved.stated.seq.0)
}

#[test]
fn every_flipped_bit_of_the_newest_snapshot_makes_the_older_one_speak() {
    let (_dir, folder) = two();
    let path = folder.path(Seq(20));
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(newest(&folder), Some(20));
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bad).unwrap();
        let found = folder.load();
        assert_eq!(found.saved.map(|saved| saved.stated.seq), Some(Seq(10)), "bit {bit}");
        assert_eq!(found.unusable, 1, "bit {bit}");
        assert!(!path.exists() && set_aside(&path).exists(), "set aside, not removed");
    }
}

#[test]
fn what_is_not_whole_is_set_aside_and_only_the_newest_two_of_it_stay() {
    let (_dir, folder) = two();
    let path = folder.path(Seq(20));
    let whole = std::fs::read(&path).unwrap();
    for content in [vec![], vec![0; 4096], whole[..whole.len() - 1].to_vec(), b"garbage".to_vec()] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(newest(&folder), Some(10));
    }
    // One that was copied to another name.
    for upto in [30, 40, 50] {
        std::fs::write(folder.path(Seq(upto)), &whole).unwrap();
        assert_eq!(newest(&folder), Some(10));
    }
    let damaged = folder.listed(".state.damaged").unwrap();
    assert_eq!(damaged.iter().map(|(upto, _)| upto.0).collect::<Vec<_>>(), [40, 50]);
}

#[test]
fn a_newer_release_is_believed_only_of_a_header_that_is_whole_and_its_file_stays() {
    let (_dir, folder) = two();
    let path = folder.path(Seq(20));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 7;
    let sum = check(&bytes);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(newest(&folder), Some(10));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    for upto in [30, 40, 50] {
        folder.save(&LOG.into(), &snapshot(upto)).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nor is it removed as an old one");
    assert!(!folder.path(Seq(30)).exists());
}

#[test]
fn a_snapshot_of_the_release_before_is_read() {
    let (_dir, folder) = two();
    let path = folder.path(Seq(20));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12..16].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let saved = folder.load().saved.unwrap();
    assert_eq!(saved.stated, Stated { log_id: LOG, start: None, seq: Seq(20) });
}

#[test]
fn what_the_operating_system_refuses_stays_where_it_is_and_the_older_one_speaks() {
    let (dir, whole) = two();
    for on in [On::Open, On::Read] {
        let disk = FaultyDisk::refusing(on, "20.state", std::io::ErrorKind::PermissionDenied);
        let folder = StateFolder::open(disk.shared(), dir.path().join("state"));
        let found = folder.load();
        assert_eq!(found.saved.map(|saved| saved.stated.seq), Some(Seq(10)), "{on:?}");
        assert_eq!((found.unusable, disk.met()), (1, 1));
        // It may be good, and so it is not removed however many come after it.
        for upto in [30, 40, 50] {
            folder.save(&LOG.into(), &snapshot(upto)).unwrap();
        }
        assert!(folder.path(Seq(20)).exists());
        [30, 40, 50].into_iter().for_each(|upto| drop(std::fs::remove_file(folder.path(Seq(upto)))));
        whole.save(&LOG.into(), &snapshot(10)).unwrap();
    }
    assert_eq!(newest(&whole), Some(20), "all is well when the cause is gone");
}

#[test]
fn a_folder_that_cannot_be_used_is_no_reason_not_to_start_and_is_used_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    for on in [On::Write, On::List, On::Sync] {
        let disk = FaultyDisk::refusing(on, "", std::io::ErrorKind::PermissionDenied);
        let folder = StateFolder::open(disk.shared(), dir.path().join(format!("{on:?}")));
        assert!(folder.load().saved.is_none());
        assert!(folder.save(&LOG.into(), &snapshot(5)).is_err(), "{on:?}");
        disk.heal();
        folder.save(&LOG.into(), &snapshot(6)).unwrap();
        assert_eq!(newest(&folder), Some(6));
    }
}

#[test]
fn a_state_that_replaces_those_of_another_log_stays_whatever_their_numbers_are() {
    let (_dir, folder) = two();
    folder.replace(&LOG.into(), &snapshot(5)).unwrap();
    assert_eq!(folder.files().unwrap(), [(Seq(5), folder.path(Seq(5)))]);
    assert_eq!(newest(&folder), Some(5));
}

#[test]
fn the_log_is_needed_from_the_snapshot_before_the_newest_on() {
    let (_dir, folder) = two();
    assert_eq!(folder.load().covered, Seq(10), "the one before may have to stand in for it");
    assert_eq!(folder.save(&LOG.into(), &snapshot(30)).unwrap(), Seq(20));
}
