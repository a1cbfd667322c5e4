//! What is found when the log is opened, and what is done about it.
//!
//! The newest segment that has records (the *tail*) is verified to its end; of the older ones, which were synced before it was
//! begun, only header and first record. If even the tail's first record is missing, the segment before it is verified too, and
//! so on. Everything whole is kept; what follows the last whole record of the tail is cut off.
//!
//! After a mere crash of the process, what is found may be in the page cache only. So the folder is synced, and the tail; and the
//! records of which no mark says that they were durable are written once more before, because after a failed sync the kernel
//! takes pages for clean that never reached the disk, and the next sync would do nothing about them.

use super::WalError;
use super::cursor::read_stubbornly;
use super::damage::{Damage, Recovery, TornTail};
use super::error::is_no_space;
use super::format::{BadHeader, HEAD_BYTES, HEADER_BYTES, Header, encode_void};
use super::identity::{self, Identity};
use super::scan::{Candidate, Hole, Scan, before, look_at, verify};
use super::segment::{Segment, parse_name};
use crate::clock::Wall;
use crate::disk::{Disk, DiskFile};
use crate::message::Seq;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A segment that cannot be opened is tried so often before the log goes on without it.
const OPEN_TRIES: u32 = 4;
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// So many numbers a segment may have that cannot be looked at: more than fit into one.
const NUMBERS_REFUSED: u64 = 1 << 20;

/// What recovery hands to the writer.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) report: Recovery,
    pub(super) identity: Identity,
    /// Those with records, oldest first.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// A segment made ahead that was never used.
    pub(super) unused: Option<(PathBuf, Arc<dyn DiskFile>, u64)>,
}

/// Looks at everything in `dir`, repairs the tail.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, WalError> {
    let mut report = Recovery::default();
    let (mut candidates, refused) = candidates(disk, dir, &mut report)?;
    report.is_new = candidates.is_empty() && refused.is_none();
    let identity = identify(disk, dir, &candidates, &mut report);
    let mut known = identity.clone().unwrap_or_else(|| Identity::new(uuid::Uuid::new_v4().as_u64_pair().0));
    report.log_id = known.log_id();
    candidates.retain(|candidate| match candidate.header {
        Some(header) if header.log_id != report.log_id => {
            report.damaged.push(Damage::OtherLog { file: name_of(&candidate.path), log_id: header.log_id });
            report.last = report.last.max(candidate.floor);
            false
        }
        _ => true,
    });
    // Numbers never go back below what a segment was made for, even if all records before it are lost.
    let floor = candidates.iter().filter(|c| c.header.is_some()).map(|c| c.floor).max().unwrap_or(Seq(1));
    report.last = report.last.max(before(floor));
    // The newest of all may have numbers of which nobody else knows.
    if let Some(newest) = refused.filter(|refused| *refused >= floor) {
        report.last = report.last.max(Seq(newest.0 + NUMBERS_REFUSED));
    }

    let (tail, unused) = find_tail(disk, dir, &mut candidates, &mut report)?;
    let mut segments = VecDeque::new();
    let mut missing = 0;
    if let Some((candidate, scan)) = tail {
        missing += repair_tail(&candidate, &scan, &mut report)?;
        segments.push_front(listed(&candidate, scan.first, scan.end));
        let mut following = scan;
        let mut following_file = candidate;
        while let Some(candidate) = candidates.pop() {
            let scan = look_at(&candidate, following.begins_with_hole);
            if following.begins_with_hole && scan.first.is_some() {
                missing += note_gap(&scan, &following, &following_file, &mut report);
            }
            missing += note_damage(&candidate, &scan, following.durable.max(scan.durable), &mut report);
            segments.push_front(listed(&candidate, scan.first, candidate.bytes));
            if scan.first.is_some() {
                following = scan;
                following_file = candidate;
            }
        }
    }
    if identity.is_none() && !segments.is_empty() {
        known.inherit();
    }
    report.segments = segments.len();
    report.oldest = segments.iter().find_map(|segment| segment.first()).unwrap_or_default();
    if report.oldest > Seq(0) {
        report.records = (report.last.0 + 1 - report.oldest.0).saturating_sub(missing);
    }
    Ok(Recovered { report, identity: known, segments, unused })
}

