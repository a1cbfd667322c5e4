//! A storm over one log: the machine loses its power, the process is killed, the disk fills up and fails, over and over, and
//! after each start what is there is compared with what was acknowledged.

use super::disk::{INJECTED, Lie, Machine, SimDisk};
use rembus_gateway::clock::{Clock, Mono, SharedClock, Wall};
use rembus_gateway::message::Seq;
use rembus_gateway::wal::{self, Batch, Health, LogHandle, Options, Record, Recovery};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;

const PUBLISHERS: u32 = 3;
const WINDOW: usize = 8;
const CUTS: u32 = 25;

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Break {
    Nothing,
    Disk(Lie),
    /// Acknowledgements leave when a record is written, before it is synced.
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

/// What the world outside of the machine knows.
#[derive(Debug, Default)]
struct World {
    /// Bodies by number, as last appended.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Numbers whose publisher was told.
    acknowledged: std::collections::BTreeSet<u64>,
    released: u64,
    /// The first record that is still expected to be there.
    oldest: u64,
    log_id: Option<u64>,
    fault: Option<String>,
    outcome: Outcome,
    dice: u64,
}

impl World {
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % below
    }

    fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// Compares what was found at a start with what was promised.
    fn check(&mut self, records: &[Record], recovery: &Recovery) {
        let mut before = 0;
        for record in records {
            if record.seq.0 <= before {
                self.blame(format!("record {} comes after record {before}", record.seq));
            }
            before = record.seq.0;
            if self.appended.get(&before).is_none_or(|body| body[..] != record.body[..]) {
                self.blame(format!("record {before} is not what was appended"));
            }
        }
        let found: std::collections::BTreeSet<u64> = records.iter().map(|record| record.seq.0).collect();
        let oldest = found.first().copied().unwrap_or(self.released + 1);
        if oldest > self.released + 1 && self.acknowledged.range(self.released + 1..oldest).next().is_some() {
            self.blame(format!(
                "acknowledged records before {oldest} are gone, released were only those up to {}",
                self.released
            ));
        }
        let kept = self.acknowledged.range(oldest.max(1)..).copied();
        let lost: Vec<u64> = kept.filter(|seq| !found.contains(seq)).collect();
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            let count = lost.len();
            self.blame(format!("{count} acknowledged records between {first} and {last} are lost: {recovery:?}"));
        }
        if recovery.last.0 < before || self.acknowledged.last().is_some_and(|last| recovery.last.0 < *last) {
            self.blame(format!("numbers go back to {}: acknowledged ones would be used again", recovery.last));
        }
        if *self.log_id.get_or_insert(recovery.log_id) != recovery.log_id && !self.acknowledged.is_empty() {
            self.blame("the log forgot who it is, with acknowledged records in it".to_owned());
        }
        self.log_id = Some(recovery.log_id);
        for damage in &recovery.damaged {
            match damage {
                wal::Damage::Records { acknowledged: false, .. } => self.outcome.voids += 1,
                other => self.blame(format!("damage to acknowledged records on a healthy disk: {other}")),
            }
        }
        self.outcome.torn += u32::from(recovery.torn.is_some());
        self.outcome.removed_segments += u32::from(oldest > self.oldest);
        self.oldest = oldest;
        self.appended.retain(|seq, _| found.contains(seq));
    }
}

#[derive(Debug, Clone, Default)]
struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    fn get(&self) -> MutexGuard<'_, World> {
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

/// Runs one storm. Tells what was survived, or what was not.
pub(crate) fn storm(seed: u64, breakage: Break) -> Result<Outcome, String> {
    let world = SharedWorld::default();
    world.get().dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let machine = Machine::default();
    machine.fate().capacity = u64::MAX;
    if let Break::Disk(lie) = breakage {
        machine.fate().lie = Some(lie);
    }
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).simulation_duration(Duration::from_secs(1 << 20)).tick_duration(Duration::from_millis(1));
    let early = world.get().roll(4) as f64 / 20.0;
    let errors = if world.get().roll(3) == 0 { 0.001 } else { 0.0 };
    builder.fs().sync_probability(early).block_size(512).io_error_probability(errors);
    let mut sim = builder.build();
    let (inside, computer) = (world.clone(), machine.clone());
    sim.host("gateway", move || {
        let (world, machine) = (inside.clone(), computer.clone());
        async move {
            live(world, machine, breakage).await;
            Ok(())
        }
    });

    for _ in 0..CUTS {
        let calm = 5 + world.get().roll(150);
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
    let world = world.get();
    Ok(Outcome { acknowledged: world.acknowledged.len() as u64, ..world.outcome })
}

