//! Numbers and durations.

use super::token::Kind;
use super::{is_alphanumeric, quote};

/// A number literal whose value cannot be determined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    /// Not a number.
    #[error("parsing {}: invalid syntax", quote(.0))]
    Syntax(String),
    /// Too large for a float.
    #[error("parsing {}: value out of range", quote(.0))]
    Range(String),
}

/// Length and kind of the number or duration that `input` starts with.
pub(super) fn scan(input: &str) -> Result<(usize, Kind), String> {
    match scan_number(input) {
        Ok(len) => Ok((len, Kind::Number)),
        Err(at) => match scan_duration_rest(input, at) {
            Ok(len) => Ok((len, Kind::Duration)),
            Err(at) => Err(format!(
                "bad number or duration syntax: {}",
                quote(&input[..at])
            )),
        },
    }
}

/// Reads bytes from a position on.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn is(&self, set: &[u8]) -> bool {
        self.peek().is_some_and(|b| set.contains(&b))
    }

    fn accept(&mut self, set: &[u8]) -> bool {
        let found = self.is(set);
        self.at += usize::from(found);
        found
    }
}

const DIGITS: &[u8] = b"0123456789";
const HEX_DIGITS: &[u8] = b"0123456789abcdefABCDEF";

/// Length of the number at the start of `input`, or where it went wrong. The text found is not checked in full:
/// [`parse_number`] has the last word.
fn scan_number(input: &str) -> Result<usize, usize> {
    let mut r = Reader {
        bytes: input.as_bytes(),
        at: 0,
    };
    let hex = r.accept(b"0") && r.accept(b"xX");
    let digits = if hex {
        r.accept(b"_");
        HEX_DIGITS
    } else {
        DIGITS
    };

    let mut dot = r.accept(b".");

    let mut exponent = false;
    loop {
        if r.accept(digits) {
            continue;
        }
        if r.is(b".") {
            r.at += 1;
            if dot || hex || r.accept(b"_.") {
                return Err(r.at);
            }
            dot = true;
        } else if r.is(b"eE") {
            r.at += 1;
            r.accept(b"+-");
            if exponent || r.accept(b"._eE") || r.peek().is_none() {
                return Err(r.at);
            }
            exponent = true;
        } else if r.accept(b"_") {
            if r.accept(b"._eE") || r.peek().is_none() {
                return Err(r.at);
            }
        } else {
            break;
        }
    }

    if r.peek().is_some_and(|b| is_alphanumeric(char::from(b))) {
        Err(r.at)
    } else {
        Ok(r.at)
    }
}

/// Goes on from `at`, where a number ended: a unit has to follow, and further numbers with units may.
fn scan_duration_rest(input: &str, at: usize) -> Result<usize, usize> {
    let mut r = Reader {
        bytes: input.as_bytes(),
        at,
    };
    if !r.accept(b"smhdwy") {
        return Err(r.at);
    }

    r.accept(b"s");
    while r.accept(DIGITS) {
        while r.accept(DIGITS) {}
        if !r.accept(b"smhdw") {
            return Err(r.at);
        }
        r.accept(b"s");
    }

    if r.peek().is_some_and(|b| is_alphanumeric(char::from(b))) {
        Err(r.at + 1)
    } else {
        Ok(r.at)
    }
}

/// The value of a number literal: decimal, `0x..`, octal with a leading 0 as in Go, `Inf` or `NaN` in any case,
/// underscores between digits.
pub(crate) fn parse_number(text: &str) -> Result<f64, NumberError> {
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }

    if text.contains('_') && !underscores_separate_digits(text) {
        return Err(syntax(text));
    }

    let plain = text.replace('_', "");
    if let Some(hex) = plain
        .strip_prefix("0x")
        .or_else(|| plain.strip_prefix("0X"))
    {
        return i64::from_str_radix(hex, 16)
            .map(|v| v as f64)
            .map_err(|_| syntax(text));
    }

    if plain.len() > 1
        && plain.starts_with('0')
        && let Ok(v) = i64::from_str_radix(&plain, 8)
    {
        return Ok(v as f64);
    }

    let value: f64 = plain.parse().map_err(|_| syntax(text))?;
    if value.is_infinite() {
        Err(NumberError::Range(text.to_owned()))
    } else {
        Ok(value)
    }
}

fn syntax(text: &str) -> NumberError {
    NumberError::Syntax(text.to_owned())
}

/// True if each underscore stands between digits; the prefix `0x` counts as a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let hex = lower.starts_with("0x");
    let bytes = lower.as_bytes();

    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(i, _)| i > 0 && is_digit(bytes.get(i - 1), hex) && is_digit(bytes.get(i + 1), hex))
}

fn is_digit(byte: Option<&u8>, hex: bool) -> bool {
    byte.is_some_and(|b| b.is_ascii_digit() || (hex && (b.is_ascii_hexdigit() || *b == b'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_number_formats_of_the_language() {
        let cases = [
            ("1", 1.0),
            ("2.", 2.0),
            (".5", 0.5),
            ("5e-3", 5e-3),
            ("5E3", 5e3),
            ("0x1F", 31.0),
            ("0x_1f", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("1_000_000", 1e6),
            ("1_2.3_4e1_0", 12.34e10),
            ("iNf", f64::INFINITY),
        ];

        for (text, want) in cases {
            assert_eq!(
                scan(text).ok(),
                Some((text.len(), Kind::Number)).filter(|_| text != "iNf"),
                "{text}"
            );
            assert_eq!(parse_number(text), Ok(want), "{text}");
        }

        assert!(parse_number("NaN").is_ok_and(f64::is_nan));
    }

    #[test]
    fn tells_durations_from_numbers_and_from_nonsense() {
        assert_eq!(scan("5m+"), Ok((2, Kind::Duration)));
        assert_eq!(scan("1h30m10s500ms]"), Ok((13, Kind::Duration)));
        assert_eq!(
            scan("1m2x"),
            Err("bad number or duration syntax: \"1m2\"".to_owned())
        );

        for bad in [
            "1.2.3", "1e", "1e_", "1_", "1__2", "0x1.5", "5mx", "1a", "0b11",
        ] {
            let ok = scan(bad).is_ok_and(|(len, _)| len == bad.len() && parse_number(bad).is_ok());
            assert!(!ok, "{bad}");
        }

        assert_eq!(
            parse_number("1e999"),
            Err(NumberError::Range("1e999".to_owned()))
        );
    }
}
