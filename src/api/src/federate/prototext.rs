//! Protobuf's text format, as far as the exposition needs it.

use std::fmt::{Display, Write};

/// Writes the fields of messages.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Messages that are open; `None` for a message on one line.
    depth: Option<usize>,
    is_first: bool,
}

impl<'a> Writer<'a> {
    /// A field a line.
    pub(super) fn lines(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            depth: Some(0),
            is_first: true,
        }
    }

    /// All fields on one line.
    pub(super) fn one_line(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            depth: None,
            is_first: true,
        }
    }

    /// A number or the name of one.
    pub(super) fn word(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.begin(name);
            self.push(&value.to_string());
        }
    }

    pub(super) fn float(&mut self, name: &str, value: Option<f64>) {
        let text = value.map(|v| match v {
            v if v.is_nan() => "nan".to_owned(),
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            // No number of hundreds of digits.
            v if v != 0.0 && !(1e-4..1e21).contains(&v.abs()) => format!("{v:e}"),
            v => v.to_string(),
        });
        self.word(name, text);
    }

    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        self.word(name, value.map(quoted));
    }

    /// A message for each of `items`.
    pub(super) fn messages<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fields: impl FnMut(&mut Writer<'_>, T),
    ) {
        for item in items {
            self.begin(name);
            self.push("{");
            let depth = self.depth.map(|depth| depth + 1);
            let is_first = depth.is_none();

            fields(
                &mut Writer {
                    out: self.out,
                    depth,
                    is_first,
                },
                item,
            );

            if let Some(depth) = self.depth {
                self.push("\n");
                self.push(&"  ".repeat(depth));
            }

            self.push("}");
        }
    }

    /// The name of the next field, on its line.
    fn begin(&mut self, name: &str) {
        match self.depth {
            Some(depth) => {
                if !(self.is_first && depth == 0) {
                    self.push("\n");
                }
                self.push(&"  ".repeat(depth));
                self.push(name);
                self.push(": ");
            }
            None => {
                if !self.is_first {
                    self.push(" ");
                }
                self.push(name);
                self.push(":");
            }
        }
        self.is_first = false;
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');

    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }

    out.push('"');
    out
}
