//! The packets of real commlib clients (`tests/vectors/commlib.json`), read and, where the broker sent them, written.

use super::*;
use crate::message::Qos;
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/commlib.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The packet as the client sent it; `Err` is what we would close the connection for.
fn read(packet: &[u8], version: Version) -> Result<(Frame, Packet<'_>), Fault> {
    let frame = frame(packet, 2 << 20)?.expect("the packet is whole");
    assert_eq!(frame.total, packet.len());
    Ok((frame, decode(version, frame, packet)?))
}

fn check_sent(vector: &Value) {
    let packet = unhex(&vector["hex"]);
    let fields = &vector["fields"];
    match vector["packet"].as_str().unwrap() {
        "CONNECT" => {
            let frame = frame(&packet, 2 << 20).unwrap().unwrap();
            let connect = read_connect(&packet[frame.header..]).unwrap();
            let is_5 = vector["id"] == "connect-v5";
            assert_eq!(connect.version, if is_5 { Version::V5 } else { Version::V311 });
            assert!(connect.clean && connect.client_id.is_empty() && connect.will.is_none());
            assert_eq!(connect.keep_alive, 60);
            // Both flags are set, whatever was configured.
            let user = fields["user"].as_str().unwrap_or_default();
            assert_eq!(connect.user.as_deref(), Some(user));
            assert_eq!(connect.password.as_deref(), Some(fields["pass"].as_str().unwrap_or_default().as_bytes()));
            assert_eq!(connect.max_packet, is_5.then_some(20));
        }
        "SUBSCRIBE" if vector["id"] == "subscribe-v5-illegal" => {
            assert!(read(&packet, Version::V5).is_err());
        }
        "SUBSCRIBE" => {
            let (_, Packet::Subscribe { id, filters, .. }) = read(&packet, Version::V311).unwrap() else {
                panic!("no SUBSCRIBE")
            };
            assert_eq!(fields["pid"], id);
            let found: Vec<Value> = filters.map(|(filter, options)| serde_json::json!([filter, options.qos.level()])).collect();
            assert_eq!(fields["subs"], Value::Array(found));
        }
        "UNSUBSCRIBE" => {
            let (_, Packet::Unsubscribe { id, filters }) = read(&packet, Version::V311).unwrap() else {
                panic!("no UNSUBSCRIBE")
            };
            assert_eq!(fields["pid"], id);
            let found: Vec<&str> = filters.map(|(filter, _)| filter).collect();
            assert_eq!(fields["topics"], serde_json::json!(found));
        }
        "PUBLISH" => {
            let (_, Packet::Publish(publish)) = read(&packet, Version::V311).unwrap() else { panic!("no PUBLISH") };
            assert_eq!(vector["topic"], publish.topic);
            assert_eq!(vector["qos"], publish.qos.level());
            assert!(!publish.retain && publish.qos < Qos::ExactlyOnce);
            assert_eq!(unhex(&vector["payload_hex"]), publish.payload);
        }
        "DISCONNECT" => assert!(matches!(read(&packet, Version::V311).unwrap().1, Packet::Disconnect { .. })),
        other => panic!("{other} is not known"),
    }
}

fn check_received(vector: &Value) {
    let packet = unhex(&vector["hex"]);
    let mut out = Vec::new();
    match vector["packet"].as_str().unwrap() {
        "CONNACK" => {
            let accepted = Connack {
                session_present: false,
                session_expiry: None,
                receive_max: 1,
                max_packet: 1,
                assigned_id: Some("auto"),
                topic_alias_max: 0,
                keep_alive: None,
            };
            connack(&mut out, Version::V311, Ok(&accepted), u32::MAX);
        }
        "SUBACK" => suback(&mut out, Version::V311, u16::from_be_bytes([packet[2], packet[3]]), &[ReasonCode(packet[4])]),
        "PUBLISH" => {
            // Read what the reference broker wrote, and write it again.
            let (_, Packet::Publish(known)) = read(&packet, Version::V311).unwrap() else { panic!("no PUBLISH") };
            let outgoing = OutgoingPublish {
                topic: vector["topic"].as_str().unwrap(),
                alias: None,
                qos: u8::try_from(vector["qos"].as_u64().unwrap()).unwrap(),
                id: known.id,
                dup: false,
                retain: false,
                payload_len: known.payload.len(),
                properties: None,
                content_type: Some("application/json"),
                expiry_s: None,
                identifiers: &[],
            };
            publish(&mut out, Version::V311, &outgoing, u32::MAX).unwrap();
            out.extend_from_slice(&unhex(&vector["payload_hex"]));
        }
        other => panic!("{other} is not known"),
    }
    assert_eq!(out, packet);
}

#[test]
fn packets_of_commlib_clients_mean_what_the_reference_says() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 64);
    for vector in &vectors {
        // What fails is named.
        eprintln_name(vector);
        if vector["dir"] == "broker->client" { check_received(vector) } else { check_sent(vector) }
    }
}

fn eprintln_name(vector: &Value) {
    eprintln!("vector {}", vector["id"]);
}
