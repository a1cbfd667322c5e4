//! Text messages; the texts are those of the recorded session.

use super::*;
use crate::message::{Dialect, Message as Publication, Payload};
use crate::router::{CallId, Delivery, DeliveryId, Refusal};

async fn say(client: &mut Client, text: &str) {
    client.socket.send(Message::Text(text.into())).await.unwrap();
}

async fn next(client: &mut Client) -> String {
    match client.socket.next().await {
        Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
        other => panic!("a text was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn who_speaks_json_is_answered_in_json() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let id = 8_353_318_520_908_648_971_u64;
    say(
        &mut client,
        &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"__identity__","params":{{"type":0,"cid":"jnode","meta":{{}}}}}}"#),
    )
    .await;
    assert!(matches!(world.hear().await, Inbound::Attach(attach) if attach.name == "jnode"));
    world.say(client.link, Outbound::Attached { session_present: false, name: "jnode".into() }).await;
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"type":4,"sts":0,"data":[[],[]]}}}}"#);
    assert_eq!(next(&mut client).await, answer);

    say(&mut client, r#"{"jsonrpc":"2.0","id":989570709183626111,"method":"unknown","params":[1]}"#).await;
    let Inbound::Call { token, data, .. } = world.hear().await else { panic!("not a call") };
    assert_eq!(data.as_ref(), [0x81, 1]);
    let data = Bytes::from(crate::rembus::cbor::text("unknown"));
    world.say(client.link, Outbound::Response { token, status: Status::METHOD_NOT_FOUND, data }).await;
    let answer = r#"{"jsonrpc":"2.0","id":989570709183626111,"error":{"type":4,"sts":42,"data":"unknown"}}"#;
    assert_eq!(next(&mut client).await, answer);

    // Back to CBOR, and so the answer.
    client.send(codec::rpc(ID, "rid", None, &[0x80])).await;
    let Inbound::Call { token, .. } = world.hear().await else { panic!("not a call") };
    world.say(client.link, ok(token)).await;
    assert_eq!(client.next().await, codec::response(ID, Status::OK, &[0xf6]));
}

