//! A storm over the spine of the gateway: the real MQTT door, router and log, with sensors on other machines that publish
//! with QoS 1 through simulated sockets and an independent codec, and a reader in the place of history.
//!
//! A sensor numbers its messages, keeps some under way, and sends those again that were not acknowledged when it lost its
//! connection, as MQTT clients do. Whatever was acknowledged to it must be in the log, or in what history took from it.

use super::disk::Machine;
use super::storm::{Break, Opened, Outcome, Shared, World, live, misfortune, run_until_killed};
use bytes::BytesMut;
use rembus_gateway::door::Entrance;
use rembus_gateway::message::{self, Payload, Seq};
use rembus_gateway::mqtt;
use rembus_gateway::net::Listener;
use rembus_gateway::router::{Hub, NoServices, Options};
use rembus_gateway::wal::{Health, LogHandle, Record, Recovery};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

const SENSORS: u8 = 3;
const WINDOW: usize = 8;
const PACKET_BYTES_MAX: usize = 64 << 10;
/// A sensor that hears nothing for so long connects again.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Debug, Default)]
struct Truth {
    /// Message numbers that were acknowledged, by sensor.
    acknowledged: BTreeMap<u8, BTreeSet<u64>>,
    /// Message numbers that history has, by sensor.
    taken: BTreeMap<u8, BTreeSet<u64>>,
}

/// Runs one storm. Tells what was survived, or what was not.
pub(crate) fn storm(seed: u64, breakage: Break) -> Result<Outcome, String> {
    let (outcome, truth) = super::storm::storm(seed, breakage, |sim, world: &Shared<Truth>, machine| {
        let (inside, machine) = (world.clone(), machine.clone());
        sim.host("gateway", move || {
            let (world, machine) = (inside.clone(), machine.clone());
            async move {
                live(world.clone(), machine.clone(), async |opened| process(&world, &machine, opened).await).await;
                Ok(())
            }
        });
        for name in 0..SENSORS {
            let world = world.clone();
            sim.host(format!("sensor-{name}"), move || {
                let world = world.clone();
                async move {
                    sensor(name, world).await;
                    Ok(())
                }
            });
        }
    })?;
    Ok(Outcome { acknowledged: truth.acknowledged.values().map(|numbers| numbers.len() as u64).sum(), ..outcome })
}

/// Sensor and number of a message.
fn signature(record: &Record) -> Option<(u8, u64)> {
    let message = message::decode(&record.body).ok()?;
    let Payload::Mqtt(payload) = &message.payload else { return None };
    let (sensor, number) = (*payload.first()?, u64::from_le_bytes(payload.get(1..9)?.try_into().ok()?));
    (message.topic == format!("sensor/{sensor}") && *message.publisher == *format!("sensor-{sensor}"))
        .then_some((sensor, number))
}

/// Compares what was found at a start with what sensors were promised.
fn check(world: &mut World<Truth>, records: &[Record], recovery: &Recovery) {
    let mut found: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        match signature(record) {
            None => world.blame(format!("record {} is not a message of a sensor", record.seq)),
            Some((sensor, number)) => {
                found.entry(sensor).or_default().insert(number);
            }
        }
    }
    for sensor in 0..SENSORS {
        let (found, taken) = (found.remove(&sensor).unwrap_or_default(), world.truth.taken.entry(sensor).or_default());
        let is_lost = |number: &&u64| !found.contains(number) && !taken.contains(number);
        let lost: Vec<u64> = world.truth.acknowledged.entry(sensor).or_default().iter().filter(is_lost).copied().collect();
        if let Some(first) = lost.first() {
            let count = lost.len();
            world.blame(format!("{count} acknowledged messages of sensor {sensor} are lost, first {first}: {recovery:?}"));
        }
    }
}

struct SimListener(TcpListener);

impl Listener for SimListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One life of the gateway's process, wired as `gateway.rs` does it.
async fn process(world: &Shared<Truth>, machine: &Machine, opened: Opened) {
    let Opened { log, handle, clock, recovery, records } = opened;
    check(&mut world.get(), &records, &recovery);
    drop(records);
    let (hub, door) = Hub::new(Options::default(), handle.clone(), Arc::clone(&clock), Arc::new(NoServices));
    let listener = SimListener(TcpListener::bind("0.0.0.0:1883").await.unwrap());
    let (_running, stop) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(hub.run());
    tasks.spawn(mqtt::serve(vec![Entrance::plain(listener)], door, Arc::new(mqtt::Settings::default()), clock, stop));
    tasks.spawn(history(world.clone(), handle));
    tasks.spawn(misfortune(world.clone(), machine.clone()));
    run_until_killed(world, machine, log).await;
    tasks.shutdown().await;
}

