//! Our bytes against those of an independent codec, `rumqttc`, in both directions.

use super::*;
use crate::message::{Properties, Qos};
use ::bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rumqttc::mqttbytes::{self as three, v4};
use rumqttc::v5::mqttbytes::{self as five, v5};

fn v4_bytes(packet: &v4::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, usize::MAX).unwrap();
    out.to_vec()
}

fn v5_bytes(packet: &v5::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, None).unwrap();
    out.to_vec()
}

/// Reads one packet that must fill the bytes.
fn read(version: Version, bytes: &[u8]) -> Packet<'_> {
    let frame = frame(bytes, usize::MAX).unwrap().unwrap();
    assert_eq!(frame.total, bytes.len());
    decode(version, frame, bytes).unwrap()
}

fn connect(bytes: &[u8]) -> Connect {
    let frame = frame(bytes, usize::MAX).unwrap().unwrap();
    assert_eq!((frame.total, frame.kind()), (bytes.len(), kind::CONNECT));
    read_connect(&bytes[frame.header..]).unwrap()
}

fn ours(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn connect_of_another_codec_is_understood() {
    let mut theirs = v4::Connect::new("id");
    theirs.keep_alive = 77;
    theirs.clean_session = false;
    theirs.last_will = Some(v4::LastWill::new("w/t", "gone", three::QoS::ExactlyOnce, true));
    theirs.set_login("user", "pass");
    let connect_311 = connect(&v4_bytes(&v4::Packet::Connect(theirs)));
    assert_eq!(connect_311.version, Version::V311);
    assert_eq!((connect_311.client_id.as_str(), connect_311.keep_alive, connect_311.clean), ("id", 77, false));
    assert_eq!((connect_311.user.as_deref(), connect_311.password.as_deref()), (Some("user"), Some(&b"pass"[..])));
    let will = connect_311.will.unwrap();
    assert_eq!((will.topic.as_str(), &will.payload[..], will.qos, will.retain), ("w/t", &b"gone"[..], Qos::ExactlyOnce, true));

    let properties = v5::ConnectProperties {
        session_expiry_interval: Some(3600),
        receive_maximum: Some(20),
        max_packet_size: Some(5000),
        topic_alias_max: Some(9),
        request_response_info: Some(1),
        request_problem_info: Some(0),
        user_properties: vec![("a".into(), "b".into()), ("a".into(), "b".into())],
        authentication_method: Some("m".into()),
        authentication_data: Some(Bytes::from_static(b"d")),
    };
    let theirs = v5::Connect { keep_alive: 5, client_id: "five".into(), clean_start: true, properties: Some(properties) };
    let will_properties = v5::LastWillProperties {
        delay_interval: Some(30),
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(2),
        content_type: Some("c".into()),
        response_topic: Some("r".into()),
        correlation_data: Some(Bytes::from_static(b"x")),
        user_properties: vec![("k".into(), "v".into())],
    };
    let will = v5::LastWill::new("w", "bye", five::QoS::AtLeastOnce, false, Some(will_properties));
    let connect_5 = connect(&v5_bytes(&v5::Packet::Connect(theirs, Some(will), None)));
    assert_eq!((connect_5.version, connect_5.session_expiry, connect_5.receive_max), (Version::V5, 3600, 20));
    assert_eq!((connect_5.max_packet, connect_5.authentication_method.as_deref()), (Some(5000), Some("m")));
    assert_eq!(connect_5.will.unwrap().delay_s, 30);
}

#[test]
fn acknowledgements_read_and_written_are_the_same_in_both_codecs() {
    for id in [1, 255, 256, 65535] {
        for (kind, three_bytes, five_bytes) in [
            (AckKind::Puback, v4::Packet::PubAck(v4::PubAck::new(id)), v5::Packet::PubAck(v5::PubAck::new(id, None))),
            (AckKind::Pubrec, v4::Packet::PubRec(v4::PubRec::new(id)), v5::Packet::PubRec(v5::PubRec::new(id, None))),
            (AckKind::Pubrel, v4::Packet::PubRel(v4::PubRel::new(id)), v5::Packet::PubRel(v5::PubRel::new(id, None))),
            (AckKind::Pubcomp, v4::Packet::PubComp(v4::PubComp::new(id)), v5::Packet::PubComp(v5::PubComp::new(id, None))),
        ] {
            for (version, theirs) in [(Version::V311, v4_bytes(&three_bytes)), (Version::V5, v5_bytes(&five_bytes))] {
                assert_eq!(ours(|out| ack(out, version, kind, id, ReasonCode::SUCCESS)), theirs);
                assert!(
                    matches!(read(version, &theirs), Packet::Ack { kind: k, id: i, reason: ReasonCode::SUCCESS } if (k, i) == (kind, id))
                );
            }
        }
    }
    // With an error, ours are one byte shorter; the other codec understands them.
    let mut refused = BytesMut::from(&ours(|out| ack(out, Version::V5, AckKind::Puback, 7, ReasonCode::QUOTA_EXCEEDED))[..]);
    let v5::Packet::PubAck(read) = v5::Packet::read(&mut refused, None).unwrap() else { panic!("not a PUBACK") };
    assert_eq!((read.pkid, read.reason), (7, v5::PubAckReason::QuotaExceeded));
}

#[test]
fn small_packets_are_the_same_in_both_codecs() {
    assert_eq!(ours(pingresp), v4_bytes(&v4::Packet::PingResp));
    let connack_3 = v4::ConnAck::new(v4::ConnectReturnCode::Success, true);
    let accepted = Connack { session_present: true, ..Connack::default() };
    assert_eq!(
        ours(|out| {
            connack(out, Version::V311, Ok(&accepted), u32::MAX);
        }),
        v4_bytes(&v4::Packet::ConnAck(connack_3))
    );

    let suback_3 =
        v4::SubAck::new(9, vec![v4::SubscribeReasonCode::Success(three::QoS::AtLeastOnce), v4::SubscribeReasonCode::Failure]);
    let codes = [ReasonCode(1), ReasonCode::NOT_AUTHORIZED];
    assert_eq!(ours(|out| suback(out, Version::V311, 9, &codes)), v4_bytes(&v4::Packet::SubAck(suback_3)));
    let return_codes = vec![v5::SubscribeReasonCode::Success(five::QoS::AtLeastOnce), v5::SubscribeReasonCode::NotAuthorized];
    let suback_5 = v5::SubAck { pkid: 9, return_codes, properties: None };
    assert_eq!(ours(|out| suback(out, Version::V5, 9, &codes)), v5_bytes(&v5::Packet::SubAck(suback_5)));

    assert_eq!(ours(|out| unsuback(out, Version::V311, 9, &codes)), v4_bytes(&v4::Packet::UnsubAck(v4::UnsubAck::new(9))));
    let reasons = vec![v5::UnsubAckReason::Success, v5::UnsubAckReason::NoSubscriptionExisted];
    let unsuback_5 = v5::UnsubAck { pkid: 9, reasons, properties: None };
    let codes = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
    let mut read = BytesMut::from(&ours(|out| unsuback(out, Version::V5, 9, &codes))[..]);
    assert_eq!(v5::Packet::read(&mut read, None).unwrap(), v5::Packet::UnsubAck(unsuback_5));
}

#[test]
fn connack_and_disconnect_of_5_are_the_same_in_both_codecs() {
    let properties = v5::ConnAckProperties {
        session_expiry_interval: Some(0),
        receive_max: Some(1024),
        max_qos: None,
        retain_available: None,
        max_packet_size: Some(2 << 20),
        assigned_client_identifier: Some("given".into()),
        topic_alias_max: Some(16),
        reason_string: None,
        user_properties: vec![],
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: Some(30),
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let theirs = v5::ConnAck { session_present: false, code: v5::ConnectReturnCode::Success, properties: Some(properties) };
    let accepted = Connack {
        session_present: false,
        session_expiry: Some(0),
        receive_max: 1024,
        max_packet: 2 << 20,
        assigned_id: Some("given"),
        topic_alias_max: 16,
        keep_alive: Some(30),
    };
    assert_eq!(
        ours(|out| {
            connack(out, Version::V5, Ok(&accepted), u32::MAX);
        }),
        v5_bytes(&v5::Packet::ConnAck(theirs))
    );

    let properties = v5::DisconnectProperties {
        session_expiry_interval: None,
        reason_string: Some("why".into()),
        user_properties: vec![],
        server_reference: None,
    };
    let theirs = v5::Disconnect { reason_code: v5::DisconnectReasonCode::SessionTakenOver, properties: Some(properties) };
    assert_eq!(
        ours(|out| disconnect(out, ReasonCode::SESSION_TAKEN_OVER, "why", u32::MAX)),
        v5_bytes(&v5::Packet::Disconnect(theirs))
    );
}

#[test]
fn the_reason_in_words_is_left_out_for_a_client_that_takes_only_small_packets() {
    let words = "a sentence that is longer than a tiny client takes";
    assert_eq!(ours(|out| disconnect(out, ReasonCode::PROTOCOL_ERROR, words, 10)), [0xE0, 2, 0x82, 0]);
}

#[test]
fn subscriptions_of_another_codec_are_understood() {
    let mut theirs = v4::Subscribe::new("a/+", three::QoS::AtLeastOnce);
    theirs.pkid = 4;
    theirs.add("#".into(), three::QoS::ExactlyOnce);
    let bytes = v4_bytes(&v4::Packet::Subscribe(theirs));
    let Packet::Subscribe { id: 4, identifier: None, filters } = read(Version::V311, &bytes) else { panic!("not a SUBSCRIBE") };
    let filters: Vec<_> = filters.map(|(filter, options)| (filter, options.qos)).collect();
    assert_eq!(filters, [("a/+", Qos::AtLeastOnce), ("#", Qos::ExactlyOnce)]);

    let mut filter = v5::Filter::new("x", five::QoS::AtMostOnce);
    (filter.nolocal, filter.preserve_retain) = (true, true);
    let properties = v5::SubscribeProperties { id: Some(300), user_properties: vec![("k".into(), "v".into())] };
    let theirs = v5::Subscribe { pkid: 5, filters: vec![filter], properties: Some(properties) };
    let bytes = v5_bytes(&v5::Packet::Subscribe(theirs));
    let Packet::Subscribe { id: 5, identifier: Some(300), mut filters } = read(Version::V5, &bytes) else {
        panic!("not a SUBSCRIBE")
    };
    let (name, options) = filters.next().unwrap();
    assert!(name == "x" && options.no_local && options.retain_as_published);
    assert!(filters.next().is_none());
}

fn topic() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/ü€]{1,40}"
}

