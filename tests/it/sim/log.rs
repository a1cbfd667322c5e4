//! A storm over the log alone, driven harder than a gateway would: publishers, a small ack gate, a reader that releases, and
//! queries that flush.

use super::disk::Machine;
use super::storm::{Break, Opened, Outcome, Shared, World, live, misfortune, run_until_killed};
use rembus_gateway::message::Seq;
use rembus_gateway::wal::{Batch, Health, LogHandle, Record, Recovery};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

const PUBLISHERS: u32 = 3;
const WINDOW: usize = 8;

#[derive(Debug, Default)]
struct Truth {
    /// Bodies by number, as last appended.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Numbers whose publisher was told.
    acknowledged: BTreeSet<u64>,
}

/// Runs one storm. Tells what was survived, or what was not.
pub(crate) fn storm(seed: u64, breakage: Break) -> Result<Outcome, String> {
    let (outcome, truth) = super::storm::storm(seed, breakage, |sim, world: &Shared<Truth>, machine| {
        let (world, machine) = (world.clone(), machine.clone());
        sim.host("gateway", move || {
            let (world, machine) = (world.clone(), machine.clone());
            async move {
                live(world.clone(), machine.clone(), async |opened| process(&world, &machine, breakage, opened).await).await;
                Ok(())
            }
        });
    })?;
    Ok(Outcome { acknowledged: truth.acknowledged.len() as u64, ..outcome })
}

/// Compares what was found at a start with what was promised.
fn check(world: &mut World<Truth>, records: &[Record], recovery: &Recovery) {
    for record in records {
        if world.truth.appended.get(&record.seq.0).is_none_or(|body| body[..] != record.body[..]) {
            world.blame(format!("record {} is not what was appended", record.seq));
        }
    }
    let found: BTreeSet<u64> = records.iter().map(|record| record.seq.0).collect();
    // Of what was released nothing need be there, but what is left begins somewhere and has no hole.
    let oldest = found.first().copied().unwrap_or(u64::MAX).min(world.released + 1);
    let lost: Vec<u64> = world.truth.acknowledged.range(oldest..).copied().filter(|seq| !found.contains(seq)).collect();
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        let count = lost.len();
        world.blame(format!("{count} acknowledged records between {first} and {last} are lost: {recovery:?}"));
    }
    if world.truth.acknowledged.last().is_some_and(|last| recovery.last.0 < *last) {
        world.blame(format!("numbers go back to {}: acknowledged ones would be used again", recovery.last));
    }
    world.truth.appended.retain(|seq, _| found.contains(seq));
}

/// One life of the process: until it is killed or its log is poisoned.
async fn process(world: &Shared<Truth>, machine: &Machine, breakage: Break, opened: Opened) {
    let Opened { log, handle, recovery, records, .. } = opened;
    check(&mut world.get(), &records, &recovery);
    drop(records);
    let mut tasks = tokio::task::JoinSet::new();
    let (sender, inbox) = mpsc::channel(64);
    for publisher in 0..PUBLISHERS {
        tasks.spawn(publish(publisher, world.clone(), sender.clone()));
    }
    drop(sender);
    tasks.spawn(route(inbox, world.clone(), machine.clone(), breakage, handle.clone(), recovery.last));
    tasks.spawn(consume(world.clone(), handle.clone()));
    tasks.spawn(query(world.clone(), handle));
    tasks.spawn(misfortune(world.clone(), machine.clone()));
    run_until_killed(world, machine, log).await;
    tasks.shutdown().await;
}

/// A message and the way to tell its publisher.
type Post = (Vec<u8>, mpsc::Sender<()>);

/// Keeps a window of messages on their way.
async fn publish(publisher: u32, world: Shared<Truth>, router: mpsc::Sender<Post>) {
    let (acknowledge, mut acknowledged) = mpsc::channel(WINDOW);
    let mut under_way = 0;
    loop {
        let (size, fill, pause) = {
            let mut world = world.get();
            let size = if world.roll(200) == 0 { 12 << 10 } else { world.roll(300) };
            (size, world.roll(256), world.roll(20))
        };
        let mut body = publisher.to_le_bytes().to_vec();
        body.resize(4 + size as usize, fill as u8);
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

/// Numbers messages, appends them, and tells their publishers when the log is durable that far.
async fn route(
    mut inbox: mpsc::Receiver<Post>,
    world: Shared<Truth>,
    machine: Machine,
    breakage: Break,
    log: LogHandle,
    mut last: Seq,
) {
    let mut waiting = VecDeque::new();
    let mut state = log.state();
    let mut health = Health::Fine;
    loop {
        tokio::select! {
            biased;
            changed = state.changed() => if changed.is_err() { return },
            post = inbox.recv() => {
                let Some((body, publisher)) = post else { return };
                let mut batch = Batch::default();
                last = last.next();
                batch.push(last, 1, true, |out| out.extend_from_slice(&body));
                world.get().truth.appended.insert(last.0, body);
                if log.append(batch).await.is_err() {
                    return;
                }
                waiting.push_back((last, publisher));
            }
        }
        let state = *state.borrow_and_update();
        if std::mem::replace(&mut health, state.health) != state.health && health == Health::Full {
            world.get().outcome.full += 1;
        }
        let upto = if breakage == Break::EarlyAck { last } else { state.durable };
        while let Some((seq, publisher)) = waiting.pop_front_if(|(seq, _)| *seq <= upto) {
            // The word does not get out of a machine without power.
            if !machine.fate().is_dark {
                world.get().truth.acknowledged.insert(seq.0);
            }
            let _full = publisher.try_send(());
        }
    }
}

/// History: reads what is durable, releases it when it is done.
async fn consume(world: Shared<Truth>, log: LogHandle) {
    let mut state = log.state();
    let from = world.get().released + 1;
    let hold = log.hold(Seq(from - 1));
    let mut reader = log.reader(Seq(from));
    while state.changed().await.is_ok() {
        let durable = state.borrow_and_update().durable;
        if let Ok(records) = reader.read(64 << 10)
            && let Some(record) = records.iter().rev().find(|record| record.seq <= durable)
        {
            let mut world = world.get();
            world.released = world.released.max(record.seq.0);
            hold.release(Seq(world.released));
        }
    }
}

/// Asks for what is not durable yet, so that several writes are under way at once.
async fn query(world: Shared<Truth>, log: LogHandle) {
    loop {
        let wait = 1 + world.get().roll(30);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let newest = world.get().truth.appended.last_key_value().map_or(0, |(seq, _)| *seq);
        if log.flush(Seq(newest)).await.is_err() {
            return;
        }
    }
}
