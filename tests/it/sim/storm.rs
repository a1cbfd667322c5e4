//! What every storm has: a machine whose power is cut over and over, dice, and a book of what happened.

use super::disk::{INJECTED, Lie, Machine, SimDisk};
use rembus_gateway::clock::{Clock, Mono, SharedClock, Wall};
use rembus_gateway::message::Seq;
use rembus_gateway::wal::{self, Damage, Log, LogHandle, Options, Record, Recovery, WalError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const CUTS: u32 = 25;

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    Nothing,
    Disk(Lie),
    /// Acknowledgements leave when a record is appended, before it is synced.
    EarlyAck,
}

/// What happened in a storm.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    pub(crate) cuts: u32,
    pub(crate) kills: u32,
    pub(crate) poisoned: u32,
    pub(crate) torn: u32,
    pub(crate) voids: u32,
    pub(crate) full: u32,
    pub(crate) removed_segments: u32,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, more: Self) {
        self.acknowledged += more.acknowledged;
        self.cuts += more.cuts;
        self.kills += more.kills;
        self.poisoned += more.poisoned;
        self.torn += more.torn;
        self.voids += more.voids;
        self.full += more.full;
        self.removed_segments += more.removed_segments;
    }
}

/// What the world outside of the machine knows. It goes on while the machine is dark.
#[derive(Debug, Default)]
pub(crate) struct World<Truth> {
    /// What a storm compares with.
    pub(crate) truth: Truth,
    /// History is done with records up to here, and has them.
    pub(crate) released: u64,
    pub(crate) outcome: Outcome,
    fault: Option<String>,
    dice: u64,
    log_id: Option<u64>,
    oldest: u64,
}

impl<Truth> World<Truth> {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % below
    }

    pub(crate) fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// What must hold for the log after every start, whatever is in it.
    fn check_log(&mut self, records: &[Record], recovery: &Recovery) {
        let mut before = 0;
        for record in records {
            if record.seq.0 <= before {
                self.blame(format!("record {} comes after record {before}", record.seq));
            }
            before = record.seq.0;
        }
        if recovery.last.0 < before.max(self.released) {
            let needed = before.max(self.released);
            self.blame(format!("acknowledged numbers would be used again: they go back to {} from {needed}", recovery.last));
        }
        if *self.log_id.get_or_insert(recovery.log_id) != recovery.log_id && self.released > 0 {
            self.blame("the log forgot who it is, with acknowledged records in it".to_owned());
        }
        self.log_id = Some(recovery.log_id);
        for damage in &recovery.damaged {
            match damage {
                Damage::Records { acknowledged: false, .. } => self.outcome.voids += 1,
                // The disk refused to write it, which is told; the start before stays in it.
                Damage::Identity { .. } => {}
                // The disk failed for a moment, and the log opened nevertheless.
                Damage::Refused { error, .. } if error == INJECTED || error == "I/O error" => {}
                other => self.blame(format!("damage to acknowledged records on a healthy disk: {other}")),
            }
        }
        let oldest = records.first().map_or(self.oldest, |record| record.seq.0);
        self.outcome.torn += u32::from(recovery.torn.is_some());
        self.outcome.removed_segments += u32::from(oldest > self.oldest);
        self.oldest = oldest;
    }
}

#[derive(Debug)]
pub(crate) struct Shared<Truth>(Arc<Mutex<World<Truth>>>);

impl<Truth> Clone for Shared<Truth> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Truth> Shared<Truth> {
    /// Never hold two at once.
    pub(crate) fn get(&self) -> MutexGuard<'_, World<Truth>> {
        self.0.lock().unwrap()
    }
}

/// Boards without a battery boot in 1970 and may jump at any start.
#[derive(Debug)]
struct SimClock {
    offset: u64,
}

impl Clock for SimClock {
    fn mono(&self) -> Mono {
        Mono::default().plus(turmoil::sim_elapsed().unwrap_or_default())
    }

    fn wall(&self) -> Wall {
        Wall(self.offset + self.mono().0)
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 8 << 10,
        ack_delay_max: Duration::from_millis(10),
        idle_delay_max: Duration::from_millis(100),
        keep: Duration::from_secs(3600),
        keep_bytes: 48 << 10,
        reserve_bytes: 4 << 10,
        ..Options::new("/data/wal")
    }
}

