//! Messages from publishers to subscribers: how many get through at full speed, what each costs the broker, and how long one
//! takes at a steady pace.
//!
//! Every subscriber gets what every publisher sends. Nobody is tempted to drop: a publisher stays at most a window ahead of the
//! slowest subscriber. Payloads are 100 B and begin with the time of their sending.

use crate::broker::Broker;
use crate::mqtt::Client;
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, PubComp, PubRec, PubRel};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// How far all publishers together may be ahead of the slowest subscriber.
const AHEAD: u64 = 512;
/// Publications of one publisher without acknowledgement, as in the measurement of publishers alone.
const UNACKNOWLEDGED: u64 = 64;
const PAYLOAD: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) qos: QoS,
    pub(crate) tls: bool,
}

impl Flow {
    /// What is measured, in the order of the tables.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|tls| {
            [(1, 1), (50, 1), (1, 50)].into_iter().flat_map(move |(publishers, subscribers)| {
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| Self { publishers, subscribers, qos, tls })
            })
        })
    }

    /// As the command line asks for it, such as `50-1-q2-tls`.
    pub(crate) fn name(self) -> String {
        let tls = if self.tls { "-tls" } else { "" };
        format!("{}-{}-q{}{tls}", self.publishers, self.subscribers, self.qos as u8)
    }

    /// All of its kind at once.
    pub(crate) fn group(self) -> &'static str {
        if self.tls { "flow-tls" } else { "flow" }
    }

    pub(crate) fn title(self) -> String {
        let tls = if self.tls { ", TLS" } else { "" };
        let (publishers, subscribers, qos) = (self.publishers, self.subscribers, self.qos as u8);
        format!("MQTT QoS {qos}, {publishers} to {subscribers}, 100 B{tls} (latency at {} msg/s)", self.pace())
    }

    /// Publications a second for the latency: a thousand, or what makes some thousand copies.
    fn pace(self) -> u64 {
        if self.subscribers > 1 { 100 } else { 1000 }
    }

    pub(crate) async fn run(self, broker: &Broker, time: Duration) -> Vec<f64> {
        LocalSet::new().run_until(self.measure(broker, time)).await
    }

    async fn measure(self, broker: &Broker, time: Duration) -> Vec<f64> {
        let state = Rc::new(State {
            flow: self,
            begin: Instant::now(),
            sent: Cell::new(0),
            got: RefCell::new(vec![0; self.subscribers]),
            moved: Notify::new(),
            steady: Cell::new(false),
            over: Cell::new(false),
            latencies_us: RefCell::default(),
        });
        for number in 0..self.subscribers {
            let mut client = Client::over(broker, self.tls, &format!("reader{number}")).await;
            client.subscribe("load/topic", self.qos).await;
            tokio::task::spawn_local(read(Rc::clone(&state), number, client));
        }
        for number in 0..self.publishers {
            let client = Client::over(broker, self.tls, &format!("writer{number}")).await;
            tokio::task::spawn_local(write(Rc::clone(&state), client));
        }
        // The first second is for buffers to find their size.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (begin, cpu, before) = (Instant::now(), broker.cpu_s(), state.delivered());
        tokio::time::sleep(time).await;
        let delivered = (state.delivered() - before) as f64;
        let (seconds, cpu) = (begin.elapsed().as_secs_f64(), broker.cpu_s() - cpu);
        state.steady.set(true);
        // What was on its way at full speed says nothing about a steady pace.
        tokio::time::sleep(Duration::from_secs(1)).await;
        state.latencies_us.borrow_mut().clear();
        tokio::time::sleep(time).await;
        let mut times = state.latencies_us.take();
        state.over.set(true);
        state.moved.notify_waiters();
        times.sort_unstable();
        let at = |share: f64| match times.len() {
            0 => f64::NAN,
            count => times[((count - 1) as f64 * share) as usize] as f64 / 1000.0,
        };
        vec![delivered / seconds, cpu * 1e6 / delivered, at(0.5), at(0.99)]
    }
}

