//! Integers beyond 64 bits in decimal.

/// Longer magnitudes are not numbers anybody reads; converting them would take time with the square of their length.
const BYTES_MAX: usize = 1024;

/// The decimal text of a CBOR bignum (tag 2, or 3 for -1 - n), `None` if it is absurdly long.
pub(super) fn bignum(magnitude: &[u8], negative: bool) -> Option<String> {
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
    use super::bignum;

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
}