#[tokio::test]
async fn a_json_publication_keeps_its_payload() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    for (text, qos, slot) in [
        (r#"{"jsonrpc":"2.0","method":"news","params":["q"]}"#, Qos::AtMostOnce, None),
        (r#"{"jsonrpc":"2.0","id":9,"method":"news","params":{"type":16,"data":["q"]}}"#, Qos::AtLeastOnce, None),
        (r#"{"jsonrpc":"2.0","id":"9","method":"news","params":{"__type__":48,"data":["q"]}}"#, Qos::ExactlyOnce, None),
        (
            r#"{"jsonrpc":"2.0","id":30064772306,"method":"news","params":{"type":80,"data":["q"]}}"#,
            Qos::AtLeastOnce,
            Some(1234),
        ),
    ] {
        say(&mut client, text).await;
        let Inbound::Publish { message, .. } = world.hear().await else { panic!("not a publication") };
        assert_eq!((message.qos, message.slot), (qos, slot), "{text}");
        assert_eq!(message.payload, Payload::Rembus(Bytes::from_static(b"\x81\x61q")));
    }
    world.say(client.link, Outbound::Accepted { token: Token(9), qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
    assert_eq!(next(&mut client).await, r#"{"jsonrpc":"2.0","id":9,"result":{"type":5}}"#);
    world
        .say(client.link, Outbound::Accepted { token: Token(9), qos: Qos::AtLeastOnce, outcome: Err(Refusal::DiskFull) })
        .await;
    world.say(client.link, ok(Token(1))).await;
    assert_eq!(next(&mut client).await, r#"{"jsonrpc":"2.0","id":1,"result":{"type":4,"sts":0,"data":null}}"#);
}

#[tokio::test]
async fn answers_are_spelled_as_the_peer_spells() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    say(&mut client, r#"{"id":"9","method":"t","params":{"__type__":3,"data":{"cmd":"reactive","status":true}}}"#).await;
    let Inbound::Reactive { token, on: true, .. } = world.hear().await else { panic!("not reactive") };
    world.say(client.link, ok(token)).await;
    assert_eq!(next(&mut client).await, r#"{"jsonrpc":"2.0","id":"9","result":{"__type__":4,"sts":0,"data":null}}"#);
}

#[tokio::test]
async fn a_call_that_may_have_been_a_publication_with_a_slot_is_published_when_nobody_serves_it() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    say(&mut client, r#"{"jsonrpc":"2.0","id":1234,"method":"news","params":["slotted"]}"#).await;
    let Inbound::Call { token, .. } = world.hear().await else { panic!("not a call") };
    let data = Bytes::from(crate::rembus::cbor::text("news"));
    world.say(client.link, Outbound::Response { token, status: Status::METHOD_NOT_FOUND, data }).await;
    let Inbound::Publish { message, .. } = world.hear().await else { panic!("not a publication") };
    assert_eq!((message.topic.as_str(), message.qos, message.slot), ("news", Qos::AtMostOnce, Some(1234)));
    assert_eq!(next(&mut client).await, r#"{"jsonrpc":"2.0","id":1234,"error":{"type":4,"sts":42,"data":"news"}}"#);

    // A served one is just a call.
    say(&mut client, r#"{"jsonrpc":"2.0","id":1234,"method":"news","params":[]}"#).await;
    assert!(matches!(world.hear().await, Inbound::Call { .. }));
    world.say(client.link, ok(Token(1234))).await;
    next(&mut client).await;
    assert!(world.router.is_silent());
}

#[tokio::test]
async fn json_exposers_serve_and_json_subscribers_see_the_payload_where_python_looks() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    say(&mut client, r#"{"jsonrpc":"2.0","id":7,"method":"jadd","params":{"type":3,"data":{"cmd":"expose"}}}"#).await;
    let Inbound::Expose { token, .. } = world.hear().await else { panic!("not exposed") };
    world.say(client.link, ok(token)).await;
    next(&mut client).await;

    let data = Bytes::from_static(&[0x82, 1, 2]);
    world.say(client.link, Outbound::Request { call: CallId(5), method: "jadd".into(), data, caller: None }).await;
    assert_eq!(next(&mut client).await, r#"{"jsonrpc":"2.0","id":5,"method":"jadd","params":[1,2]}"#);
    assert!(matches!(world.hear().await, Inbound::Written { count: 1 }));
    say(&mut client, r#"{"jsonrpc":"2.0","id":5,"result":{"type":4,"sts":0,"data":3}}"#).await;
    assert!(matches!(world.hear().await, Inbound::Return { call: CallId(5), status: Status::OK, data } if data == [3][..]));

    for (id, slot, text) in [
        (None, None, r#"{"jsonrpc":"2.0","method":"t","params":["y"],"data":["y"]}"#),
        (None, Some(4), r#"{"jsonrpc":"2.0","method":"t","params":["y"],"data":["y"]}"#),
        (Some(1), Some(4), r#"{"jsonrpc":"2.0","id":4294967300,"method":"t","params":{"type":16,"data":["y"]},"data":["y"]}"#),
    ] {
        let qos = if id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let payload = Payload::Rembus(Bytes::from_static(b"\x81\x61y"));
        let wall = SystemClock::shared().wall();
        let mut message = Publication::new("t".into(), payload, qos, wall, Dialect::Rembus, "x".into());
        message.slot = slot;
        let delivery = Delivery {
            message: Arc::new(message),
            qos,
            id: id.map(DeliveryId),
            dup: false,
            retain: false,
            pattern: None,
            identifiers: Vec::new(),
            expiry_s: None,
            author: None,
        };
        world.say(client.link, Outbound::Deliver(delivery)).await;
        assert_eq!(next(&mut client).await, text);
    }
}

#[tokio::test]
async fn a_batch_is_read_message_by_message() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    say(
        &mut client,
        r#"[{"jsonrpc":"2.0","method":"news","params":[1]},{"jsonrpc":"2.0","id":5,"method":"rid"},{"jsonrpc":"2.0","id":6,"method":"rid","params":{"a":1}}]"#,
    )
    .await;
    assert!(matches!(world.hear().await, Inbound::Publish { .. }));
    for id in [5, 6] {
        let Inbound::Call { token, method, .. } = world.hear().await else { panic!("not a call") };
        assert_eq!((token, method.as_str()), (Token(id), "rid"));
        world.say(client.link, ok(token)).await;
        assert_eq!(
            next(&mut client).await,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"type":4,"sts":0,"data":null}}}}"#)
        );
    }
    say(&mut client, "[]").await;
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test]
async fn a_method_with_a_slash_is_tried_as_a_direct_call_when_there_is_no_such_method() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let not_found = |token, method: &str| {
        let data = Bytes::from(crate::rembus::cbor::text(method));
        Outbound::Response { token, status: Status::METHOD_NOT_FOUND, data }
    };
    // Methods have slashes too: their names come first.
    for (id, is_there) in [(1_u64 << 40, true), (1 << 41, false)] {
        say(&mut client, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"plant/calc/add","params":[7]}}"#)).await;
        let Inbound::Call { token, method, target: None, .. } = world.hear().await else { panic!("not a call") };
        assert_eq!(method, "plant/calc/add");
        world.say(client.link, not_found(token, "plant/calc/add")).await;
        let Inbound::Call { token, method, target: Some(target), data } = world.hear().await else { panic!("not direct") };
        assert_eq!((target.as_str(), method.as_str(), data.as_ref()), ("plant/calc", "add", &[0x81, 7][..]));
        if is_there {
            world.say(client.link, ok(token)).await;
            assert_eq!(
                next(&mut client).await,
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"type":4,"sts":0,"data":null}}}}"#)
            );
        } else {
            let data = Bytes::from(crate::rembus::cbor::text("plant/calc"));
            world.say(client.link, Outbound::Response { token, status: Status::TARGET_NOT_FOUND, data }).await;
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"type":4,"sts":42,"data":"plant/calc/add"}}}}"#);
            assert_eq!(next(&mut client).await, answer);
        }
    }
    assert!(world.router.is_silent());
}

