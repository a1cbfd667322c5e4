use super::*;
use proptest::prelude::*;
use serde_json::json as j;

fn packed(value: &serde_json::Value) -> Vec<u8> {
    let mut out = Vec::new();
    json(value, &mut out);
    out
}

fn arguments_of(pack: &[u8]) -> serde_json::Value {
    serde_json::from_str(&crate::mapping::cbor_to_json(&pack_to_arguments(pack).unwrap())).unwrap()
}

#[test]
fn an_array_is_the_arguments_a_map_the_only_one_and_nothing_is_none() {
    assert_eq!(arguments_of(&packed(&j!([2, 3]))), j!([2, 3]));
    assert_eq!(arguments_of(&packed(&j!({"where": "x"}))), j!([{"where": "x"}]));
    assert_eq!(arguments_of(&packed(&j!("text"))), j!(["text"]));
    assert_eq!((arguments_of(&[]), arguments_of(&[0xc0])), (j!([]), j!([])));
}

#[test]
fn parameters_are_written_as_busrt_programs_expect_them() {
    let of = |value: serde_json::Value| parameters_to_pack(&crate::mapping::json_to_cbor(&value));
    assert_eq!(of(j!([])), b"");
    assert_eq!(of(j!([{"a": 1}])), packed(&j!({"a": 1})));
    assert_eq!(of(j!([7])), packed(&j!([7])));
    assert_eq!(of(j!([{"a": 1}, 2])), packed(&j!([{"a": 1}, 2])));
}

#[test]
fn a_publication_of_one_argument_is_that_argument() {
    let of = |value: serde_json::Value| arguments_to_pack(&crate::mapping::json_to_cbor(&value));
    assert_eq!(of(j!([])), b"");
    assert_eq!(of(j!([7])), packed(&j!(7)));
    assert_eq!(of(j!([7, 8])), packed(&j!([7, 8])));
    assert_eq!(of(j!({"x": 1})), packed(&j!({"x": 1})));
}

#[test]
fn times_and_other_extensions_have_a_form() {
    let value = |pack: &[u8]| crate::mapping::cbor_to_json(&pack_to_cbor(pack).unwrap());
    assert_eq!(value(&[0xd6, 0xff, 0, 0, 0, 7]), "7");
    assert_eq!(value(&[0xd7, 0xff, 0x77, 0x35, 0x94, 0, 0, 0, 0, 7]), "7.5");
    assert_eq!(value(&[0xd4, 5, 1]), "\"AQ==\"");
}

#[test]
fn what_is_not_messagepack_is_told_apart() {
    for wrong in
        [&b"\x92\x01"[..], b"\x01\x02", b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff\x01\x01", b"\xc6\xff\xff\xff\xff"]
    {
        assert_eq!(pack_to_cbor(wrong), None, "{wrong:x?}");
    }
    assert_eq!(pack_to_cbor(&[0x91; 400]), None, "nested too deeply");
}

fn value_of_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(j!(null)),
        any::<bool>().prop_map(|value| j!(value)),
        any::<i64>().prop_map(|value| j!(value)),
        any::<u64>().prop_map(|value| j!(value)),
        (-1e9..1e9f64).prop_map(|value| j!(value)),
        ".{0,40}".prop_map(|value| j!(value)),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(|items| j!(items)),
            proptest::collection::btree_map(".{0,8}", inner, 0..20).prop_map(|pairs| j!(pairs)),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_the_same_on_the_other_side(value in value_of_json()) {
        let pack = packed(&value);
        let cbor = pack_to_cbor(&pack).unwrap();
        prop_assert_eq!(&cbor, &crate::mapping::json_to_cbor(&value));
        prop_assert_eq!(cbor_to_pack(&cbor), pack);
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = (pack_to_cbor(&bytes), pack_to_arguments(&bytes));
        let _ = (cbor_to_pack(&bytes), arguments_to_pack(&bytes), parameters_to_pack(&bytes));
    }
}
