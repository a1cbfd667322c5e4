//! What is said, message by message; the bytes are those of the recorded sessions.

use super::*;
use crate::clock::Wall;
use crate::message::{Dialect, Message as Publication, Payload};
use crate::router::{Attach, CallId, CloseReason, Delivery, DeliveryId, Filter, OnConflict, Refusal, Stage, Subscription};
use std::time::Duration;

#[tokio::test]
async fn an_anonymous_component_may_call_at_once() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send_hex("8502481871850dd61b2ee363726964f680").await;
    let Inbound::Call { token, method, target: None, data } = world.hear().await else { panic!("not a call") };
    assert_eq!((method.as_str(), data.as_ref()), ("rid", &[0x80][..]));

    let data = Bytes::from(crate::rembus::cbor::text("broker"));
    world.say(client.link, Outbound::Response { token, status: Status::OK, data }).await;
    assert_eq!(hex(&client.next().await), "8404481871850dd61b2ee3006662726f6b6572");
}

#[tokio::test]
async fn a_component_gives_its_name_once() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send_hex("840048ba6ca1f38c141c7e656e6f646531a0").await;
    let Inbound::Attach(Attach { name, on_conflict, resend_after, .. }) = world.hear().await else { panic!("no name") };
    assert_eq!((name.as_str(), on_conflict), ("node1", OnConflict::Refuse));
    assert_eq!(resend_after, Some(Duration::from_secs(2)));

    world.say(client.link, Outbound::Attached { session_present: false, name: "node1".into() }).await;
    assert_eq!(hex(&client.next().await), "840448ba6ca1f38c141c7e00828080");

    client.send(codec::identity(ID, "other", &[0xa0])).await;
    assert_eq!(client.next().await, refused(ID, "already named"));
    assert!(world.router.is_silent());
}

#[tokio::test]
async fn a_name_in_use_is_refused_and_another_may_be_tried() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(codec::identity(ID, "node1", &[0xa0])).await;
    world.hear().await;
    world.say(client.link, Outbound::Refused(Refusal::NameInUse)).await;
    assert_eq!(client.next().await, refused(ID, "already connected"));

    client.send(codec::identity(ID, "node2", &[0xa0])).await;
    assert!(matches!(world.hear().await, Inbound::Attach(attach) if attach.name == "node2"));
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_at_the_door() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    for (name, why) in
        [("", "empty cid"), ("a\nb", "cid with control characters"), (&"x".repeat(257), "cid longer than 256 bytes")]
    {
        client.send(codec::identity(ID, name, &[0xa0])).await;
        assert_eq!(client.next().await, refused(ID, why));
    }
    assert!(world.router.is_silent());
}

#[tokio::test]
async fn a_newcomer_may_take_a_name_over() {
    let mut world = World::new(Settings { overwrite_connection: true, ..Settings::default() });
    let mut client = world.connect().await;
    client.send(codec::identity(ID, "node1", &[0xa0])).await;
    assert!(matches!(world.hear().await, Inbound::Attach(Attach { on_conflict: OnConflict::TakeOver, .. })));

    world.say(client.link, Outbound::Close(CloseReason::TakenOver)).await;
    world.router.forget(client.link);
    assert_eq!(client.closed().await, (4000, "overwritten".into()));
}

