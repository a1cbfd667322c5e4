use super::*;
use proptest::prelude::*;

#[test]
fn the_high_nibble_says_how_often_and_whether_a_slot_is_there() {
    use crate::message::Qos;
    let levels = [(0x00, Qos::AtMostOnce), (0x10, Qos::AtLeastOnce), (0x30, Qos::ExactlyOnce), (0x20, Qos::ExactlyOnce)];
    for (flags, qos) in levels {
        assert_eq!(Flags(flags).qos(), qos);
        assert_eq!(Flags(flags | 0x40).qos(), qos);
        assert!(Flags(flags | 0x40).has_slot() && !Flags(flags).has_slot());
    }
    assert_eq!(Flags::of(Qos::ExactlyOnce, true), Flags(0x70));
}

#[test]
fn an_id_has_eight_bytes_and_nothing_else() {
    for (hex, error) in [
        (&[0x82, 5, 0x44, 1, 2, 3, 4][..], FrameError::Id(4)),
        (&[0x82, 5, 0x49, 1, 2, 3, 4, 5, 6, 7, 8, 9], FrameError::Id(9)),
        (&[0x82, 5, 0x07], CborError::Unexpected { expected: "a byte string", at: 2 }.into()),
        (&[0x81, 5], FrameError::Short { kind: 5, missing: "id" }),
    ] {
        assert_eq!(decode(&Bytes::from_static(hex)), Err(error));
    }
}

#[test]
fn text_that_would_break_a_subscriber_is_stopped_here() {
    let message = Bytes::from_static(&[0x83, 1, 0x61, b't', 0x81, 0x62, 0xff, 0xfe]);
    assert_eq!(decode(&message), Err(FrameError::Cbor(CborError::NotUtf8(5))));
}

#[test]
fn bytes_after_the_message_are_an_error() {
    let mut message = ack(MessageId(1)).to_vec();
    message.push(0);
    assert_eq!(decode(&message.into()), Err(FrameError::Cbor(CborError::Trailing(1))));
}

#[test]
fn data_is_a_slice_of_the_message() {
    let message = publish(Flags::default(), MessageId(0), "t", &[0x82, 1, 2]);
    let Ok(Frame::Publish { data, .. }) = decode(&message) else { panic!("not a publication") };
    assert_eq!(data.as_ptr(), message[4..].as_ptr());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        decode(&Bytes::from(bytes)).ok();
    }

    #[test]
    fn damaged_messages_never_panic(at: prop::sample::Index, byte: u8, topic: String, data: Vec<u8>) {
        let mut writer = crate::rembus::cbor::Writer::default();
        writer.map(2).text(&topic).bytes(&data).text("x").float(1.5);
        let mut message = rpc(MessageId(7), &topic, Some(&topic), &writer.finish()).to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        decode(&message.into()).ok();
    }

    #[test]
    fn garbage_text_never_panics(text: String) {
        json::decode(&text, &mut json::Spelling::default()).ok();
    }

    #[test]
    fn publications_come_back_as_they_went(flags in 0u8..8, id: u64, topic: String, number: i64) {
        let flags = Flags(flags << 4);
        let mut writer = crate::rembus::cbor::Writer::default();
        writer.array(1).integer(number);
        let data = Bytes::from(writer.finish());
        let id = (flags != Flags::default()).then_some(MessageId(id));
        let message = publish(flags, id.unwrap_or(MessageId(0)), &topic, &data);
        prop_assert_eq!(decode(&message).unwrap(), Frame::Publish { id, flags, topic, data });
    }
}
