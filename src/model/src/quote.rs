//! Strings in double quotes with Go's escapes, the form in which Prometheus prints them everywhere.

use std::fmt::Write;

/// Puts `text` between double quotes; quotes, backslashes and what cannot be printed become escapes.
///
/// ```
/// assert_eq!(trireme_model::quote("a\"b\n\u{7f}"), r#""a\"b\n\x7f""#);
/// ```
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');

    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if is_printable(c) => out.push(c),
            _ => escape(c, &mut out),
        }
    }

    out.push('"');
    out
}

fn escape(c: char, out: &mut String) {
    let code = u32::from(c);
    let written = match code {
        0..0x80 => write!(out, "\\x{code:02x}"),
        0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// Close to Go's `unicode.IsPrint`: no controls, format characters, private use or blanks but the space.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_ascii() || c.is_control() || c.is_whitespace() => false,
        '\u{ad}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}'
        | '\u{f0000}'..='\u{10ffff}' => false,
        _ => !c.is_control() && (c as u32 & 0xffff) < 0xfffe,
    }
}

/// True if `name` can stand in a query without quotes: a letter or `_`, then letters, digits and `_`.
pub fn is_plain_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_text_and_escapes_the_rest() {
        assert_eq!(quote("é 世\u{0301}"), "\"é 世\u{0301}\"");
        assert_eq!(
            quote("\0\u{7f}\u{a0}\u{feff}\u{10ffff}"),
            r#""\x00\x7f\u00a0\ufeff\U0010ffff""#
        );
        assert_eq!(quote(r#"\""#), r#""\\\"""#);
    }

    #[test]
    fn plain_names_are_those_of_the_classic_alphabet() {
        for (name, want) in [
            ("a", true),
            ("_1", true),
            ("", false),
            ("1a", false),
            ("a.b", false),
            ("a:b", false),
        ] {
            assert_eq!(is_plain_label_name(name), want, "{name}");
        }
    }
}