/// Takes what is durable, in order, and releases it.
async fn history(world: Shared<Truth>, log: LogHandle) {
    let mut state = log.state();
    let hold = log.hold(Seq(world.get().released));
    let mut reader = log.reader(Seq(world.get().released + 1));
    let mut read = VecDeque::new();
    let mut health = Health::Fine;
    loop {
        let now = *state.borrow_and_update();
        if std::mem::replace(&mut health, now.health) != now.health && health == Health::Full {
            world.get().outcome.full += 1;
        }
        // An injected failure shows again, or does not, at the next turn.
        read.extend(reader.read(64 << 10).unwrap_or_default());
        while let Some(record) = read.pop_front_if(|record: &mut Record| record.seq <= now.durable) {
            let mut world = world.get();
            world.released = record.seq.0;
            if let Some((sensor, number)) = signature(&record) {
                // Sent again and again, but the first copies are in order.
                let taken = world.truth.taken.entry(sensor).or_default();
                if taken.insert(number) && taken.last() > Some(&number) {
                    world.blame(format!("message {number} of sensor {sensor} came after a younger one"));
                }
            }
            hold.release(record.seq);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes for ever, across connections.
async fn sensor(name: u8, world: Shared<Truth>) {
    let mut under_way = VecDeque::new();
    let mut next = 1;
    loop {
        // Every error means the same to a sensor: connect again.
        let _lost = session(name, &world, &mut under_way, &mut next).await;
        let pause = 5 + world.get().roll(20);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// One connection.
async fn session(name: u8, world: &Shared<Truth>, under_way: &mut VecDeque<u64>, next: &mut u64) -> io::Result<()> {
    let mut stream = tokio::time::timeout(PATIENCE, TcpStream::connect("gateway:1883")).await??;
    let mut inbox = BytesMut::new();
    send(&mut stream, &Packet::Connect(Connect::new(format!("sensor-{name}")))).await?;
    let Packet::ConnAck(_) = receive(&mut stream, &mut inbox).await? else { return Err(io::ErrorKind::InvalidData.into()) };
    for number in under_way.iter() {
        send(&mut stream, &publication(world, name, *number, true)).await?;
    }
    loop {
        while under_way.len() < WINDOW {
            under_way.push_back(*next);
            *next += 1;
            send(&mut stream, &publication(world, name, *next - 1, false)).await?;
        }
        let Packet::PubAck(ack) = receive(&mut stream, &mut inbox).await? else { continue };
        // [MQTT-4.6.0-2]: acknowledgements come in the order of the messages.
        let number = under_way.pop_front().ok_or(io::ErrorKind::InvalidData)?;
        let mut world = world.get();
        if packet_id(number) != ack.pkid {
            world.blame(format!(
                "sensor {name} waited for the acknowledgement of {number}, and got that of packet {}",
                ack.pkid
            ));
        }
        world.truth.acknowledged.entry(name).or_default().insert(number);
    }
}

fn packet_id(number: u64) -> u16 {
    (number % 60_000) as u16 + 1
}

fn publication(world: &Shared<Truth>, name: u8, number: u64, dup: bool) -> Packet {
    let size = {
        let mut world = world.get();
        if world.roll(200) == 0 { 12 << 10 } else { world.roll(200) }
    };
    let mut payload = vec![name];
    payload.extend_from_slice(&number.to_le_bytes());
    payload.resize(9 + size as usize, name);
    let mut publish = Publish::new(format!("sensor/{name}"), QoS::AtLeastOnce, payload);
    (publish.pkid, publish.dup) = (packet_id(number), dup);
    Packet::Publish(publish)
}

async fn send(stream: &mut TcpStream, packet: &Packet) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, PACKET_BYTES_MAX).map_err(io::Error::other)?;
    stream.write_all(&bytes).await
}

async fn receive(stream: &mut TcpStream, inbox: &mut BytesMut) -> io::Result<Packet> {
    loop {
        match Packet::read(inbox, PACKET_BYTES_MAX) {
            Ok(packet) => return Ok(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        if tokio::time::timeout(PATIENCE, stream.read_buf(inbox)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