fn name_of(path: &Path) -> PathBuf {
    path.file_name().map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Who the log is, as far as its segments and its file say.
fn identify(disk: &dyn Disk, dir: &Path, candidates: &[Candidate], report: &mut Recovery) -> Option<Identity> {
    let file = identity::read(disk, dir).unwrap_or_else(|why| {
        report.damaged.push(Damage::Identity { file: identity::FILE.into(), why });
        None
    });
    if report.is_new {
        // Without a single segment the numbers begin anew, and so does the log.
        return None;
    }
    let headers = candidates.iter().filter_map(|candidate| candidate.header).map(|header| header.log_id);
    let elected = identity::elect(headers, file.as_ref().map(Identity::log_id))?;
    Some(file.filter(|file| file.log_id() == elected).unwrap_or_else(|| Identity::new(elected)))
}

/// Files with a segment's name and a header that does not forbid using them, oldest first; and the newest number in the name of
/// one that the operating system refuses.
fn candidates(disk: &dyn Disk, dir: &Path, report: &mut Recovery) -> Result<(Vec<Candidate>, Option<Seq>), WalError> {
    let (mut found, mut newest_refused) = (Vec::new(), None);
    for name in disk.list(dir).map_err(|e| WalError::io(dir, e))? {
        let path = dir.join(&name);
        let Some(number) = parse_name(&name) else {
            if !is_ours(&name) {
                report.damaged.push(Damage::NotOurs { file: name });
            }
            continue;
        };
        let (file, bytes) = match stubbornly(|| disk.open(&path).and_then(|file| Ok((file.len()?, file)))) {
            Ok((bytes, file)) => (file, bytes),
            Err(error) => {
                report.damaged.push(Damage::Refused { file: name, error: error.to_string() });
                newest_refused = newest_refused.max(Some(number));
                continue;
            }
        };
        let mut head = [0; HEADER_BYTES as usize];
        let read = read_stubbornly(file.as_ref(), &mut head, 0);
        let header = match Header::decode(&head[..read.unwrap_or(0)]) {
            Ok(header) => Some(header),
            Err(BadHeader::Newer(version)) => {
                report.damaged.push(Damage::Newer { file: name, version });
                // New segments are named after new numbers: none may meet the name of a file that stays.
                report.last = report.last.max(number);
                continue;
            }
            Err(BadHeader::Damaged) => None,
        };
        let floor = header.map_or(number, |header| header.first.max(number)).max(Seq(1));
        found.push(Candidate { path, file, bytes, header, floor });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, newest_refused))
}

/// The file that says who the log is, and what a power cut left of a new one.
fn is_ours(name: &Path) -> bool {
    name == Path::new(identity::FILE) || name == Path::new(identity::FILE).with_extension("new")
}

/// Tries a few times: what the operating system refuses now it may grant a moment later.
fn stubbornly<T>(act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..OPEN_TRIES {
        match act() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(OPEN_PAUSE),
            other => return other,
        }
    }
    act()
}

/// Takes segments from the end of `candidates` until one has a record. Those behind it were never used: the newest of them that
/// is fit to be used is kept, the others are removed.
#[expect(clippy::type_complexity, reason = "two halves of one walk")]
fn find_tail(
    disk: &dyn Disk,
    dir: &Path,
    candidates: &mut Vec<Candidate>,
    report: &mut Recovery,
) -> Result<(Option<(Candidate, Scan)>, Option<(PathBuf, Arc<dyn DiskFile>, u64)>), WalError> {
    let mut unused = None;
    let mut tail = None;
    while let Some(candidate) = candidates.pop() {
        let scan = verify(&candidate);
        if scan.first.is_some() {
            tail = Some((candidate, scan));
            break;
        }
        let Candidate { path, file, bytes, header, floor } = candidate;
        // Neither garbage under a segment's name nor a copy of an older segment is ours to remove.
        let is_foreign = (header.is_none() && scan.garbage > 0) || scan.ignored > 0;
        if scan.unreadable > 0 || is_foreign {
            // Whatever is there stays there, and numbers that it may have are not used again.
            report.last = report.last.max(Seq(floor.0 + scan.unreadable / HEAD_BYTES as u64));
            report.damaged.push(match scan.unreadable {
                0 => Damage::Empty { file: name_of(&path) },
                bytes => Damage::Unreadable { file: name_of(&path), bytes },
            });
            continue;
        }
        if scan.garbage > 0 {
            report.torn = Some(TornTail { file: name_of(&path), at: HEADER_BYTES, bytes: scan.garbage, kept: 0 });
        } else if header.is_some() && bytes > HEADER_BYTES && scan.end == HEADER_BYTES && unused.is_none() {
            unused = Some((path, file, bytes));
            continue;
        }
        if let Err(error) = disk.remove(&path) {
            // It has no records; new segments only keep clear of its name.
            report.damaged.push(Damage::Refused { file: name_of(&path), error: error.to_string() });
            report.last = report.last.max(floor);
        }
    }
    disk.sync_dir(dir).map_err(|e| WalError::io(dir, e))?;
    Ok((tail, unused))
}

