use super::*;
use proptest::prelude::*;

fn to_rembus(payload: &str) -> String {
    mqtt_to_rembus(payload.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_mqtt(hex: &str) -> (String, Option<&'static str>) {
    let data: Vec<u8> =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let body = rembus_to_mqtt(&data);
    (String::from_utf8_lossy(&body.bytes).into_owned(), body.content_type)
}

fn json(text: &str) -> (String, Option<&'static str>) {
    (text.into(), Some(JSON))
}

#[test]
fn a_json_value_becomes_the_only_argument() {
    assert_eq!(to_rembus("21.5"), "81fb4035800000000000");
    assert_eq!(to_rembus(r#"{"a":1}"#), "81a1616101");
    assert_eq!(to_rembus("true"), "81f5");
    assert_eq!(to_rembus("null"), "81f6");
    assert_eq!(to_rembus(r#""hi""#), "81626869");
    assert_eq!(to_rembus(" 1 "), "8101");
}

#[test]
fn the_elements_of_a_json_array_become_the_arguments() {
    assert_eq!(to_rembus("[]"), "80");
    assert_eq!(to_rembus("[1,2]"), "820102");
    assert_eq!(to_rembus(" [[1,2]]"), "81820102");
}

#[test]
fn what_is_not_json_travels_as_text_or_bytes() {
    assert_eq!(to_rembus(""), "80");
    assert_eq!(to_rembus("hello"), "816568656c6c6f");
    assert_eq!(to_rembus("NaN"), "81634e614e");
    assert_eq!(to_rembus("1 2"), "8163312032");
    assert_eq!(to_rembus("{\"a\":"), "81657b2261223a");
    assert_eq!(mqtt_to_rembus(&[0xff, 0x00]).as_ref(), [0x81, 0x42, 0xff, 0x00]);
    let deep = "[".repeat(500) + &"]".repeat(500);
    assert_eq!(mqtt_to_rembus(deep.as_bytes()).len(), 1004);
}

#[test]
fn integers_of_64_bits_are_exact() {
    assert_eq!(to_rembus("18446744073709551615"), "811bffffffffffffffff");
    assert_eq!(to_rembus("-9223372036854775808"), "813b7fffffffffffffff");
    assert_eq!(to_mqtt("811bffffffffffffffff"), json("18446744073709551615"));
    assert_eq!(to_mqtt("813b7fffffffffffffff"), json("-9223372036854775808"));
    assert_eq!(to_rembus("18446744073709551616"), "81fb43f0000000000000");
}

#[test]
fn of_equal_keys_the_last_wins() {
    assert_eq!(to_rembus(r#"{"a":1,"b":2,"a":3}"#), "81a2616103616202");
    let many: Vec<String> = (0..40).map(|n| format!("\"k{}\":{n}", n % 39)).collect();
    let data = mqtt_to_rembus(format!("{{{}}}", many.join(",")).as_bytes());
    let back: serde_json::Value = serde_json::from_slice(&rembus_to_mqtt(&data).bytes).unwrap();
    assert_eq!(back.as_object().unwrap().len(), 39);
    assert_eq!(back["k0"], 39);
}

#[test]
fn one_argument_becomes_its_json_and_several_an_array() {
    assert_eq!(to_mqtt("8101"), json("1"));
    assert_eq!(to_mqtt("81616a"), json("\"j\""));
    assert_eq!(to_mqtt("820102"), json("[1,2]"));
    assert_eq!(to_mqtt("9f01ff"), json("1"));
    assert_eq!(to_mqtt("9f0102ff"), json("[1,2]"));
    assert_eq!(to_mqtt("a1616101"), json("{\"a\":1}"));
    assert_eq!(to_mqtt("81a26474656d70fb4035800000000000627374f6"), json("{\"temp\":21.5,\"st\":null}"));
}

#[test]
fn nothing_becomes_an_empty_message() {
    for data in ["80", "9fff", "f6", "f7"] {
        assert_eq!(to_mqtt(data), (String::new(), None), "{data}");
    }
}

#[test]
fn bytes_alone_go_raw_and_among_others_as_base64() {
    assert_eq!(to_mqtt("8143414243"), ("ABC".into(), Some(OCTETS)));
    assert_eq!(to_mqtt("43414243"), ("ABC".into(), Some(OCTETS)));
    assert_eq!(to_mqtt("8201420001"), json("[1,\"AAE=\"]"));
}

#[test]
fn what_json_has_no_word_for_is_replaced() {
    assert_eq!(to_mqtt("81f97e00"), json("null"));
    assert_eq!(to_mqtt("81f97c00"), json("null"));
    assert_eq!(to_mqtt("81c249010000000000000000"), json("\"18446744073709551616\""));
    assert_eq!(to_mqtt("813bffffffffffffffff"), json("\"-18446744073709551616\""));
    assert_eq!(to_mqtt("81a1010a"), json("{\"1\":10}"));
    assert_eq!(to_mqtt("81c074323032342d30312d30325430333a30343a30355a"), json("\"2024-01-02T03:04:05Z\""));
    assert_eq!(to_mqtt("81d9d9f701"), json("1"));
}

#[test]
fn a_frame_that_cannot_be_read_goes_as_its_bytes() {
    assert_eq!(to_mqtt("81d85043414243"), ("ABC".into(), Some(OCTETS)));
    assert_eq!(to_mqtt("8201d85043414243"), json("[1,\"QUJD\"]"));
}

/// Any JSON value with integers that fit.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 96, 30, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30).prop_map(Into::into),
            prop::collection::vec((".{0,4}", inner), 0..30)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back_as_it_went(value in any_json()) {
        let payload = serde_json::to_vec(&value).unwrap();
        let body = rembus_to_mqtt(&mqtt_to_rembus(&payload));
        // An array of one and the element alone are the same arguments.
        let expected = match &value {
            serde_json::Value::Array(items) if items.is_empty() => {
                prop_assert!(body.bytes.is_empty());
                return Ok(());
            }
            serde_json::Value::Array(items) if items.len() == 1 => items[0].clone(),
            other => other.clone(),
        };
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&body.bytes).unwrap(), expected);
    }

    #[test]
    fn any_payload_becomes_well_formed_data(payload: Vec<u8>) {
        let data = mqtt_to_rembus(&payload);
        let mut reader = crate::rembus::cbor::Reader::new(&data);
        reader.skip().unwrap();
        reader.end().unwrap();
    }

    #[test]
    fn garbage_never_panics(data: Vec<u8>) {
        prop_assert!(rembus_to_mqtt(&data).bytes.len() <= data.len() * 40 + 64);
    }
}

/// Frames from the golden vectors, damaged in one or two places.
mod damaged_frames {
    use super::*;
    use std::sync::LazyLock;

    static FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/rembus.json")).unwrap();
        let frames = file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "dataframe");
        let message = |vector: &serde_json::Value| -> bytes::Bytes {
            let hex = vector["hex"].as_str().unwrap().as_bytes();
            hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
        };
        let packed = |message: bytes::Bytes| {
            let tag = message.windows(2).position(|pair| pair == [0xd8, 0x50]).unwrap() + 2;
            crate::rembus::cbor::Reader::new(&message[tag..]).bytes().unwrap().into_owned()
        };
        frames.map(message).map(packed).collect()
    });

    #[test]
    fn every_single_byte_may_be_wrong() {
        for frame in FRAMES.iter() {
            for at in 0..frame.len() {
                for value in [0x00, 0x01, 0x7f, 0x80, 0xff, frame[at] ^ 0x04, frame[at].wrapping_add(1)] {
                    let mut damaged = frame.clone();
                    damaged[at] = value;
                    read(&damaged);
                }
            }
        }
    }

    #[test]
    fn every_end_may_be_missing() {
        for frame in FRAMES.iter() {
            (0..frame.len()).for_each(|len| read(&frame[..len]));
        }
    }

    proptest! {
        #[test]
        fn several_bytes_may_be_wrong(which in 0usize..19, places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut damaged = FRAMES[which].clone();
            for (at, value) in places {
                let at = at.index(damaged.len());
                damaged[at] = value;
            }
            read(&damaged);
        }
    }

    fn read(packed: &[u8]) {
        if let Ok(table) = read_frame(packed) {
            // Too many rows is an answer, too.
            rows::write(&table, &mut Vec::new()).ok();
        }
    }
}