/// The machine while it has power: one process after the other.
async fn live(world: SharedWorld, machine: Machine, breakage: Break) {
    let mut failed_starts = 0;
    while !machine.fate().is_dark {
        let set = [0, 1_790_000_000_000_000_000][world.get().roll(2) as usize];
        let clock: SharedClock = Arc::new(SimClock { offset: set });
        match wal::open(Arc::new(SimDisk(machine.clone())), clock, options()) {
            Ok((log, handle, recovery)) => {
                failed_starts = 0;
                let records = read_all(&handle);
                world.get().check(&records, &recovery);
                drop(records);
                process(&world, &machine, breakage, log, handle, recovery.last).await;
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

/// One life of the gateway's process: until it is killed or its log is poisoned.
async fn process(world: &SharedWorld, machine: &Machine, breakage: Break, log: wal::Log, handle: LogHandle, last: Seq) {
    let mut tasks = tokio::task::JoinSet::new();
    let (sender, inbox) = mpsc::channel(64);
    for publisher in 0..PUBLISHERS {
        tasks.spawn(publish(publisher, world.clone(), sender.clone()));
    }
    drop(sender);
    tasks.spawn(route(inbox, world.clone(), machine.clone(), breakage, handle.clone(), last));
    tasks.spawn(consume(world.clone(), handle.clone()));
    tasks.spawn(query(world.clone(), handle));
    tasks.spawn(misfortune(world.clone(), machine.clone()));
    let life = if world.get().roll(3) == 0 { 20 + world.get().roll(300) } else { 1 << 30 };
    let running = tokio::spawn(log.run());
    let stop = running.abort_handle();
    tokio::select! {
            biased;
        ended = running => {
            if let Ok(Err(error)) = ended && !machine.fate().is_dark {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                if cause != INJECTED && cause != "I/O error" {
                    world.get().blame(format!("the log gave up for a reason of its own: {error}: {cause}"));
                }
                world.get().outcome.poisoned += 1;
            }
        }
        () = tokio::time::sleep(Duration::from_millis(life)) => {
            world.get().outcome.kills += 1;
            stop.abort();
        }
    }
    tasks.shutdown().await;
}

/// Keeps a window of messages on their way.
async fn publish(publisher: u32, world: SharedWorld, router: mpsc::Sender<(Vec<u8>, mpsc::Sender<()>)>) {
    let (acknowledge, mut acknowledged) = mpsc::channel(WINDOW);
    let mut under_way = 0;
    loop {
        let (size, pause) = {
            let mut world = world.get();
            let size = if world.roll(200) == 0 { 12 << 10 } else { world.roll(300) };
            (size, world.roll(20))
        };
        let mut body = publisher.to_le_bytes().to_vec();
        body.resize(4 + size as usize, world.get().roll(256) as u8);
        if router.send((body, acknowledge.clone())).await.is_err() {
            return;
        }
        under_way += 1;
        while under_way >= WINDOW || acknowledged.try_recv().is_ok() {
            if under_way >= WINDOW && acknowledged.recv().await.is_none() {
                return;
            }
            under_way -= 1;
        }
        if pause == 0 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

type Waiting = VecDeque<(Seq, mpsc::Sender<()>)>;

/// Numbers messages, appends them, and tells their publishers when the log is durable that far.
async fn route(
    mut inbox: mpsc::Receiver<(Vec<u8>, mpsc::Sender<()>)>,
    world: SharedWorld,
    machine: Machine,
    breakage: Break,
    log: LogHandle,
    mut last: Seq,
) {
    let mut waiting = Waiting::new();
    let mut state = log.state();
    loop {
        tokio::select! {
            biased;
            changed = state.changed() => if changed.is_err() { return },
            message = inbox.recv() => {
                let Some((body, publisher)) = message else { return };
                let mut batch = Batch::default();
                last = last.next();
                batch.push(last, 1, true, |out| out.extend_from_slice(&body));
                world.get().appended.insert(last.0, body);
                if log.append(batch).await.is_err() {
                    return;
                }
                waiting.push_back((last, publisher));
            }
        }
        let state = *state.borrow_and_update();
        if state.health == Health::Full {
            world.get().outcome.full += 1;
        }
        let upto = if matches!(breakage, Break::EarlyAck) { last } else { state.durable };
        while let Some((seq, publisher)) = waiting.pop_front_if(|(seq, _)| *seq <= upto) {
            // The word does not get out of a machine without power.
            if !machine.fate().is_dark {
                world.get().acknowledged.insert(seq.0);
            }
            let _full = publisher.try_send(());
        }
    }
}

/// History: reads what is durable, releases it when it is done.
async fn consume(world: SharedWorld, log: LogHandle) {
    let mut state = log.state();
    let from = world.get().released + 1;
    let mut reader = log.reader(Seq(from));
    while state.changed().await.is_ok() {
        let durable = state.borrow_and_update().durable;
        if let Ok(records) = reader.read(64 << 10)
            && let Some(record) = records.iter().rev().find(|record| record.seq <= durable)
        {
            let mut world = world.get();
            world.released = world.released.max(record.seq.0);
            log.release(Seq(world.released));
        }
    }
}

/// Asks for what is not durable yet, so that several writes are under way at once.
async fn query(world: SharedWorld, log: LogHandle) {
    loop {
        let wait = 1 + world.get().roll(30);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let newest = world.get().appended.last_key_value().map_or(0, |(seq, _)| *seq);
        if log.flush(Seq(newest)).await.is_err() {
            return;
        }
    }
}

/// Full disks and failing ones.
async fn misfortune(world: SharedWorld, machine: Machine) {
    machine.fate().capacity = u64::MAX;
    loop {
        let wait = 50 + world.get().roll(400);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let what = world.get().roll(4);
        match what {
            0 => machine.fate().capacity = (48 + world.get().roll(64)) << 10,
            1 => machine.fate().capacity = u64::MAX,
            2 => machine.fate().failures = 1,
            _ => {}
        }
    }
}
