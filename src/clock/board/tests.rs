//! Boards whose clocks are set by hand.

use super::*;
use crate::disk::SystemDisk;
use std::sync::Arc;

const TODAY: u64 = 1_795_262_400_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A board whose clocks are set by hand.
#[derive(Debug, Default, Clone)]
struct Board(Arc<Mutex<(u64, u64, bool, String)>>, bool);

impl Board {
    fn boots(wall: u64, boot_id: &str) -> Self {
        Self(Arc::new(Mutex::new((0, wall, false, boot_id.to_owned()))), false)
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
        self.1
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
    clock.corrected(&SystemDisk, Seq(50));
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

const YEARS: u64 = 10 * 365 * 24 * 3600 * SECOND;

#[test]
fn a_clock_that_was_years_ahead_is_believed_when_it_stays_back_and_nobody_can_say_better() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = Board::boots(TODAY, "a");
    board.1 = true;
    let clock = board.clock(dir.path());
    clock.settle(&SystemDisk, (Seq(41), Wall(TODAY + YEARS)));
    assert_eq!(clock.wall(), Wall(TODAY + YEARS), "not at once: boards fall asleep");
    board.pass(nanos(BACK_FOR) - SECOND);
    assert_eq!(clock.watch(&SystemDisk, Seq(60)), None);
    board.pass(2 * SECOND);
    let correction = Correction { from: Seq(42), delta_ns: -YEARS.cast_signed() };
    assert_eq!(clock.watch(&SystemDisk, Seq(60)), Some(correction));
    clock.corrected(&SystemDisk, Seq(60));
    assert_eq!(clock.wall(), Wall(TODAY + nanos(BACK_FOR) + SECOND));
    assert!(clock.is_trusted(), "retention goes on");
    // The records are still stamped as they were: they are no measure at the next start.
    let again = Board(Arc::clone(&board.0), true).clock(dir.path());
    again.settle(&SystemDisk, (Seq(60), Wall(TODAY + YEARS)));
    assert!(again.is_known());
    assert_eq!(again.wall(), Wall(TODAY + nanos(BACK_FOR) + SECOND));
}

#[test]
fn a_clock_that_is_set_back_while_the_gateway_runs_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::boots(TODAY - YEARS / 100, "a");
    let clock = board.clock(dir.path());
    clock.settle(&SystemDisk, (Seq(41), Wall(TODAY + YEARS)));
    board.pass(30 * SECOND);
    assert_eq!(clock.watch(&SystemDisk, Seq(50)), None);
    // chrony steps it.
    board.set(TODAY);
    let correction = clock.watch(&SystemDisk, Seq(50)).unwrap();
    assert_eq!(correction, Correction { from: Seq(42), delta_ns: -(YEARS + 30 * SECOND).cast_signed() });
    assert_eq!(clock.wall(), Wall(TODAY));
}

#[test]
fn without_a_battery_and_with_a_silent_service_the_newest_record_stays_the_measure() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::boots(TODAY - YEARS / 10, "a");
    let clock = board.clock(dir.path());
    clock.settle(&SystemDisk, (Seq(41), Wall(TODAY)));
    for _ in 0..100 {
        board.pass(600 * SECOND);
        assert_eq!(clock.watch(&SystemDisk, Seq(50)), None);
        assert!(clock.wall() >= Wall(TODAY));
    }
}

#[test]
fn what_was_stamped_ahead_is_corrected_when_the_clock_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::boots(TODAY, "a");
    board.0.lock().unwrap().2 = true;
    let clock = board.clock(dir.path());
    clock.settle(&SystemDisk, (Seq(41), Wall(TODAY)));
    assert_eq!(clock.watch(&SystemDisk, Seq(45)), None);
    board.pass(SECOND);
    board.set(TODAY + YEARS);
    assert_eq!(clock.watch(&SystemDisk, Seq(46)), None);
    assert!(!clock.is_trusted());
    board.pass(3600 * SECOND);
    assert_eq!(clock.watch(&SystemDisk, Seq(80)), None);
    board.set(TODAY + 3601 * SECOND);
    let correction = clock.watch(&SystemDisk, Seq(90)).unwrap();
    assert_eq!(correction, Correction { from: Seq(46), delta_ns: -(YEARS - SECOND).cast_signed() });
    clock.corrected(&SystemDisk, Seq(90));
    assert!(clock.is_trusted(), "retention goes on");
    assert_eq!(clock.watch(&SystemDisk, Seq(91)), None, "once");
}

#[test]
fn a_jump_ahead_is_corrected_also_when_the_clock_comes_back_while_the_gateway_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::boots(TODAY, "a");
    board.0.lock().unwrap().2 = true;
    let clock = board.clock(dir.path());
    clock.settle(&SystemDisk, (Seq(41), Wall(TODAY)));
    board.set(TODAY + YEARS);
    assert_eq!(clock.watch(&SystemDisk, Seq(41)), None);
    for synchronized in [false, true] {
        let later = Board::boots(TODAY + 7200 * SECOND, "b");
        later.0.lock().unwrap().2 = synchronized;
        let clock = later.clock(dir.path());
        clock.settle(&SystemDisk, (Seq(99), Wall(TODAY + YEARS + 3600 * SECOND)));
        let correction = clock.watch(&SystemDisk, Seq(99)).unwrap();
        assert_eq!(correction, Correction { from: Seq(42), delta_ns: -YEARS.cast_signed() });
        assert!(clock.wall() < Wall(TODAY + 7300 * SECOND), "{:?}", clock.wall());
    }
}