fn properties() -> impl Strategy<Value = Properties> {
    let field = || proptest::option::of("[a-z]{0,200}");
    let user = proptest::collection::vec(("[a-z]{0,9}", "[a-z]{0,9}"), 0..4);
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9));
    (any::<bool>(), field(), proptest::option::of(topic()), data, user, proptest::option::of(any::<u32>())).prop_map(
        |(payload_is_text, content_type, response_topic, data, user, expiry_s)| Properties {
            payload_is_text,
            content_type,
            response_topic,
            correlation_data: data.map(Bytes::from),
            user,
            expiry_s,
        },
    )
}

proptest! {
    #[test]
    fn publish_of_311_is_the_same_in_both_codecs(
        topic in topic(), qos in 0..3_u8, id in 1..=u16::MAX, dup: bool, retain: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..20_000),
    ) {
        let mut theirs = v4::Publish::new(&topic, three::qos(qos).unwrap(), payload.clone());
        (theirs.retain, theirs.dup) = (retain, dup && qos > 0);
        theirs.pkid = if qos > 0 { id } else { 0 };
        let outgoing = OutgoingPublish {
            topic: &topic, alias: None, qos, id: theirs.pkid, dup: theirs.dup, retain, payload_len: payload.len(),
            properties: None, content_type: Some("not/said"), expiry_s: Some(5), identifiers: &[1],
        };
        let bytes = v4_bytes(&v4::Packet::Publish(theirs));
        let mut out = ours(|out| publish(out, Version::V311, &outgoing, u32::MAX).unwrap());
        out.extend_from_slice(&payload);
        prop_assert_eq!(&out, &bytes);

        let Packet::Publish(read) = read(Version::V311, &bytes) else { panic!("not a PUBLISH") };
        prop_assert_eq!((read.topic, read.payload, read.qos.level(), read.retain), (topic.as_str(), &payload[..], qos, retain));
        prop_assert_eq!(read.id, outgoing.id);
    }

    #[test]
    fn publish_of_5_is_the_same_in_both_codecs(
        topic in topic(), alias in proptest::option::of(1..=u16::MAX), qos in 0..3_u8, id in 1..=u16::MAX, retain: bool,
        kept in properties(),
        identifiers in proptest::collection::vec(1..268_435_456_u32, 0..3),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let id = if qos > 0 { id } else { 0 };
        let properties = v5::PublishProperties {
            payload_format_indicator: kept.payload_is_text.then_some(1),
            message_expiry_interval: kept.expiry_s,
            topic_alias: alias,
            response_topic: kept.response_topic.clone(),
            correlation_data: kept.correlation_data.clone(),
            user_properties: kept.user.clone(),
            subscription_identifiers: identifiers.iter().map(|id| *id as usize).collect(),
            content_type: kept.content_type.clone(),
        };
        let mut theirs = v5::Publish::new(&topic, five::qos(qos).unwrap(), payload.clone(), Some(properties));
        (theirs.retain, theirs.pkid) = (retain, id);
        let outgoing = OutgoingPublish {
            topic: &topic, alias: alias.map(|number| Alias { number, is_new: true }), qos, id, dup: false, retain, payload_len: payload.len(), properties: Some(&kept),
            content_type: None, expiry_s: kept.expiry_s, identifiers: &identifiers,
        };
        let bytes = v5_bytes(&v5::Packet::Publish(theirs.clone()));
        let mut out = ours(|out| publish(out, Version::V5, &outgoing, u32::MAX).unwrap());
        out.extend_from_slice(&payload);
        prop_assert_eq!(&out, &bytes);
        // The size is known before: one byte less is too large.
        let too_small = u32::try_from(bytes.len()).unwrap() - 1;
        let mut nothing = Vec::new();
        prop_assert_eq!(publish(&mut nothing, Version::V5, &outgoing, too_small), Err(Unsendable::TooLarge));
        prop_assert!(nothing.is_empty());

        // Back again, without what only a server sends.
        theirs.properties.as_mut().unwrap().subscription_identifiers.clear();
        theirs.properties.as_mut().unwrap().topic_alias = Some(3);
        let bytes = v5_bytes(&v5::Packet::Publish(theirs));
        let Packet::Publish(read) = read(Version::V5, &bytes) else { panic!("not a PUBLISH") };
        prop_assert_eq!((read.topic, read.payload, read.id, read.alias), (topic.as_str(), &payload[..], id, Some(3)));
        prop_assert_eq!(*read.properties.unwrap_or_default(), kept);
    }

    #[test]
    fn garbage_is_an_error_or_a_packet_and_never_a_panic(bytes: Vec<u8>, five: bool) {
        let version = if five { Version::V5 } else { Version::V311 };
        if let Ok(Some(frame)) = frame(&bytes, 1 << 20)
            && frame.total <= bytes.len()
        {
            drop(decode(version, frame, &bytes));
            drop(read_connect(&bytes[frame.header..frame.total]));
        }
    }
}
