//! Casts of single values.

use super::*;

/// A value in CBOR, as a cell of `kind`.
pub(super) fn as_kind(value: &[u8], kind: ColumnKind) -> Result<Cell, String> {
    cast(&Reader::single(value).unwrap(), kind).map_err(|why| why.to_string())
}

#[track_caller]
fn becomes(value: impl serde::Serialize, kind: ColumnKind, cell: Cell) {
    assert_eq!(as_kind(&cbor(value), kind), Ok(cell));
}

#[track_caller]
fn does_not_become(value: impl serde::Serialize, kind: ColumnKind) {
    assert!(as_kind(&cbor(value), kind).is_err());
}

#[test]
fn values_are_cast_as_the_reference_s_engine_does() {
    use ColumnKind::*;
    becomes(2.7, Integer, Cell::Integer(3));
    becomes(2.5, Integer, Cell::Integer(2));
    becomes(-2.5, Integer, Cell::Integer(-2));
    becomes("12", Integer, Cell::Integer(12));
    becomes(" 12 ", Integer, Cell::Integer(12));
    becomes("1e3", Integer, Cell::Integer(1000));
    becomes("2.5", Integer, Cell::Integer(3));
    becomes(true, Integer, Cell::Integer(1));
    becomes(true, Double, Cell::Float(1.0));
    becomes(77, Text, text("77"));
    becomes(1, Boolean, Cell::Boolean(true));
    becomes(0.0, Boolean, Cell::Boolean(false));
    becomes("no", Boolean, Cell::Boolean(false));
    becomes("2024-01-02 03:04:05", Timestamp, Cell::Timestamp(1_704_164_645_000_000));
    becomes("2024-01-02T03:04:05.25Z", Timestamp, Cell::Timestamp(1_704_164_645_250_000));
    becomes("2024-01-02T05:04:05+02:00", Timestamp, Cell::Timestamp(1_704_164_645_000_000));
    becomes("2024-01-02 03:04:05 UTC", Timestamp, Cell::Timestamp(1_704_164_645_000_000));
    becomes("2024-01-02", Timestamp, Cell::Timestamp(1_704_153_600_000_000));
    becomes("1969-12-31", Date, Cell::Date(-1));
    becomes("2024-01-02 23:00:00", Date, Cell::Date(19_724));
    becomes(Value::Tag(0, Box::new("2024-01-02T03:04:05Z".into())), Timestamp, Cell::Timestamp(1_704_164_645_000_000));
    becomes(Value::Tag(1, Box::new(1_704_164_645.5.into())), Timestamp, Cell::Timestamp(1_704_164_645_500_000));
    becomes(Value::Tag(1, Box::new(5.into())), Date, Cell::Date(0));
    becomes(Value::Tag(100, Box::new((-1).into())), Date, Cell::Date(-1));
    becomes(Value::Tag(1004, Box::new("2024-01-02".into())), Date, Cell::Date(19_724));
    becomes(json!({"a": [1, null, 2.5, "x\"y"], "b": {}}), Text, text(r#"{"a":[1,null,2.5,"x\"y"],"b":{}}"#));
    becomes(json!([]), Text, text("[]"));
    becomes(2.5, Text, text("2.5"));
    becomes(f64::NAN, Text, text("nan"));
    becomes(false, Text, text("false"));
    becomes("é", Blob, Cell::Blob("é".as_bytes().to_vec()));
    becomes(Value::Bytes(vec![0, 255]), Blob, Cell::Blob(vec![0, 255]));
    becomes(Value::Bytes(b"abc".to_vec()), Text, text("abc"));
    becomes(f64::INFINITY, Double, Cell::Float(f64::INFINITY));
    becomes(0.1, Float, Cell::Float(f64::from(0.1_f32)));
    becomes(u64::MAX, UBigInt, Cell::Integer(u64::MAX.into()));
    becomes(i64::MIN, BigInt, Cell::Integer(i64::MIN.into()));
    becomes(i128::MAX, HugeInt, Cell::Integer(i128::MAX));
    becomes(i128::MIN, HugeInt, Cell::Integer(i128::MIN));
    becomes(u128::MAX, Double, Cell::Float(u128::MAX as f64));
    becomes((), Integer, Cell::Null);
}

#[test]
fn values_that_do_not_fit_are_refused_one_by_one() {
    use ColumnKind::*;
    does_not_become("abc", Double);
    does_not_become("", Integer);
    does_not_become("1e999", Double);
    does_not_become(f64::NAN, Integer);
    does_not_become(f64::NAN, Boolean);
    does_not_become(1e300, HugeInt);
    does_not_become(1e300, Float);
    does_not_become(40_000, SmallInt);
    does_not_become(128, TinyInt);
    does_not_become(-1, UInteger);
    does_not_become(-0.6, UTinyInt);
    does_not_become(u128::MAX, UHugeInt);
    does_not_become(1_704_164_645, Timestamp);
    does_not_become(1.5, Date);
    does_not_become("yesterday", Timestamp);
    does_not_become("2024-13-01", Date);
    does_not_become("maybe", Boolean);
    does_not_become(json!([1]), Integer);
    does_not_become(5, Blob);
    does_not_become(Value::Bytes(vec![0xff]), Text);
    does_not_become(Value::Bytes(vec![1]), Integer);
}

proptest::proptest! {
    #[test]
    fn a_cell_is_always_of_its_column_s_kind(value in any_value()) {
        let bytes = cbor(&value);
        let Ok(item) = Reader::single(&bytes) else { return Ok(()) };
        for kind in crate::history::kind::ALL {
            let Ok(cell) = cast(&item, kind) else { continue };
            let fits = match (&cell, kind) {
                (Cell::Null, _) => true,
                (Cell::Boolean(_), ColumnKind::Boolean) => true,
                (Cell::Float(value), ColumnKind::Float) => value.is_nan() || f64::from(*value as f32) == *value,
                (Cell::Float(_), ColumnKind::Double) => true,
                (Cell::Text(_), ColumnKind::Text) => true,
                (Cell::Blob(_), ColumnKind::Blob) => true,
                (Cell::Date(_), ColumnKind::Date) => true,
                (Cell::Timestamp(_), ColumnKind::Timestamp) => true,
                (Cell::Integer(value), kind) => {
                    crate::history::kind::integer_range(kind).is_some_and(|(low, high)| (low..=high).contains(value))
                }
                _ => false,
            };
            proptest::prop_assert!(fits, "{:?} for {:?}", cell, kind);
        }
    }
}
