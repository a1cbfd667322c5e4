//! Integers beyond 64 bits in decimal.

/// Longer magnitudes are not numbers anybody reads; converting them would take time with the square of their length.
const BYTES_MAX: usize = 1024;

/// The decimal text of a CBOR bignum (tag 2, or 3 for -1 - n), `None` if it is absurdly long.
pub(crate) fn bignum(magnitude: &[u8], negative: bool) -> Option<String> {
    if magnitude.len() > BYTES_MAX {
        return None;
    }
    let mut value = magnitude.to_vec();
    if negative {
        increment(&mut value);
    }
    // Nine decimal digits at a time, lowest first.
    let mut groups = Vec::new();
    while value.iter().any(|byte| *byte != 0) {
        let mut rest = 0u64;
        for byte in &mut value {
            let dividend = rest << 8 | u64::from(*byte);
            *byte = u8::try_from(dividend / 1_000_000_000).expect("the rest is below the divisor");
            rest = dividend % 1_000_000_000;
        }
        groups.push(rest);
    }
    let highest = groups.pop().unwrap_or_default();
    let mut text = format!("{}{highest}", if negative { "-" } else { "" });
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    Some(text)
}

/// Fewer digits always fit 64 bits.
const DIGITS_MIN: usize = 19;
/// Integers of more digits stay floats: reading them takes time with the square of their length.
const DIGITS_MAX: usize = 128;

/// Whether the text has so many digits in a row that an integer beyond 64 bits can be among them.
pub(super) fn may_have_long_integers(json: &[u8]) -> bool {
    let mut run = 0;
    json.iter().any(|byte| {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        run >= DIGITS_MIN
    })
}

/// Magnitude and sign of an integer in decimal, as a CBOR bignum has them; `None` for any other number and for absurdly long ones.
pub(super) fn magnitude(text: &str) -> Option<(Vec<u8>, bool)> {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Lowest byte first until the end.
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in &mut bytes {
            let product = u16::from(*byte) * 10 + carry;
            *byte = product.to_le_bytes()[0];
            carry = product >> 8;
        }
        if let (1.., Ok(byte)) = (carry, u8::try_from(carry)) {
            bytes.push(byte);
        }
    }
    if negative {
        // Minus zero is a float.
        let last = bytes.iter().position(|byte| *byte != 0)?;
        for byte in bytes.iter_mut().take(last + 1) {
            *byte = byte.wrapping_sub(1);
        }
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes.reverse();
    Some((bytes, negative))
}

/// The numbers of a JSON text that serde gives as floats, in its order: those with a point or an exponent, and integers beyond 64
/// bits.
#[derive(Debug)]
pub(super) struct Integers<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Integers<'a> {
    pub(super) fn of(json: &'a [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// The text of the next of them. The JSON is known to be valid up to where serde is, and is never looked at beyond that.
    pub(super) fn next_float(&mut self) -> Option<&'a str> {
        loop {
            let byte = *self.json.get(self.at)?;
            match byte {
                b'"' => self.pass_text(),
                b'-' | b'0'..=b'9' => {
                    let rest = self.json.get(self.at..).unwrap_or_default();
                    let in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                    let length = rest.iter().position(|byte| !in_number(byte)).unwrap_or(rest.len());
                    self.at += length;
                    let text = std::str::from_utf8(rest.get(..length).unwrap_or_default()).ok()?;
                    if text == "-0" || (text.parse::<u64>().is_err() && text.parse::<i64>().is_err()) {
                        return Some(text);
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn pass_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.json.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                b'"' => {
                    self.at += 1;
                    return;
                }
                _ => 1,
            };
        }
    }
}

fn increment(value: &mut Vec<u8>) {
    for byte in value.iter_mut().rev() {
        let (sum, carry) = byte.overflowing_add(1);
        *byte = sum;
        if !carry {
            return;
        }
    }
    value.insert(0, 1);
}

#[cfg(test)]
mod tests {
    use super::{Integers, bignum, magnitude, may_have_long_integers};

    #[test]
    fn large_integers_are_written_digit_for_digit() {
        assert_eq!(bignum(&[1, 0, 0, 0, 0, 0, 0, 0, 0], false).unwrap(), "18446744073709551616");
        assert_eq!(bignum(&[1, 0, 0, 0, 0, 0, 0, 0, 0], true).unwrap(), "-18446744073709551617");
        assert_eq!(bignum(&[0xff; 8], true).unwrap(), "-18446744073709551616");
        assert_eq!(bignum(&[0, 0], false).unwrap(), "0");
        assert_eq!(bignum(&[], true).unwrap(), "-1");
        assert_eq!(bignum(&1_000_000_000u32.to_be_bytes(), false).unwrap(), "1000000000");
    }

    #[test]
    fn a_number_of_a_thousand_digits_and_more_is_left_alone() {
        assert_eq!(bignum(&[0xff; 1025], false), None);
    }

    #[test]
    fn decimal_text_becomes_a_bignum_and_back() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "170141183460469231731687303715884105727",
            "-170141183460469231731687303715884105728",
            "99999999999999999999999999999999999999999999999999",
            "-1",
            "1000",
        ] {
            let (bytes, negative) = magnitude(text).unwrap();
            assert_eq!(bignum(&bytes, negative).unwrap(), text);
        }
        for other in ["-0", "1.5", "1e30", "", "-", &"9".repeat(3000)] {
            assert_eq!(magnitude(other), None, "{other}");
        }
    }

    #[test]
    fn the_numbers_that_serde_gives_as_floats_are_found_in_its_order() {
        let json = br#"{"1e5": [1, 1.5, "a\"2.5", -0, 18446744073709551615, 18446744073709551616], "b": -9223372036854775809, "c": 1E3}"#;
        let mut numbers = Integers::of(json);
        let found: Vec<&str> = std::iter::from_fn(|| numbers.next_float()).collect();
        assert_eq!(found, ["1.5", "-0", "18446744073709551616", "-9223372036854775809", "1E3"]);
        assert!(may_have_long_integers(json));
        assert!(!may_have_long_integers(b"[123456789012345678, 1234567890.123456789]"));
    }
}