/// Cuts what is behind the last whole record and makes what was found durable. Returns how many records are missing in it.
fn repair_tail(tail: &Candidate, scan: &Scan, report: &mut Recovery) -> Result<u64, WalError> {
    let file = name_of(&tail.path);
    if scan.garbage > 0 {
        report.torn = Some(TornTail { file, at: scan.end, bytes: scan.garbage, kept: scan.records });
    }
    // What the disk could not read now may be readable later: it stays as it is, and its numbers are not used again.
    let repair = |file: &dyn DiskFile| -> io::Result<()> {
        if scan.unreadable == 0 {
            if tail.bytes > scan.end {
                file.truncate(scan.end)?;
            }
            // Holes in what had been acknowledged are left as they are, for whoever can read more out of them.
            for hole in scan.holes.iter().filter(|hole| hole.first > scan.durable) {
                if let Some(void) = encode_void(hole.bytes, hole.next) {
                    overwrite(file, &void, hole.at)?;
                }
            }
        }
        if let Some(from) = scan.unsure {
            write_again(file, from, scan.end)?;
        }
        Ok(())
    };
    if let Err(error) = repair(tail.file.as_ref()) {
        // It is never appended to, and what is whole in it can be read: a disk that takes no writes here is no reason not to start.
        report.damaged.push(Damage::Refused { file: name_of(&tail.path), error: error.to_string() });
    }
    tail.file.sync().map_err(|e| WalError::io(&tail.path, e))?;
    report.last = report.last.max(Seq(scan.last.0 + scan.unreadable / HEAD_BYTES as u64));
    Ok(note_damage(tail, scan, scan.durable, report))
}

/// Makes the pages between two places dirty, so that the next sync does bring them to the disk.
fn write_again(file: &dyn DiskFile, from: u64, end: u64) -> io::Result<()> {
    const STEP: u64 = 256 << 10;
    let mut buffer = Vec::new();
    let mut at = from;
    while at < end {
        buffer.resize(usize::try_from(STEP.min(end - at)).expect("one step fits in memory"), 0);
        let read = read_stubbornly(file, &mut buffer, at)?;
        if read == 0 {
            break;
        }
        overwrite(file, &buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// Only file systems that never overwrite in place need room for this. Better to open than to be this careful.
fn overwrite(file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
    match file.write_all_at(bytes, at) {
        Err(error) if is_no_space(&error) => Ok(()),
        other => other,
    }
}

/// Puts holes into the report; returns how many records are missing in them.
fn note_damage(candidate: &Candidate, scan: &Scan, durable: Seq, report: &mut Recovery) -> u64 {
    let file = name_of(&candidate.path);
    if candidate.header.is_none() {
        report.damaged.push(Damage::Header { file: file.clone() });
    }
    if scan.unreadable > 0 {
        report.damaged.push(Damage::Unreadable { file: file.clone(), bytes: scan.unreadable });
    }
    if scan.first.is_none() {
        report.damaged.push(Damage::Empty { file: file.clone() });
    }
    let mut missing = scan.voided;
    for &Hole { first, next, .. } in &scan.holes {
        // The numbers before the first whole record of a file are looked at together with the file before.
        let last = before(next);
        if first > last || Some(next) == scan.first {
            continue;
        }
        missing += last.0 - first.0 + 1;
        report.damaged.push(Damage::Records { file: file.clone(), first, last, acknowledged: first <= durable });
    }
    missing
}

/// Notes what is missing between the end of one segment and the first whole record of the next.
fn note_gap(before: &Scan, after: &Scan, after_file: &Candidate, report: &mut Recovery) -> u64 {
    let (first, last) = (before.last.next(), Seq(after.first.unwrap_or_default().0.saturating_sub(1)));
    if first > last {
        return 0;
    }
    let acknowledged = first <= after.durable.max(before.durable);
    report.damaged.push(Damage::Records { file: name_of(&after_file.path), first, last, acknowledged });
    last.0 - first.0 + 1
}

fn listed(candidate: &Candidate, first: Option<Seq>, end: u64) -> Arc<Segment> {
    let created = candidate.header.map_or(Wall(0), |header| header.created);
    let segment = Segment::new(candidate.path.clone(), candidate.floor, created, end, end);
    if let Some(first) = first {
        segment.set_first(first);
    }
    Arc::new(segment)
}
