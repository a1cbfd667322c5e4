//! Reads every file of the lake once in a while, so that damage is found before somebody gets a wrong answer from it.
//!
//! ```text
//! suspects ─ files of a table with which something failed: at once ┐
//! fresh    ─ files that were just written: when it is quiet        ├─▶ read in small pieces ─▶ checksum right: whole
//! pass     ─ all others, spread over `[history] scrub`             ┘                        └▶ wrong, or unknown and a suspect that cannot be decoded: bad
//! ```
//! The first reading of a file without a checksum counts as right: the `parquet` crate ends the process over some damage, so nothing
//! is decoded here without need. A file is bad when what was read is wrong, or when the system refuses this one file; see [`damage`](super::damage).

use super::damage::{self, Bad};
use super::error::EngineError;
use super::hold::Named;
use super::store::Store;
use super::sums::Sums;
use crate::clock::Mono;
use crate::disk::{DiskFile, SharedDisk};
use crate::history::settings::Settings;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What one step reads.
const PIECE: usize = 256 << 10;
/// Two steps of a pass have at least so much between them, and at most that.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// A table is suspected again after so long: whatever callers do, they cannot make the gateway read without end.
const SUSPECT_EVERY: Duration = Duration::from_secs(60);
/// Tables whose last suspicion is remembered; there are no more than the schema has.
const SUSPECTS: usize = 4096;

/// What a step found.
#[derive(Debug)]
pub(super) enum Step {
    /// There is nothing to read at present.
    Nothing,
    Goes,
    /// A file was read to its end and is whole.
    Whole,
    Bad(Bad),
}

#[derive(Debug)]
pub(super) struct Scrub {
    disk: SharedDisk,
    period: Duration,
    sums: Sums,
    suspects: VecDeque<Named>,
    fresh: VecDeque<Named>,
    pass: VecDeque<Named>,
    pass_bytes: u64,
    seen: HashSet<PathBuf>,
    reading: Option<Reading>,
    /// When the next step of a pass is due.
    next: Mono,
    asked: HashMap<String, Mono>,
}

struct Reading {
    named: Named,
    urgent: bool,
    file: Arc<dyn DiskFile>,
    at: u64,
    sum: u32,
    /// Whether there is a reason to doubt it.
    suspected: bool,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("named", &self.named).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Scrub {
    /// Of a lake that was just opened and has these files.
    pub(super) fn new(settings: &Settings, named: Vec<Named>, now: Mono) -> Self {
        let disk = settings.disk.clone();
        let sums = Sums::open(settings, disk.as_ref());
        let seen = named.iter().map(|named| named.path.clone()).collect();
        let mut scrub = Self {
            disk,
            period: settings.scrub,
            sums,
            suspects: VecDeque::new(),
            fresh: VecDeque::new(),
            pass: VecDeque::new(),
            pass_bytes: 0,
            seen,
            reading: None,
            next: now,
            asked: HashMap::new(),
        };
        scrub.begin(named);
        scrub.next = now.plus(scrub.pause());
        scrub
    }

    /// Another pass. It begins anywhere: a gateway that is started every day comes to all files nevertheless.
    fn begin(&mut self, named: Vec<Named>) {
        self.sums.keep(self.disk.as_ref(), &self.seen);
        self.pass_bytes = named.iter().map(|named| named.bytes).sum();
        self.pass = named.into();
        if !self.pass.is_empty() {
            let first = usize::try_from(uuid::Uuid::new_v4().as_u128() % self.pass.len() as u128).unwrap_or(0);
            self.pass.rotate_left(first);
        }
    }

    /// The lake has these files now: those that are new are read back.
    pub(super) fn changed(&mut self, named: Vec<Named>) {
        let live: HashSet<PathBuf> = named.iter().map(|named| named.path.clone()).collect();
        self.fresh.extend(named.into_iter().filter(|named| !self.seen.contains(&named.path)));
        self.seen = live;
    }

    /// Something failed with a table: its files are read at once. `false` if that was done a moment ago.
    pub(super) fn suspect(&mut self, table: &str, named: Vec<Named>, now: Mono) -> bool {
        if self.asked.get(table).is_some_and(|asked| now.since(*asked) < SUSPECT_EVERY) || self.asked.len() >= SUSPECTS {
            return false;
        }
        self.asked.insert(table.to_owned(), now);
        self.suspects.extend(named.into_iter().filter(|named| named.table == table));
        true
    }

    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty() || self.reading.as_ref().is_some_and(|reading| reading.suspected)
    }