/// Runs one storm over the host `gateway`, which `set_up` puts into the simulation with all others. Tells what was survived, or
/// what was not.
pub(crate) fn storm<Truth: Default>(
    seed: u64,
    breakage: Break,
    set_up: impl FnOnce(&mut turmoil::Sim<'_>, &Shared<Truth>, &Machine),
) -> Result<(Outcome, Truth), String> {
    let world: Shared<Truth> = Shared(Arc::new(Mutex::new(World {
        truth: Truth::default(),
        released: 0,
        outcome: Outcome::default(),
        fault: None,
        dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        log_id: None,
        oldest: 0,
    })));
    let machine = Machine::default();
    machine.fate().capacity = u64::MAX;
    if let Break::Disk(lie) = breakage {
        machine.fate().lie = Some(lie);
    }
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).simulation_duration(Duration::from_secs(1 << 20)).tick_duration(Duration::from_millis(1));
    builder.max_message_latency(Duration::from_millis(3));
    let early = world.get().roll(4) as f64 / 20.0;
    let errors = if world.get().roll(3) == 0 { 0.001 } else { 0.0 };
    builder.fs().sync_probability(early).block_size(512).io_error_probability(errors);
    let mut sim = builder.build();
    set_up(&mut sim, &world, &machine);

    for _ in 0..CUTS {
        let calm = 5 + world.get().roll(300);
        for _ in 0..calm {
            sim.step().map_err(|e| e.to_string())?;
        }
        // Half of the cuts hit in the middle of what the disk is doing.
        if world.get().roll(2) == 0 {
            machine.fate().operations_left = Some(1 + world.get().roll(9) as u32);
            for _ in 0..200 {
                sim.step().map_err(|e| e.to_string())?;
                if machine.fate().is_dark {
                    break;
                }
            }
        }
        machine.fate().is_dark = true;
        sim.crash("gateway");
        {
            let mut fate = machine.fate();
            (fate.is_dark, fate.operations_left) = (false, None);
        }
        world.get().outcome.cuts += 1;
        sim.bounce("gateway");
        sim.step().map_err(|e| e.to_string())?;
        if let Some(fault) = world.get().fault.take() {
            return Err(fault);
        }
    }
    let mut world = world.get();
    Ok((world.outcome, std::mem::take(&mut world.truth)))
}

/// A log that was just opened, and what was found in it.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) handle: LogHandle,
    pub(crate) clock: SharedClock,
    pub(crate) recovery: Recovery,
    pub(crate) records: Vec<Record>,
}

/// The machine while it has power: one process after the other, each opens the log and does what `process` says.
pub(crate) async fn live<Truth>(world: Shared<Truth>, machine: Machine, process: impl AsyncFn(Opened)) {
    let mut failed_starts = 0;
    while !machine.fate().is_dark {
        let offset = [0, 1_790_000_000_000_000_000][world.get().roll(2) as usize];
        let clock: SharedClock = Arc::new(SimClock { offset });
        match wal::open(Arc::new(SimDisk(machine.clone())), Arc::clone(&clock), options()) {
            Ok((log, handle, recovery)) => {
                failed_starts = 0;
                let records = read_all(&handle);
                world.get().check_log(&records, &recovery);
                process(Opened { log, handle, clock, recovery, records }).await;
            }
            Err(_) if machine.fate().is_dark => break,
            // An injected failure; systemd starts it again.
            Err(error) => {
                failed_starts += 1;
                if failed_starts > 10 {
                    world.get().blame(format!("the log does not open: {error}"));
                    break;
                }
            }
        }
    }
    // Without power nothing happens until the machine is switched on again.
    std::future::pending::<()>().await;
}

fn read_all(handle: &LogHandle) -> Vec<Record> {
    let mut reader = handle.reader(Seq(1));
    let mut all = Vec::new();
    loop {
        match reader.read(16 << 10) {
            Ok(records) if records.is_empty() => return all,
            Ok(records) => all.extend(records),
            // An injected failure.
            Err(_) => {}
        }
    }
}

/// Runs the log until the process is killed or the log is poisoned. Poison without a cause is a fault.
pub(crate) async fn run_until_killed<Truth>(world: &Shared<Truth>, machine: &Machine, log: Log) {
    let life = if world.get().roll(3) == 0 { 20 + world.get().roll(300) } else { 1 << 30 };
    let running = tokio::spawn(log.run());
    let stop = running.abort_handle();
    tokio::select! {
        biased;
        ended = running => if let Ok(Err(error)) = ended && !machine.fate().is_dark {
            note_poison(world, &error);
        },
        () = tokio::time::sleep(Duration::from_millis(life)) => {
            world.get().outcome.kills += 1;
            stop.abort();
        }
    }
}

fn note_poison<Truth>(world: &Shared<Truth>, error: &WalError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let mut world = world.get();
    if cause != INJECTED && cause != "I/O error" {
        world.blame(format!("the log gave up for a reason of its own: {error}: {cause}"));
    }
    world.outcome.poisoned += 1;
}

/// Full disks, also over restarts, and failing ones.
pub(crate) async fn misfortune<Truth>(world: Shared<Truth>, machine: Machine) {
    loop {
        let wait = 5 + world.get().roll(150);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let what = world.get().roll(5);
        match what {
            0 => machine.fate().capacity = (48 + world.get().roll(64)) << 10,
            1 | 2 => machine.fate().capacity = u64::MAX,
            3 => machine.fate().failures = 1,
            _ => {}
        }
    }
}
