//! CONNECT and CONNACK.

use super::*;
use crate::router::Expiry;
use crate::router::{OnConflict, Refusal};

#[tokio::test(start_paused = true)]
async fn a_311_client_is_attached_under_its_id_and_welcomed() {
    let mut stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&connect_311("sensor-1", 30)).await;

    let mut link = stage.link().await;
    let attach = link.attach().await;
    assert_eq!((attach.name.as_str(), attach.clean, attach.receive_max), ("sensor-1", true, 65535));
    assert_eq!(attach.on_conflict, OnConflict::TakeOver);
    link.send(attached("sensor-1")).await;

    assert_eq!(client.packet().await, [0x20, 2, 0, 0]);
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_the_router_kept_is_announced() {
    let mut stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&connect_311("c1", 0)).await;
    let mut link = stage.link().await;
    link.attach().await;
    link.send(Outbound::Attached { session_present: true, name: "c1".into() }).await;
    assert_eq!(client.packet().await, [0x20, 2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_5_client_is_told_what_this_server_can_do() {
    let mut stage = Stage::new();
    let mut client = stage.dial().await;
    // Session expiry 60 s, receive maximum 7.
    client.send(&connect_5("", 0, &[17, 0, 0, 0, 60, 33, 0, 7])).await;
    let mut link = stage.link().await;
    let attach = link.attach().await;
    // A name nobody had before, whatever happened to this process.
    assert!(attach.name.starts_with("auto-") && attach.name.len() > 30, "{}", attach.name);
    assert_eq!((attach.receive_max, attach.expiry), (7, Expiry::After(60)));
    link.send(attached("")).await;

    let expected = [
        &[33, 4, 0][..],      // receive maximum 1024
        &[39, 0, 0x20, 0, 0], // maximum packet size 2 MiB
        &[18, 0, 8],
        b"assigned",  // the id it got
        &[34, 0, 16], // topic aliases
    ]
    .concat();
    assert_eq!(client.packet().await, packet(0x20, &[&[0, 0, expected.len() as u8][..], &expected].concat()));
}

#[tokio::test(start_paused = true)]
async fn the_predecessor_3_1_is_served_too() {
    let mut stage = Stage::new();
    let connect = packet(0x10, &[&text("MQIsdp")[..], &[3, 0x02, 0, 0], &text("old")].concat());
    let (mut client, _link) = stage.client(&connect).await;
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_protocol_level_is_answered_in_the_nearest_form() {
    let stage = Stage::new();
    for (level, answer) in [(1, vec![0x20, 2, 0, 1]), (0x84, vec![0x20, 2, 0, 1])] {
        let mut client = stage.dial().await;
        client.send(&packet(0x10, &[&text("MQTT")[..], &[level, 2, 0, 0], &text("x")].concat())).await;
        assert_eq!(client.packet().await, answer);
        client.is_closed().await;
    }
    let mut client = stage.dial().await;
    client.send(&packet(0x10, &[&text("MQTT")[..], &[6, 2, 0, 0], &text("x")].concat())).await;
    let connack = client.packet().await;
    assert_eq!((connack[0], connack[2], connack[3]), (0x20, 0, 0x84));
    client.is_closed().await;
    assert_eq!(stage.count(|stats| &stats.refused), 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_id_needs_a_clean_session() {
    let stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&packet(0x10, &[&text("MQTT")[..], &[4, 0x00, 0, 0], &text("")].concat())).await;
    assert_eq!(client.packet().await, [0x20, 2, 0, 2]);
    client.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_user_and_password_are_nobody_as_commlib_sends_them() {
    let mut stage = Stage::new();
    let connect = packet(0x10, &[&text("MQTT")[..], &[4, 0xC2, 0, 0], &text("c1"), &text(""), &text("")].concat());
    let (mut client, _link) = stage.client(&connect).await;
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_and_a_password_of_any_bytes_are_taken_while_anonymous_is_on() {
    let mut stage = Stage::new();
    let login = [&text("me")[..], &[0, 2, 0xff, 0x00]].concat();
    let connect = packet(0x10, &[&text("MQTT")[..], &[4, 0xC2, 0, 0], &text("c1"), &login].concat());
    let (mut client, _link) = stage.client(&connect).await;
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn without_anonymous_everybody_is_refused_until_there_are_users() {
    let stage = Stage::with(|settings| settings.anonymous = false);
    let mut client = stage.dial().await;
    client.send(&connect_311("c1", 0)).await;
    assert_eq!(client.packet().await, [0x20, 2, 0, 5]);
    client.is_closed().await;

    let mut client = stage.dial().await;
    client.send(&connect_5("c1", 0, &[])).await;
    assert_eq!(client.packet().await[3], 0x87);
    client.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn enhanced_authentication_is_refused_by_name() {
    let stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&connect_5("c1", 0, &[&[21][..], &text("SCRAM")].concat())).await;
    assert_eq!(client.packet().await[3], 0x8C);
    client.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_router_refuses_has_a_code_in_both_versions() {
    let mut stage = Stage::new();
    for (refusal, code_311, code_5) in [
        (Refusal::NameInvalid, 2, 0x85),
        (Refusal::LimitReached, 3, 0x97),
        (Refusal::NotAuthorized, 5, 0x87),
        (Refusal::LogFailed, 3, 0x83),
    ] {
        for (connect, code) in [(connect_311("c1", 0), code_311), (connect_5("c1", 0, &[]), code_5)] {
            let mut client = stage.dial().await;
            client.send(&connect).await;
            let mut link = stage.link().await;
            link.attach().await;
            link.send(Outbound::Refused(refusal)).await;
            assert_eq!(client.packet().await[3], code, "{refusal:?}");
            client.is_closed().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_5_connect_is_told_so_and_a_311_one_is_closed() {
    let stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&packet(0x10, &[&text("MQTT")[..], &[5, 0x03, 0, 0, 0], &text("x")].concat())).await;
    assert_eq!(client.packet().await[3], 0x81);
    client.is_closed().await;

    let mut client = stage.dial().await;
    client.send(&packet(0x10, &[&text("MQTT")[..], &[4, 0x03, 0, 0], &text("x")].concat())).await;
    client.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_connect_is_closed_without_a_word() {
    let stage = Stage::new();
    let wrong = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xC0, 0],
        publish_311(0, "a", 0, b""),
        packet(0x10, &[&text("HTTP")[..], &[4, 2, 0, 0], &text("x")].concat()),
        vec![0x10, 0xff, 0xff, 0xff, 0x7f], // 256 MiB of CONNECT
        vec![0x10, 0xff, 0xff, 0xff, 0xff, 1],
    ];
    for bytes in &wrong {
        let mut client = stage.dial().await;
        client.send(bytes).await;
        client.is_closed().await;
    }
    assert_eq!(stage.count(|stats| &stats.abandoned), wrong.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_drips_in_slowly_runs_out_of_time() {
    let mut stage = Stage::new();
    let mut slow = stage.dial().await;
    let start = tokio::time::Instant::now();
    let connect = connect_311("slow", 0);
    let mut sent = 0;
    for byte in &connect[..connect.len() - 1] {
        if slow.stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(sent < connect.len() - 1, "the door waited for ever");
    slow.is_closed().await;
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());

    // Meanwhile and after, others are served.
    let (mut client, _link) = stage.client_311().await;
    client.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_does_not_answer_holds_a_client_no_longer_than_the_limit() {
    let mut stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&connect_311("c1", 0)).await;
    let mut link = stage.link().await;
    link.attach().await;
    client.is_closed().await;
    assert!(link.any().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_client_too_many_is_told_that_the_server_is_busy() {
    let mut stage = Stage::with(|settings| settings.max_connections = 1);
    let (mut first, _link) = stage.client_311().await;

    let mut second = stage.dial().await;
    second.send(&connect_311("c2", 0)).await;
    assert_eq!(second.packet().await, [0x20, 2, 0, 3]);
    second.is_closed().await;
    let mut third = stage.dial().await;
    third.send(&connect_5("c3", 0, &[])).await;
    assert_eq!(third.packet().await[3], 0x89);

    first.is_served().await;
    first.send(&[0xE0, 0]).await;
    first.is_closed().await;
    let (mut fourth, _link) = stage.client(&connect_311("c4", 0)).await;
    fourth.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn silent_sockets_cannot_keep_a_client_out() {
    let mut stage = Stage::with(|settings| settings.max_half_open = 3);
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(stage.dial().await);
    }
    let (mut client, _link) = stage.client_311().await;
    client.is_served().await;
    silent[0].is_closed().await;
    assert!(stage.count(|stats| &stats.half_open) <= 3);
}

#[tokio::test(start_paused = true)]
async fn failing_accepts_are_survived_without_spinning() {
    let mut stage = Stage::new();
    let start = tokio::time::Instant::now();
    for _ in 0..5 {
        stage.sockets.send(Err(rustix::io::Errno::MFILE.into())).await.unwrap();
    }
    let (mut client, _link) = stage.client_311().await;
    client.is_served().await;
    assert_eq!(stage.count(|stats| &stats.accept_errors), 5);
    assert!(start.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80 + 160));
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_gone_before_they_are_accepted_do_not_slow_the_others() {
    let mut stage = Stage::new();
    let start = tokio::time::Instant::now();
    for _ in 0..500 {
        stage.sockets.send(Err(io::ErrorKind::ConnectionAborted.into())).await.unwrap();
    }
    let (mut client, _link) = stage.client_311().await;
    client.is_served().await;
    assert_eq!(stage.count(|stats| &stats.accept_errors), 500);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn packets_sent_right_behind_connect_wait_for_connack() {
    let mut stage = Stage::new();
    let mut client = stage.dial().await;
    client.send(&[connect_311("c1", 0), publish_311(0, "a/b", 0, b"early"), vec![0xC0, 0]].concat()).await;
    let mut link = stage.link().await;
    link.attach().await;
    link.send(attached("c1")).await;
    assert_eq!(client.packet().await, [0x20, 2, 0, 0]);
    assert_eq!(client.packet().await, [0xD0, 0]);
    assert!(matches!(link.next().await, Inbound::Publish { message, .. } if message.topic == "a/b"));
}

#[tokio::test(start_paused = true)]
async fn a_will_is_taken_along() {
    let mut stage = Stage::new();
    let will = [&text("gone")[..], &text("bye")].concat();
    let connect = packet(0x10, &[&text("MQTT")[..], &[4, 0x0E, 0, 0], &text("c1"), &will].concat());
    let (mut client, _link) = stage.client(&connect).await;
    client.is_served().await;
}

/// Maximum packet size as a property of CONNECT.
fn takes_at_most(bytes: u8) -> [u8; 5] {
    [39, 0, 0, 0, bytes]
}

#[tokio::test(start_paused = true)]
async fn connack_is_never_larger_than_what_the_client_takes() {
    let mut stage = Stage::new();
    // 5 bytes of CONNACK, 3 of the receive maximum, 5 of the maximum packet size; the offer of aliases has 3 more.
    for (most, length) in [(16, 16), (15, 13), (13, 13)] {
        let mut client = stage.dial().await;
        client.send(&connect_5("c1", 0, &takes_at_most(most))).await;
        let mut link = stage.link().await;
        link.attach().await;
        link.send(attached("c1")).await;
        assert_eq!(client.packet().await.len(), length, "at most {most}");
    }
    // Smaller it cannot be: the client is not let in, and its session is not touched.
    let mut client = stage.dial().await;
    client.send(&connect_5("c1", 0, &takes_at_most(12))).await;
    client.is_closed().await;
    assert!(stage.links.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_its_words_out_for_a_client_that_takes_little() {
    let stage = Stage::with(|settings| settings.anonymous = false);
    for most in [5, 20] {
        let mut client = stage.dial().await;
        client.send(&connect_5("c1", 0, &takes_at_most(most))).await;
        assert_eq!(client.packet().await, [0x20, 3, 0, 0x87, 0]);
        client.is_closed().await;
    }
    let mut client = stage.dial().await;
    client.send(&connect_5("c1", 0, &takes_at_most(4))).await;
    client.is_closed().await;
}
