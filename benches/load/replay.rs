//! What a component missed, from the log: how fast it comes, and what that does to somebody else who is served live meanwhile.

use crate::broker::Broker;
use crate::mqtt::Client;
use crate::rembus::{Component, text};
use bytes::Bytes;
use ciborium::Value;
use futures_util::SinkExt;
use rumqttc::mqttbytes::QoS;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

const COUNT: u64 = 100_000;
const TOPIC: &str = "load/replay";

pub(crate) const COLUMNS: &[&str] = &["replayed msg/s", "CPU µs/msg", "other's p50 ms", "other's p99 ms", "p99 ms without"];

/// `qos` is that of the messages that were missed; with 1 each is acknowledged.
pub(crate) async fn replay(broker: &Broker, qos: QoS) -> Vec<f64> {
    fill(broker, qos).await;
    let quiet = other(broker, Duration::from_secs(2), None).await;
    let mut component = Component::connect(broker.rembus).await;
    component.login("replay").await;
    component.admin(TOPIC, &[("cmd", text("subscribe")), ("msg_from", f64::INFINITY.into())]).await;
    let (done, stop) = watch::channel(false);
    let (reader, busy) = tokio::join!(
        async {
            // The other one is under way.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (begin, cpu) = (Instant::now(), broker.cpu_s());
            component.admin("__config__", &[("cmd", text("reactive")), ("status", Value::Bool(true))]).await;
            take(&mut component).await;
            let (seconds, cpu) = (begin.elapsed().as_secs_f64(), broker.cpu_s() - cpu);
            done.send_replace(true);
            vec![COUNT as f64 / seconds, cpu * 1e6 / COUNT as f64]
        },
        other(broker, Duration::from_secs(30), Some(stop)),
    );
    let at = |times: &[f64], share: f64| times.get(((times.len() - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    [reader, vec![at(&busy, 0.5), at(&busy, 0.99), at(&quiet, 0.99)]].concat()
}

/// Readings that nobody listens to yet.
async fn fill(broker: &Broker, qos: QoS) {
    let mut client = Client::connect(broker.mqtt, "filler").await;
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(98)));
    let (mut sent, mut acknowledged) = (0, 0);
    while sent < COUNT {
        while sent < COUNT && sent - acknowledged < 1_000 {
            client.queue(TOPIC, qos, payload.clone());
            sent += 1;
            acknowledged += u64::from(qos == QoS::AtMostOnce);
        }
        client.flush().await;
        if qos == QoS::AtMostOnce {
            // The log drops what comes faster than the disk takes it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        client.read_more().await;
        while client.take().is_some() {
            acknowledged += 1;
        }
    }
    while acknowledged < COUNT {
        client.read_more().await;
        while client.take().is_some() {
            acknowledged += 1;
        }
    }
}

/// Takes every message, and acknowledges those that want it.
async fn take(component: &mut Component) {
    let mut unflushed = 0;
    for _ in 0..COUNT {
        let message = component.receive().await;
        // A PUB with an id: four elements, the type, eight bytes of id.
        if let [0x84, 0x11, 0x48, id @ ..] = message.as_ref() {
            let mut ack = vec![0x82, 0x05, 0x48];
            ack.extend_from_slice(&id[..8]);
            component.socket.feed(Message::binary(ack)).await.unwrap();
            unflushed += 1;
            if unflushed >= 256 {
                component.socket.flush().await.unwrap();
                unflushed = 0;
            }
        }
    }
    component.socket.flush().await.unwrap();
}

/// A thousand messages a second from an MQTT client to a component, in ms and sorted; until `stop`, or for `time`.
async fn other(broker: &Broker, time: Duration, mut stop: Option<watch::Receiver<bool>>) -> Vec<f64> {
    let mut reader = Component::connect(broker.rembus).await;
    reader.listen("load/other").await;
    let mut writer = Client::connect(broker.mqtt, "other").await;
    let begin = Instant::now();
    let reading = tokio::spawn(async move {
        let mut times = Vec::new();
        loop {
            let value: Value = ciborium::from_reader(reader.receive().await.as_ref()).unwrap();
            let Some(Value::Array(mut data)) = value.into_array().unwrap().pop() else { continue };
            match data.pop() {
                Some(Value::Integer(micros)) => {
                    let sent = u64::try_from(micros).unwrap();
                    times.push((begin.elapsed().as_micros() as f64 - sent as f64) / 1000.0);
                }
                _ => return times,
            }
        }
    });
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while begin.elapsed() < time && !stop.as_mut().is_some_and(|stop| *stop.borrow_and_update()) {
        tick.tick().await;
        let now = begin.elapsed().as_micros().to_string();
        writer.queue("load/other", QoS::AtMostOnce, Bytes::from(now));
        writer.flush().await;
    }
    writer.queue("load/other", QoS::AtMostOnce, Bytes::from_static(b"\"done\""));
    writer.flush().await;
    let mut times = reading.await.unwrap();
    times.sort_by(f64::total_cmp);
    times
}
