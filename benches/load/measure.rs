//! What is measured, one function each.

use crate::broker::{Broker, Kind};
use crate::components::Work;
use crate::flow::Flow;
use crate::mqtt::Client;
use crate::rembus::{Component, encode, text};
use crate::replay;
use bytes::Bytes;
use ciborium::Value;
use futures_util::SinkExt;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    Qos1,
    Qos1Rembus,
    Flow(Flow),
    Idle { count: usize, tls: bool },
    Latency,
    Rows,
    Rpc,
    Replay(QoS),
    Components(Work),
}

impl Measure {
    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Qos1 | Self::Qos1Rembus => &["acknowledged msg/s", "CPU µs/msg"],
            Self::Flow(_) => &["delivered msg/s", "CPU µs/delivery", "p50 ms", "p99 ms"],
            Self::Idle { .. } => &["KiB per connection", "connects/s"],
            Self::Latency => &["p50 ms", "p99 ms", "worst ms"],
            Self::Rows => &["rows/s", "CPU µs/row"],
            Self::Rpc => &["calls/s", "CPU µs/call"],
            Self::Replay(_) => replay::COLUMNS,
            Self::Components(work) => work.columns(),
        }
    }

    pub(crate) async fn run(self, broker: &Broker, seconds: u64) -> Vec<f64> {
        let time = Duration::from_secs(seconds);
        match self {
            Self::Qos1 => qos1(broker, time).await,
            Self::Qos1Rembus => qos1_rembus(broker, time).await,
            Self::Flow(flow) => flow.run(broker, time).await,
            Self::Idle { count, tls } => idle(broker, count, tls).await,
            Self::Latency => latency(broker, seconds).await,
            Self::Rows => rows(broker).await,
            Self::Rpc => rpc(broker, time).await,
            Self::Replay(qos) => replay::replay(broker, qos).await,
            Self::Components(work) => work.run(broker, time).await,
        }
    }
}

/// Operations per second and broker CPU per operation since `begin`.
pub(crate) fn rate(broker: &Broker, operations: u64, begin: Instant, cpu_before: f64) -> Vec<f64> {
    let operations = operations as f64;
    vec![operations / begin.elapsed().as_secs_f64(), (broker.cpu_s() - cpu_before) * 1e6 / operations]
}

async fn qos1(broker: &Broker, time: Duration) -> Vec<f64> {
    let mut client = Client::connect(broker.mqtt, "load").await;
    let payload = Bytes::from(vec![b'x'; 100]);
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let (begin, cpu) = (Instant::now(), broker.cpu_s());
    while begin.elapsed() < time {
        while sent - acknowledged < 64 {
            client.queue("load/topic", QoS::AtLeastOnce, payload.clone());
            sent += 1;
        }
        client.flush().await;
        client.read_more().await;
        while let Some(packet) = client.take() {
            assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
            acknowledged += 1;
        }
    }
    rate(broker, acknowledged, begin, cpu)
}

async fn qos1_rembus(broker: &Broker, time: Duration) -> Vec<f64> {
    let mut component = Component::connect(broker.rembus).await;
    let data = Value::Array(vec![Value::Bytes(vec![b'x'; 100])]);
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let (begin, cpu) = (Instant::now(), broker.cpu_s());
    while begin.elapsed() < time {
        while sent - acknowledged < 64 {
            let message = component.message(0x11, [text("load/topic"), data.clone()]);
            component.socket.feed(message).await.unwrap();
            sent += 1;
        }
        component.socket.flush().await.unwrap();
        component.receive().await;
        acknowledged += 1;
    }
    rate(broker, acknowledged, begin, cpu)
}

/// Connections that say nothing, once their buffers have been given back.
async fn idle(broker: &Broker, count: usize, tls: bool) -> Vec<f64> {
    let (before, _) = broker.memory_mb();
    let begin = Instant::now();
    let mut clients = Vec::new();
    for n in 0..count {
        clients.push(Client::over(broker, tls, &format!("idle{n}")).await);
    }
    let speed = count as f64 / begin.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let (after, _) = broker.memory_mb();
    vec![(after - before) * 1e6 / 1024.0 / count as f64, speed]
}

