//! The time on boards without a battery clock.
//!
//! Such a board wakes up in 1970, or where it fell asleep, and learns the time minutes later, or never. Until then this clock goes
//! on from the newest time that is known to have passed (the newest record of the log), so that time never runs backwards and
//! nothing is stamped 1970:
//!
//! ```text
//! start ─ time known? ─ yes ────────────────────────────────▶ the machine's clock
//!              └─ no: newest known time + time since boot ──▶ a time service says so, or the clock is set: the machine's clock,
//!                                                             and a correction for what was stamped meanwhile
//! ```
//!
//! `<data>/clock.json` keeps what was assumed, by boot id: a process that is restarted before the time is known goes on with
//! the same assumption, and one correction holds for both. A later jump of the machine's clock is believed, but for a day nothing
//! is thrown away because of its age ([`Clock::is_trusted`]).
//!
//! A clock that was ahead comes back, too, and is believed then although that is behind the newest record:
//!
//! * when a time service says that the time is right, or somebody has set the clock while the gateway runs;
//! * when it stays there for some minutes and no service is there to say better.
//!
//! What was stamped ahead is corrected like what was stamped without a time. `<data>/clock-jump.json` remembers where a jump ahead
//! began, and after it is over which records are no measure of the time any more.

mod jump;
#[cfg(test)]
mod tests;

use self::jump::{Memory, Wrong};
use super::{CLOCK_IS_SET, Clock, Mono, SharedClock, SystemClock, Wall};
use crate::disk::Disk;
use crate::message::Seq;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The machine's clock was set if it is ahead by more than this.
const STEP: Duration = Duration::from_secs(2);
/// A larger difference is a jump, which is not trusted at once.
const JUMP: Duration = Duration::from_secs(31 * 24 * 3600);
const DISTRUST: Duration = Duration::from_secs(24 * 3600);

/// A clock that is behind the newest record for so long is right, if no time service is there that would know better.
const BACK_FOR: Duration = Duration::from_secs(10 * 60);

/// What the machine tells about its clock. Tests bring their own.
pub trait Machine: Send + Sync + std::fmt::Debug {
    /// Whether a time service says that the time is right.
    fn is_synchronized(&self) -> bool;
    /// Whether the time comes from a clock that runs on, or nobody will ever say better.
    fn has_own_time(&self) -> bool;
    /// Names this boot.
    fn boot_id(&self) -> String;
    /// Since this boot.
    fn uptime(&self) -> Duration;
}

/// What time services write now and then while they have the time.
const DRIFT_FILES: [&str; 6] = [
    "/var/lib/chrony/drift",
    "/var/lib/chrony/chrony.drift",
    "/var/lib/ntp/ntp.drift",
    "/var/lib/ntp/drift",
    "/var/lib/ntpsec/ntp.drift",
    "/var/lib/openntpd/db/ntpd.drift",
];

/// Linux, with systemd-timesyncd, chrony, ntpd or none of them.
#[derive(Debug)]
pub struct Linux;

impl Machine for Linux {
    fn is_synchronized(&self) -> bool {
        let now = SystemClock::shared().wall();
        let boot = now.0.saturating_sub(nanos(self.uptime()));
        // Written since this boot, by the clock of now: so the service has the time, and this is it.
        let written = |file: &&str| {
            let modified = std::fs::metadata(file).and_then(|about| about.modified()).ok();
            let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map(nanos);
            since.is_some_and(|at| at >= boot && at <= now.0)
        };
        Path::new("/run/systemd/timesync/synchronized").exists() || DRIFT_FILES.iter().any(written)
    }

    fn has_own_time(&self) -> bool {
        let from_rtc = std::fs::read_to_string("/sys/class/rtc/rtc0/hctosys").is_ok_and(|text| text.trim() == "1");
        let service = ["/run/systemd/timesync", "/run/chrony", "/run/chronyd"].iter().any(|dir| Path::new(dir).is_dir());
        from_rtc || !service
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    }

    fn uptime(&self) -> Duration {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Duration::from_secs_f64(seconds)
    }
}

/// What has to be added to the times of records from `from` on, up to where this is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    pub from: Seq,
    pub delta_ns: i64,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Assumed {
    boot_id: String,
    /// First record that was stamped on this assumption.
    from: u64,
    /// Nanoseconds since 1970 at the time of the boot.
    boot_ns: u64,
}

#[derive(Debug)]
enum State {
    Known,
    /// The time since boot is added to this.
    Assumed {
        boot: Wall,
        from: Seq,
    },
}

/// A clock that knows whether it knows the time.
#[derive(Debug)]
pub struct BoardClock {
    machine_clock: SharedClock,
    machine: Box<dyn Machine>,
    file: PathBuf,
    memory: PathBuf,
    state: Mutex<(State, Trust)>,
    watched: Mutex<Watched>,
    /// The machine's time since boot when its monotonic clock was `Mono`.
    booted: (Duration, Mono),
    /// The machine's times when this was made.
    started: (Mono, Wall),
}

/// When the wall clock was last seen where the monotonic clock makes one expect it.
#[derive(Debug)]
struct Trust {
    last: (Mono, Wall),
    jumped: Option<Mono>,
}

/// What [`BoardClock::watch`] knows from the last time.
#[derive(Debug)]
struct Watched {
    /// The machine's times then, and the newest record.
    seen: (Mono, Wall),
    last: Seq,
    memory: Memory,
    /// Found at the start, and to be told at once.
    pending: Option<Correction>,
}

