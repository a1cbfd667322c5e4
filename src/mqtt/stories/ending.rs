//! How connections end: goodbye, takeover, stop, loss.

use super::delivering::{delivery, message};
use super::*;
use crate::message::Qos;
use crate::router::{CloseReason, Closed, Token};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_orderly_and_a_broken_connection_is_not() {
    let mut stage = Stage::new();
    for connect in [connect_311("c1", 0), connect_5("c1", 0, &[])] {
        let (mut client, mut link) = stage.client(&connect).await;
        client.send(&[0xE0, 0]).await;
        client.is_closed().await;
        link.ends_with(Closed::Orderly).await;

        let (client, mut link) = stage.client(&connect).await;
        drop(client);
        link.ends_with(Closed::Lost).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_5_goodbye_with_a_reason_keeps_the_will() {
    let mut stage = Stage::new();
    for (disconnect, closed) in
        [(vec![0xE0, 1, 0x00], Closed::Orderly), (vec![0xE0, 2, 0, 0], Closed::Orderly), (vec![0xE0, 1, 0x04], Closed::Lost)]
    {
        let (mut client, mut link) = stage.client_5().await;
        client.send(&disconnect).await;
        client.is_closed().await;
        link.ends_with(closed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_goodbye_reaches_the_router() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    client.send(&[publish_311(0, "a", 0, b""), vec![0xE0, 0]].concat()).await;
    client.is_closed().await;
    assert!(matches!(link.next().await, Inbound::Publish { .. }));
    link.ends_with(Closed::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_taken_over_is_told() {
    let mut stage = Stage::new();
    for (reason, code) in [
        (CloseReason::TakenOver, 0x8E),
        (CloseReason::ShuttingDown, 0x8B),
        (CloseReason::TooSlow, 0x97),
        (CloseReason::ProtocolError, 0x82),
    ] {
        let (mut client, link) = stage.client_5().await;
        link.send(Outbound::Close(reason)).await;
        client.is_told(code).await;

        let (mut client, link) = stage.client_311().await;
        link.send(Outbound::Close(reason)).await;
        client.is_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_the_close_is_sent_before_it() {
    let mut stage = Stage::new();
    let (mut client, link) = stage.client_5().await;
    link.outbound.send(vec![delivery(message("a", "last"), None), Outbound::Close(CloseReason::TakenOver)]).await.unwrap();
    assert_eq!(client.packet().await, publish_5(0, "a", 0, &[], b"last"));
    client.is_told(0x8E).await;
}

#[tokio::test(start_paused = true)]
async fn a_takeover_does_not_wait_for_a_client_that_does_not_read() {
    let mut stage = Stage::new();
    let client = stage.dial_with(256).await;
    let (client, mut link) = stage.connect(client, &connect_5("c1", 0, &[])).await;
    let start = Instant::now();
    link.send(delivery(message("a", vec![0; 10_000]), None)).await;
    link.send(Outbound::Close(CloseReason::TakenOver)).await;
    assert!(link.any().await.is_none());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_acknowledgements_then_tells_everybody_and_returns() {
    let mut stage = Stage::new();
    let (mut five, mut link) = stage.client_5().await;
    let (mut old, _link) = stage.client(&connect_311("c2", 0)).await;
    let mut silent = stage.dial().await;
    five.send(&publish_5(0x02, "a", 1, &[], b"x")).await;
    assert!(matches!(link.next().await, Inbound::Publish { .. }));

    stage.stop.send(true).unwrap();
    old.is_closed().await;
    silent.is_closed().await;
    five.is_quiet_for(Duration::from_millis(500)).await;
    link.send(Outbound::Accepted { token: Token(1), qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
    assert_eq!(five.packet().await, [0x40, 2, 0, 1]);
    five.is_told(0x8B).await;
    drop(five);
    timeout(Duration::from_secs(5), stage.door).await.expect("the door returns").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    client.send(&publish_5(0x02, "a", 1, &[], b"x")).await;
    assert!(matches!(link.next().await, Inbound::Publish { .. }));
    let start = Instant::now();
    stage.stop.send(true).unwrap();
    client.is_told(0x8B).await;
    stage.door.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_gone_ends_the_connection() {
    let mut stage = Stage::new();
    let (mut client, link) = stage.client_5().await;
    drop(link);
    client.is_told(0x8B).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_buffers_back_and_goes_on() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_311().await;
    for _ in 0..3 {
        let burst: Vec<u8> = (0..2000).flat_map(|_| publish_311(0, "a", 0, &[b'x'; 100])).collect();
        let (mut from_door, mut to_door) = tokio::io::split(client.stream);
        let writing = tokio::spawn(async move {
            to_door.write_all(&burst).await.unwrap();
            to_door
        });
        for _ in 0..2000 {
            assert!(matches!(link.next().await, Inbound::Publish { .. }));
            link.send(delivery(message("b", vec![b'y'; 100]), None)).await;
            from_door.read_exact(&mut [0; 105]).await.unwrap();
        }
        client = Client { stream: from_door.unsplit(writing.await.unwrap()) };
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.is_served().await;
    }
}

/// An idle connection is a task, 1 KiB to read into, and its link. The task was 7 KiB before the handshake and the end were boxed.
#[tokio::test(start_paused = true)]
async fn the_task_of_a_connection_is_small() {
    use super::super::handshake;
    use crate::door::{Arrival, Gate, Way};
    let stage = Stage::new();
    let (opened, _links) = mpsc::channel(1);
    let (_stop, stop) = watch::channel(false);
    let (settings, clock, gate) = (Arc::default(), SystemClock::shared(), Gate::new(1));
    let entry = gate.enter(peer().ip());
    let door = handshake::Door { hub: PlayedHub { opened, inbox: 1 }, settings, clock, stop };
    let task = handshake::attend(Arrival::new(stage.dial().await.stream, peer(), Way::default()), Arc::new(door), entry);
    assert!(size_of_val(&task) <= 4 << 10, "{} bytes", size_of_val(&task));
}