async fn latency(broker: &Broker, seconds: u64) -> Vec<f64> {
    let mut writer = Client::connect(broker.mqtt, "writer").await;
    let count = seconds * 1000;
    let begin = Instant::now();
    let arrivals = if broker.kind == Kind::Mosquitto {
        let mut reader = Client::connect(broker.mqtt, "reader").await;
        reader.subscribe("load/latency", QoS::AtMostOnce).await;
        tokio::spawn(async move {
            let mut arrivals = Vec::new();
            while arrivals.len() < usize::try_from(count).unwrap() {
                let Packet::Publish(publish) = reader.receive().await else { continue };
                arrivals.push((decimal(&publish.payload), Instant::now()));
            }
            arrivals
        })
    } else {
        let mut reader = Component::connect(broker.rembus).await;
        reader.listen("load/latency").await;
        tokio::spawn(async move {
            let mut arrivals = Vec::new();
            while arrivals.len() < usize::try_from(count).unwrap() {
                let value: Value = ciborium::from_reader(reader.receive().await.as_ref()).unwrap();
                let data = value.into_array().unwrap().pop().unwrap().into_array();
                let Some(Value::Integer(micros)) = data.ok().and_then(|mut d| d.pop()) else { continue };
                arrivals.push((u64::try_from(micros).unwrap(), Instant::now()));
            }
            arrivals
        })
    };
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..count {
        tick.tick().await;
        let now = begin.elapsed().as_micros().to_string();
        writer.queue("load/latency", QoS::AtMostOnce, Bytes::from(now));
        writer.flush().await;
    }
    let arrivals = tokio::time::timeout(Duration::from_secs(10), arrivals).await.expect("every message arrives").unwrap();
    let mut times: Vec<f64> =
        arrivals.iter().map(|(sent, at)| ((*at - begin).as_micros() as f64 - *sent as f64) / 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    vec![at(0.5), at(0.99), at(1.0)]
}

fn decimal(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// Publishes readings and waits until the lake has the rows of every full batch.
async fn rows(broker: &Broker) -> Vec<f64> {
    const COUNT: u64 = 300_000;
    let (begin, cpu) = (Instant::now(), broker.cpu_s());
    if broker.kind == Kind::Python {
        let mut component = Component::connect(broker.rembus).await;
        for n in 0..COUNT {
            let reading = Value::Map(vec![(text("temperature"), (n as f64).into()), (text("pressure"), 980.into())]);
            let message = encode(vec![1.into(), text("dev1/telemetry"), Value::Array(vec![reading])]);
            component.socket.feed(message).await.unwrap();
        }
        component.socket.flush().await.unwrap();
        let mut asker = Component::connect(broker.rembus).await;
        loop {
            let query = Value::Map(vec![(text("cols"), text("count(*) AS n"))]);
            if let Value::Tag(80, frame) = asker.call("query_telemetry", vec![query]).await
                && count_in(frame.as_bytes().unwrap()) >= COUNT
            {
                return rate(broker, COUNT, begin, cpu);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let mut client = Client::connect(broker.mqtt, "load").await;
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    while acknowledged < COUNT {
        while sent < COUNT && sent - acknowledged < 4096 {
            let reading = format!("{{\"temperature\":{sent}.5,\"pressure\":980}}");
            client.queue("dev1/telemetry", QoS::AtLeastOnce, Bytes::from(reading));
            sent += 1;
        }
        client.flush().await;
        client.read_more().await;
        while client.take().is_some() {
            acknowledged += 1;
        }
    }
    // The last, partial batch waits for its interval; only full ones count.
    loop {
        let stored = rows_in_lake(broker).await;
        if stored + 20_000 > COUNT {
            return rate(broker, stored, begin, cpu);
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "only {stored} rows are in the lake");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count_in(frame: &[u8]) -> u64 {
    let batch = arrow_ipc::reader::StreamReader::try_new(frame, None).unwrap().next().unwrap().unwrap();
    let column = batch.column(0).as_any().downcast_ref::<arrow_array::Int64Array>().unwrap();
    u64::try_from(column.value(0)).unwrap()
}

/// From the gateway's metrics, because a query would also show what is not yet in the lake.
async fn rows_in_lake(broker: &Broker) -> u64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(broker.http).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let rows = text.lines().filter(|line| line.starts_with("rembus_gateway_history_covered_seq"));
    rows.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

async fn rpc(broker: &Broker, time: Duration) -> Vec<f64> {
    let mut component = Component::connect(broker.rembus).await;
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let (begin, cpu) = (Instant::now(), broker.cpu_s());
    while begin.elapsed() < time {
        while sent - answered < 32 {
            let message = component.rpc("version", vec![]);
            component.socket.feed(message).await.unwrap();
            sent += 1;
        }
        component.socket.flush().await.unwrap();
        component.receive().await;
        answered += 1;
    }
    rate(broker, answered, begin, cpu)
}