impl BoardClock {
    /// Not yet asked whether the time is known: see [`settle`](Self::settle).
    #[must_use]
    pub fn new(machine_clock: SharedClock, machine: Box<dyn Machine>, data: &Path) -> Self {
        let now = (machine_clock.mono(), machine_clock.wall());
        let booted = (machine.uptime(), now.0);
        let state = Mutex::new((State::Known, Trust { last: now, jumped: None }));
        let watched = Mutex::new(Watched { seen: now, last: Seq(0), memory: Memory::default(), pending: None });
        let (file, memory) = (data.join("clock.json"), data.join("clock-jump.json"));
        Self { machine_clock, machine, file, memory, state, watched, booted, started: now }
    }

    /// Decides whether the time is known, given the newest record of the log and when that was received.
    pub fn settle(&self, disk: &dyn Disk, newest: (Seq, Wall)) {
        let machine = self.machine_clock.wall();
        let (last, floor) = self.settle_jump(disk, newest, machine);
        let mut state = self.lock();
        if machine.0 > floor.0.saturating_add(nanos(JUMP)) && floor >= CLOCK_IS_SET {
            state.1.jumped = Some(self.machine_clock.mono());
        }
        let sane = machine >= CLOCK_IS_SET && machine >= floor;
        if self.machine.is_synchronized() || (sane && self.machine.has_own_time()) {
            return;
        }
        let boot_id = self.machine.boot_id();
        let before = disk.read(&self.file).ok().and_then(|text| serde_json::from_slice::<Assumed>(&text).ok());
        let assumed = before.filter(|assumed| assumed.boot_id == boot_id).unwrap_or_else(|| {
            let uptime = nanos(self.uptime());
            let now = floor.max(machine).max(CLOCK_IS_SET).0;
            Assumed { boot_id, from: last.0 + 1, boot_ns: now.saturating_sub(uptime) }
        });
        let text = serde_json::to_string(&assumed).expect("numbers and texts are always JSON");
        let kept = disk.replace(&self.file, text.as_bytes());
        if let Err(error) = kept {
            log::warn!(error:%; "what is assumed about the time cannot be kept; a restart before the time is known starts over");
        }
        log::warn!("the time is not known yet: rows are stamped with an assumed time, and again when it becomes known");
        state.0 = State::Assumed { boot: Wall(assumed.boot_ns), from: Seq(assumed.from) };
    }

    /// Whether the time became known; then once, the correction for what was stamped before. To be asked every second or so while
    /// [`is_known`](Self::is_known) says no.
    pub fn learn(&self) -> Option<Correction> {
        let machine = self.machine_clock.wall();
        let uptime = self.uptime();
        let mut state = self.lock();
        let State::Assumed { boot, from } = state.0 else { return None };
        let assumed = Wall(boot.0.saturating_add(nanos(uptime)));
        let stepped = machine >= CLOCK_IS_SET && machine.0 > assumed.0.saturating_add(nanos(STEP));
        if !stepped && !self.machine.is_synchronized() && !self.is_back(machine) {
            return None;
        }
        state.0 = State::Known;
        state.1 = Trust { last: (self.machine_clock.mono(), machine), jumped: None };
        let delta_ns = i64::try_from(i128::from(machine.0) - i128::from(assumed.0)).unwrap_or(0);
        Some(Correction { from, delta_ns })
    }

    /// Whether the machine's clock is right although it is behind what is assumed: somebody set it while we ran, or it stays there
    /// and nobody will ever say better.
    fn is_back(&self, machine: Wall) -> bool {
        let (mono, (since, was)) = (self.machine_clock.mono(), self.started);
        let expected = was.0.saturating_add(nanos(mono.since(since)));
        let was_set = machine.0.abs_diff(expected) > nanos(STEP);
        machine >= CLOCK_IS_SET && (was_set || (mono.since(since) >= BACK_FOR && self.machine.has_own_time()))
    }

    /// The correction is in the log, of which `last` is the newest record: what was assumed is not needed any more.
    pub fn corrected(&self, disk: &dyn Disk, last: Seq) {
        if let Err(error) = disk.remove(&self.file) {
            log::debug!(error:%; "what was assumed about the time stays on the disk; another boot does not use it");
        }
        let mut watched = self.watching();
        // Their stamps may be ahead of the time, and the log does not change them.
        watched.memory = Memory { jump: None, wrong: Some(Wrong { upto: last.0, wall_ns: self.wall().0 }) };
        self.remember(disk, &watched.memory);
        self.lock().1.jumped = None;
    }

    fn watching(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the machine's clock is right, as far as anybody says.
    #[must_use]
    pub fn is_known(&self) -> bool {
        matches!(self.lock().0, State::Known)
    }

    fn uptime(&self) -> Duration {
        let (uptime, at) = self.booted;
        uptime + self.machine_clock.mono().since(at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (State, Trust)> {
        // Nothing that holds it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for BoardClock {
    fn mono(&self) -> Mono {
        self.machine_clock.mono()
    }

    fn wall(&self) -> Wall {
        let (mono, machine) = (self.machine_clock.mono(), self.machine_clock.wall());
        let mut state = self.lock();
        match state.0 {
            State::Assumed { boot, .. } => {
                let (uptime, at) = self.booted;
                Wall(boot.0.saturating_add(nanos(uptime + mono.since(at))))
            }
            State::Known => {
                let (before, was) = state.1.last;
                let expected = was.0.saturating_add(nanos(mono.since(before)));
                if machine.0.abs_diff(expected) > nanos(JUMP) {
                    state.1.jumped = Some(mono);
                }
                state.1.last = (mono, machine);
                machine
            }
        }
    }

    fn is_trusted(&self) -> bool {
        self.wall();
        let state = self.lock();
        let jumped = state.1.jumped.is_some_and(|at| self.machine_clock.mono().since(at) < DISTRUST);
        matches!(state.0, State::Known) && !jumped
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