    /// When the next step is due, if nothing else is to be done.
    pub(super) fn due(&self, now: Mono) -> Option<Mono> {
        let soon = self.has_suspects() || !self.fresh.is_empty() || self.reading.as_ref().is_some_and(|reading| reading.urgent);
        if soon {
            return Some(now);
        }
        (self.period > Duration::ZERO).then_some(self.next)
    }

    fn pause(&self) -> Duration {
        let pieces = (self.pass_bytes / PIECE as u64).max(1);
        self.period.div_f64(pieces as f64).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    /// Reads a little.
    pub(super) fn step(&mut self, now: Mono, store: &dyn Store) -> Result<Step, EngineError> {
        let Some(mut reading) = self.reading.take() else {
            return self.start(now, store);
        };
        if !reading.urgent {
            self.next = now.plus(self.pause());
        }
        match reading.go_on(&self.sums, store) {
            Ok(None) => {
                self.reading = Some(reading);
                Ok(Step::Goes)
            }
            Ok(Some(Verdict::Whole)) => {
                if self.sums.of(&reading.named.path).is_none() {
                    self.sums.note(self.disk.as_ref(), &reading.named.path, (reading.at, reading.sum));
                }
                Ok(Step::Whole)
            }
            Ok(Some(Verdict::Bad(what))) => Ok(Step::Bad(Bad { path: reading.named.path, what, in_place: false })),
            Err(error) => self.refused(reading.named, error, now),
        }
    }

    fn start(&mut self, now: Mono, store: &dyn Store) -> Result<Step, EngineError> {
        let suspect = self.suspects.pop_front();
        let suspected = suspect.is_some();
        let (next, urgent) = match suspect.or_else(|| self.fresh.pop_front()) {
            Some(named) => (Some(named), true),
            None => (self.pass.pop_front(), false),
        };
        let Some(next) = next else {
            self.next = now.plus(self.pause());
            self.begin(store.named()?);
            return Ok(Step::Nothing);
        };
        match self.disk.open(&next.path) {
            Ok(file) => {
                self.reading = Some(Reading { named: next, urgent, file, at: 0, sum: 0, suspected });
                Ok(Step::Goes)
            }
            Err(error) => self.refused(next, error, now),
        }
    }

    fn refused(&mut self, named: Named, error: std::io::Error, now: Mono) -> Result<Step, EngineError> {
        match damage::refusal(&named.path, error) {
            Ok(bad) => Ok(Step::Bad(bad)),
            // It says nothing about this file; another time.
            Err(error) => {
                log::debug!(error:%; "a file of the lake cannot be checked at present");
                self.next = now.plus(PAUSE_MAX.min(self.pause()));
                Ok(Step::Nothing)
            }
        }
    }
}

enum Verdict {
    Whole,
    Bad(String),
}

impl Reading {
    fn go_on(&mut self, sums: &Sums, store: &dyn Store) -> std::io::Result<Option<Verdict>> {
        let mut piece = vec![0; PIECE];
        let read = self.file.read_at(&mut piece, self.at)?;
        if read > 0 {
            self.sum = crc32c::crc32c_append(self.sum, piece.get(..read).unwrap_or_default());
            self.at += read as u64;
            return Ok(None);
        }
        if self.at != self.named.bytes {
            return Ok(Some(Verdict::Bad(format!("has {} bytes instead of {}", self.at, self.named.bytes))));
        }
        Ok(Some(match sums.of(&self.named.path) {
            Some((_, sum)) if sum == self.sum => Verdict::Whole,
            Some(_) => Verdict::Bad("has another checksum than when it was written".to_owned()),
            // What it should be nobody knows: its first reading counts, unless there is a reason to doubt it.
            None if !self.suspected => Verdict::Whole,
            None => match store.decodes(&self.named.path) {
                Ok(rows) if rows == self.named.rows => Verdict::Whole,
                Ok(rows) => Verdict::Bad(format!("has {rows} rows instead of {}", self.named.rows)),
                Err(why) => Verdict::Bad(format!("cannot be decoded: {why}")),
            },
        }))
    }
}
