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

use super::{CLOCK_IS_SET, Clock, Mono, SharedClock, Wall};
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

/// Linux, with systemd-timesyncd, chrony or neither.
#[derive(Debug)]
pub struct Linux;

impl Machine for Linux {
    fn is_synchronized(&self) -> bool {
        Path::new("/run/systemd/timesync/synchronized").exists()
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
    state: Mutex<(State, Trust)>,
    /// The machine's time since boot when its monotonic clock was `Mono`.
    booted: (Duration, Mono),
}

/// When the wall clock was last seen where the monotonic clock makes one expect it.
#[derive(Debug)]
struct Trust {
    last: (Mono, Wall),
    jumped: Option<Mono>,
}

impl BoardClock {
    /// Not yet asked whether the time is known: see [`settle`](Self::settle).
    #[must_use]
    pub fn new(machine_clock: SharedClock, machine: Box<dyn Machine>, data: &Path) -> Self {
        let now = (machine_clock.mono(), machine_clock.wall());
        let booted = (machine.uptime(), now.0);
        let state = Mutex::new((State::Known, Trust { last: now, jumped: None }));
        Self { machine_clock, machine, file: data.join("clock.json"), state, booted }
    }

    /// Decides whether the time is known, given the newest record of the log and when that was received.
    pub fn settle(&self, disk: &dyn Disk, newest: (Seq, Wall)) {
        let (last, floor) = newest;
        let machine = self.machine_clock.wall();
        let mut state = self.lock();
        if machine.0 > floor.0.saturating_add(nanos(JUMP)) && floor >= CLOCK_IS_SET {
            state.1.jumped = Some(self.machine_clock.mono());
        }
        let sane = machine >= CLOCK_IS_SET && machine >= floor;
        if self.machine.is_synchronized() || (sane && self.machine.has_own_time()) {
            return;
        }
        let boot_id = self.machine.boot_id();
        let before = std::fs::read_to_string(&self.file).ok().and_then(|text| serde_json::from_str::<Assumed>(&text).ok());
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
        if !stepped && !self.machine.is_synchronized() {
            return None;
        }
        state.0 = State::Known;
        state.1 = Trust { last: (self.machine_clock.mono(), machine), jumped: None };
        let delta_ns = i64::try_from(i128::from(machine.0) - i128::from(assumed.0)).unwrap_or(0);
        Some(Correction { from, delta_ns })
    }

    /// The correction is in the log: the assumption is not needed any more.
    pub fn corrected(&self, disk: &dyn Disk) {
        if let Err(error) = disk.remove(&self.file) {
            log::debug!(error:%; "what was assumed about the time stays on the disk; another boot does not use it");
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;
    use std::sync::Arc;

    const TODAY: u64 = 1_795_262_400_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    /// A board whose clocks are set by hand.
    #[derive(Debug, Default, Clone)]
    struct Board(Arc<Mutex<(u64, u64, bool, String)>>);

    impl Board {
        fn boots(wall: u64, boot_id: &str) -> Self {
            Self(Arc::new(Mutex::new((0, wall, false, boot_id.to_owned()))))
        }
        fn pass(&self, ns: u64) {
            let mut board = self.0.lock().unwrap();
            board.0 += ns;
            board.1 += ns;
        }
        fn set(&self, wall: u64) {
            self.0.lock().unwrap().1 = wall;
        }
        fn clock(&self, data: &Path) -> BoardClock {
            BoardClock::new(Arc::new(self.clone()), Box::new(self.clone()), data)
        }
    }

    impl Clock for Board {
        fn mono(&self) -> Mono {
            Mono(self.0.lock().unwrap().0)
        }
        fn wall(&self) -> Wall {
            Wall(self.0.lock().unwrap().1)
        }
    }

    impl Machine for Board {
        fn is_synchronized(&self) -> bool {
            self.0.lock().unwrap().2
        }
        fn has_own_time(&self) -> bool {
            false
        }
        fn boot_id(&self) -> String {
            self.0.lock().unwrap().3.clone()
        }
        fn uptime(&self) -> Duration {
            Duration::from_nanos(self.0.lock().unwrap().0)
        }
    }

    #[test]
    fn a_board_that_wakes_up_in_1970_goes_on_from_the_newest_record() {
        let dir = tempfile::tempdir().unwrap();
        let board = Board::boots(5 * SECOND, "a");
        let clock = board.clock(dir.path());
        clock.settle(&SystemDisk, (Seq(41), Wall(TODAY)));
        assert!(!clock.is_known() && !clock.is_trusted());
        assert_eq!(clock.wall(), Wall(TODAY));
        board.pass(60 * SECOND);
        assert_eq!(clock.wall(), Wall(TODAY + 60 * SECOND));
        assert_eq!(clock.learn(), None);
        board.set(TODAY + 3600 * SECOND);
        assert_eq!(clock.learn(), Some(Correction { from: Seq(42), delta_ns: 3540 * SECOND.cast_signed() }));
        assert_eq!(clock.wall(), Wall(TODAY + 3600 * SECOND));
        assert!(clock.is_known() && clock.is_trusted());
        assert_eq!(clock.learn(), None, "once");
    }

    #[test]
    fn a_process_that_is_restarted_goes_on_with_the_same_assumption() {
        let dir = tempfile::tempdir().unwrap();
        let board = Board::boots(5 * SECOND, "a");
        board.clock(dir.path()).settle(&SystemDisk, (Seq(41), Wall(TODAY)));
        board.pass(100 * SECOND);
        let clock = board.clock(dir.path());
        clock.settle(&SystemDisk, (Seq(50), Wall(TODAY + 20 * SECOND)));
        assert_eq!(clock.wall(), Wall(TODAY + 100 * SECOND));
        board.0.lock().unwrap().2 = true;
        board.set(TODAY + 500 * SECOND);
        assert_eq!(clock.learn(), Some(Correction { from: Seq(42), delta_ns: 400 * SECOND.cast_signed() }));
        clock.corrected(&SystemDisk);
        assert!(!dir.path().join("clock.json").exists());
        // Another boot starts over.
        let other = Board::boots(5 * SECOND, "b").clock(dir.path());
        other.settle(&SystemDisk, (Seq(60), Wall(TODAY + 501 * SECOND)));
        assert_eq!(other.wall(), Wall(TODAY + 501 * SECOND));
    }

    #[test]
    fn without_any_record_nothing_is_stamped_1970() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Board::boots(5 * SECOND, "a").clock(dir.path());
        clock.settle(&SystemDisk, (Seq(0), Wall(0)));
        assert!(clock.wall() >= CLOCK_IS_SET);
    }

    #[test]
    fn a_jump_of_ten_years_is_believed_but_not_trusted_for_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let board = Board::boots(TODAY, "a");
        board.0.lock().unwrap().2 = true;
        let clock = board.clock(dir.path());
        clock.settle(&SystemDisk, (Seq(1), Wall(TODAY)));
        assert!(clock.is_trusted());
        board.set(TODAY + 10 * 365 * 24 * 3600 * SECOND);
        assert_eq!(clock.wall(), Wall(TODAY + 10 * 365 * 24 * 3600 * SECOND));
        assert!(!clock.is_trusted());
        board.pass(25 * 3600 * SECOND);
        assert!(clock.is_trusted());
    }
}
