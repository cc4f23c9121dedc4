//! Numbers as JSON may write them: proto3's mapping takes both numbers and strings, and integers
//! also with a fraction of zero or with an exponent.
//!
//! Source: <https://protobuf.dev/programming-guides/json/>

/// The integer that a text says exactly, if it says one that is not far out of any field's range.
#[inline]
pub(super) fn integer_of(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let magnitude = match digits.len() {
        1..=19 if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            i128::from(digits.bytes().fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0')))
        }
        _ => scaled(digits)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Digits with a fraction and an exponent, which together say an integer.
#[cold]
fn scaled(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (mantissa, ""),
    };
    if whole.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    if value == 0 {
        return Some(0);
    }
    let scale = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    for _ in 0..scale {
        value = value.checked_mul(10)?;
    }
    for _ in scale..0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
    }
    Some(value)
}

/// The double that a text says.
pub(super) fn double_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => {
            // What Rust takes beyond JSON ("inf", "+1", ".5", "5.") is no number here.
            let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
            let is_json = digits.first()?.is_ascii_digit() && digits.last()?.is_ascii_digit();
            text.parse().ok().filter(|double: &f64| is_json && double.is_finite())
        }
    }
}

/// The value of each hex digit; of everything else, one that is none.
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

/// Appends the bytes that hex digits say, in either case; whether they say any.
#[inline]
pub(super) fn put_hex(text: &str, to: &mut Vec<u8>) -> bool {
    let mut seen = 0;
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    to.extend(pairs.iter().map(|&[high, low]| {
        let (high, low) = (HEX[high as usize], HEX[low as usize]);
        seen |= high | low;
        high << 4 | (low & 0x0f)
    }));
    rest.is_empty() && seen & 0xf0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_exactly_or_not_at_all() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("-9223372036854775808", Some(i128::from(i64::MIN))),
            ("1.0", Some(1)),
            ("1.50", None),
            ("1.5e1", Some(15)),
            ("1E+3", Some(1000)),
            ("1000e-3", Some(1)),
            ("100e-3", None),
            ("0e30000", Some(0)),
            ("1544712660300000001.0", Some(1_544_712_660_300_000_001)),
            ("1e39", None),
            ("1e99999", None),
            ("1e-9", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer_of(text), expected, "{text}");
        }
        for text in
            ["", "-", "+1", "--1", " 1", "1 ", "1.", ".5", "e5", "1e", "0x10", "1_000", "١", "1.e5", "NaN"]
        {
            assert_eq!(integer_of(text), None, "{text}");
        }
    }

    #[test]
    fn doubles_in_strings_are_those_of_json() {
        for (text, expected) in [("1.5", 1.5), ("-1e-3", -0.001), ("0", 0.0), ("Infinity", f64::INFINITY)] {
            assert_eq!(double_of(text), Some(expected), "{text}");
        }
        assert!(double_of("NaN").is_some_and(f64::is_nan));
        for text in ["", "-", "inf", "nan", "+1", ".5", "5.", "1e999", "infinity", "1 "] {
            assert_eq!(double_of(text), None, "{text}");
        }
    }

    #[test]
    fn hex_is_read_in_either_case() {
        let read = |text| {
            let mut bytes = Vec::new();
            put_hex(text, &mut bytes).then_some(bytes)
        };
        assert_eq!(read("00fFA9"), Some(vec![0, 0xff, 0xa9]));
        for text in ["0", "0g", "g0", " 0", "0x", "é"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
