//! Rembus components among themselves: messages from one to another, calls that a component answers, and many that say nothing.

use crate::broker::Broker;
use crate::measure::rate;
use crate::rembus::{Component, text};
use bytes::Bytes;
use ciborium::Value;
use futures_util::SinkExt;
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// How far the publisher may be ahead of the subscriber, and of its acknowledgements.
const AHEAD: u64 = 512;
const UNACKNOWLEDGED: u64 = 64;
const IN_FLIGHT: usize = 32;
const CALLS_PER_MS: usize = 2;
const TOPIC: &str = "load/topic";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// From a publisher to a subscriber, with QoS 0 or 1.
    Deliver { acknowledged: bool },
    /// To a component that exposes a method and answers at once.
    Call,
    /// So many that are connected, and no more.
    Idle(usize),
}

impl Work {
    pub(crate) const ALL: [(&str, &str, Self); 4] = [
        ("rembus-q0", "Rembus QoS 0, component to component, 100 B", Self::Deliver { acknowledged: false }),
        ("rembus-q1", "Rembus QoS 1, component to component, 100 B", Self::Deliver { acknowledged: true }),
        ("rembus-rpc", "RPC to a component, 32 in flight (latency at 2,000 calls/s)", Self::Call),
        ("rembus-idle", "2,000 idle Rembus components", Self::Idle(2000)),
    ];

    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Deliver { .. } => &["delivered msg/s", "CPU µs/msg"],
            Self::Call => &["calls/s", "CPU µs/call", "p50 ms", "p99 ms"],
            Self::Idle(_) => &["MiB more", "connects/s"],
        }
    }

    pub(crate) async fn run(self, broker: &Broker, time: Duration) -> Vec<f64> {
        match self {
            Self::Deliver { acknowledged } => deliver(broker, acknowledged, time).await,
            Self::Call => call(broker, time).await,
            Self::Idle(count) => idle(broker, count).await,
        }
    }
}

/// `work` for so long.
async fn during(time: Duration, work: impl Future<Output = ()>) {
    assert!(tokio::time::timeout(time, work).await.is_err(), "the work goes on until it is stopped");
}

async fn deliver(broker: &Broker, acknowledged: bool, time: Duration) -> Vec<f64> {
    let mut reader = Component::connect(broker.rembus).await;
    reader.listen(TOPIC).await;
    let mut writer = Component::connect(broker.rembus).await;
    let (got, moved) = (Cell::new(0_u64), Notify::new());
    let reading = async {
        loop {
            let mut next = Some(reader.receive().await);
            while let Some(message) = next {
                if message[1] == 0x11 {
                    reader.socket.feed(acknowledgement(&message)).await.unwrap();
                }
                got.set(got.get() + 1);
                next = reader.arrived();
            }
            reader.socket.flush().await.unwrap();
            moved.notify_one();
        }
    };
    let kind = if acknowledged { 0x11 } else { 1 };
    let data = Value::Array(vec![Value::Bytes(vec![b'x'; 100])]);
    let writing = async {
        let (mut sent, mut unacknowledged) = (0_u64, 0_u64);
        loop {
            while sent - got.get() < AHEAD && unacknowledged < UNACKNOWLEDGED {
                let message = if acknowledged {
                    writer.message(kind, [text(TOPIC), data.clone()])
                } else {
                    crate::rembus::encode(vec![kind.into(), text(TOPIC), data.clone()])
                };
                writer.socket.feed(message).await.unwrap();
                sent += 1;
                unacknowledged += u64::from(acknowledged);
            }
            writer.socket.flush().await.unwrap();
            tokio::select! {
                _ = writer.receive(), if acknowledged => unacknowledged -= 1,
                () = moved.notified() => {}
            }
            while acknowledged && writer.arrived().is_some() {
                unacknowledged -= 1;
            }
        }
    };
    let both = async {
        tokio::join!(reading, writing);
    };
    tokio::pin!(both);
    // The first second is for buffers to find their size.
    during(Duration::from_secs(1), &mut both).await;
    let (begin, cpu, before) = (Instant::now(), broker.cpu_s(), got.get());
    during(time, &mut both).await;
    rate(broker, got.get() - before, begin, cpu)
}

