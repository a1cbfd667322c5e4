//! From the client: PUBLISH and its acknowledgements.

use super::*;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{Closed, Refusal, Token};

async fn published(link: &mut Link) -> (Message, Token) {
    match link.next().await {
        Inbound::Publish { message, token } => (message, token),
        other => panic!("expected a publication, got {other:?}"),
    }
}

fn accepted(id: u64, qos: Qos) -> Outbound {
    Outbound::Accepted { token: Token(id), qos, outcome: Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn a_message_reaches_the_router_as_it_was_sent() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    client.send(&publish_311(0x01, "dev1/telemetry", 0, b"{\"t\":21.5}")).await;

    let (message, _) = published(&mut link).await;
    assert_eq!(message.topic, "dev1/telemetry");
    assert_eq!(message.payload, Payload::Mqtt(b"{\"t\":21.5}".as_slice().into()));
    assert_eq!((message.qos, message.retain, message.dialect), (Qos::AtMostOnce, true, Dialect::Mqtt));
    assert_eq!(&*message.publisher, "c1");
    assert!(message.properties.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_puback_leaves_when_the_router_says_so_and_not_before() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    client.send(&publish_311(0x02, "a", 4711, b"x")).await;
    let (message, token) = published(&mut link).await;
    assert_eq!((message.qos, token), (Qos::AtLeastOnce, Token(4711)));
    client.is_quiet_for(Duration::from_secs(5)).await;

    link.send(accepted(4711, Qos::AtLeastOnce)).await;
    assert_eq!(client.packet().await, packet(0x40, &4711_u16.to_be_bytes()));
}

#[tokio::test(start_paused = true)]
async fn exactly_once_goes_through_all_four_packets() {
    let mut stage = Stage::new();
    for (connect, publish) in
        [(connect_311("c1", 0), publish_311(0x04, "a", 7, b"x")), (connect_5("c1", 0, &[]), publish_5(0x04, "a", 7, &[], b"x"))]
    {
        let (mut client, mut link) = stage.client(&connect).await;
        client.send(&publish).await;
        let (message, token) = published(&mut link).await;
        assert_eq!((message.qos, token), (Qos::ExactlyOnce, Token(7)));
        link.send(accepted(7, Qos::ExactlyOnce)).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        client.send(&[0x62, 2, 0, 7]).await;
        assert!(matches!(link.next().await, Inbound::Release { token: Token(7) }));
        link.send(Outbound::Completed { token: Token(7), known: true }).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 7]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_of_nothing_is_completed_and_5_says_that_it_was_nothing() {
    let mut stage = Stage::new();
    for (connect, answer) in [(connect_311("c1", 0), vec![0x70, 2, 0, 9]), (connect_5("c1", 0, &[]), vec![0x70, 3, 0, 9, 0x92])]
    {
        let (mut client, mut link) = stage.client(&connect).await;
        client.send(&[0x62, 2, 0, 9]).await;
        assert!(matches!(link.next().await, Inbound::Release { token: Token(9) }));
        link.send(Outbound::Completed { token: Token(9), known: false }).await;
        assert_eq!(client.packet().await, answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_to_5_and_ends_311() {
    let mut stage = Stage::new();
    let refused = |qos| Outbound::Accepted { token: Token(1), qos, outcome: Err(Refusal::DiskFull) };

    let (mut client, mut link) = stage.client_5().await;
    client.send(&publish_5(0x02, "a", 1, &[], b"x")).await;
    published(&mut link).await;
    link.send(refused(Qos::AtLeastOnce)).await;
    assert_eq!(client.packet().await, [0x40, 3, 0, 1, 0x97]);
    client.send(&publish_5(0x04, "a", 1, &[], b"x")).await;
    published(&mut link).await;
    link.send(refused(Qos::ExactlyOnce)).await;
    assert_eq!(client.packet().await, [0x50, 3, 0, 1, 0x97]);
    client.is_served().await;

    let (mut client, mut link) = stage.client_311().await;
    client.send(&publish_311(0x02, "a", 1, b"x")).await;
    published(&mut link).await;
    link.send(refused(Qos::AtLeastOnce)).await;
    client.is_closed().await;
    assert!(link.any().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn properties_of_5_travel_with_the_message() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    let properties = [
        &[1, 1, 2, 0, 0, 1, 0][..],
        &[&[3][..], &text("application/json"), &[8], &text("answers/me"), &[9, 0, 2, 0, 1]].concat(),
        &[&[38][..], &text("k"), &text("1"), &[38], &text("k"), &text("2")].concat(),
    ]
    .concat();
    client.send(&publish_5(0, "a", 0, &properties, b"x")).await;

    let properties = published(&mut link).await.0.properties.unwrap();
    assert!(properties.payload_is_text);
    assert_eq!(properties.expiry_s, Some(256));
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.response_topic.as_deref(), Some("answers/me"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&[0, 1][..]));
    assert_eq!(properties.user, [("k".into(), "1".into()), ("k".into(), "2".into())]);
}

#[tokio::test(start_paused = true)]
async fn an_alias_stands_for_the_topic_it_was_set_to_last() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    let alias = |topic, number| publish_5(0, topic, 0, &[35, 0, number], b"");
    client
        .send(&[alias("a/long/topic", 1), alias("", 1), alias("b", 16), alias("", 16), alias("c", 1), alias("", 1)].concat())
        .await;
    for topic in ["a/long/topic", "a/long/topic", "b", "b", "c", "c"] {
        let (message, _) = published(&mut link).await;
        assert_eq!(message.topic, topic);
        assert!(message.properties.is_none(), "an alias is not a property of the message");
    }
}

#[tokio::test(start_paused = true)]
async fn a_5_client_that_goes_beyond_the_receive_maximum_is_told_so() {
    let mut stage = Stage::with(|settings| settings.receive_max = 4);
    let (mut client, mut link) = stage.client_5().await;
    for id in 1..=4 {
        client.send(&publish_5(0x02, "a", id, &[], b"")).await;
        published(&mut link).await;
    }
    client.is_served().await;
    client.send(&publish_5(0x04, "a", 5, &[], b"")).await;
    client.is_told(0x93).await;
    link.ends_with(Closed::Lost).await;
}

#[tokio::test(start_paused = true)]
async fn answers_open_the_receive_maximum_again() {
    let mut stage = Stage::with(|settings| settings.receive_max = 2);
    let (mut client, mut link) = stage.client_5().await;
    for round in 0..10 {
        // One of each kind, so that PUBACK and PUBCOMP both count.
        client.send(&[publish_5(0x02, "a", 1, &[], b""), publish_5(0x04, "a", 2, &[], b"")].concat()).await;
        published(&mut link).await;
        published(&mut link).await;
        link.send(accepted(1, Qos::AtLeastOnce)).await;
        link.send(accepted(2, Qos::ExactlyOnce)).await;
        assert_eq!(client.packet().await, [0x40, 2, 0, 1], "round {round}");
        assert_eq!(client.packet().await, [0x50, 2, 0, 2]);
        client.send(&[0x62, 2, 0, 2]).await;
        assert!(matches!(link.next().await, Inbound::Release { .. }));
        link.send(Outbound::Completed { token: Token(2), known: true }).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 2]);
    }
}
