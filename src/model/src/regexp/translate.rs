//! Rewrites a pattern from Go's syntax to that of the `regex` crate.
//!
//! Both descend from RE2 but differ in details that change what matches: character classes, escapes, the
//! meaning of `\d` and the like, and what counts as an error. The pattern is parsed once, by Go's rules, and
//! every element is written out in a form the crate cannot misread.

mod class;

use std::fmt::Write;

use super::expand::group_name;

/// Deepest nesting of groups; Go allows 1000, the `regex` crate's parser is recursive.
pub(super) const DEPTH_MAX: usize = 200;
/// Greatest count in `{n,m}`, also when nested.
const REPEAT_MAX: u32 = 1000;

/// Rewrites `pattern`. The error is Go's text without its `error parsing regexp: `.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let out = String::with_capacity(pattern.len() * 2);
    let last_class_end = pattern.rfind(":]");
    let mut t = Translator {
        pattern,
        at: 0,
        out,
        depth: 0,
        last_class_end,
    };

    t.alternation()?;
    match t.peek() {
        None => Ok(t.out),
        Some(_) => Err(format!("unexpected ): `{pattern}`")),
    }
}

struct Translator<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    depth: usize,
    /// Where the last `:]` stands: a `[:` behind it is looked at no further, or many of them would cost the square of
    /// their number.
    last_class_end: Option<usize>,
}

/// How often something is to repeat.
struct Counts {
    min: u32,
    /// None: without end.
    max: Option<u32>,
    /// How long its text is in the pattern, with the braces.
    len: usize,
}

/// The greatest product of nested repeat counts in an element, 1 without any.
type Repeats = u32;

