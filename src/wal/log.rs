//! The loop of the log: takes what is queued, up to a bound, then acts once.

use super::damage::{Damage, Recovery};
use super::error::Trouble;
use super::handle::LogHandle;
use super::identity;
use super::pace::Cut;
use super::recovery::recover;
use super::shared::Shared;
use super::writer::Writer;
use super::{Batch, Health, Options, WalError};
use crate::clock::SharedClock;
use crate::disk::SharedDisk;
use crate::message::Seq;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Appends and questions that may queue up; the bytes in them have a bound of their own.
const REQUESTS_MAX: usize = 1024;
/// What is taken from the queue before acting.
const TAKE_BYTES_MAX: usize = 1 << 20;
/// How often a full disk is looked at again.
const ROOM_CHECK: Duration = Duration::from_secs(1);
/// How soon, and how late at most, a file is opened again for which no descriptor was left.
const FILES_RETRY_MIN: Duration = Duration::from_millis(20);
const FILES_RETRY_MAX: Duration = Duration::from_secs(1);
/// How often segments are checked for age.
const AGE_CHECK: Duration = Duration::from_secs(60);

type Done = oneshot::Sender<Result<(), WalError>>;

#[derive(Debug)]
pub(super) enum Request {
    Append(Batch),
    Flush { upto: Seq, done: Done },
    Sync { upto: Seq, done: Done },
    Close { done: oneshot::Sender<()> },
}

/// Opens the log in `options.dir`, which is made if need be. Damage is worked around and told; only a folder that cannot be used at
/// all is an error. Blocks.
pub fn open(disk: SharedDisk, clock: SharedClock, options: Options) -> Result<(Log, LogHandle, Recovery), WalError> {
    let dir = options.dir.clone();
    disk.create_dir_all(&dir).map_err(|e| WalError::io(&dir, e))?;
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent).map_err(|e| WalError::io(parent, e))?;
        // The parent may be as new as the folder. Above it nothing is ours, and it may be closed to us.
        if let Some(above) = parent.parent() {
            let _best_effort = disk.sync_dir(above);
        }
    }
    let mut recovered = recover(disk.as_ref(), &dir)?;
    // Before a number is given out.
    if let Err(error) = recovered.identity.begin(disk.as_ref(), &dir, recovered.report.last) {
        let why = format!("this start cannot be noted in it: {error}");
        recovered.report.damaged.push(Damage::Identity { file: identity::FILE.into(), why });
    }
    let report = recovered.report.clone();
    let (identity, segments) = (recovered.identity.clone(), recovered.segments.clone());
    let shared = Arc::new(Shared::new(disk, dir.clone(), identity, segments, report.last));
    let writer = Writer::start(shared.clone(), clock, options, recovered).map_err(|e| WalError::io(&dir, e))?;
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let log = Log {
        writer,
        requests,
        flushes: Vec::new(),
        syncs: Vec::new(),
        stuck: false,
        room_check: None,
        files_retry: None,
        age_check: None,
    };
    Ok((log, LogHandle::new(shared, sender), report))
}

/// The writing half of the log. Its disk calls block, so it wants a thread of its own.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
    requests: mpsc::Receiver<Request>,
    flushes: Vec<(Seq, Done)>,
    syncs: Vec<(Seq, Done)>,
    /// The queue cannot be written before there is room.
    stuck: bool,
    /// When to look for room again.
    room_check: Option<Instant>,
    /// The last pause for want of file descriptors; none if there were some.
    files_retry: Option<Duration>,
    /// When to look for segments that became too old.
    age_check: Option<Instant>,
}

enum Ending {
    /// Dropped when the log has ended.
    Closed(#[expect(dead_code, reason = "it is dropped, not used")] oneshot::Sender<()>),
    Abandoned,
}

impl Log {
    /// Runs until [`LogHandle::close`] was called or every handle is gone; everything appended is durable then. Ends with an error
    /// when the log is poisoned, or when there was no room to the end for what had been appended (none of it acknowledged).
    pub async fn run(mut self) -> Result<(), WalError> {
        let result = self.serve().await;
        let shared = self.writer.shared().clone();
        match result {
            Ok(ending) => {
                let left = self.writer.unwritten_bytes();
                // The files are closed before the one who closed the log goes on.
                drop(self);
                drop(ending);
                if left == 0 { Ok(()) } else { Err(WalError::DiskFull { dir: shared.dir.clone(), bytes: left }) }
            }
            Err(error) => {
                let error = shared.fatal.get_or_init(|| Arc::new(error)).clone();
                log::error!(error:%; "the log is poisoned: nothing is acknowledged any more until restart");
                shared.set_health(Health::Poisoned);
                Err(WalError::Poisoned(error))
            }
        }
    }

    /// Nothing is taken from now on; whoever waits is told.
    fn finish(&mut self) {
        self.writer.shared().room.close();
        self.requests.close();
        let stopped = self.writer.shared().stopped();
        for (_, done) in self.flushes.drain(..).chain(self.syncs.drain(..)) {
            // The asker may have stopped waiting.
            let _gone = done.send(Err(stopped.clone()));
        }
    }