#[tokio::test]
async fn an_ack_leaves_when_the_router_says_so() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send_hex("84114892dcda8f0c9e7865646e65777381636f6e65").await;
    let Inbound::Publish { message, token } = world.hear().await else { panic!("not a publication") };
    assert_eq!((message.topic.as_str(), message.qos, message.slot), ("news", Qos::AtLeastOnce, None));
    assert_eq!(message.payload, Payload::Rembus(Bytes::from_static(b"\x81\x63one")));
    assert_eq!(&*message.publisher, format!("~{}", client.link.0));

    // Something else is answered first: the acknowledgement is not on its way.
    client.send(codec::rpc(ID, "rid", None, &[0x80])).await;
    let Inbound::Call { token: call, .. } = world.hear().await else { panic!("not a call") };
    world.say(client.link, ok(call)).await;
    assert_eq!(client.next().await, codec::response(ID, Status::OK, &[0xf6]));

    world.say(client.link, Outbound::Accepted { token, qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
    assert_eq!(hex(&client.next().await), "82054892dcda8f0c9e7865");
}

#[tokio::test]
async fn a_message_that_must_arrive_once_is_released_by_the_publisher() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(publish(Qos::ExactlyOnce, ID, "t")).await;
    assert!(matches!(world.hear().await, Inbound::Publish { token: Token(0x1122_3344_5566_7788), .. }));
    client.send(codec::ack2(ID)).await;
    let Inbound::Release { token } = world.hear().await else { panic!("not released") };
    // Nothing answers an ACK2.
    world.say(client.link, Outbound::Completed { token, known: true }).await;
    world.say(client.link, ok(Token(1))).await;
    assert_eq!(client.next().await, codec::response(MessageId(1), Status::OK, &[0xf6]));
}

#[tokio::test]
async fn the_slot_is_the_low_half_of_the_id() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    for (flags, qos) in [(0x40, Qos::AtMostOnce), (0x50, Qos::AtLeastOnce), (0x70, Qos::ExactlyOnce)] {
        client.send(codec::publish(Flags(flags), MessageId(0xaabb_ccdd_0000_04d2), "t", &[0x80])).await;
        let Inbound::Publish { message, .. } = world.hear().await else { panic!("not a publication") };
        assert_eq!((message.slot, message.qos), (Some(1234), qos));
    }
}

#[tokio::test]
async fn a_refused_publication_gets_no_answer_that_could_pass_for_success() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(publish(Qos::AtLeastOnce, ID, "t")).await;
    let Inbound::Publish { token, .. } = world.hear().await else { panic!("not a publication") };
    world.say(client.link, Outbound::Accepted { token, qos: Qos::AtLeastOnce, outcome: Err(Refusal::DiskFull) }).await;
    world.say(client.link, ok(Token(1))).await;
    assert_eq!(client.next().await, codec::response(MessageId(1), Status::OK, &[0xf6]));

    // The client sends it again, and this time there is room.
    client.send(publish(Qos::AtLeastOnce, ID, "t")).await;
    world.hear().await;
    world.say(client.link, Outbound::Accepted { token, qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
    assert_eq!(client.next().await, codec::ack(ID));
}

#[tokio::test]
async fn commands_reach_the_router_and_are_answered() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;

    client.send(codec::admin(ID, "**/t", &command(&[("cmd", "subscribe")]))).await;
    let Inbound::Subscribe { token, filters } = world.hear().await else { panic!("not subscribed") };
    assert!(matches!(&filters[..], [Subscription { filter: Filter::Rembus(topic), no_local: true, .. }] if topic == "**/t"));
    world.say(client.link, Outbound::Subscribed { token, outcomes: vec![Ok(Qos::ExactlyOnce)] }).await;
    assert_eq!(client.next().await, codec::response(ID, Status::OK, &[0xf6]));

    client.send(codec::admin(ID, "t", &command(&[("cmd", "unsubscribe")]))).await;
    let Inbound::Unsubscribe { token, .. } = world.hear().await else { panic!("not unsubscribed") };
    // Not subscribed at all: fine too.
    world.say(client.link, Outbound::Unsubscribed { token, outcomes: vec![false] }).await;
    assert_eq!(client.next().await, codec::response(ID, Status::OK, &[0xf6]));

    client.send(codec::admin(ID, "add", &command(&[("cmd", "expose")]))).await;
    assert!(matches!(world.hear().await, Inbound::Expose { method, .. } if method == "add"));
    client.send(codec::admin(ID, "add", &command(&[("cmd", "unexpose")]))).await;
    assert!(matches!(world.hear().await, Inbound::Unexpose { method, .. } if method == "add"));
    client.send_hex("840348a2846dc998e609de6a5f5f636f6e6669675f5fa263636d6468726561637469766566737461747573f5").await;
    assert!(matches!(world.hear().await, Inbound::Reactive { on: true, .. }));
}