/// What publishers and subscribers of one measurement share; all of them live in one thread.
struct State {
    flow: Flow,
    begin: Instant,
    sent: Cell<u64>,
    got: RefCell<Vec<u64>>,
    moved: Notify,
    steady: Cell<bool>,
    over: Cell<bool>,
    latencies_us: RefCell<Vec<u64>>,
}

impl State {
    fn delivered(&self) -> u64 {
        self.got.borrow().iter().sum()
    }

    fn slowest(&self) -> u64 {
        self.got.borrow().iter().copied().min().unwrap_or_default()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn payload(&self) -> Bytes {
        let mut payload = self.now_us().to_le_bytes().to_vec();
        payload.resize(PAYLOAD, b'x');
        payload.into()
    }
}

async fn read(state: Rc<State>, number: usize, mut client: Client) {
    while !state.over.get() {
        client.read_more().await;
        let (mut count, now) = (0, state.now_us());
        while let Some(packet) = client.take() {
            match packet {
                Packet::Publish(publish) => {
                    match publish.qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => client.answer(&Packet::PubAck(PubAck { pkid: publish.pkid })),
                        QoS::ExactlyOnce => client.answer(&Packet::PubRec(PubRec { pkid: publish.pkid })),
                    }
                    let sent = publish.payload.first_chunk().map_or(0, |time| u64::from_le_bytes(*time));
                    state.latencies_us.borrow_mut().push(now.saturating_sub(sent));
                    count += 1;
                }
                Packet::PubRel(release) => client.answer(&Packet::PubComp(PubComp { pkid: release.pkid })),
                other => panic!("{other:?}"),
            }
        }
        if !state.steady.get() {
            state.latencies_us.borrow_mut().clear();
        }
        client.flush().await;
        if let Some(got) = state.got.borrow_mut().get_mut(number) {
            *got += count;
        }
        state.moved.notify_waiters();
    }
}

async fn write(state: Rc<State>, mut client: Client) {
    let flow = state.flow;
    let mut unacknowledged = 0;
    let pause = Duration::from_secs(1) * u32::try_from(flow.publishers).unwrap() / u32::try_from(flow.pace()).unwrap();
    let mut pace = tokio::time::interval(pause);
    // The ticks of the time at full speed are not made up for.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !state.over.get() {
        let moved = state.moved.notified();
        let steady = state.steady.get();
        // A few at a time, so that fifty publishers share.
        let mut room = if steady { 0 } else { 16 };
        while room > 0 && state.sent.get() - state.slowest() < AHEAD && unacknowledged < UNACKNOWLEDGED {
            client.queue("load/topic", flow.qos, state.payload());
            state.sent.set(state.sent.get() + 1);
            unacknowledged += u64::from(flow.qos != QoS::AtMostOnce);
            room -= 1;
        }
        client.flush().await;
        if room == 0 && !steady {
            // There may be more to send at once; answers are looked at when there is something to wait for.
            tokio::task::yield_now().await;
            if unacknowledged < UNACKNOWLEDGED {
                continue;
            }
        }
        tokio::select! {
            () = client.read_more(), if flow.qos != QoS::AtMostOnce => {}
            () = moved => {}
            _ = pace.tick(), if steady => {
                client.queue("load/topic", flow.qos, state.payload());
                state.sent.set(state.sent.get() + 1);
                unacknowledged += u64::from(flow.qos != QoS::AtMostOnce);
            }
        }
        while let Some(packet) = client.take() {
            match packet {
                Packet::PubAck(_) | Packet::PubComp(_) => unacknowledged -= 1,
                Packet::PubRec(received) => client.answer(&Packet::PubRel(PubRel { pkid: received.pkid })),
                other => panic!("{other:?}"),
            }
        }
    }
}
