//! Character classes and the escapes that stand for characters.

use std::fmt::Write;

use super::{Translator, push_literal};

/// A character, or a set of characters in the syntax of the `regex` crate, brackets included.
pub(super) enum Item {
    Char(char),
    Set(String),
}

impl Item {
    pub(super) fn as_element(&self) -> String {
        match self {
            Self::Char(c) => {
                let mut out = String::new();
                push_literal(&mut out, *c);
                out
            }
            Self::Set(set) => set.clone(),
        }
    }
}

impl Translator<'_> {
    /// `[...]`
    pub(super) fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        self.next();
        let mut out = String::from(if self.accept("^") { "[^" } else { "[" });

        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(format!("missing closing ]: `{}`", &self.pattern[start..])),
                Some(']') if !first => break,
                Some(_) => {}
            }

            first = false;
            if let Some(named) = self.named_class()? {
                out.push_str(&named);
                continue;
            }

            let from = self.at;
            let low = match self.class_item(start)? {
                Item::Set(set) => {
                    out.push_str(&set);
                    continue;
                }
                Item::Char(c) => c,
            };

            let is_range = self.rest().starts_with('-')
                && !self.rest().starts_with("-]")
                && self.rest().len() > 1;
            let high = if is_range {
                self.range_end(start, from, low)?
            } else {
                low
            };

            push_range(&mut out, low, high);
        }

        self.next();
        out.push(']');
        self.out.push_str(&out);

        Ok(())
    }

    /// The last character of the range that starts at `from` with `low`; the dash is next.
    fn range_end(&mut self, class: usize, from: usize, low: char) -> Result<char, String> {
        self.next();
        match self.class_item(class)? {
            Item::Char(c) if c >= low => Ok(c),
            _ => Err(self.invalid_range(from)),
        }
    }

    fn invalid_range(&self, from: usize) -> String {
        let text = &self.pattern[from..self.at];
        format!("invalid character class range: `{text}`")
    }

    /// `[:alpha:]` inside a class.
    fn named_class(&mut self) -> Result<Option<String>, String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];

        let rest = self.rest();
        if !rest.starts_with("[:") {
            return Ok(None);
        }
        if self.last_class_end.is_none_or(|last| last < self.at + 2) {
            return Ok(None);
        }

        let Some(end) = rest[2..].find(":]") else {
            return Ok(None);
        };

        let text = &rest[..end + 4];
        let name = &rest[2..end + 2];
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("invalid character class range: `{text}`"));
        }

        self.at += text.len();
        Ok(Some(text.to_owned()))
    }

    fn class_item(&mut self, class_start: usize) -> Result<Item, String> {
        match self.peek() {
            None => Err(format!(
                "missing closing ]: `{}`",
                &self.pattern[class_start..]
            )),
            Some('\\') => self.class_escape(),
            Some(c) => {
                self.next();
                Ok(Item::Char(c))
            }
        }
    }

    /// An escape that stands for a character or a set of them, as allowed inside and outside of classes.
    pub(super) fn class_escape(&mut self) -> Result<Item, String> {
        let start = self.at;
        self.next();
        let Some(c) = self.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };

        Ok(match c {
            'd' => Item::Set("[0-9]".to_owned()),
            'D' => Item::Set("[^0-9]".to_owned()),
            'w' => Item::Set("[0-9A-Za-z_]".to_owned()),
            'W' => Item::Set("[^0-9A-Za-z_]".to_owned()),
            's' => Item::Set(r"[\t\n\f\r ]".to_owned()),
            'S' => Item::Set(r"[^\t\n\f\r ]".to_owned()),
            'p' | 'P' => return self.unicode_class(start, c == 'P'),
            'a' => Item::Char('\u{7}'),
            'f' => Item::Char('\u{c}'),
            'n' => Item::Char('\n'),
            'r' => Item::Char('\r'),
            't' => Item::Char('\t'),
            'v' => Item::Char('\u{b}'),
            // A lone digit but 0 would be a back reference, which RE2 does not have.
            '0' => Item::Char(self.octal(0)),
            '1'..='7' if is_octal(self.peek()) => {
                Item::Char(self.octal(c.to_digit(8).unwrap_or(0)))
            }
            'x' => match self.hex() {
                Some(c) => Item::Char(c),
                None => return Err(self.invalid_escape(start)),
            },
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Item::Char(c),
            _ => return Err(self.invalid_escape(start)),
        })
    }

    /// The character whose number begins with the digit `first` and has up to two more.
    fn octal(&mut self, first: u32) -> char {
        let mut value = first;
        for _ in 0..2 {
            if is_octal(self.peek()) {
                value = value * 8 + self.next().and_then(|c| c.to_digit(8)).unwrap_or(0);
            }
        }
        char::from_u32(value).unwrap_or('\0')
    }

    fn invalid_escape(&self, start: usize) -> String {
        let text = &self.pattern[start..self.at];
        format!("invalid escape sequence: `{text}`")
    }

    /// The digits of `\x7f` or `\x{10ffff}`.
    fn hex(&mut self) -> Option<char> {
        let rest = self.rest();
        let (digits, len) = match rest.strip_prefix('{') {
            Some(inner) => {
                let end = inner.find('}')?;
                (&inner[..end], end + 2)
            }
            None => (rest.get(..2)?, 2),
        };

        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }

        self.at += len;
        u32::from_str_radix(digits, 16)
            .ok()
            .and_then(char::from_u32)
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`, `\PL`.
    fn unicode_class(&mut self, start: usize, negated: bool) -> Result<Item, String> {
        let name = if self.accept("{") {
            let rest = self.rest();
            let Some(end) = rest.find('}') else {
                self.at = self.pattern.len();
                return Err(self.invalid_range(start));
            };
            self.at += end + 1;
            &rest[..end]
        } else {
            let rest = self.rest();
            self.next();
            &rest[..rest.len() - self.rest().len()]
        };

        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let p = if negated { 'P' } else { 'p' };
        let set = format!("[\\{p}{{{name}}}]");
        let known = !name.is_empty()
            && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
            && regex_syntax::parse(&set).is_ok();

        if known {
            Ok(Item::Set(set))
        } else {
            Err(self.invalid_range(start))
        }
    }
}

fn is_octal(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_digit(8))
}

fn push_range(out: &mut String, low: char, high: char) {
    let low = u32::from(low);
    let high = u32::from(high);
    let written = write!(out, "\\x{{{low:x}}}-\\x{{{high:x}}}");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}