#[tokio::test]
async fn a_reconnected_python_client_is_set_up_without_its_upload_handlers() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let mut data = crate::rembus::cbor::Writer::default();
    data.map(3).text("cmd").text("setup");
    data.text("exposers").array(3).text("python_service_install").text("svc").text("python_subscriber_list");
    data.text("subscribers").array(1).text("news");
    client.send(codec::admin(ID, "__config__", &data.finish())).await;
    let Inbound::Setup { exposers, subscribers, .. } = world.hear().await else { panic!("not set up") };
    assert_eq!((exposers, subscribers), (vec!["svc".into()], vec!["news".into()]));
}

#[tokio::test]
async fn commands_that_make_no_sense_are_answered_with_a_reason() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    // As recorded from the reference.
    for (sent, answered) in [
        ("84034801000000000000006174a0", "84044801000000000000000af6"),
        ("84034802000000000000006174a163636d6463666f6f", "8404480200000000000000182ff6"),
        ("84034803000000000000006174f6", "84044803000000000000000af6"),
        ("840348040000000000000061748101", "84044804000000000000000af6"),
        ("8209480400000000000000", "84044804000000000000000a71696e76616c6964206f7065726174696f6e"),
    ] {
        client.send_hex(sent).await;
        assert_eq!(hex(&client.next().await), answered, "{sent}");
    }
    // The reference leaves these without an answer.
    for (fields, why) in [
        (&[("cmd", "reactive")][..], "status is missing"),
        (&[("cmd", "reactive"), ("status", "on")], "status is not a boolean"),
        (&[("cmd", "subscribe"), ("msg_from", "soon")], "msg_from is not a number"),
        (&[("cmd", "setup"), ("exposers", "all")], "exposers is not a list of topics"),
    ] {
        client.send(codec::admin(ID, "t", &command(fields))).await;
        assert_eq!(client.next().await, refused(ID, why));
    }
    for name in ["private_topic", "public_topic", "authorize", "unauthorize"] {
        client.send(codec::admin(ID, "t", &command(&[("cmd", name), ("cid", "node1")]))).await;
        assert_eq!(client.next().await, codec::response(ID, Status::GENERIC_ERROR, &[0xf6]));
    }
    assert!(world.router.is_silent());
}

#[tokio::test]
async fn a_call_goes_to_its_exposer_and_the_answer_back_untouched() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let request =
        Outbound::Request { call: CallId(77), method: "add".into(), data: Bytes::from_static(&[0x82, 1, 2]), caller: None };
    world.say(client.link, request).await;
    assert_eq!(client.next().await, codec::rpc(MessageId(77), "add", None, &[0x82, 1, 2]));
    assert!(matches!(world.hear().await, Inbound::Written { count: 1 }));

    // A status that the gateway does not know goes through as well.
    client.send(codec::response(MessageId(77), Status(99), &[0x03])).await;
    let Inbound::Return { call: CallId(77), status: Status(99), data } = world.hear().await else { panic!("no answer") };
    assert_eq!(data.as_ref(), [0x03]);
}

#[tokio::test]
async fn a_direct_call_names_its_target() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(codec::rpc(ID, "rid", Some("calc"), &[0x80])).await;
    assert!(matches!(world.hear().await, Inbound::Call { target: Some(target), .. } if target == "calc"));
}

fn delivery(qos: Qos, id: Option<u32>, slot: Option<u32>, pattern: Option<&str>, payload: Payload) -> Outbound {
    let received = Wall(0xaaaa_bbbb_cccc_dddd);
    let mut message = Publication::new("dev1/telemetry".into(), payload, qos, received, Dialect::Rembus, "x".into());
    message.slot = slot;
    Outbound::Deliver(Delivery {
        message: Arc::new(message),
        qos,
        id: id.map(DeliveryId),
        dup: false,
        retain: false,
        pattern: pattern.map(Arc::from),
        identifiers: Vec::new(),
        expiry_s: None,
        author: None,
    })
}

fn rembus(data: &'static [u8]) -> Payload {
    Payload::Rembus(Bytes::from_static(data))
}

