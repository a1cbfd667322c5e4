//! Time, pressure and the end.

use super::*;
use crate::message::{Dialect, Message as Publication, Payload};
use crate::router::{Closed, Delivery};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn pings_are_answered_at_once() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.socket.send(Message::Ping(Bytes::from_static(b"are you there"))).await.unwrap();
    assert!(matches!(client.socket.next().await, Some(Ok(Message::Pong(data))) if data == "are you there"));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_answers_pings_stays_for_hours() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    let start = tokio::time::Instant::now();
    for _ in 0..240 {
        // Reading answers the ping.
        assert!(matches!(client.socket.next().await, Some(Ok(Message::Ping(_)))));
    }
    assert_eq!(start.elapsed(), Duration::from_secs(7200));
    client.send(codec::rpc(ID, "rid", None, &[0x80])).await;
    assert!(matches!(world.hear().await, Inbound::Call { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_component_whose_network_is_gone_is_noticed() {
    let mut world = World::new(Settings::default());
    let _client = world.connect().await;
    let start = tokio::time::Instant::now();
    assert!(matches!(world.hear().await, Inbound::Closed { reason: Closed::Lost }));
    assert!(start.elapsed() <= Duration::from_secs(55), "{:?}", start.elapsed());
    assert_eq!(world.settings.stats.silent.load(Relaxed), 1);
}

fn flood(count: usize) -> Vec<Outbound> {
    let clock = SystemClock::shared();
    let data = Bytes::from([&[0x59, 0x03, 0xe8][..], &[0; 1000]].concat());
    let message =
        Publication::new("t".into(), Payload::Rembus(data), Qos::AtMostOnce, clock.wall(), Dialect::Rembus, "x".into());
    let message = Arc::new(message);
    let delivery = || {
        let message = Arc::clone(&message);
        let qos = Qos::AtMostOnce;
        Delivery {
            message,
            qos,
            id: None,
            dup: false,
            retain: false,
            pattern: None,
            identifiers: Vec::new(),
            expiry_s: None,
            author: None,
        }
    };
    (0..count).map(|_| Outbound::Deliver(delivery())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_component_that_does_not_read_is_dropped_and_costs_the_others_nothing() {
    let mut world = World::new(Settings::default());
    let lazy = world.connect_with(4096).await;
    let mut honest = world.connect().await;
    world.router.say(lazy.link, flood(1000)).await;
    world.router.say(honest.link, flood(1)).await;
    honest.next().await;
    assert!(matches!(world.router.hear().await, (link, Inbound::Written { count: 1 }) if link == honest.link));

    let keep_alive = tokio::spawn(async move { while let Some(Ok(_)) = honest.socket.next().await {} });
    assert!(matches!(world.router.hear().await, (link, Inbound::Closed { reason: Closed::Lost }) if link == lazy.link));
    assert_eq!(world.settings.stats.stalled.load(Relaxed), 1);
    keep_alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_component_that_reads_slowly_is_not_dropped() {
    let mut world = World::new(Settings::default());
    let mut slow = world.connect_with(4096).await;
    world.router.say(slow.link, flood(20)).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        slow.next().await;
    }
    assert!(matches!(world.hear().await, Inbound::Written { count: 20 }));
}

#[tokio::test]
async fn reading_goes_on_while_writing_is_stuck() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect_with(4096).await;
    world.router.say(client.link, flood(1000)).await;
    for _ in 0..100 {
        client.send(publish(Qos::AtMostOnce, ID, "t")).await;
        assert!(matches!(world.hear().await, Inbound::Publish { .. }));
    }
    for _ in 0..1000 {
        client.next().await;
    }
}

#[tokio::test]
async fn too_many_unanswered_requests_stop_the_reading_and_not_the_answers() {
    let mut world = World::new(Settings { unanswered_max: 10, ..Settings::default() });
    let mut client = world.connect_with(1 << 20).await;
    for id in 0..100 {
        client.send(codec::rpc(MessageId(id), "slow", None, &[0x80])).await;
    }
    let mut answered = 0;
    for _ in 0..10 {
        assert!(matches!(world.hear().await, Inbound::Call { .. }));
    }
    while answered < 100 {
        assert!(timeout(Duration::from_millis(20), world.hear()).await.is_err(), "an eleventh was read");
        for id in answered..answered + 10 {
            world.say(client.link, ok(Token(id))).await;
            client.next().await;
        }
        answered += 10;
        for _ in 0..10.min(100 - answered) {
            assert!(matches!(world.hear().await, Inbound::Call { .. }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_waits_for_our_answers_is_not_called_silent() {
    let mut world = World::new(Settings { unanswered_max: 1, ..Settings::default() });
    let mut client = world.connect().await;
    client.send(codec::rpc(ID, "slow", None, &[0x80])).await;
    assert!(matches!(world.hear().await, Inbound::Call { .. }));
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.say(client.link, ok(Token(ID.0))).await;
    client.next().await;
}

#[tokio::test]
async fn many_messages_reach_the_router_together() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect_with(1 << 20).await;
    for _ in 0..1000 {
        client.socket.feed(Message::Binary(publish(Qos::AtMostOnce, ID, "t"))).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    for _ in 0..1000 {
        assert!(matches!(world.hear().await, Inbound::Publish { .. }));
    }
}

#[tokio::test]
async fn a_goodbye_is_answered_and_told_to_the_router() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.socket.close(None).await.unwrap();
    assert!(matches!(world.hear().await, Inbound::Closed { reason: Closed::Orderly }));
}

#[tokio::test]
async fn a_router_that_lets_go_ends_the_connection() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    world.router.forget(client.link);
    assert_eq!(client.closed().await.0, 1001);
}

#[tokio::test]
async fn a_stop_ends_listening_first_lets_answers_leave_and_then_closes() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(publish(Qos::AtLeastOnce, ID, "t")).await;
    let Inbound::Publish { token, .. } = world.hear().await else { panic!("not a publication") };

    world.stop.send_replace(true);
    world.corridor.closed().await;
    assert!(timeout(Duration::from_millis(20), client.next()).await.is_err(), "closed before the answer");
    world.say(client.link, Outbound::Accepted { token, qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
    assert_eq!(client.next().await, codec::ack(ID));
    assert_eq!(client.closed().await, (1001, "the gateway stops".into()));
    // The farewell ends with the peer's own close frame.
    let before = tokio::time::Instant::now();
    assert!(client.socket.next().await.is_none());
    world.door.await.unwrap();
    assert!(before.elapsed() < world.settings.farewell / 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut world = World::new(Settings::default());
    let mut client = world.connect().await;
    client.send(publish(Qos::AtLeastOnce, ID, "t")).await;
    world.hear().await;
    // Half a handshake, too.
    let mut half = world.dial(1024).await;
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

    world.stop.send_replace(true);
    timeout(Duration::from_secs(4), &mut world.door).await.unwrap().unwrap();
}
