//! Quoted strings with Go's escape sequences.

use std::borrow::Cow;

/// Why the content of a string token has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnquoteError {
    /// The token is not a string.
    #[error("invalid syntax")]
    Syntax,
    /// Byte escapes that together are not UTF-8, as all strings of the data model are. Holds the bytes.
    #[error("invalid UTF-8")]
    Utf8(Vec<u8>),
}

/// Length of the string that `input` starts with, both quotes included.
pub(super) fn scan(input: &str, quote: char) -> Result<usize, String> {
    let raw = quote == '`';

    let mut chars = input.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok(i + 1),
            '\u{fffd}' => return Err("invalid UTF-8 rune".to_owned()),
            '\n' if !raw => break,
            '\\' if !raw => check_escape(&mut chars, quote)?,
            _ => {}
        }
    }

    Err(if raw {
        "unterminated raw string"
    } else {
        "unterminated quoted string"
    }
    .to_owned())
}

/// Checks an escape sequence whose backslash has been read.
fn check_escape(
    chars: &mut impl Iterator<Item = (usize, char)>,
    quote: char,
) -> Result<(), String> {
    let Some((_, c)) = chars.next() else {
        return Err(UNTERMINATED.to_owned());
    };

    let (digits, radix, max, first) = match c {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        _ if c == quote => return Ok(()),
        '0'..='7' => (2, 8, 255, c.to_digit(8).unwrap_or(0)),
        'x' => (2, 16, 255, 0),
        'u' => (4, 16, 0x10_ffff, 0),
        'U' => (8, 16, 0x10_ffff, 0),
        _ => return Err(format!("unknown escape sequence {}", code_point(c))),
    };

    let value = escaped_number(chars, digits, radix, first)?;

    if value > max || (0xd800..0xe000).contains(&value) {
        return Err("escape sequence is an invalid Unicode code point".to_owned());
    }

    Ok(())
}

const UNTERMINATED: &str = "escape sequence not terminated";

/// The number that so many further digits give.
fn escaped_number(
    chars: &mut impl Iterator<Item = (usize, char)>,
    digits: usize,
    radix: u32,
    first: u32,
) -> Result<u64, String> {
    let mut value = u64::from(first);
    for _ in 0..digits {
        let Some((_, c)) = chars.next() else {
            return Err(UNTERMINATED.to_owned());
        };
        let Some(digit) = c.to_digit(radix) else {
            return Err(format!(
                "illegal character {} in escape sequence",
                code_point(c)
            ));
        };
        value = value * u64::from(radix) + u64::from(digit);
    }

    Ok(value)
}

/// `U+0023 '#'`
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// The value of a string token.
pub(crate) fn unquote(token: &str) -> Result<Cow<'_, str>, UnquoteError> {
    let quote = token.chars().next().ok_or(UnquoteError::Syntax)?;
    let inner = token
        .strip_prefix(quote)
        .and_then(|t| t.strip_suffix(quote))
        .filter(|_| matches!(quote, '"' | '\'' | '`'))
        .ok_or(UnquoteError::Syntax)?;

    if quote == '`' || !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }

    let mut bytes = Vec::with_capacity(inner.len());

    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], &mut bytes)?;
    }

    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|e| UnquoteError::Utf8(e.into_bytes()))
}

/// Decodes one escape sequence (without its backslash) and returns what follows it.
fn unescape<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, UnquoteError> {
    let c = rest.chars().next().ok_or(UnquoteError::Syntax)?;
    let tail = &rest[c.len_utf8()..];
    if let Some(simple) = simple_escape(c) {
        out.push(simple);
        return Ok(tail);
    }

    match c {
        '0'..='7' => {
            let (value, _) = digits(rest, 3, 8)?;
            out.push(u8::try_from(value).map_err(|_| UnquoteError::Syntax)?);
            Ok(&rest[3..])
        }
        'x' => {
            let (value, tail) = digits(tail, 2, 16)?;
            out.push(u8::try_from(value).map_err(|_| UnquoteError::Syntax)?);
            Ok(tail)
        }
        'u' | 'U' => {
            let (value, tail) = digits(tail, if c == 'u' { 4 } else { 8 }, 16)?;
            let c = char::from_u32(value).ok_or(UnquoteError::Syntax)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(tail)
        }
        _ => Err(UnquoteError::Syntax),
    }
}

/// The byte that a letter alone stands for.
fn simple_escape(c: char) -> Option<u8> {
    Some(match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '\'' | '"' => c as u8,
        _ => return None,
    })
}

fn digits(text: &str, count: usize, radix: u32) -> Result<(u32, &str), UnquoteError> {
    let number = text
        .get(..count)
        .filter(|n| !n.starts_with('+'))
        .ok_or(UnquoteError::Syntax)?;
    let value = u32::from_str_radix(number, radix).map_err(|_| UnquoteError::Syntax)?;
    Ok((value, &text[count..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_of_both_quotes_and_keeps_raw_strings() {
        let cases = [
            (r#""a\tb""#, "a\tb"),
            (r#"'it\'s'"#, "it's"),
            (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
            (r#""\xc3\xa9""#, "é"),
            ("`\\n raw\n`", "\\n raw\n"),
            (r#""""#, ""),
        ];

        for (token, want) in cases {
            let quote = token.chars().next().unwrap_or(' ');
            assert_eq!(scan(token, quote), Ok(token.len()), "{token}");
            assert_eq!(unquote(token).as_deref(), Ok(want), "{token}");
        }

        assert_eq!(
            unquote(r#""a\xff""#),
            Err(UnquoteError::Utf8(vec![b'a', 0xff]))
        );
    }

    #[test]
    fn rejects_broken_escapes() {
        for bad in [
            r#""\q""#,
            r#""\'""#,
            r#""\400""#,
            r#""\ud800""#,
            r#""\x4"#,
            "\"a\nb\"",
            "\"open",
            "`open",
        ] {
            assert!(
                scan(bad, bad.chars().next().unwrap_or(' ')).is_err(),
                "{bad}"
            );
        }
    }
}