#[tokio::test]
async fn deliveries_keep_level_and_slot_and_are_reported_when_written() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let topic = "dev1/telemetry";
    let batch = vec![
        delivery(Qos::AtMostOnce, None, None, None, rembus(&[0x81, 1])),
        delivery(Qos::AtMostOnce, None, Some(1234), None, rembus(&[0x81, 1])),
        delivery(Qos::AtLeastOnce, Some(5), None, None, rembus(&[0x81, 1])),
        delivery(Qos::ExactlyOnce, Some(6), Some(1234), None, rembus(&[0x81, 1])),
    ];
    world.router.say(client.link, batch).await;
    assert_eq!(client.next().await, codec::publish(Flags(0), ID, topic, &[0x81, 1]));
    assert_eq!(client.next().await, codec::publish(Flags(0x40), MessageId(1234), topic, &[0x81, 1]));
    // Without a slot the low half says when the message was received.
    assert_eq!(client.next().await, codec::publish(Flags(0x10), MessageId(5 << 32 | 0xcccc_dddd), topic, &[0x81, 1]));
    assert_eq!(client.next().await, codec::publish(Flags(0x70), MessageId(6 << 32 | 1234), topic, &[0x81, 1]));
    assert!(matches!(world.hear().await, Inbound::Written { count: 4 }));

    client.send(codec::ack(MessageId(5 << 32 | 0xcccc_dddd))).await;
    assert!(matches!(world.hear().await, Inbound::Delivered { id: DeliveryId(5), stage: Stage::Done }));
    client.send(codec::ack(MessageId(6 << 32 | 1234))).await;
    assert!(matches!(world.hear().await, Inbound::Delivered { id: DeliveryId(6), stage: Stage::Received }));
    world.say(client.link, Outbound::Release { id: DeliveryId(6) }).await;
    assert_eq!(client.next().await, codec::ack2(MessageId(6 << 32 | 1234)));
}

#[tokio::test]
async fn a_pattern_gets_the_topic_as_its_first_argument() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let forms: [(&'static [u8], &str); 5] = [
        (&[0x80], "816e646576312f74656c656d65747279"),
        (&[0x82, 1, 2], "836e646576312f74656c656d657472790102"),
        (&[0x9f, 1, 0xff], "9f6e646576312f74656c656d6574727901ff"),
        (&[0xf6], "826e646576312f74656c656d65747279f6"),
        (&[0xa1, 1, 2], "826e646576312f74656c656d65747279a10102"),
    ];
    for (data, expected) in forms {
        world.say(client.link, delivery(Qos::AtMostOnce, None, None, Some("*/telemetry"), rembus(data))).await;
        assert_eq!(client.next().await, codec::publish(Flags(0), ID, "*/telemetry", &unhex(expected)));
    }
}

#[tokio::test]
async fn what_came_by_mqtt_is_delivered_as_rembus() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let payload = Payload::Mqtt(Bytes::from_static(br#"{"temperature":21.5,"pressure":980}"#));
    world.say(client.link, delivery(Qos::AtMostOnce, None, None, None, payload)).await;
    let expected = "81a26b74656d7065726174757265fb40358000000000006870726573737572651903d4";
    assert_eq!(client.next().await, codec::publish(Flags(0), ID, "dev1/telemetry", &unhex(expected)));
}

#[tokio::test]
async fn a_large_message_goes_in_pieces_and_arrives_whole() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let mut writer = crate::rembus::cbor::Writer::default();
    writer.array(1).bytes(&vec![7; 3 << 20]);
    let data = Bytes::from(writer.finish());
    for pattern in [None, Some("*/telemetry")] {
        world.say(client.link, delivery(Qos::AtMostOnce, None, None, pattern, Payload::Rembus(data.clone()))).await;
        let Ok(codec::Frame::Publish { topic, data: got, .. }) = codec::decode(&client.next().await) else { panic!("broken") };
        assert_eq!(topic, pattern.unwrap_or("dev1/telemetry"));
        assert!(got.ends_with(&data[6..]));
        assert!(matches!(world.hear().await, Inbound::Written { count: 1 }));
    }
}

fn refused(id: MessageId, why: &str) -> Bytes {
    codec::response(id, Status::GENERIC_ERROR, &crate::rembus::cbor::text(why))
}
