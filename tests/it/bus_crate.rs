//! The bus as programs in Rust meet it: the `busrt` crate of its vendor, unmodified.

use crate::gateway::{Gateway, until};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::{RembusPeer, text};
use busrt::client::AsyncClient;
use busrt::ipc::{Client, Config};
use busrt::rpc::{Rpc, RpcClient, RpcError, RpcEvent, RpcHandlers, RpcResult};
use busrt::{Error, ErrorKind, EventChannel, Frame, FrameKind, OpConfirm, QoS, async_trait};
use rumqttc::mqttbytes::QoS as MqttQos;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn program(gateway: &Gateway, name: &str) -> Client {
    let socket = gateway.data().join("bus.sock");
    let config = Config::new(socket.to_str().unwrap(), name).timeout(LIMIT);
    Client::connect(&config).await.unwrap()
}

/// What the gateway says of an operation that asked for it.
async fn done(operation: Result<OpConfirm, Error>) -> Result<(), ErrorKind> {
    let confirmation = operation.unwrap().expect("an acknowledgement was asked for");
    let answer = tokio::time::timeout(LIMIT, confirmation).await.expect("an acknowledgement in time");
    answer.unwrap().map_err(|error| error.kind())
}

async fn frame(events: &EventChannel) -> Frame {
    tokio::time::timeout(LIMIT, events.recv()).await.expect("a frame in time").unwrap()
}

