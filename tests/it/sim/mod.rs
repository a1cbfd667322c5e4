//! The seeded simulations, on a disk that loses its power at any moment, tears writes, runs full and fails:
//! [`log`], the real log driven hard; [`gateway`], the real MQTT door, router and log, with sensors on other machines.
//!
//! `SIM_SEED` (first seed, default 1) and `SIM_RUNS` (how many, by default 30 and 8) choose what is run; a failure names its seed.
//! The same seed fails again in the same way. The tests `the_simulation_catches_…` break one thing each and expect to
//! be told; that is how we know that the others could fail.

mod disk;
mod gateway;
mod log;
mod storm;

use disk::Lie;
use storm::{Break, Outcome};

/// Runs one storm with this seed.
type Storm = fn(u64, Break) -> Result<Outcome, String>;

fn seeds(runs: u64) -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("SIM_SEED", 1);
    first..first + number("SIM_RUNS", runs)
}

#[expect(clippy::print_stdout, reason = "seen with --nocapture, and when a test fails")]
fn survived(storm: Storm, runs: u64) {
    let seeds = seeds(runs);
    let mut total = Outcome::default();
    for seed in seeds.clone() {
        match storm(seed, Break::Nothing) {
            Ok(outcome) => total += outcome,
            Err(fault) => panic!("seed {seed}: {fault} (repeat with SIM_SEED={seed} SIM_RUNS=1)"),
        }
    }
    println!("seeds {seeds:?}: {total:?}");
    // A storm that never happened proves nothing; of a single seed not everything can be asked.
    assert!(total.acknowledged > 0 && total.cuts > 0, "{total:?}");
    if seeds.count() as u64 >= runs {
        assert!(total.torn > 0 && total.poisoned > 0 && total.full > 0 && total.kills > 0, "{total:?}");
        assert!(total.removed_segments > 0, "{total:?}");
    }
}

/// Runs storms until one notices, and tells what it noticed.
#[expect(clippy::print_stdout, reason = "seen with --nocapture, and when a test fails")]
fn caught(storm: Storm, breakage: Break) -> String {
    let seeds = seeds(8);
    for seed in seeds.clone() {
        if let Err(fault) = storm(seed, breakage) {
            println!("{breakage:?}: seed {seed}: {fault}");
            return fault;
        }
    }
    panic!("{breakage:?} was not noticed in seeds {seeds:?}")
}

#[test]
fn nothing_acknowledged_is_lost_in_any_storm_over_the_log() {
    survived(log::storm, 30);
}

#[test]
fn nothing_acknowledged_is_lost_in_any_storm_over_the_gateway() {
    survived(gateway::storm, 8);
}

#[test]
fn the_simulation_catches_a_log_whose_files_are_not_synced() {
    assert!(caught(log::storm, Break::Disk(Lie::Sync)).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_a_log_whose_folder_is_not_synced() {
    assert!(caught(log::storm, Break::Disk(Lie::SyncDir)).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_an_ack_that_does_not_wait_for_the_disk() {
    assert!(caught(log::storm, Break::EarlyAck).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_a_gateway_whose_files_are_not_synced() {
    assert!(caught(gateway::storm, Break::Disk(Lie::Sync)).contains("acknowledged"));
}

#[test]
fn the_simulation_catches_a_gateway_whose_folder_is_not_synced() {
    assert!(caught(gateway::storm, Break::Disk(Lie::SyncDir)).contains("acknowledged"));
}