impl<'a> Translator<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Alternatives up to a closing parenthesis or the end.
    fn alternation(&mut self) -> Result<Repeats, String> {
        let mut repeats = 1;
        loop {
            repeats = repeats.max(self.concatenation()?);
            if !self.accept("|") {
                return Ok(repeats);
            }
            self.out.push('|');
        }
    }

    fn concatenation(&mut self) -> Result<Repeats, String> {
        let mut repeats = 1;
        while let Some(c) = self.peek() {
            if matches!(c, '|' | ')') {
                break;
            }
            if self.accept("\\Q") {
                repeats = repeats.max(self.quoted()?);
                continue;
            }
            let from = self.out.len();
            let inner = self.element(c)?;
            repeats = repeats.max(self.repetitions(from, inner)?);
        }

        Ok(repeats)
    }

    /// `\Q..\E`: literal characters; only the last one can be repeated.
    fn quoted(&mut self) -> Result<Repeats, String> {
        let text = self.rest();
        let (inside, len) = match text.find("\\E") {
            Some(end) => (&text[..end], end + 2),
            None => (text, text.len()),
        };

        self.at += len;
        let last = inside.char_indices().next_back().map_or(0, |(i, _)| i);
        inside[..last]
            .chars()
            .for_each(|c| push_literal(&mut self.out, c));

        let from = self.out.len();
        inside[last..]
            .chars()
            .for_each(|c| push_literal(&mut self.out, c));

        if inside.is_empty() {
            Ok(1)
        } else {
            self.repetitions(from, 1)
        }
    }

    /// One element without repetition.
    fn element(&mut self, c: char) -> Result<Repeats, String> {
        match c {
            '(' => return self.group(),
            '[' => self.class()?,
            '\\' => self.escape()?,
            '*' | '+' | '?' => {
                return Err(format!("missing argument to repetition operator: `{c}`"));
            }
            '{' if let Some(Counts { len, .. }) = self.counts()? => {
                return Err(format!(
                    "missing argument to repetition operator: `{}`",
                    &self.rest()[..len]
                ));
            }
            '.' | '^' | '$' => {
                self.next();
                self.out.push(c);
            }
            _ => {
                self.next();
                push_literal(&mut self.out, c);
            }
        }
        Ok(1)
    }

    /// Repetition operators behind the element that `out` holds from `from` on.
    fn repetitions(&mut self, from: usize, inner: Repeats) -> Result<Repeats, String> {
        let start = self.at;
        let Some(op) = self.peek() else {
            return Ok(inner);
        };
        let mut repeats = inner;
        let suffix = match op {
            '*' | '+' | '?' => {
                self.next();
                op.to_string()
            }
            '{' => {
                let Some(counts) = self.counts()? else {
                    return Ok(repeats);
                };

                repeats = self.times(inner, &counts)?;
                self.at += counts.len;
                let min = counts.min;
                match counts.max {
                    Some(max) => format!("{{{min},{max}}}"),
                    None => format!("{{{min},}}"),
                }
            }
            _ => return Ok(inner),
        };

        let lazy = if self.accept("?") { "?" } else { "" };
        let element = self.out.split_off(from);
        let written = write!(self.out, "(?:{element}){suffix}{lazy}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");

        self.no_further_repetition(start)?;
        Ok(repeats)
    }

    /// How often something repeats if what it consists of repeats `inner` times.
    fn times(&self, inner: Repeats, counts: &Counts) -> Result<Repeats, String> {
        let invalid = || {
            let text = &self.rest()[..counts.len];
            format!("invalid repeat count: `{text}`")
        };

        let top = counts.max.unwrap_or(counts.min);
        if counts.min > REPEAT_MAX || top > REPEAT_MAX || top < counts.min {
            return Err(invalid());
        }
        if top < 2 {
            return Ok(inner);
        }

        let repeats = inner.saturating_mul(top);
        if repeats > REPEAT_MAX {
            return Err(invalid());
        }

        Ok(repeats)
    }

    fn no_further_repetition(&self, start: usize) -> Result<(), String> {
        let len = match self.peek() {
            Some('*' | '+' | '?') => 1,
            Some('{') => match self.counts()? {
                Some(counts) => counts.len,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(format!(
            "invalid nested repetition operator: `{}`",
            &self.pattern[start..self.at + len]
        ))
    }

    /// `{n}`, `{n,}` or `{n,m}` at this place. Anything else that starts with a brace is literal.
    fn counts(&self) -> Result<Option<Counts>, String> {
        let rest = self.rest();
        // Digits and commas only: a search for the brace would go through the rest of the pattern for each brace in it.
        let inside = rest
            .bytes()
            .skip(1)
            .take_while(|byte| byte.is_ascii_digit() || *byte == b',')
            .count();

        let end = inside + 1;
        if rest.as_bytes().get(end) != Some(&b'}') {
            return Ok(None);
        }

        let inside = &rest[1..end];
        let counts = match inside.split_once(',') {
            None => count(inside).map(|n| (n, Some(n))),
            Some((min, "")) => count(min).map(|n| (n, None)),
            Some((min, max)) => count(min).zip(count(max).map(Some)),
        };

        let len = end + 1;
        Ok(counts.map(|(min, max)| Counts { min, max, len }))
    }

    fn group(&mut self) -> Result<Repeats, String> {
        let start = self.at;
        self.at += 1;
        if self.depth >= DEPTH_MAX {
            return Err(format!("expression nests too deeply: `{}`", self.pattern));
        }

        if self.accept("?") {
            if self.accept("P<") || self.accept("<") {
                self.group_name(start)?;
            } else if self.flags(start)? {
                return Ok(1);
            }
        } else {
            self.out.push('(');
        }

        self.depth += 1;
        let repeats = self.alternation()?;
        self.depth -= 1;

        if !self.accept(")") {
            return Err(format!("missing closing ): `{}`", self.pattern));
        }

        self.out.push(')');
        Ok(repeats)
    }

    fn group_name(&mut self, start: usize) -> Result<(), String> {
        let rest = self.rest();
        let Some(end) = rest.find('>') else {
            return Err(format!(
                "invalid named capture: `{}`",
                &self.pattern[start..]
            ));
        };

        let name = &rest[..end];
        let valid =
            !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());

        self.at += end + 1;
        if !valid {
            return Err(format!(
                "invalid named capture: `{}`",
                &self.pattern[start..self.at]
            ));
        }

        let written = write!(self.out, "(?P<{}>", group_name(name));
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        Ok(())
    }

    /// Flags behind `(?`. True if they stand alone and are complete, false if a group follows.
    fn flags(&mut self, start: usize) -> Result<bool, String> {
        let mut on = String::new();
        let mut off = String::new();
        let mut negative = false;

        let mut any = false;
        loop {
            let Some(c) = self.next() else {
                return Err(format!("missing closing ): `{}`", self.pattern));
            };
            match c {
                'i' | 'm' | 's' | 'U' => {
                    any = true;
                    let list = if negative { &mut off } else { &mut on };
                    if !list.contains(c) {
                        list.push(c);
                    }
                }
                '-' if !negative => {
                    negative = true;
                    any = false;
                }
                ':' | ')' if negative && !any => return Err(self.unsupported(start)),
                ':' | ')' => {
                    self.write_flags(&mut on, &off, c);
                    return Ok(c == ')');
                }
                _ => return Err(self.unsupported(start)),
            }
        }
    }

    /// Writes flags that end with `end`: a colon for a group, a bracket where they stand alone.
    fn write_flags(&mut self, on: &mut String, off: &str, end: char) {
        // Go lets the later of two contradicting flags win.
        on.retain(|f| !off.contains(f));
        let minus = if off.is_empty() { "" } else { "-" };
        if end == ':' || !(on.is_empty() && off.is_empty()) {
            let written = write!(self.out, "(?{on}{minus}{off}{end}");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }

    fn unsupported(&self, start: usize) -> String {
        format!(
            "invalid or unsupported Perl syntax: `{}`",
            &self.pattern[start..self.at]
        )
    }

    fn escape(&mut self) -> Result<(), String> {
        let start = self.at;
        self.next();
        let Some(c) = self.peek() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };

        match c {
            'A' | 'z' => {
                self.next();
                self.out.push('\\');
                self.out.push(c);
            }
            'b' | 'B' => {
                self.next();
                self.out
                    .push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            _ => {
                self.at = start;
                let item = self.class_escape()?;
                self.out.push_str(&item.as_element());
            }
        }

        Ok(())
    }
}

/// A number as repetitions are counted with; Go takes no leading zeros.
fn count(text: &str) -> Option<u32> {
    let digits = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
}

/// Writes a character that stands for itself.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() && c != '<' && c != '>' {
        out.push('\\');
    }
    out.push(c);
}
