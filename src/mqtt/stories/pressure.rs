//! Time and pressure: keep alive, clients that do not read, a router that is slow.

use super::delivering::{delivery, message};
use super::*;
use crate::message::Qos;
use crate::router::{Closed, DeliveryId, Token};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_gone_after_one_and_a_half_keep_alives() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client(&connect_5("c1", 10, &[])).await;
    let start = Instant::now();
    client.is_told(0x8D).await;
    assert_eq!(start.elapsed().as_secs(), 15);
    link.ends_with(Closed::Lost).await;

    let (mut client, mut link) = stage.client(&connect_311("c1", 10)).await;
    client.is_closed().await;
    link.ends_with(Closed::Lost).await;
    assert_eq!(stage.count(|stats| &stats.silent), 2);
}

#[tokio::test(start_paused = true)]
async fn any_packet_keeps_a_client_alive_but_half_a_packet_does_not() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client(&connect_311("c1", 10)).await;
    for _ in 0..5 {
        sleep(14 * SECOND).await;
        client.send(&publish_311(0, "a", 0, b"")).await;
        assert!(matches!(link.next().await, Inbound::Publish { .. }));
    }
    let start = Instant::now();
    for byte in &publish_311(0, "a/long/topic/that/takes/a/while", 0, b"")[..] {
        sleep(SECOND).await;
        if client.stream.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    // Two seconds of grace: the byte under way, and the door's goodbye.
    assert!((15..=17).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(stage.count(|stats| &stats.silent), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_to_a_client_does_not_keep_it_alive() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client(&connect_311("c1", 10)).await;
    let start = Instant::now();
    let feed = link.outbound.clone();
    let feeding = tokio::spawn(async move {
        while feed.send(vec![delivery(message("a", "x"), None)]).await.is_ok() {
            sleep(SECOND).await;
        }
    });
    let mut sink = Vec::new();
    client.stream.read_to_end(&mut sink).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 15);
    link.ends_with(Closed::Lost).await;
    drop(link);
    feeding.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keep_alive_0_waits_for_ever() {
    let mut stage = Stage::new();
    let (mut client, _link) = stage.client_311().await;
    sleep(30 * 24 * 3600 * SECOND).await;
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_router_slows_the_client_down_and_does_not_kill_it() {
    let mut stage = Stage::with_inbox(1, |_| {});
    let client = stage.dial_with(4096).await;
    let (mut client, mut link) = stage.connect(client, &connect_311("c1", 1)).await;
    // The router takes nothing for a minute; the client has more to say than fits anywhere.
    let publish = publish_311(0, "a", 0, &[b'x'; 500]);
    let flood = tokio::spawn(async move {
        for _ in 0..2000 {
            client.send(&publish).await;
        }
        client
    });
    sleep(60 * SECOND).await;
    assert!(!flood.is_finished(), "nothing held the client back");
    for _ in 0..2000 {
        assert!(matches!(link.next().await, Inbound::Publish { .. }));
    }
    flood.await.unwrap().is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_311_client_waits_at_the_receive_maximum_until_it_is_answered() {
    let mut stage = Stage::with(|settings| settings.receive_max = 8);
    let (mut client, mut link) = stage.client_311().await;
    let flood: Vec<u8> = (1..=20).flat_map(|id| publish_311(0x02, "a", id, b"")).collect();
    client.send(&flood).await;
    for _ in 0..8 {
        assert!(matches!(link.next().await, Inbound::Publish { .. }));
    }
    assert!(timeout(60 * SECOND, link.next()).await.is_err(), "more than the receive maximum came through");
    for id in 1..=12 {
        link.send(Outbound::Accepted { token: Token(id), qos: Qos::AtLeastOnce, outcome: Ok(()) }).await;
        assert_eq!(client.packet().await, [0x40, 2, 0, id as u8]);
        // One answer, one more.
        assert!(matches!(link.next().await, Inbound::Publish { token, .. } if token == Token(id + 8)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_dropped_and_costs_only_its_own_buffers() {
    let mut stage = Stage::new();
    let client = stage.dial_with(1024).await;
    let (client, mut link) = stage.connect(client, &connect_311("c1", 20)).await;
    let start = Instant::now();
    link.outbound.send((0..100).map(|_| delivery(message("a", vec![0; 1000]), None)).collect()).await.unwrap();
    link.ends_with(Closed::Lost).await;
    // The keep alive is 30 s; the stall limit is 30 s more. The client is silent too, so the keep alive strikes first.
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(client);

    let client = stage.dial_with(1024).await;
    let (client, mut link) = stage.connect(client, &connect_311("c2", 0)).await;
    let start = Instant::now();
    link.send(delivery(message("a", vec![0; 100_000]), None)).await;
    link.ends_with(Closed::Lost).await;
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(stage.count(|stats| &stats.stalled), 1);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn while_writing_is_stuck_acknowledgements_are_still_read() {
    let mut stage = Stage::new();
    let client = stage.dial_with(1024).await;
    let (mut client, mut link) = stage.connect(client, &connect_311("c1", 0)).await;
    link.send(delivery(message("a", vec![0; 100_000]), Some(1))).await;
    for id in 0..200_u8 {
        client.send(&packet(0x40, &[1, id])).await;
        assert!(matches!(link.next().await, Inbound::Delivered { id: DeliveryId(got), .. } if got == 256 + u32::from(id)));
    }
    // And when it reads again, everything goes on.
    assert_eq!(client.packet().await.len(), 100_000 + 9);
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_from_one_who_does_not_read_is_bounded() {
    let mut stage = Stage::new();
    let client = stage.dial_with(512).await;
    let (mut client, mut link) = stage.connect(client, &connect_311("c1", 0)).await;
    let pings = [0xC0, 0].repeat(500_000);
    // The door stops reading long before a megabyte of pings, and gives up 30 s later.
    assert!(client.stream.write_all(&pings).await.is_err());
    link.ends_with(Closed::Lost).await;
    assert_eq!(stage.count(|stats| &stats.stalled), 1);
}

#[tokio::test(start_paused = true)]
async fn both_directions_full_is_no_deadlock() {
    let mut stage = Stage::with_inbox(1, |_| {});
    let client = stage.dial_with(256).await;
    let (client, mut link) = stage.connect(client, &connect_311("c1", 0)).await;
    // The client writes a lot before it reads anything, and then the other way round; the router is slow in between.
    let (mut from_door, mut to_door) = tokio::io::split(client.stream);
    let writing = tokio::spawn(async move {
        for id in 1..=2000_u16 {
            to_door.write_all(&publish_311(0x02, "a", id, b"0123456789")).await.unwrap();
        }
        to_door
    });
    let feed = link.outbound.clone();
    let router = tokio::spawn(async move {
        for id in 1..=2000 {
            assert!(matches!(link.next().await, Inbound::Publish { .. }));
            let answer = Outbound::Accepted { token: Token(id), qos: Qos::AtLeastOnce, outcome: Ok(()) };
            link.outbound.send(vec![answer, delivery(message("b", "0123456789"), None)]).await.unwrap();
            if id % 100 == 0 {
                sleep(SECOND).await;
            }
        }
        link
    });
    sleep(20 * SECOND).await;
    let mut sink = vec![0; 2000 * (4 + 15)];
    from_door.read_exact(&mut sink).await.unwrap();
    drop((writing.await.unwrap(), router.await.unwrap(), feed));
}
