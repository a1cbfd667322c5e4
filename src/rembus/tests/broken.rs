//! Peers that break the rules pay for it alone.

use super::*;
use crate::router::Closed;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_malformed_message_closes_only_its_own_connection() {
    let mut world = World::new(Settings::default());
    let mut honest = world.connect().await;
    for garbage in
        ["", "ffff", "05", "a1616101", "80", "8207480101010101010101", "8502184d63726964f680", "8502440102030463726964f680"]
    {
        let mut client = world.connect().await;
        client.send_hex(garbage).await;
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1002, "{garbage}");
        assert!(reason.starts_with("malformed message: "), "{reason}");
        assert!(matches!(world.router.hear().await, (link, Inbound::Closed { reason: Closed::Lost }) if link == client.link));
    }
    assert_eq!(world.settings.stats.malformed.load(Relaxed), 8);

    honest.send(codec::rpc(ID, "rid", None, &[0x80])).await;
    assert!(matches!(world.router.hear().await, (link, Inbound::Call { .. }) if link == honest.link));
}

#[tokio::test]
async fn what_was_said_before_the_garbage_still_counts() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.socket.feed(Message::Binary(publish(Qos::AtMostOnce, ID, "t"))).await.unwrap();
    client.socket.feed(Message::Binary(codec::unregister(ID))).await.unwrap();
    client.send_hex("ffff").await;
    assert!(matches!(world.hear().await, Inbound::Publish { .. }));
    assert!(matches!(codec::decode(&client.next().await), Ok(codec::Frame::Response { status: 10, .. })));
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test]
async fn an_attestation_out_of_the_blue_is_answered_and_then_closed() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send_hex("850b480101010101010101617843736967a0").await;
    assert!(matches!(codec::decode(&client.next().await), Ok(codec::Frame::Response { status: 10, .. })));
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn text_that_is_not_json_rpc_closes_its_connection() {
    let mut world = World::new(Settings::default());
    for text in ["ola mondo", "[]", r#"{"id":5}"#, r#"{"id":5.5,"method":"rid"}"#, r#"{"id":5,"result":{"type":999}}"#] {
        let mut client = world.connect().await;
        client.socket.send(Message::Text(text.into())).await.unwrap();
        assert_eq!(client.closed().await.0, 1002, "{text}");
        world.hear().await;
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_told_so() {
    let mut world = World::new(Settings { max_message: 10_000, ..Settings::default() });
    let mut client = world.connect().await;
    client.send(vec![0; 10_001]).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn deep_nesting_is_refused_without_harm() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let bomb = [0x81].repeat(1 << 20);
    client.send(codec::publish(Flags(0), ID, "t", &bomb)).await;
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test]
async fn a_declared_length_allocates_nothing() {
    let mut world = World::new(Settings::default());
    for head in ["9bffffffffffffffff", "5bffffffffffffffff", "bb7fffffffffffffff", "7b7fffffffffffffff"] {
        let mut client = world.connect().await;
        client.send(codec::publish(Flags(0), ID, "t", &unhex(head))).await;
        assert_eq!(client.closed().await.0, 1002, "{head}");
        world.hear().await;
    }
}

#[tokio::test]
async fn a_broken_websocket_frame_is_a_protocol_error() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    // Not masked.
    client.socket.get_mut().write_all(&[0x82, 0x01, 0x00]).await.unwrap();
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_handshake_ends_it() {
    let world = World::new(Settings::default());
    let mut silent = world.dial(1024).await;
    let mut nothing = [0];
    assert_eq!(silent.read(&mut nothing).await.unwrap(), 0);
    assert_eq!(world.settings.stats.abandoned.load(Relaxed), 1);
}

#[tokio::test]
async fn silent_peers_at_the_gate_keep_nobody_out() {
    let mut world = World::new(Settings { max_half_open: 4, ..Settings::default() });
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(world.dial(1024).await);
    }
    world.connect().await;
    assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_are_bounded_and_a_place_is_free_again() {
    let mut world = World::new(Settings { max_connections: 2, ..Settings::default() });
    let (first, _second) = (world.connect().await, world.connect().await);
    let mut third = world.dial(1024).await;
    assert_eq!(third.read(&mut [0]).await.unwrap(), 0);

    drop(first);
    assert!(matches!(world.hear().await, Inbound::Closed { reason: Closed::Lost }));
    tokio::time::timeout(Duration::from_secs(5), async {
        // The place is given back a moment after the router heard.
        loop {
            let stream = world.dial(1024).await;
            if tokio_tungstenite::client_async("ws://gateway/", stream).await.is_ok() {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn failing_accepts_are_survived() {
    let mut world = World::new(Settings::default());
    for _ in 0..5 {
        world.corridor.send(Err(io::Error::other("too many open files"))).await.unwrap();
    }
    world.connect().await;
    assert_eq!(world.settings.stats.accept_errors.load(Relaxed), 5);
}

#[tokio::test]
async fn without_anonymous_access_nobody_gets_in() {
    let world = World::new(Settings { anonymous: false, ..Settings::default() });
    let stream = world.dial(1024).await;
    let (mut socket, _) = tokio_tungstenite::client_async("ws://gateway/", stream).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1008));
}
