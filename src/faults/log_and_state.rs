//! Log, saved state, links, access, keys and clock: a gateway's data folder without the lake.
//!
//! A life writes a hundred acknowledged records, two snapshots, a link's progress, users, a key and what is assumed about the time.
//! Then something goes wrong with one file, and another life starts, works and stops on it; then the cause goes, and the last
//! life looks at everything.

use super::{Cell, page};
use crate::access;
use crate::bridge::progress::{Folder, Progress};
use crate::clock::{BoardClock, Linux, SystemClock, Wall};
use crate::disk::faulty::{FaultyDisk, On};
use crate::disk::{SharedDisk, SystemDisk};
use crate::message::Seq;
use crate::router::{Options as RouterOptions, Router, StateFolder};
use crate::wal::{self, Batch, Health, LogHandle, LogState, Recovery};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RECORDS: u64 = 100;

/// Where in a life the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Start,
    Run,
    Stop,
}

/// What goes wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Missing,
    Empty,
    Truncated,
    Zeros,
    Doubled,
    Bits,
    OfAnother,
    Older,
    Refused(On, io::ErrorKind),
}

const TAMPERED: [(&str, Fault); 8] = [
    ("missing", Fault::Missing),
    ("empty", Fault::Empty),
    ("cut in half", Fault::Truncated),
    ("a page of zeros", Fault::Zeros),
    ("doubled", Fault::Doubled),
    ("a flipped bit in each fourth byte of the header", Fault::Bits),
    ("that of another gateway", Fault::OfAnother),
    ("of an older state", Fault::Older),
];

const REFUSED: [(&str, Fault); 7] = [
    ("no permission to open", Fault::Refused(On::Open, io::ErrorKind::PermissionDenied)),
    ("EIO at open", Fault::Refused(On::Open, io::ErrorKind::Other)),
    ("EIO at read", Fault::Refused(On::Read, io::ErrorKind::Other)),
    ("EIO at write", Fault::Refused(On::Write, io::ErrorKind::Other)),
    ("EIO at sync", Fault::Refused(On::Sync, io::ErrorKind::Other)),
    ("ENOSPC at write", Fault::Refused(On::Write, io::ErrorKind::StorageFull)),
    ("no permission to remove", Fault::Refused(On::Remove, io::ErrorKind::PermissionDenied)),
];

/// The kinds of files, as parts of their paths.
const KINDS: [(&str, &str); 9] = [
    ("newest segment of the log", "wal/NEWEST"),
    ("older segment of the log", "wal/OLDEST"),
    ("`wal/log.id`", "wal/log.id"),
    ("newest snapshot of the state", "state/00000000000000000080.state"),
    ("older snapshot of the state", "state/00000000000000000040.state"),
    ("progress of a link", "links/remote-cloud.json"),
    ("`state/access.json`", "state/access.json"),
    ("a key", "keys/dev1"),
    ("`clock-jump.json`", "clock-jump.json"),
];

fn options(data: &Path) -> wal::Options {
    wal::Options {
        segment_bytes: 8 << 10,
        reserve_bytes: 0,
        ack_delay_max: Duration::from_millis(1),
        ..wal::Options::new(data.join("wal"))
    }
}

fn link(disk: &SharedDisk, data: &Path) -> Progress {
    Folder::open(disk, data).progress("remote-cloud")
}

/// What a life has of its folder.
struct Life {
    log: LogHandle,
    running: tokio::task::JoinHandle<Result<(), wal::WalError>>,
    recovery: Recovery,
    state: StateFolder,
    /// Whether a user is known, or nobody may come in without a word about it.
    users: Result<bool, access::AccessError>,
    link: Option<Seq>,
    /// In the body of each of its records.
    number: u8,
}

impl Life {
    fn start(disk: &SharedDisk, data: &Path, number: u8) -> Result<Self, wal::WalError> {
        let (log, handle, recovery) = wal::open(disk.clone(), SystemClock::shared(), options(data))?;
        let running = tokio::spawn(log.run());
        let board = BoardClock::new(SystemClock::shared(), Box::new(Linux), data);
        board.settle(disk.as_ref(), (recovery.last, Wall(0)));
        let link = link(disk, data).load(handle.identity());
        let state = StateFolder::open(disk.clone(), data.join("state"));
        drop(access::keys::load(data));
        let users = access::load(data).map(|policy| !policy.is_empty());
        Ok(Self { log: handle, running, recovery, state, users, link, number })
    }