    async fn serve(&mut self) -> io::Result<Ending> {
        self.act(false)?;
        loop {
            let deadline = self.deadline();
            let shared = self.writer.shared().clone();
            let mut ending = None;
            tokio::select! {
                biased;
                () = shared.wake.notified() => self.age_check = Some(Instant::now()),
                request = self.requests.recv() => ending = self.take(request),
                () = sleep_until(deadline) => {}
            }
            self.act(ending.is_some())?;
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    /// Takes `request` and what is queued behind it, up to a bound.
    fn take(&mut self, request: Option<Request>) -> Option<Ending> {
        let Some(mut request) = request else { return Some(Ending::Abandoned) };
        let now = Instant::now();
        let mut bytes = 0;
        loop {
            match request {
                Request::Append(batch) => {
                    bytes += batch.len();
                    self.writer.push(batch, now);
                }
                Request::Flush { upto, done } => self.flushes.push((upto.min(self.writer.appended()), done)),
                Request::Sync { upto, done } => self.syncs.push((upto.min(self.writer.appended()), done)),
                Request::Close { done } => return Some(Ending::Closed(done)),
            }
            if bytes >= TAKE_BYTES_MAX {
                return None;
            }
            match self.requests.try_recv() {
                Ok(more) => request = more,
                Err(_) => return None,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let commit = if self.stuck { None } else { self.writer.pace().deadline() };
        [commit, self.room_check, self.age_check].into_iter().flatten().min()
    }

    /// Does what is due: writes, syncs, makes room, looks for room. `last` means that everything is.
    fn act(&mut self, last: bool) -> io::Result<()> {
        let now = Instant::now();
        if self.room_check.is_some_and(|at| at <= now) {
            (self.room_check, self.stuck) = (None, false);
        }
        if !self.stuck || last {
            let everything = last || !self.syncs.is_empty();
            let due = everything || self.writer.pace().is_due(now);
            let written = self.writer.shared().state.borrow().written;
            let asked = self.flushes.iter().any(|(upto, _)| *upto > written);
            if due || asked {
                let cut = if everything || asked { Cut::Everything } else { self.writer.cut(now) };
                self.stuck = !self.found_room(|writer| writer.write(cut, due), now)?;
            }
            if due {
                // What could be written is made durable even if not everything could.
                self.writer.sync()?;
            }
        }
        self.answer();
        if !last {
            self.make_room(now)?;
        }
        self.writer.tell_room();
        Ok(())
    }

    /// Removes what nobody needs, makes the segment to follow, and notices when the disk is full or has room again.
    fn make_room(&mut self, now: Instant) -> io::Result<()> {
        let wants_ahead = self.room_check.is_none() && self.writer.wants_ahead();
        if wants_ahead || self.writer.has_rolled() || self.age_check.is_none_or(|at| at <= now) {
            self.age_check = self.writer.has_old().then(|| now + AGE_CHECK);
            match self.writer.retain() {
                Ok(removed) if removed && self.room_check.is_some() => self.room_check = Some(now),
                Ok(_) => {}
                Err(Trouble::Broken(error)) => return Err(error),
                // What could not go now goes later.
                Err(Trouble::NoRoom | Trouble::NoFiles) => self.age_check = Some(now + FILES_RETRY_MAX),
            }
        }
        if wants_ahead && !self.found_room(Writer::make_ahead, now)? {
            return Ok(());
        }
        if self.room_check.is_none() && self.writer.shared().state.borrow().health == Health::Full {
            log::info!("the log has room again");
            self.writer.shared().set_health(Health::Fine);
        }
        Ok(())
    }

    /// Does something that needs room. False if there was none: the log is full, and tries again after a while.
    fn found_room(&mut self, act: impl FnOnce(&mut Writer) -> Result<(), Trouble>, now: Instant) -> io::Result<bool> {
        match act(&mut self.writer) {
            Ok(()) => {
                if self.files_retry.take().is_some() {
                    log::info!("the log goes on: there are file descriptors again");
                }
                Ok(true)
            }
            Err(Trouble::Broken(error)) => Err(error),
            Err(Trouble::NoFiles) => {
                if self.files_retry.is_none() {
                    log::warn!("no file descriptor is left for the log's next segment; publishers wait until there is one");
                }
                let pause = self.files_retry.map_or(FILES_RETRY_MIN, |pause| (pause * 2).min(FILES_RETRY_MAX));
                self.files_retry = Some(pause);
                self.room_check = Some(now + pause);
                Ok(false)
            }
            Err(Trouble::NoRoom) => {
                if self.writer.shared().state.borrow().health == Health::Fine {
                    log::warn!("the disk has no room for the log beyond the reserve; new messages are refused");
                }
                self.room_check = Some(now + ROOM_CHECK);
                self.writer.shared().set_health(Health::Full);
                Ok(false)
            }
        }
    }

    /// Answers those whose record got there. Who only wants to read does not wait for what has no room: nobody was told of it.
    fn answer(&mut self) {
        let state = *self.writer.shared().state.borrow();
        let readable = if self.stuck { Seq(u64::MAX) } else { state.written };
        for (waiting, there) in [(&mut self.flushes, readable), (&mut self.syncs, state.durable)] {
            for (_, done) in waiting.extract_if(.., |(upto, _)| *upto <= there) {
                // The asker may have stopped waiting.
                let _gone = done.send(Ok(()));
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Also when the task was aborted: nobody may wait for ever.
        self.finish();
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
