//! Peers that break the rules, are silent, or do not read.

use super::*;
use crate::bus::Counts;
use std::sync::atomic::Ordering::Relaxed;

fn impatient() -> Settings {
    Settings { timeout: Duration::from_millis(1500), ..Settings::default() }
}

fn count(world: &World, counter: fn(&crate::door::Stats) -> &std::sync::atomic::AtomicU64) -> u64 {
    counter(&world.board.settings.stats).load(Relaxed)
}

#[tokio::test]
async fn a_claim_of_four_gigabytes_ends_the_connection_and_costs_nothing() {
    let world = World::new(calm());
    let mut mad = world.program("mad").await;
    mad.send(&[1, 0, 0, 0, 0x12, 0xff, 0xff, 0xff, 0xff]).await;
    assert!(mad.is_closed_within(DEADLINE).await);
    assert_eq!(count(&world, |stats| &stats.malformed), 1);
    let mut sane = world.program("mad").await;
    sane.settled().await;
}

#[tokio::test]
async fn a_frame_without_its_zero_byte_or_with_a_text_that_is_none_ends_the_connection() {
    let world = World::new(calm());
    for body in
        [&op(1, 0x12, b"target")[..], &op(1, 0x01, b"\xff\0x"), &op(1, 0x06, b"topic\0receiver"), &op(1, 0x02, b"a\0\xff")]
    {
        let mut mad = world.program("mad").await;
        mad.send(body).await;
        assert!(mad.is_closed_within(DEADLINE).await, "{body:x?}");
        // Its name is free before it could know.
        while world.board.get("mad").is_some() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(count(&world, |stats| &stats.malformed), 4);
}

#[tokio::test]
async fn a_silent_program_and_half_a_frame_are_given_up_and_a_pinging_one_is_not() {
    let world = World::new(impatient());
    let mut silent = world.program("silent").await;
    let mut half = world.program("half").await;
    half.send(&op(1, 0x12, b"nobody\0xxxx")[..12]).await;
    let mut alive = world.program("alive").await;
    let given_up = async {
        while count(&world, |stats| &stats.silent) < 2 {
            alive.send(&[0; 9]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, given_up).await.expect("both are given up");
    assert!(silent.is_closed_within(DEADLINE).await && half.is_closed_within(DEADLINE).await);
    alive.settled().await;
    assert_eq!(count(&world, |stats| &stats.silent), 2);
}

#[tokio::test]
async fn a_busy_program_whose_bytes_always_end_inside_a_frame_is_not_given_up() {
    let world = World::new(impatient());
    let mut busy = world.program("busy").await;
    let frame = op(1, 0x12, b"nobody\0xxxx");
    let (first, rest) = frame.split_at(11);
    busy.send(first).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(4);
    while tokio::time::Instant::now() < end {
        busy.send(&[rest, first].concat()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    busy.send(rest).await;
    busy.settled().await;
}

#[tokio::test]
async fn who_does_not_say_its_name_in_time_is_shown_out() {
    let world = World::new(impatient());
    let (mut mute, mut slow) = (world.dial().await, world.dial().await);
    slow.greet().await;
    slow.send(&[4, 0, b'n']).await;
    assert!(mute.is_closed_within(DEADLINE).await && slow.is_closed_within(DEADLINE).await);
    assert_eq!(count(&world, |stats| &stats.abandoned), 2);
}

#[tokio::test]
async fn a_slow_reader_costs_only_itself() {
    let world = World::new(Settings { queue: 100, queue_bytes: 64 << 10, ..impatient() });
    let mut slow = world.program("slow").await;
    let mut quick = world.program("quick").await;
    let mut sender = world.program("sender").await;
    assert_eq!(slow.asks(1, 0x02, b"t").await, 1);
    let counts: &Counts = &world.board.settings.counts;

    let payload = [&b"slow\0"[..], &[7; 4000]].concat();
    let mut refused = 0;
    for id in 0..400 {
        match sender.asks(id, 0x12, &payload).await {
            1 => {}
            0x77 => refused += 1,
            0x71 => break,
            other => panic!("{other:x}"),
        }
        assert_eq!(sender.asks(1000 + id, 0x12, b"quick\0x").await, 1, "others get theirs");
        assert!(quick.frame().await.ends_with(b"sender\0x"));
    }
    assert!(refused > 0, "the queue has a bound");
    assert_eq!(counts.queue_full.load(Relaxed), refused);
    // Without QoS nobody is told, and it is counted.
    if world.board.get("slow").is_some() {
        sender.send(&op(7, 0x12, &payload)).await;
        sender.settled().await;
    }
    // Then it takes nothing for a timeout, and is gone.
    let gone = async {
        while world.board.get("slow").is_some() {
            sender.send(&[0; 9]).await;
            quick.send(&[0; 9]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("who takes nothing is disconnected");
    assert_eq!(count(&world, |stats| &stats.stalled), 1);
    assert_eq!(sender.asks(9, 0x12, b"slow\0x").await, 0x71);
}

#[tokio::test]
async fn a_program_that_floods_itself_is_not_read_and_loses_nothing() {
    let world = World::new(Settings { queue: 100, queue_bytes: 64 << 10, ..calm() });
    let own = world.program("own").await;
    let (mut reader, mut writer) = own.0.into_split();
    let writing = tokio::spawn(async move {
        for id in 0..5_000u32 {
            writer.write_all(&op(id, 0x12, &[&b"own\0"[..], &id.to_le_bytes(), &[0; 500]].concat())).await.unwrap();
        }
        writer
    });
    for id in 0..5_000u32 {
        let mut head = [0; 6];
        loop {
            reader.read_exact(&mut head).await.unwrap();
            if head != frame::NOP {
                break;
            }
        }
        let mut body = vec![0; u32::from_le_bytes(head[1..5].try_into().unwrap()) as usize];
        reader.read_exact(&mut body).await.unwrap();
        assert_eq!(body[4..8], id.to_le_bytes());
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_flood_of_names_is_turned_away_at_the_limit_and_leaves_nothing() {
    let world = World::new(Settings { max_clients: 8, ..calm() });
    let mut inside = Vec::new();
    for at in 0..8 {
        inside.push(world.program(&format!("flood.{at}")).await);
    }
    for at in 8..100 {
        let mut one_more = world.dial().await;
        one_more.greet().await;
        one_more.send(&naming(&format!("flood.{at}"))).await;
        one_more.expect(&[0x76]).await;
    }
    inside.pop();
    while world.board.get("flood.7").is_some() {
        tokio::task::yield_now().await;
    }
    world.program("late").await;
    assert_eq!(world.board.all().len(), 8);
}

#[tokio::test]
async fn too_many_topics_are_refused_as_a_whole_and_with_one_acknowledgement() {
    let world = World::new(Settings { max_subscriptions: 3, ..calm() });
    let mut greedy = world.program("greedy").await;
    assert_eq!(greedy.asks(1, 0x02, b"a\0b\0c").await, 0x76, "the broker's warnings are one already, so there is room for two");
    assert_eq!(greedy.asks(2, 0x02, b"a").await, 1);
    assert_eq!(greedy.asks(3, 0x04, b"b").await, 1);
    assert_eq!(greedy.asks(4, 0x02, &[0; 100_000]).await, 0x76);
    assert_eq!(greedy.asks(5, 0x02, b"a").await, 1, "what it has already it may say again");
    assert_eq!(greedy.asks(6, 0x03, b"a").await, 1);
    assert_eq!(greedy.asks(7, 0x02, b"c").await, 1);
}

#[tokio::test]
async fn random_bytes_in_front_of_and_behind_a_name_harm_nobody() {
    let world = World::new(impatient());
    let mut witness = world.program("witness").await;
    let mut seed = 42u64;
    for round in 0..60 {
        let mut noise = vec![0; 300];
        for byte in &mut noise {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 33) as u8;
        }
        let mut mad = if round % 2 == 0 { world.dial().await } else { world.program(&format!("mad.{round}")).await };
        mad.0.write_all(&noise).await.ok();
        witness.settled().await;
    }
}
