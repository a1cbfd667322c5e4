//! The seeded simulation: the real log with publishers, a history reader and an ack gate, on a disk that loses its power at
//! any moment, tears writes, runs full and fails.
//!
//! `SIM_SEED` (first seed, default 1) and `SIM_RUNS` (how many, default 30) choose what is run; a failure names its seed, and the
//! same seed fails again in the same way. The tests `the_simulation_catches_…` break one thing each and expect to be told.

mod disk;
mod log;

use disk::Lie;
use log::{Break, Outcome, storm};

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("SIM_SEED", 1);
    first..first + number("SIM_RUNS", 30)
}

#[test]
fn nothing_acknowledged_is_lost_in_any_storm() {
    let mut total = Outcome::default();
    for seed in seeds() {
        match storm(seed, Break::Nothing) {
            Ok(outcome) => total += outcome,
            Err(fault) => panic!("seed {seed}: {fault} (repeat with SIM_SEED={seed} SIM_RUNS=1)"),
        }
    }
    println!("seeds {:?}: {total:?}", seeds());
    // A storm that never happened proves nothing.
    assert!(total.acknowledged > 1000 && total.cuts > 100 && total.removed_segments > 0, "{total:?}");
    assert!(total.torn > 0 && total.voids > 0 && total.poisoned > 0 && total.full > 0 && total.kills > 0, "{total:?}");
}

fn caught(breakage: Break) -> String {
    let faults: Vec<String> =
        seeds().filter_map(|seed| Some(format!("seed {seed}: {}", storm(seed, breakage).err()?))).collect();
    println!("{breakage:?}: caught by {} of {} seeds; first {:?}", faults.len(), seeds().count(), faults.first());
    faults.first().cloned().unwrap_or_else(|| panic!("{breakage:?} was not noticed in seeds {:?}", seeds()))
}

#[test]
fn the_simulation_catches_a_disk_that_does_not_sync_files() {
    assert!(caught(Break::Disk(Lie::Sync)).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_a_disk_that_does_not_sync_folders() {
    assert!(caught(Break::Disk(Lie::SyncDir)).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_an_ack_that_does_not_wait_for_the_disk() {
    assert!(caught(Break::EarlyAck).contains("acknowledged"));
}
