//! A link that was away comes back: how long its backlog takes, and what live traffic notices of it.
//!
//! ```text
//! writer ─150 MB─▶ gateway ─ ✂ ─ mosquitto        then ✂ is mended, and meanwhile
//! writer ─200/s─▶ gateway ─▶ reader                is timed
//! ```

use crate::broker::{Broker, Kind};
use crate::mqtt::Client;
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

pub(crate) const COLUMNS: &[&str] = &["drain s", "MB/s", "live p50 ms", "live p99 ms"];
const COUNT: u64 = 150_000;
const PAYLOAD: usize = 1_000;
/// Live messages a second.
const PACE: u64 = 200;

/// One round.
pub(crate) async fn run() -> Vec<f64> {
    let far = Broker::start(Kind::Mosquitto).await;
    let door = crate::broker::free_port();
    let environment = [
        ("REMBUS_GATEWAY_REMOTE", format!("{{ far = {{ url = \"mqtt://{door}\" }} }}")),
        ("REMBUS_GATEWAY_BRIDGE_TOPIC", "[{ from = \"local\", to = \"far\", filter = \"load/#\" }]".to_owned()),
    ];
    let gateway = Broker::start_with(Kind::GatewayPlain, &environment).await;
    fill(&gateway).await;

    let mended = mend(door, far.mqtt).await;
    let (begin, mut times) = (mended, Vec::new());
    let mut reader = Client::connect(gateway.mqtt, "reader").await;
    reader.subscribe("live", QoS::AtLeastOnce).await;
    let mut writer = Client::connect(gateway.mqtt, "live").await;
    let mut pace = tokio::time::interval(Duration::from_millis(1_000 / PACE));
    let mut look = tokio::time::interval(Duration::from_millis(500));
    let http = gateway.http;
    loop {
        tokio::select! {
            _ = pace.tick() => {
                let now = begin.elapsed().as_micros().to_string();
                writer.queue("live", QoS::AtLeastOnce, Bytes::from(now));
                writer.flush().await;
            }
            () = reader.read_more() => {
                let now = begin.elapsed().as_micros() as f64;
                while let Some(packet) = reader.take() {
                    if let Packet::Publish(publish) = packet {
                        let sent: f64 = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
                        times.push((now - sent) / 1000.0);
                        reader.answer(&Packet::PubAck(PubAck { pkid: publish.pkid }));
                    }
                }
                reader.flush().await;
            }
            () = writer.read_more() => while writer.take().is_some() {},
            _ = look.tick() => {
                if forwarded(http).await >= COUNT {
                    break;
                }
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    vec![seconds, (COUNT * PAYLOAD as u64) as f64 / 1e6 / seconds, at(0.5), at(0.99)]
}

/// Publishes what is to wait for the far end.
async fn fill(gateway: &Broker) {
    let mut client = Client::connect(gateway.mqtt, "load").await;
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < COUNT {
        while sent < COUNT && sent - acknowledged < 1_024 {
            client.queue("load/topic", QoS::AtLeastOnce, payload.clone());
            sent += 1;
        }
        client.flush().await;
        client.read_more().await;
        while client.take().is_some() {
            acknowledged += 1;
        }
    }
}

/// What connects to `door` reaches `far` from now on. Returns when somebody has, and since when.
async fn mend(door: SocketAddr, far: SocketAddr) -> Instant {
    let (tell, connected) = tokio::sync::oneshot::channel();
    // In a thread of its own, because the clients here are timed.
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::bind(door).await.unwrap();
            let mut tell = Some(tell);
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = tokio::net::TcpStream::connect(far).await.unwrap();
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                if let Some(tell) = tell.take() {
                    tell.send(Instant::now()).unwrap();
                }
                tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
            }
        });
    });
    connected.await.unwrap()
}

async fn forwarded(http: SocketAddr) -> u64 {
    let mut stream = tokio::net::TcpStream::connect(http).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find(|line| line.starts_with("rembus_gateway_link_forwarded_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