    /// Appends `count` records; returns those that were acknowledged.
    async fn append(&self, count: u64) -> Vec<(u64, u8)> {
        let mut acknowledged = Vec::new();
        for _ in 0..count {
            let next = self.log.state().borrow().written.next();
            let mut batch = Batch::default();
            batch.push(next, 1, true, |out| out.extend_from_slice(&[self.number; 200]));
            if self.log.append(batch).await.is_err() {
                break;
            }
            let synced = tokio::time::timeout(Duration::from_secs(3), self.log.sync(next)).await;
            if !matches!(synced, Ok(Ok(()))) {
                break;
            }
            acknowledged.push((next.0, self.number));
        }
        acknowledged
    }

    async fn stop(self, data: &Path, disk: &SharedDisk) {
        drop(self.save(self.recovery.last.0 + 1000));
        let progress = link(disk, data);
        drop(progress.store(self.log.identity(), self.log.state().borrow().durable));
        self.log.close().await;
        drop(self.running.await);
    }

    fn save(&self, upto: u64) -> io::Result<Seq> {
        let mut snapshot = Router::new(RouterOptions::default(), LogState::default()).snapshot();
        snapshot.upto = Seq(upto);
        self.state.save(self.log.identity(), &snapshot)
    }

    /// How much the start says: of damage, and of numbers beyond the log that others have.
    fn told(&self) -> u64 {
        let stated = self.state.load().saved.map(|saved| saved.stated);
        let beyond = stated.is_some_and(|stated| self.log.identity().place_of(stated) != Some(stated.seq));
        self.recovery.damaged.len() as u64 + u64::from(self.recovery.torn.is_some()) + u64::from(beyond)
    }

    /// Numbers that can be read, and how many are said to be missing.
    fn read(&self) -> (BTreeSet<(u64, u8)>, u64) {
        let mut reader = self.log.reader(Seq(1));
        let mut numbers = BTreeSet::new();
        while let Ok(records) = reader.read(64 << 10) {
            if records.is_empty() {
                break;
            }
            numbers.extend(records.iter().map(|record| (record.seq.0, record.body[0])));
        }
        (numbers, reader.skipped().damaged + reader.skipped().removed)
    }
}

/// In memory, if there is such a place: what is lost with the power is not asked here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A folder after a first life.
async fn lived(data: &Path) -> BTreeSet<(u64, u8)> {
    let disk = SystemDisk::shared();
    let life = Life::start(&disk, data, 1).unwrap();
    let acknowledged = life.append(RECORDS).await;
    assert_eq!(acknowledged.len() as u64, RECORDS);
    for upto in [40, 80] {
        life.save(upto).unwrap();
    }
    link(&disk, data).store(life.log.identity(), Seq(60)).unwrap();
    let mut policy = access::load(data).unwrap();
    policy.apply(access::policy::Change::AddGroup { name: "sensors".into() }).unwrap();
    access::save(disk.as_ref(), data, &policy).unwrap();
    std::fs::create_dir_all(data.join("keys")).unwrap();
    std::fs::write(data.join("keys/dev1"), b"secret").unwrap();
    std::fs::write(data.join("clock-jump.json"), b"{}").unwrap();
    life.log.close().await;
    life.running.await.unwrap().unwrap();
    acknowledged.into_iter().collect()
}

