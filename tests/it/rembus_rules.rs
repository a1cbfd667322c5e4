//! The rules of `protocol/rembus.md` on the wire: answers, refusals, delivery forms.

use crate::gateway::{Gateway, Plan};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::{ACK, PUB, RESPONSE, Received, RembusPeer, encode, id_bytes, map, publication, text};
use ciborium::Value;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

async fn listener(gateway: &Gateway, name: &str, topics: &[&str]) -> RembusPeer {
    let mut peer = RembusPeer::login(gateway.doors.rembus, name).await;
    for topic in topics {
        peer.subscribe(topic).await;
    }
    peer.reactive().await;
    peer
}

fn status(answer: &Received) -> u64 {
    assert_eq!(answer.kind, RESPONSE, "{answer:?}");
    u64::try_from(answer.rest[1].as_integer().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_refused_as_the_reference_does() {
    let gateway = Plan::without_history().start();
    let mut first = RembusPeer::login(gateway.doors.rembus, "taken").await;
    // Reading answers pings: it lives, so it keeps its name.
    let living = tokio::spawn(async move { while first.socket.next().await.is_some() {} });
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    for (name, reason) in [("", "empty cid"), ("taken", "already connected")] {
        let id = peer.id();
        peer.send(encode(vec![0.into(), id_bytes(id), text(name), map([])])).await;
        let answer = peer.receive().await.unwrap();
        assert_eq!((answer.id(), status(&answer), &answer.rest[2]), (id, 10, &text(reason)));
    }
    // Refused, it is what it was before: anonymous and welcome.
    assert_eq!(peer.rpc("rid", vec![]).await, Ok(text("broker")));
    living.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_name_on_one_connection_is_refused() {
    let gateway = Plan::without_history().start();
    let mut peer = RembusPeer::login(gateway.doors.rembus, "one").await;
    let id = peer.id();
    peer.send(encode(vec![0.into(), id_bytes(id), text("two"), map([])])).await;
    assert_eq!(status(&peer.receive().await.unwrap()), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newcomer_wins_where_the_configuration_says_so() {
    let gateway = Plan::without_history().set("rembus.overwrite_connection", "true").start();
    let mut first = listener(&gateway, "same", &["t"]).await;
    let mut second = RembusPeer::login(gateway.doors.rembus, "same").await;
    match first.socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => {
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4000, "overwritten"));
        }
        other => panic!("a close frame was due, not {other:?}"),
    }
    // Its subscriptions are there, deliveries begin when it says so.
    second.reactive().await;
    let mut publisher = RembusPeer::connect(gateway.doors.rembus).await;
    publisher.publish("t", vec![1.into()]).await;
    assert_eq!(second.receive().await.unwrap().kind, PUB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_does_not_keep_its_name() {
    let gateway = Plan::without_history().start();
    // Does not answer pings, because nobody reads its socket: as after a cut cable.
    let _dead = RembusPeer::login(gateway.doors.rembus, "cut off").await;
    let begin = tokio::time::Instant::now();
    loop {
        let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
        let id = peer.id();
        peer.send(encode(vec![0.into(), id_bytes(id), text("cut off"), map([])])).await;
        if status(&peer.receive().await.unwrap()) == 0 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "still refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_commands_are_answered() {
    let gateway = Plan::without_history().start();
    let mut peer = RembusPeer::login(gateway.doors.rembus, "odd").await;
    let command = |name: &str| map([("cmd", text(name))]);
    let cases = [
        ("an unknown command", "t", command("nonsense"), 47),
        ("no map", "t", Value::Null, 10),
        ("an array", "t", list([]), 10),
        ("no cmd", "t", map([]), 10),
        ("reactive without status", "__config__", command("reactive"), 10),
        ("msg_from that is no number", "t", map([("cmd", text("subscribe")), ("msg_from", text("yesterday"))]), 10),
        ("unsubscribe of what was never subscribed", "t", command("unsubscribe"), 0),
        ("unexpose of what was never exposed", "t", command("unexpose"), 0),
        ("setup without lists", "__config__", command("setup"), 0),
        ("subscribe from an infinite past", "t", map([("cmd", text("subscribe")), ("msg_from", f64::INFINITY.into())]), 0),
        ("subscribe with an integer", "t", map([("cmd", text("subscribe")), ("msg_from", 900.into())]), 0),
    ];
    for (what, topic, data, wanted) in cases {
        let id = peer.id();
        peer.send(encode(vec![3.into(), id_bytes(id), text(topic), data])).await;
        let answer = peer.receive().await.unwrap();
        assert_eq!((answer.id(), status(&answer)), (id, wanted), "{what}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_closes_the_connection() {
    let gateway = Plan::without_history().start();
    let id = || Value::Bytes(vec![1; 8]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no CBOR", vec![0xff, 0xff]),
        ("nothing", vec![]),
        ("no array", vec![0x01]),
        ("an empty array", vec![0x80]),
        ("cut short", vec![0x84, 0x11, 0x48, 1, 2]),
        ("an unknown type", encode(vec![7.into(), id()]).into_data().to_vec()),
        ("a topic that is a number", encode(vec![1.into(), 5.into(), list([])]).into_data().to_vec()),
        ("an id that is a number", encode(vec![2.into(), 5.into(), text("rid"), Value::Null, list([])]).into_data().to_vec()),
        (
            "an id of seven bytes",
            encode(vec![2.into(), Value::Bytes(vec![1; 7]), text("rid"), Value::Null, list([])]).into_data().to_vec(),
        ),
        ("an RPC without data", encode(vec![2.into(), id(), text("rid")]).into_data().to_vec()),
    ];
    for (what, bytes) in cases {
        let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
        peer.send(Message::binary(bytes)).await;
        assert_eq!(peer.receive().await, None, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_but_valid_cbor_is_understood() {
    let gateway = Plan::without_history().start();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    let id = [1_u8, 2, 3, 4, 5, 6, 7, 8];
    let head = |first: &[u8]| [first, &id].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("trailing elements", [head(&[0x86, 0x02, 0x48]), b"\x63rid\xf6\x80\x01".to_vec()].concat()),
        ("an indefinite array", [head(&[0x9f, 0x02, 0x48]), b"\x63rid\xf6\x80\xff".to_vec()].concat()),
        (
            "long integers and lengths",
            [head(&[0x85, 0x1b, 0, 0, 0, 0, 0, 0, 0, 2, 0x58, 8]), b"\x78\x03rid\xf6\x80".to_vec()].concat(),
        ),
        ("the tag of CBOR itself", [head(&[0xd9, 0xd9, 0xf7, 0x85, 0x02, 0x48]), b"\x63rid\xf6\x80".to_vec()].concat()),
        ("no arguments but null", [head(&[0x85, 0x02, 0x48]), b"\x63rid\xf6\xf6".to_vec()].concat()),
    ];
    for (what, bytes) in cases {
        peer.send(Message::binary(bytes)).await;
        let answer = peer.receive().await.unwrap_or_else(|| panic!("closed: {what}"));
        assert_eq!((answer.id().to_le_bytes(), status(&answer), &answer.rest[2]), (id, 0, &text("broker")), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_have_the_form_of_the_reference() {
    let gateway = Plan::without_history().start();
    let mut exact = listener(&gateway, "exact", &["a/b"]).await;
    let mut pattern = listener(&gateway, "pattern", &["*/b"]).await;
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;

    publisher.send(publication(None, 0, "a/b", vec![1.into()])).await;
    let got = exact.receive().await.unwrap();
    assert_eq!((got.kind, got.flags, got.rest), (PUB, 0, vec![text("a/b"), list([1.into()])]));
    let got = pattern.receive().await.unwrap();
    assert_eq!((got.kind, got.flags, got.rest), (PUB, 0, vec![text("*/b"), list([text("a/b"), 1.into()])]));

    // A value that is no array is one argument.
    publisher.send(encode(vec![1.into(), text("a/b"), map([("k", 1.into())])])).await;
    assert_eq!(exact.receive().await.unwrap().rest, [text("a/b"), map([("k", 1.into())])]);
    assert_eq!(pattern.receive().await.unwrap().rest, [text("*/b"), list([text("a/b"), map([("k", 1.into())])])]);

    // QoS 2 with a slot: ACK, and the slot in the low half of the id that arrives.
    let id = 0xaaaa_bbbb_0000_0384;
    publisher.send(encode(vec![0x71.into(), id_bytes(id), text("a/b"), list([2.into()])])).await;
    let ack = publisher.receive().await.unwrap();
    assert_eq!((ack.kind, ack.id()), (ACK, id));
    let got = exact.receive().await.unwrap();
    assert_eq!((got.kind, got.flags, got.id() & 0xffff_ffff), (PUB, 0x70, 900));
    assert_eq!(got.rest[1..], [text("a/b"), list([2.into()])]);
    // Acknowledged, ACK2 follows.
    exact.send(encode(vec![5.into(), id_bytes(got.id())])).await;
    let ack2 = exact.receive().await.unwrap();
    assert_eq!((ack2.kind, ack2.id()), (6, got.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_delivery_is_sent_again_with_the_same_id() {
    let gateway = Plan::without_history().set("rembus.ack_timeout", "300ms").start();
    let mut reader = listener(&gateway, "reader", &["t"]).await;
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    publisher.publish("t", vec![1.into()]).await;
    let first = reader.receive().await.unwrap();
    let second = reader.receive().await.unwrap();
    assert_eq!(first, second);
    reader.send(encode(vec![5.into(), id_bytes(first.id())])).await;
    // A resend may have crossed the acknowledgement; after a new message nothing old comes any more.
    publisher.publish("t", vec![2.into()]).await;
    loop {
        let next = reader.receive().await.unwrap();
        if next.rest[2] == list([2.into()]) {
            reader.send(encode(vec![5.into(), id_bytes(next.id())])).await;
            break;
        }
        assert_eq!(next, first);
    }
    let quiet = tokio::time::timeout(Duration::from_millis(900), reader.receive_when_it_comes()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_qos_2_publication_is_delivered_once_until_released() {
    let gateway = Plan::without_history().start();
    let mut reader = MqttPeer::connect(gateway.doors.mqtt, "reader").await;
    reader.subscribe("t", rumqttc::mqttbytes::QoS::AtLeastOnce).await;
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    let id = publisher.id();
    for _ in 0..3 {
        publisher.send(publication(Some(id), 2, "t", vec![text("once")])).await;
        assert_eq!(publisher.receive().await.unwrap().id(), id);
    }
    publisher.send(encode(vec![6.into(), id_bytes(id)])).await;
    publisher.send(publication(Some(id), 2, "t", vec![text("again")])).await;
    assert_eq!(publisher.receive().await.unwrap().id(), id);
    assert_eq!(reader.delivery().await.payload, "\"once\"");
    assert_eq!(reader.delivery().await.payload, "\"again\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_forwarded_concurrently_and_answers_find_their_caller() {
    let gateway = Plan::without_history().start();
    let mut server = RembusPeer::login(gateway.doors.rembus, "server").await;
    server.admin("work", map([("cmd", text("expose"))])).await;
    let mut callers = Vec::new();
    for n in 0_u64..5 {
        let mut caller = RembusPeer::connect(gateway.doors.rembus).await;
        // The same id on different connections is nobody's confusion.
        caller.send(encode(vec![2.into(), id_bytes(42), text("work"), Value::Null, list([n.into()])])).await;
        callers.push(caller);
    }
    let mut requests = Vec::new();
    for _ in 0..5 {
        let request = server.receive().await.unwrap();
        assert_eq!((request.kind, &request.rest[1], &request.rest[2]), (2, &text("work"), &Value::Null));
        requests.push(request);
    }
    for request in requests.into_iter().rev() {
        let argument = request.rest[3].clone();
        server.send(encode(vec![4.into(), id_bytes(request.id()), 0.into(), argument])).await;
    }
    for (n, caller) in callers.iter_mut().enumerate() {
        let answer = caller.receive().await.unwrap();
        assert_eq!((answer.id(), status(&answer), &answer.rest[2]), (42, 0, &list([Value::from(n as u64)])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_answers_ends_with_an_answer() {
    let gateway = Plan::without_history().set("rembus.request_timeout", "500ms").start();
    let mut server = RembusPeer::login(gateway.doors.rembus, "server").await;
    server.admin("work", map([("cmd", text("expose"))])).await;
    let mut caller = RembusPeer::connect(gateway.doors.rembus).await;
    let (code, _) = caller.rpc("work", vec![]).await.unwrap_err();
    assert!(code == 40 || code == 43, "{code}");
    // The late answer is nobody's.
    let request = server.receive().await.unwrap();
    server.send(encode(vec![4.into(), id_bytes(request.id()), 0.into(), Value::Null])).await;
    assert_eq!(caller.rpc("rid", vec![]).await, Ok(text("broker")));
    assert_eq!(server.rpc("rid", vec![]).await, Ok(text("broker")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_broker_by_name_is_a_plain_call() {
    let gateway = Plan::without_history().start();
    let mut server = RembusPeer::login(gateway.doors.rembus, "server").await;
    server.admin("work", map([("cmd", text("expose"))])).await;
    let mut caller = RembusPeer::connect(gateway.doors.rembus).await;
    let id = caller.id();
    caller.send(encode(vec![2.into(), id_bytes(id), text("rid"), text("broker"), list([])])).await;
    assert_eq!(status(&caller.receive().await.unwrap()), 0);
    let id = caller.id();
    caller.send(encode(vec![2.into(), id_bytes(id), text("work"), text("broker"), list([])])).await;
    assert_eq!(server.receive().await.unwrap().rest[2], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_pings_are_answered_and_fragments_are_joined() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let gateway = Plan::without_history().start();
    let mut peer = RembusPeer::connect(gateway.doors.rembus).await;
    peer.socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert!(matches!(peer.socket.next().await, Some(Ok(Message::Pong(p))) if p == "are you there"));
    let bytes = encode(vec![2.into(), id_bytes(1), text("rid"), Value::Null, list([])]).into_data();
    let (head, tail) = bytes.split_at(5);
    let frames = [
        Frame::message(head.to_vec(), OpCode::Data(Data::Binary), false),
        Frame::message(tail.to_vec(), OpCode::Data(Data::Continue), true),
    ];
    for frame in frames {
        peer.socket.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(status(&peer.receive().await.unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_message_passes_and_a_huge_one_is_refused() {
    let gateway = Plan::without_history().set("rembus.max_message", "2MiB").start();
    let mut reader = listener(&gateway, "reader", &["big"]).await;
    let mut publisher = RembusPeer::login(gateway.doors.rembus, "publisher").await;
    publisher.publish("big", vec![Value::Bytes(vec![7; 1_900_000])]).await;
    let got = reader.receive().await.unwrap();
    assert_eq!(got.rest[2].as_array().unwrap()[0].as_bytes().unwrap().len(), 1_900_000);
    reader.send(encode(vec![5.into(), id_bytes(got.id())])).await;
    let id = publisher.id();
    drop(publisher.socket.send(publication(Some(id), 1, "big", vec![Value::Bytes(vec![7; 3_000_000])])).await);
    let end = loop {
        match publisher.socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => break u16::from(frame.code),
            Some(Ok(_)) => {}
            other => panic!("a close frame was due, not {other:?}"),
        }
    };
    assert_eq!(end, 1009);
    assert_eq!(reader.rpc("rid", vec![]).await.map_err(|_| ()), Ok(text("broker")));
}

/// What nodes and programs of the plant offer is for the plant: to other tenants it is not there, or nobody is there who does it
/// (43, section 4: no open implementor in the caller's tenant).
#[tokio::test(flavor = "multi_thread")]
async fn methods_of_nodes_and_programs_are_the_common_tenants() {
    let gateway = Plan::without_history().start();
    let (mut own, mut foreign) =
        (RembusPeer::login(gateway.doors.rembus, "hmi").await, RembusPeer::login(gateway.doors.rembus, "hmi.acme").await);
    for (method, wanted) in [("commlib/nodes", 43), ("bus/clients", 42)] {
        own.rpc(method, vec![]).await.unwrap();
        let (status, _) = foreign.rpc(method, vec![]).await.unwrap_err();
        assert_eq!(status, wanted, "{method}");
    }
    for method in ["commlib/plc/read", "action/drill", "bus/plc/read"] {
        let (status, _) = foreign.rpc(method, vec![]).await.unwrap_err();
        assert_eq!(status, 42, "{method}");
    }
}
