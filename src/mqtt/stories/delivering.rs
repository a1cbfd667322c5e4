//! To the client: PUBLISH, its acknowledgements, and what cannot be sent.

use super::*;
use crate::clock::Wall;
use crate::message::{Dialect, Message, Payload, Properties, Qos};
use crate::router::{Delivery, DeliveryId, Stage as Step};
use bytes::Bytes;

pub(super) fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    Message::new(topic.into(), Payload::Mqtt(payload.into()), Qos::AtLeastOnce, Wall(0), Dialect::Mqtt, "p".into())
}

pub(super) fn delivery(message: Message, id: Option<u32>) -> Outbound {
    let qos = if id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    Outbound::Deliver(Delivery {
        message: Arc::new(message),
        qos,
        id: id.map(DeliveryId),
        dup: false,
        retain: false,
        pattern: None,
        identifiers: vec![],
        expiry_s: None,
        author: None,
    })
}

fn changed(outbound: Outbound, change: impl FnOnce(&mut Delivery)) -> Outbound {
    let Outbound::Deliver(mut delivery) = outbound else { panic!("not a delivery") };
    change(&mut delivery);
    Outbound::Deliver(delivery)
}

async fn written(link: &mut Link) -> u32 {
    match link.any().await {
        Some(Inbound::Written { count }) => count,
        other => panic!("expected a report of what was written, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_written_and_the_router_is_told_so_once_it_is() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    link.outbound
        .send(vec![
            delivery(message("a/b", "one"), None),
            delivery(message("a/b", "two"), Some(9)),
            changed(delivery(message("c", "three"), Some(10)), |delivery| {
                (delivery.dup, delivery.retain, delivery.qos) = (true, true, Qos::ExactlyOnce);
            }),
        ])
        .await
        .unwrap();
    assert_eq!(client.packet().await, publish_311(0x00, "a/b", 0, b"one"));
    assert_eq!(client.packet().await, publish_311(0x02, "a/b", 9, b"two"));
    assert_eq!(client.packet().await, publish_311(0x0D, "c", 10, b"three"));
    assert_eq!(written(&mut link).await, 3);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_the_client_reach_the_router_with_their_stage() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    for (bytes, expected) in [
        (packet(0x40, &[0, 1]), Step::Done),
        (packet(0x50, &[0, 1]), Step::Received),
        (packet(0x70, &[0, 1]), Step::Done),
        (packet(0x40, &[0, 1, 0x10]), Step::Done),
        (packet(0x40, &[0, 1, 0x97]), Step::Refused),
        (packet(0x50, &[0, 1, 0x80, 0]), Step::Refused),
        (packet(0x50, &[&[0, 1, 0x83, 4, 31][..], &text("x")].concat()), Step::Refused),
    ] {
        client.send(&bytes).await;
        match link.next().await {
            Inbound::Delivered { id: DeliveryId(1), stage } => assert_eq!(stage, expected, "{bytes:02x?}"),
            other => panic!("{other:?}"),
        }
    }
    link.send(Outbound::Release { id: DeliveryId(1) }).await;
    assert_eq!(client.packet().await, [0x62, 2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_5_subscriber_sees_the_publishers_properties_and_its_own_identifiers() {
    let mut stage = Stage::new();
    let (mut client, link) = stage.client_5().await;
    let mut sent = message("a", "x");
    sent.properties = Some(Box::new(Properties {
        payload_is_text: true,
        content_type: Some("text/plain".into()),
        response_topic: Some("r".into()),
        correlation_data: Some(Bytes::from_static(b"\x01")),
        user: vec![("k".into(), "v".into())],
        expiry_s: None,
    }));
    link.send(changed(delivery(sent, None), |delivery| delivery.identifiers = vec![1, 300])).await;
    let properties = [
        &[1, 1][..],
        &[&[8][..], &text("r"), &[9, 0, 1, 1], &[38], &text("k"), &text("v")].concat(),
        &[11, 1, 11, 0xAC, 0x02],
        &[&[3][..], &text("text/plain")].concat(),
    ]
    .concat();
    assert_eq!(client.packet().await, publish_5(0, "a", 0, &properties, b"x"));
}

#[tokio::test(start_paused = true)]
async fn the_expiry_that_is_sent_is_what_the_router_says_is_left() {
    let mut stage = Stage::new();
    let (mut client, link) = stage.client_5().await;
    let mut sent = message("a", "");
    sent.properties = Some(Box::new(Properties { expiry_s: Some(60), ..Properties::default() }));
    link.send(changed(delivery(sent, None), |delivery| delivery.expiry_s = Some(40))).await;
    let packet = client.packet().await;
    assert_eq!(u32::from_be_bytes(packet[7..11].try_into().unwrap()), 40);
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_the_client_takes_is_dropped_and_confirmed() {
    let mut stage = Stage::new();
    // Maximum packet size 20.
    let (mut client, mut link) = stage.client(&connect_5("c1", 0, &[39, 0, 0, 0, 20])).await;
    link.send(delivery(message("a", vec![0; 13]), Some(1))).await;
    link.send(delivery(message("a", vec![0; 12]), Some(2))).await;
    let packet = client.packet().await;
    assert_eq!((packet.len(), packet[6]), (20, 2));
    assert!(matches!(link.next().await, Inbound::Delivered { id: DeliveryId(1), stage: Step::Refused }));
    assert_eq!(stage.count(|stats| &stats.undeliverable), 1);
}

#[tokio::test(start_paused = true)]
async fn topics_that_mqtt_cannot_say_are_dropped_and_leave_no_trace_in_the_window() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    for topic in ["a/+", "#", "", "a\0b", &"x".repeat(70_000)] {
        link.send(delivery(message(topic, "x"), None)).await;
        assert!(matches!(link.next().await, Inbound::Unsendable { count: 1 }), "{topic:.10}");
        assert_eq!(written(&mut link).await, 1, "{topic:.10}");
    }
    client.is_served().await;
    assert_eq!(stage.count(|stats| &stats.undeliverable), 5);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_comes_whole_and_in_order() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    let large: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    link.outbound
        .send(vec![
            delivery(message("a", "before"), None),
            delivery(message("a", large.clone()), None),
            delivery(message("a", "after"), None),
        ])
        .await
        .unwrap();
    assert_eq!(client.packet().await, publish_311(0, "a", 0, b"before"));
    assert_eq!(client.packet().await, publish_311(0, "a", 0, &large));
    assert_eq!(client.packet().await, publish_311(0, "a", 0, b"after"));
    let mut count = 0;
    while count < 3 {
        count += written(&mut link).await;
    }
}

/// 5.0 section 3.3.2.3.4.
#[tokio::test(start_paused = true)]
async fn a_client_that_wants_aliases_is_told_the_first_topics_by_number_and_never_more_than_it_wants() {
    let mut stage = Stage::new();
    // Topic alias maximum 2, maximum packet size 100.
    let (mut client, link) = stage.client(&connect_5("c1", 0, &[34, 0, 2, 39, 0, 0, 0, 100])).await;
    let long = &*"t".repeat(93);
    let sent = ["a/b", "a/b", long, "c", "d", "a/b", "c"].map(|topic| delivery(message(topic, "x"), None));
    link.outbound.send(sent.into()).await.unwrap();
    assert_eq!(client.packet().await, publish_5(0, "a/b", 0, &[35, 0, 1], b"x"));
    assert_eq!(client.packet().await, publish_5(0, "", 0, &[35, 0, 1], b"x"));
    assert_eq!(client.packet().await, publish_5(0, long, 0, &[], b"x"), "with an alias it would be too large");
    assert_eq!(client.packet().await, publish_5(0, "c", 0, &[35, 0, 2], b"x"));
    assert_eq!(client.packet().await, publish_5(0, "d", 0, &[], b"x"), "two are enough");
    assert_eq!(client.packet().await, publish_5(0, "", 0, &[35, 0, 1], b"x"));
    assert_eq!(client.packet().await, publish_5(0, "", 0, &[35, 0, 2], b"x"));
}