/// The file of a kind.
fn file_of(data: &Path, part: &str) -> PathBuf {
    let mut segments: Vec<_> = std::fs::read_dir(data.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .filter(|path| std::fs::read(path).unwrap().iter().skip(64).any(|byte| *byte != 0))
        .collect();
    segments.sort();
    match part {
        "wal/NEWEST" => segments.pop().unwrap(),
        "wal/OLDEST" => segments.remove(0),
        part => data.join(part),
    }
}

/// The contents to put in the place of a file.
fn tampered(fault: Fault, whole: &[u8], other: &[u8], bit: usize) -> Option<Vec<u8>> {
    let mut bytes = whole.to_vec();
    match fault {
        Fault::Missing => return None,
        Fault::Empty => bytes.clear(),
        Fault::Truncated => bytes.truncate(whole.len() / 2),
        Fault::Zeros => bytes.iter_mut().take(4096).for_each(|byte| *byte = 0),
        Fault::Doubled => bytes.extend_from_slice(whole),
        Fault::Bits => bytes[bit / 8] ^= 1 << (bit % 8),
        Fault::OfAnother => bytes = other.to_vec(),
        Fault::Older => bytes.truncate(whole.len().saturating_sub(whole.len() / 3)),
        Fault::Refused(..) => {}
    }
    Some(bytes)
}

/// Lives on a folder in which something is wrong, and then on one in which nothing is any more.
async fn cell(
    data: &Path,
    acknowledged: &BTreeSet<(u64, u8)>,
    disk: &FaultyDisk,
    when: When,
    fault: Option<(Fault, &str)>,
) -> Cell {
    let shared = disk.shared();
    let strike = |now: When| {
        if let (true, Some((Fault::Refused(on, kind), part))) = (now == when, fault) {
            disk.refuse(on, part, kind);
        }
    };
    strike(When::Start);
    let mut acknowledged = acknowledged.clone();
    let mut waits = false;
    let mut told = 0;
    match Life::start(&shared, data, 2) {
        // The log or its folder cannot be synced or written: systemd tries again.
        Err(_) => waits = true,
        Ok(life) => {
            strike(When::Run);
            told += life.told();
            let more = life.append(10).await;
            waits |= more.len() < 10;
            acknowledged.extend(more);
            strike(When::Stop);
            life.stop(data, &shared).await;
        }
    }
    disk.heal();
    let life = Life::start(&shared, data, 3).expect("it always starts when the cause is gone");
    let (found, missing) = life.read();
    let lost = acknowledged.difference(&found).count();
    told += missing + life.told();
    assert!(lost == 0 || told > 0, "{lost} acknowledged records are gone without a word");
    let more = life.append(5).await;
    assert_eq!((more.len(), life.log.state().borrow().health), (5, Health::Fine), "it goes on");
    assert!(life.state.load().saved.is_some() || when == When::Start, "saved again");
    assert!(life.link.is_none_or(|place| place <= life.recovery.last), "no link goes on behind what there is");
    let damaged_users = life.users.is_err();
    life.log.close().await;
    if lost > 0 || damaged_users {
        Cell::Counted
    } else if waits {
        Cell::Waits
    } else if fault.is_some() && disk.met() == 0 {
        Cell::NotMet
    } else {
        Cell::Whole
    }
}

async fn tampered_cell(part: &str, fault: Fault) -> Cell {
    let (other, one) = (folder(), folder());
    lived(other.path()).await;
    let acknowledged = lived(one.path()).await;
    let foreign = std::fs::read(file_of(other.path(), part)).unwrap();
    let file = file_of(one.path(), part);
    let whole = std::fs::read(&file).unwrap();
    let bits = if fault == Fault::Bits { whole.len().min(64) / 4 } else { 1 };
    let mut worst = Cell::Whole;
    for byte in 0..bits {
        let copy = folder();
        copy_folder(one.path(), copy.path());
        let file = copy.path().join(file.strip_prefix(one.path()).unwrap());
        match tampered(fault, &whole, &foreign, byte * 33) {
            None => std::fs::remove_file(&file).unwrap(),
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
        }
        let found = cell(copy.path(), &acknowledged, &FaultyDisk::whole(), When::Start, None).await;
        if found != Cell::Whole {
            worst = found;
        }
    }
    worst
}

async fn refused_cell(part: &str, fault: Fault, when: When) -> Cell {
    let one = folder();
    let acknowledged = lived(one.path()).await;
    let name = file_of(one.path(), part).file_name().unwrap().to_string_lossy().into_owned();
    // What a running log writes is the segment that it makes at its start.
    let part = if when != When::Start && part == "wal/NEWEST" { "wal/".to_owned() } else { name };
    cell(one.path(), &acknowledged, &FaultyDisk::whole(), when, Some((fault, &part))).await
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_file_of_log_or_state_it_starts_and_nothing_goes_without_a_word() {
    let mut rows = Vec::new();
    for (name, fault) in TAMPERED {
        let mut cells = Vec::new();
        for (_, part) in KINDS {
            cells.push(tampered_cell(part, fault).await);
        }
        rows.push((name.to_owned(), cells));
    }
    for (name, fault) in REFUSED {
        for (when, told) in [(When::Start, "from the start"), (When::Run, "while it runs"), (When::Stop, "at the stop")] {
            let mut cells = Vec::new();
            for (_, part) in KINDS {
                cells.push(refused_cell(part, fault, when).await);
            }
            rows.push((format!("{name}, {told}"), cells));
        }
    }
    let intro = "*whole*: everything acknowledged is there; *counted*: what is missing is told and counted; *waits*: it says what it \
                 needs and goes on when the cause is gone, with nothing lost; ·: not met, as nobody asks for it then through the disk seam.";
    page("Log and state", intro, &KINDS.map(|(name, _)| name), &rows);
}
