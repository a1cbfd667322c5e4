//! Every way to break the specification ends the one connection, and says why where the version has words for it.

use super::*;
use crate::router::Closed;

/// Sends `bytes` on a fresh connection of each given version, and checks what 5.0 is told.
async fn ends(stage: &mut Stage, name: &str, bytes_311: Option<Vec<u8>>, bytes_5: Option<Vec<u8>>, reason: u8) {
    let (mut bystander, _quiet) = stage.client(&connect_311("bystander", 0)).await;
    if let Some(bytes) = bytes_311 {
        let (mut client, mut link) = stage.client_311().await;
        client.send(&bytes).await;
        client.is_closed().await;
        link.ends_with(Closed::Lost).await;
    }
    if let Some(bytes) = bytes_5 {
        let (mut client, mut link) = stage.client_5().await;
        client.send(&bytes).await;
        let told = client.packet().await;
        assert_eq!((told[0], told[2]), (0xE0, reason), "{name}: {told:02x?}");
        client.is_closed().await;
        link.ends_with(Closed::Lost).await;
    }
    bystander.is_served().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_parsed_is_malformed() {
    let mut stage = Stage::new();
    let same = [
        ("packet type 0", vec![0x00, 0]),
        ("QoS 3", packet(0x36, &[0, 1, b'a', 0, 1])),
        ("DUP with QoS 0", packet(0x38, &[0, 1, b'a', 0])),
        ("reserved flags of PUBREL", packet(0x60, &[0, 1])),
        ("reserved flags of SUBSCRIBE", packet(0x80, &[0, 1, 0, 1, b'a', 0])),
        ("reserved flags of UNSUBSCRIBE", packet(0xA0, &[0, 1, 0, 1, b'a'])),
        ("reserved flags of PINGREQ", vec![0xC1, 0]),
        ("reserved flags of DISCONNECT", vec![0xE1, 0]),
        ("reserved flags of PUBACK", packet(0x41, &[0, 1])),
        ("five bytes of remaining length", vec![0x30, 0x80, 0x80, 0x80, 0x80, 1]),
        ("PINGREQ with a body", packet(0xC0, &[0])),
        ("PUBACK cut short", packet(0x40, &[0])),
        ("a topic beyond the packet", packet(0x30, &[0, 9, b'a'])),
        ("a topic that is not UTF-8", packet(0x30, &[0, 1, 0xff, 0])),
        ("a surrogate in a topic", packet(0x30, &[0, 3, 0xed, 0xa0, 0x80, 0])),
        ("U+0000 in a topic", packet(0x30, &[0, 3, b'a', 0, b'b', 0])),
        ("a wildcard in a topic", packet(0x30, &[0, 3, b'a', b'/', b'+', 0])),
        ("a hash in a topic", packet(0x30, &[0, 1, b'#', 0])),
    ];
    for (name, bytes) in same {
        ends(&mut stage, name, Some(bytes.clone()), Some(bytes), 0x81).await;
    }
    let differ = [
        ("QoS 3 of a subscription", packet(0x82, &[0, 1, 0, 1, b'a', 3]), packet(0x82, &[0, 1, 0, 0, 1, b'a', 3])),
        ("reserved options", packet(0x82, &[0, 1, 0, 1, b'a', 4]), packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x40])),
        ("retain handling 3", packet(0x82, &[0, 1, 0, 1, b'a', 0x30]), packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x30])),
        ("a filter without options", packet(0x82, &[0, 1, 0, 1, b'a']), packet(0x82, &[0, 1, 0, 0, 1, b'a'])),
        ("NUL in a filter", packet(0x82, &[0, 1, 0, 1, 0, 0]), packet(0x82, &[0, 1, 0, 0, 1, 0, 0])),
        ("an acknowledgement with a rest", packet(0x40, &[0, 1, 0]), packet(0x40, &[0, 1, 0, 0, 9])),
        ("DISCONNECT with a rest", packet(0xE0, &[0]), packet(0xE0, &[0, 0, 9])),
        ("AUTH before 5.0, properties beyond the packet", packet(0xF0, &[]), publish_5(0, "a", 0, &[], b"")[..4].to_vec()),
    ];
    for (name, bytes_311, mut bytes_5) in differ {
        if bytes_5.len() == 4 {
            bytes_5 = packet(0x30, &[0, 1, b'a', 9, 1]);
        }
        ends(&mut stage, name, Some(bytes_311), Some(bytes_5), 0x81).await;
    }
    assert!(stage.count(|stats| &stats.malformed) > 50);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_said_is_a_protocol_error() {
    let mut stage = Stage::new();
    let both = [
        ("a second CONNECT", connect_311("again", 0), connect_5("again", 0, &[])),
        ("packet id 0", publish_311(2, "a", 0, b""), publish_5(2, "a", 0, &[], b"")),
        ("packet id 0 in PUBACK", packet(0x40, &[0, 0]), packet(0x40, &[0, 0])),
        ("an empty topic", publish_311(0, "", 0, b""), publish_5(0, "", 0, &[], b"")),
        ("no filter to subscribe", packet(0x82, &[0, 1]), packet(0x82, &[0, 1, 0])),
        ("no filter to unsubscribe", packet(0xA2, &[0, 1]), packet(0xA2, &[0, 1, 0])),
        ("CONNACK", packet(0x20, &[0, 0]), packet(0x20, &[0, 0, 0])),
        ("SUBACK", packet(0x90, &[0, 1, 0]), packet(0x90, &[0, 1, 0, 0])),
        ("PINGRESP", packet(0xD0, &[]), packet(0xD0, &[])),
    ];
    for (name, bytes_311, bytes_5) in both {
        ends(&mut stage, name, Some(bytes_311), Some(bytes_5), 0x82).await;
    }
    let only_5 = [
        ("AUTH without a method", packet(0xF0, &[])),
        ("an alias that was never set", publish_5(0, "", 0, &[35, 0, 3], b"")),
        ("a property that came twice", publish_5(0, "a", 0, &[1, 1, 1, 1], b"")),
        ("a property of another packet", publish_5(0, "a", 0, &[17, 0, 0, 0, 1], b"")),
        ("a subscription identifier from a client", publish_5(0, "a", 0, &[11, 1], b"")),
        ("a property of servers", publish_5(0, "a", 0, &[37, 1], b"")),
        ("payload format 2", publish_5(0, "a", 0, &[1, 2], b"")),
        ("a wildcard in the response topic", publish_5(0, "a", 0, &[8, 0, 1, b'#'], b"")),
        ("subscription identifier 0", packet(0x82, &[0, 1, 2, 11, 0, 0, 1, b'a', 0])),
        ("two subscription identifiers", packet(0x82, &[0, 1, 4, 11, 1, 11, 2, 0, 1, b'a', 0])),
        ("no local on a shared subscription", packet(0x82, &[&[0, 1, 0][..], &text("$share/g/a"), &[4]].concat())),
        ("an unknown reason code", packet(0x40, &[0, 1, 0x42])),
        ("DISCONNECT that revives the session", packet(0xE0, &[0, 5, 17, 0, 0, 0, 9])),
        ("DISCONNECT with a reason that nobody knows", packet(0xE0, &[0x42])),
        ("DISCONNECT with a server's reason", packet(0xE0, &[0x8B])),
        ("DISCONNECT with the reason of another packet", packet(0xE0, &[0x01, 0])),
        ("PUBREC with the reason of PUBREL", packet(0x50, &[0, 1, 0x92])),
        ("PUBREL with an unknown reason", packet(0x62, &[0, 1, 0x10])),
        ("PUBCOMP with an unknown reason", packet(0x70, &[0, 1, 0x80])),
        ("AUTH with an unknown reason", packet(0xF0, &[0x42, 0])),
    ];
    for (name, bytes) in only_5 {
        ends(&mut stage, name, None, Some(bytes), 0x82).await;
    }
    ends(&mut stage, "topic alias 0", None, Some(publish_5(0, "a", 0, &[35, 0, 0], b"")), 0x94).await;
    ends(&mut stage, "topic alias 17", None, Some(publish_5(0, "a", 0, &[35, 0, 17], b"")), 0x94).await;
    ends(&mut stage, "unknown property", None, Some(publish_5(0, "a", 0, &[99], b"")), 0x81).await;
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_is_too_large_is_refused_by_its_header() {
    let mut stage = Stage::with(|settings| settings.max_packet = 200);
    // Only the header is sent: nothing waits for a body of 198 bytes.
    ends(&mut stage, "201 bytes", Some(vec![0x30, 198, 1]), Some(vec![0x30, 198, 1]), 0x95).await;

    let (mut client, mut link) = stage.client_311().await;
    client.send(&publish_311(0, "a", 0, &[b'x'; 194])).await;
    assert!(matches!(link.next().await, Inbound::Publish { message, .. } if message.payload.len() == 194));
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_broken_packet_still_counts() {
    let mut stage = Stage::new();
    let (mut client, mut link) = stage.client_5().await;
    client.send(&[publish_5(0, "a", 0, &[], b"whole"), vec![0x00, 0]].concat()).await;
    client.is_told(0x81).await;
    assert!(matches!(link.next().await, Inbound::Publish { .. }));
    link.ends_with(Closed::Lost).await;
}

#[tokio::test(start_paused = true)]
async fn the_reason_comes_with_words() {
    let mut stage = Stage::new();
    let (mut client, _link) = stage.client_5().await;
    client.send(&[0x00, 0]).await;
    let what = "packet type 0";
    let expected = [&[0x81, what.len() as u8 + 3, 31][..], &text(what)].concat();
    assert_eq!(client.packet().await, packet(0xE0, &expected));
}