/// First at full speed, then at a steady pace.
async fn call(broker: &Broker, time: Duration) -> Vec<f64> {
    let mut exposer = Component::connect(broker.rembus).await;
    exposer.admin("load_echo", &[("cmd", text("expose"))]).await;
    let serving = async {
        loop {
            let mut next = Some(exposer.receive().await);
            while let Some(message) = next {
                exposer.socket.feed(answer(&message)).await.unwrap();
                next = exposer.arrived();
            }
            exposer.socket.flush().await.unwrap();
        }
    };
    let calling = async {
        let mut caller = Component::connect(broker.rembus).await;
        let argument = vec![Value::Bytes(vec![b'x'; 100])];
        let (mut answered, mut in_flight) = (0_u64, 0);
        let (begin, cpu) = (Instant::now(), broker.cpu_s());
        while begin.elapsed() < time {
            while in_flight < IN_FLIGHT {
                let message = caller.rpc("load_echo", argument.clone());
                caller.socket.feed(message).await.unwrap();
                in_flight += 1;
            }
            caller.socket.flush().await.unwrap();
            let mut next = Some(caller.receive().await);
            while let Some(message) = next {
                assert_succeeded(&message);
                (answered, in_flight) = (answered + 1, in_flight - 1);
                next = caller.arrived();
            }
        }
        let full = rate(broker, answered, begin, cpu);
        for _ in 0..in_flight {
            caller.receive().await;
        }
        [full, paced(&mut caller, &argument, time).await].concat()
    };
    tokio::select! {
        () = serving => unreachable!("it serves until it is stopped"),
        figures = calling => figures,
    }
}

/// p50 and p99 of a call, in ms, from its sending. Calls are sent at their pace whether answers come or not, so that who cannot keep
/// it is late with all that follow.
async fn paced(caller: &mut Component, argument: &[Value], time: Duration) -> Vec<f64> {
    let (mut unanswered, mut times) = (HashMap::new(), Vec::new());
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let begin = Instant::now();
    while begin.elapsed() < time || !unanswered.is_empty() {
        tokio::select! {
            _ = tick.tick(), if begin.elapsed() < time => {
                for _ in 0..CALLS_PER_MS {
                    let message = caller.rpc("load_echo", argument.to_vec());
                    unanswered.insert(id(&message.clone().into_data()).to_vec(), Instant::now());
                    caller.socket.feed(message).await.unwrap();
                }
                caller.socket.flush().await.unwrap();
            }
            message = caller.receive() => {
                assert_succeeded(&message);
                let sent: Instant = unanswered.remove(id(&message)).expect("an answer to a call");
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            () = tokio::time::sleep_until(begin + time * 3) => return vec![f64::NAN, f64::NAN],
        }
    }
    times.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| times[((times.len() - 1) as f64 * share) as usize]).to_vec()
}

async fn idle(broker: &Broker, count: usize) -> Vec<f64> {
    let (before, _) = broker.memory_mb();
    let begin = Instant::now();
    let mut components = Vec::new();
    for number in 0..count {
        let mut component = Component::connect(broker.rembus).await;
        component.login(&format!("idle{number}")).await;
        components.push(component);
    }
    let speed = count as f64 / begin.elapsed().as_secs_f64();
    // Buffers are given back after a while.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let (after, _) = broker.memory_mb();
    vec![(after - before) * 1e6 / 1_048_576.0, speed]
}

/// The id of a message, with its CBOR head: what follows the type.
fn id(message: &Bytes) -> &[u8] {
    let length = 1 + usize::from(message[2] & 0x1f);
    &message[2..2 + length]
}

fn acknowledgement(message: &Bytes) -> Message {
    Message::binary([&[0x82, 0x05], id(message)].concat())
}

/// Success, and nothing in it.
fn answer(request: &Bytes) -> Message {
    assert_eq!(request[1], 2, "only calls arrive here");
    Message::binary([&[0x84, 0x04], id(request), &[0x00, 0xf6]].concat())
}

fn assert_succeeded(message: &Bytes) {
    let status = message[2 + id(message).len()];
    assert!(message[1] == 4 && status == 0, "{message:?}");
}
