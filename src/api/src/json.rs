//! JSON written by hand, straight into a byte buffer, in Prometheus's number formats.

mod histogram;
mod result;

use std::io::Write;

use trireme_model::Labels;

pub(crate) use histogram::{push_histogram, push_raw_histogram};
pub(crate) use result::ResultPieces;

/// Appends a quoted string.
pub(crate) fn push_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();

    let mut plain = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };

        out.extend_from_slice(&bytes[plain..i]);
        plain = i + 1;

        if escape.is_empty() {
            put(out, format_args!("\\u{byte:04x}"));
        } else {
            out.extend_from_slice(escape);
        }
    }

    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Appends formatted text.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every write");
}

/// Appends milliseconds as seconds with at most three decimals.
pub(crate) fn push_time(out: &mut Vec<u8>, t: i64) {
    if t < 0 {
        out.push(b'-');
    }

    let t = t.unsigned_abs();
    push_whole(out, t / 1_000);

    let rest = t % 1_000;
    if rest != 0 {
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
        out.push(b'.');
        out.extend_from_slice(&digits);
    }
}

/// Appends a whole number. Every point of an answer has one, so this goes without the machinery of formatting.
fn push_whole(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];

    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }

    out.extend_from_slice(&digits[at..]);
}

/// Appends a number as Prometheus prints sample values: the shortest text that reads back as the same bits, with an
/// exponent below 1e-6 and from 1e21.
pub(crate) fn push_float(out: &mut Vec<u8>, v: f64) {
    let size = v.abs();
    if (1e-5..1e15).contains(&size) {
        // Nearly all numbers: in this range the fast printer writes no exponent either, but a fraction always.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else if v == 0.0 {
        out.extend_from_slice(if v.is_sign_negative() { b"-0" } else { b"0" });
    } else if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if !(1e-6..1e21).contains(&size) {
        let text = format!("{v:e}");
        let (mantissa, exponent) = text.split_once('e').expect("the form has an exponent");
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |d| ('-', d));
        put(out, format_args!("{mantissa}e{sign}{digits:0>2}"));
    } else {
        put(out, format_args!("{v}"));
    }
}

/// Appends a number as a quoted string.
pub(crate) fn push_quoted_float(out: &mut Vec<u8>, v: f64) {
    out.push(b'"');
    push_float(out, v);
    out.push(b'"');
}

/// Appends a label set as an object.
pub(crate) fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');

    let mut separator: &[u8] = b"";
    for (name, value) in labels.iter() {
        out.extend_from_slice(separator);
        push_str(out, name);
        out.push(b':');
        push_str(out, value);
        separator = b",";
    }

    out.push(b'}');
}

/// Appends an array, one item at a time.
pub(crate) fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');

    let mut separator: &[u8] = b"";
    for item in items {
        out.extend_from_slice(separator);
        push(out, item);
        separator = b",";
    }

    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn numbers_look_as_in_prometheus() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-07"),
            (5e-324, "5e-324"),
            (1e20, "100000000000000000000"),
            (1e-5, "0.00001"),
            (9.999999999999999e-6, "0.000009999999999999999"),
            (-1.25e-5, "-0.0000125"),
            (999999999999999.9, "999999999999999.9"),
            (-123456789.0, "-123456789"),
            (1e15, "1000000000000000"),
            (1.7e308, "1.7e+308"),
            (1e21, "1e+21"),
            (-1.5e100, "-1.5e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (v, want) in cases {
            assert_eq!(text(|o| push_float(o, v)), want);
        }
    }

    #[test]
    fn times_are_seconds_with_three_digits_or_none() {
        let cases = [
            (0, "0"),
            (1_435_781_451_781, "1435781451.781"),
            (1_500, "1.500"),
            (1_050, "1.050"),
            (1_005, "1.005"),
            (9_223_372_036_854_775_807, "9223372036854775.807"),
            (-1, "-0.001"),
        ];
        for (t, want) in cases {
            assert_eq!(text(|o| push_time(o, t)), want);
        }
    }

    #[test]
    fn strings_survive_a_json_parser() {
        for s in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{7f}é\u{2028}😀"] {
            let back: String = serde_json::from_str(&text(|o| push_str(o, s))).expect("valid");
            assert_eq!(back, s);
        }
    }
}