#[tokio::test]
async fn every_way_to_say_from_when_is_understood() {
    use crate::router::Past;
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    for (said, meant) in [
        ("0", Past::Nothing),
        ("0.0", Past::Nothing),
        ("-1", Past::Nothing),
        ("900000000", Past::Window(900_000_000)),
        ("9e8", Past::Window(900_000_000)),
        ("null", Past::Unseen),
        (r#""inf""#, Past::Unseen),
        (r#""Infinity""#, Past::Unseen),
        (r#""LastReceived""#, Past::Unseen),
        ("1e300", Past::Unseen),
    ] {
        let data = format!(r#"{{"cmd":"subscribe","msg_from":{said}}}"#);
        say(&mut client, &format!(r#"{{"jsonrpc":"2.0","id":7,"method":"t","params":{{"type":3,"data":{data}}}}}"#)).await;
        let Inbound::Subscribe { filters, .. } = world.hear().await else { panic!("not subscribed: {said}") };
        assert_eq!(filters[0].past, meant, "{said}");
    }
    say(
        &mut client,
        r#"{"jsonrpc":"2.0","id":7,"method":"c","params":{"type":3,"data":{"cmd":"reactive","status":true,"msg_from":5}}}"#,
    )
    .await;
    assert!(matches!(world.hear().await, Inbound::Reactive { on: true, reach: Past::Window(5), .. }));
}