fn seen(frame: &Frame) -> (FrameKind, &str, Option<&str>, &[u8]) {
    (frame.kind(), frame.sender(), frame.topic(), frame.payload())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_send_publish_and_hear_each_other() {
    let gateway = Gateway::start();
    let (mut alice, mut bob) = (program(&gateway, "alice").await, program(&gateway, "plc.bob").await);
    let events = bob.take_event_channel().unwrap();
    done(bob.exclude("plant/secret", QoS::Processed).await).await.unwrap();
    done(bob.subscribe_bulk(&["plant/#", "+/telemetry"], QoS::Processed).await).await.unwrap();

    for qos in [QoS::Processed, QoS::RealtimeProcessed] {
        done(alice.send("plc.bob", b"hello"[..].into(), qos).await).await.unwrap();
        assert_eq!(seen(&frame(&events).await), (FrameKind::Message, "alice", None, &b"hello"[..]));
        done(alice.publish("plant/a", b"1"[..].into(), qos).await).await.unwrap();
        assert_eq!(seen(&frame(&events).await), (FrameKind::Publish, "alice", Some("plant/a"), &b"1"[..]));
        done(alice.publish("plant/secret", b"2"[..].into(), qos).await).await.unwrap();
        done(alice.send_broadcast("plc.*", b"3"[..].into(), qos).await).await.unwrap();
        assert_eq!(seen(&frame(&events).await), (FrameKind::Broadcast, "alice", None, &b"3"[..]), "not what is excluded");
        done(alice.publish_for("plant/b", "plc.bob", b"4"[..].into(), qos).await).await.unwrap();
        assert_eq!(seen(&frame(&events).await), (FrameKind::Publish, "alice", Some("plant/b"), &b"4"[..]));
    }
    assert!(alice.publish("plant/quiet", b"5"[..].into(), QoS::No).await.unwrap().is_none());
    assert_eq!(seen(&frame(&events).await), (FrameKind::Publish, "alice", Some("plant/quiet"), &b"5"[..]));
    assert_eq!(done(alice.send("nobody", b"x"[..].into(), QoS::Processed).await).await, Err(ErrorKind::NotRegistered));
    alice.ping().await.unwrap();

    let mut second = alice.register_secondary().await.unwrap();
    done(second.send("plc.bob", b"by another wire"[..].into(), QoS::Processed).await).await.unwrap();
    let by_second = frame(&events).await;
    assert!(by_second.sender().starts_with("alice%%") && by_second.primary_sender() == "alice", "{}", by_second.sender());

    // What a sensor says by MQTT.
    MqttPeer::connect(gateway.doors.mqtt, "sensor").await.publish("dev7/telemetry", r#"{"temperature":21.5}"#).await;
    let heard = frame(&events).await;
    assert_eq!((heard.topic(), heard.payload()), (Some("dev7/telemetry"), &br#"{"temperature":21.5}"#[..]));
    let mut mqtt = MqttPeer::connect(gateway.doors.mqtt, "panel").await;
    mqtt.subscribe("out/#", MqttQos::AtLeastOnce).await;
    done(alice.publish("out/x", b"to a panel"[..].into(), QoS::Processed).await).await.unwrap();
    let delivery = mqtt.delivery().await;
    assert_eq!((delivery.topic.as_str(), &delivery.payload[..]), ("out/x", &b"to a panel"[..]));
}

/// Doubles the number that is its first parameter, in MessagePack.
struct Doubling;

#[async_trait]
impl RpcHandlers for Doubling {
    async fn handle_call(&self, event: RpcEvent) -> RpcResult {
        match (event.parse_method()?, event.payload()) {
            ("double", [0x91, number @ 0..64]) => Ok(Some(vec![number * 2])),
            ("double", _) => Err(RpcError::params(None)),
            _ => Err(RpcError::method(None)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_serves_components_and_other_programs_and_calls_the_gateway() {
    let gateway = Gateway::start();
    let server = RpcClient::new(program(&gateway, "plc").await, Doubling);
    let caller = RpcClient::new0(program(&gateway, "hmi").await);

    let answer = caller.call("plc", "double", b"\x91\x15"[..].into(), QoS::Processed).await.unwrap();
    assert_eq!(answer.payload(), [42]);
    let refused = caller.call("plc", "no_such", busrt::empty_payload!(), QoS::Processed).await.unwrap_err();
    assert_eq!(refused.code(), busrt::rpc::RPC_ERROR_CODE_METHOD_NOT_FOUND);
    let answer = caller.call(".gateway", "bus/plc/double", b"\x91\x14"[..].into(), QoS::Processed).await.unwrap();
    assert_eq!(answer.payload(), [40], "through the gateway it is the same");

    let mut component = RembusPeer::login(gateway.doors.rembus, "cloud").await;
    assert_eq!(component.rpc("bus/plc/double", vec![21.into()]).await.unwrap(), 42.into());
    let (_, why) = component.rpc("bus/plc/double", vec![text("x")]).await.unwrap_err();
    assert!(format!("{why:?}").contains("-32602"), "{why:?}");
    let (status, _) = component.rpc("bus/plc/no_such", vec![]).await.unwrap_err();
    assert_eq!(status, 42, "method not found");

    let tables =
        caller.call(".gateway", "query_telemetry", b"\x81\xa4cols\x91\xa2dn"[..].into(), QoS::Processed).await.unwrap();
    assert_eq!(tables.payload(), [0x90], "no rows yet");
    let refused = caller.call(".gateway", "no_such", busrt::empty_payload!(), QoS::Processed).await.unwrap_err();
    assert_eq!(refused.code(), busrt::rpc::RPC_ERROR_CODE_METHOD_NOT_FOUND);
    assert!(server.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_to_a_program_is_there_after_kill_9_and_it_comes_back_to_its_name() {
    let mut gateway = Gateway::start();
    let mut poller = program(&gateway, "poller").await;
    for n in 0..20 {
        let reading = format!(r#"{{"temperature": {n}}}"#);
        done(poller.publish("crate/telemetry", reading.as_bytes().into(), QoS::Processed).await).await.unwrap();
    }
    gateway.kill();
    until("the client notices", 20, || (!poller.is_connected()).then_some(()));
    gateway.start_again();
    let poller = RpcClient::new0(program(&gateway, "poller").await);
    let query = b"\x82\xa5where\xaddn = 'crate' \xa4cols\x91\xa8count(*)";
    let answer = poller.call(".gateway", "query_telemetry", query[..].into(), QoS::Processed).await.unwrap();
    assert!(answer.payload().ends_with(&[20]), "{:x?}", answer.payload());
}
