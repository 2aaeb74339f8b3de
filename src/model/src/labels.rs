//! Label sets in wire form.
//!
//! Byte form, once per label: `0x0A len(pair) 0x0A len(name) name 0x12 len(value) value`, lengths as varints:
//! field 1 of a remote write 1.0 `TimeSeries`. Canonical means sorted by name, no name twice, no empty value.

mod raw;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use raw::RawLabels;

/// Label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// An immutable canonical label set; cloning copies a pointer.
#[derive(Clone)]
pub struct Labels(Arc<[u8]>);

/// Why bytes are not a label set.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum LabelError {
    /// Not the protobuf form.
    #[error("label bytes are malformed at byte {0}")]
    Malformed(usize),
    /// A name or value is not UTF-8.
    #[error("label name or value is not valid UTF-8: {0:?}")]
    Utf8(String),
    /// A name is empty.
    #[error("label name is empty (its value is {0:?})")]
    EmptyName(String),
    /// A name occurs twice.
    #[error("label {0:?} occurs twice")]
    Duplicate(String),
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Labels {
    /// The empty set.
    pub fn empty() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Builds a set from pairs in any order; empty values are dropped, the last of equal names wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// Reads the wire form as any sender may write it: sorts, drops empty values, refuses what no rule can mend.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, LabelError> {
        Self::read(bytes, false)
    }

    /// [`Labels::from_wire`] by the rule for exemplars: empty values go first, so that `t="1", t=""` is one label.
    pub fn of_exemplar(bytes: &[u8]) -> Result<Self, LabelError> {
        Self::read(bytes, true)
    }

    fn read(bytes: &[u8], empty_values_go_first: bool) -> Result<Self, LabelError> {
        let text = Text::of(bytes);
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
        let mut canonical = true;
        let mut reader = WireReader {
            bytes,
            at: 0,
            all_short: true,
        };

        while let Some((name, value)) = reader.next_pair()? {
            let name = text.part(name)?;
            let value = text.part(value)?;
            if empty_values_go_first && value.is_empty() {
                canonical = false;
                continue;
            }
            if name.is_empty() {
                return Err(LabelError::EmptyName(value.to_owned()));
            }
            canonical &= !value.is_empty() && pairs.last().is_none_or(|(last, _)| *last < name);
            pairs.push((name, value));
        }

        if canonical && reader.all_short {
            return Ok(Self(Arc::from(bytes)));
        }

        if !canonical {
            put_in_order(&mut pairs)?;
        }

        Ok(Self::encode(pairs.into_iter()))
    }

    /// Wraps bytes that are known to be canonical, such as those of our own files after their checksum passed.
    pub fn from_canonical_unchecked(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut out = Vec::with_capacity(256);
        for (name, value) in pairs {
            push_label(&mut out, name.as_bytes(), value.as_bytes());
        }
        Self(Arc::from(out.as_slice()))
    }

    /// The canonical wire form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the empty set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        RawLabels(&self.0).count()
    }

    /// Pairs in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        LabelsIter {
            text: Text::of(&self.0),
            reader: WireReader {
                bytes: &self.0,
                at: 0,
                all_short: true,
            },
        }
    }

    /// Value of a label, if set.
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = name.as_bytes();
        let found = RawLabels(&self.0)
            .find(|label| label.name >= name)
            .filter(|label| label.name == name)?;
        std::str::from_utf8(found.value).ok()
    }

    /// The metric name, or "".
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }

    /// These labels without the named ones.
    pub fn without(&self, names: &[&str]) -> Self {
        self.part(names, false)
    }

    /// Only the named labels.
    pub fn only(&self, names: &[&str]) -> Self {
        self.part(names, true)
    }

    fn part(&self, names: &[&str], named: bool) -> Self {
        let mut out = Vec::with_capacity(self.0.len());
        self.push_part(names, named, &mut out);
        if out.len() == self.0.len() {
            self.clone()
        } else {
            Self(Arc::from(out.as_slice()))
        }
    }

    /// Appends the canonical bytes of the named labels, or of all others if `named` is false.
    pub fn push_part(&self, names: &[&str], named: bool, out: &mut Vec<u8>) {
        for label in RawLabels(&self.0) {
            if names.iter().any(|name| name.as_bytes() == label.name) == named {
                out.extend_from_slice(label.whole);
            }
        }
    }
}

/// Sorts labels and drops those without a value.
fn put_in_order(pairs: &mut Vec<(&str, &str)>) -> Result<(), LabelError> {
    pairs.sort_unstable_by_key(|(name, _)| *name);
    if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(LabelError::Duplicate(twice[0].0.to_owned()));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    Ok(())
}

/// Collects labels in any order.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.iter().position(|(n, _)| n == name) {
            Some(at) if value.is_empty() => drop(self.pairs.swap_remove(at)),
            Some(at) => value.clone_into(&mut self.pairs[at].1),
            None if value.is_empty() => {}
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn del(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Value set so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The canonical set.
    pub fn finish(mut self) -> Labels {
        self.pairs.sort_unstable();
        Labels::encode(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

/// Appends one label in wire form; the caller sees to order and content.
pub fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let n = name.len();

    let v = value.len();
    if n + v < 124 {
        // Nearly all labels: every length is one byte.
        out.extend_from_slice(&[0x0a, (4 + n + v) as u8, 0x0a, n as u8]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[0x12, v as u8]);
        out.extend_from_slice(value);
        return;
    }

    let inner = 2 + varint_len(n) + varint_len(v) + n + v;
    out.push(0x0a);
    push_varint(out, inner);
    out.push(0x0a);
    push_varint(out, name.len());
    out.extend_from_slice(name);
    out.push(0x12);
    push_varint(out, value.len());
    out.extend_from_slice(value);
}

fn varint_len(n: usize) -> usize {
    (usize::BITS - (n | 1).leading_zeros()).div_ceil(7) as usize
}

fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Labels as text, checked once for all names and values.
///
/// Lengths below 128 are characters themselves, so that all bytes are text if every name and value is. A part of text is text
/// where it begins and ends with a character, which costs two comparisons.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    /// `None` if a part is not text, or a length is longer.
    whole: Option<&'a str>,
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            whole: std::str::from_utf8(bytes).ok(),
        }
    }

    /// A name or value.
    #[inline]
    fn part(&self, at: Range<usize>) -> Result<&'a str, LabelError> {
        self.whole
            .and_then(|whole| whole.get(at.clone()))
            .map_or_else(|| self.alone(at), Ok)
    }

    #[cold]
    fn alone(&self, at: Range<usize>) -> Result<&'a str, LabelError> {
        let bytes = self.bytes.get(at).unwrap_or_default();
        std::str::from_utf8(bytes)
            .map_err(|_| LabelError::Utf8(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// Where name and value are, before any check.
type PairAt = (Range<usize>, Range<usize>);

#[derive(Clone)]
struct WireReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// So far every label has the form that [`push_label`] gives nearly all.
    all_short: bool,
}

impl<'a> WireReader<'a> {
    /// Next label as (name, value); protobuf allows a field to be absent, which means "".
    #[inline]
    fn next_pair(&mut self) -> Result<Option<PairAt>, LabelError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let Some(label) = raw::short_label(&self.bytes[self.at..]) else {
            return self.any_pair().map(Some);
        };

        let name = self.at + 4..self.at + 4 + label.name.len();
        self.at += label.whole.len();
        Ok(Some((name, self.at - label.value.len()..self.at)))
    }

    fn any_pair(&mut self) -> Result<PairAt, LabelError> {
        self.all_short = false;
        self.tag(0x0a)?;
        let end = self.length()?;
        let mut name = 0..0;

        let mut value = 0..0;
        while self.at < end {
            let tag = self.bytes[self.at];
            self.at += 1;
            let stop = self.length()?;
            if stop > end {
                return Err(LabelError::Malformed(self.at));
            }
            match tag {
                0x0a => name = self.at..stop,
                0x12 => value = self.at..stop,
                _ => return Err(LabelError::Malformed(self.at)),
            }
            self.at = stop;
        }

        Ok((name, value))
    }

    fn tag(&mut self, tag: u8) -> Result<(), LabelError> {
        if self.bytes.get(self.at) != Some(&tag) {
            return Err(LabelError::Malformed(self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a length and answers where the field ends.
    fn length(&mut self) -> Result<usize, LabelError> {
        let mut n = 0usize;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self
                .bytes
                .get(self.at)
                .ok_or(LabelError::Malformed(self.at))?;

            self.at += 1;
            n |= usize::from(byte & 0x7f) << shift;

            if byte < 0x80 {
                let end = self
                    .at
                    .checked_add(n)
                    .filter(|end| *end <= self.bytes.len());
                return end.ok_or(LabelError::Malformed(self.at));
            }
        }

        Err(LabelError::Malformed(self.at))
    }
}

#[derive(Clone)]
struct LabelsIter<'a> {
    text: Text<'a>,
    reader: WireReader<'a>,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.reader.next_pair().ok()??;
        Some((self.text.part(name).ok()?, self.text.part(value).ok()?))
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus's order: name, then value, label by label; a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        raw::compare(&self.0, &other.0)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();

        let bare = is_plain_name(&name.replace(':', "_"));
        if bare {
            f.write_str(name)?;
        }

        let mut open = false;
        for (n, v) in self.iter().filter(|(n, _)| !(bare && *n == METRIC_NAME)) {
            f.write_str(if open { ", " } else { "{" })?;
            open = true;
            if n == METRIC_NAME {
                write!(f, "{v:?}")?;
            } else if is_plain_name(n) {
                write!(f, "{n}={v:?}")?;
            } else {
                write!(f, "{n:?}={v:?}")?;
            }
        }

        f.write_str(match (open, name.is_empty()) {
            (true, _) => "}",
            (false, true) => "{}",
            (false, false) => "",
        })
    }
}

/// True if PromQL reads it as a label's name without quotes.
fn is_plain_name(name: &str) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()))
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sorts_drops_empty_values_and_refuses_duplicates() {
        let mut wire = Vec::new();
        for (n, v) in [("b", "2"), ("c", ""), ("a", "1")] {
            push_label(&mut wire, n.as_bytes(), v.as_bytes());
        }

        let labels = Labels::from_wire(&wire).expect("mendable");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        push_label(&mut wire, b"a", b"3");
        assert_eq!(
            Labels::from_wire(&wire),
            Err(LabelError::Duplicate("a".into()))
        );
        assert_eq!(
            Labels::of_exemplar(&wire),
            Err(LabelError::Duplicate("a".into()))
        );

        let mut wire = Vec::new();
        for (n, v) in [("t", "1"), ("t", ""), ("a", "")] {
            push_label(&mut wire, n.as_bytes(), v.as_bytes());
        }

        assert_eq!(
            Labels::from_wire(&wire),
            Err(LabelError::Duplicate("t".into()))
        );
        assert_eq!(
            Labels::of_exemplar(&wire),
            Ok(Labels::from_pairs([("t", "1")]))
        );
    }

    #[test]
    fn prints_as_prometheus_does() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "{}"),
            (&[("__name__", "up")], "up"),
            (&[("job", "x"), ("__name__", "up")], r#"up{job="x"}"#),
            (
                &[("__name__", "a.b"), ("c.d", "e")],
                r#"{"a.b", "c.d"="e"}"#,
            ),
        ];
        for (pairs, text) in cases {
            assert_eq!(Labels::from_pairs(pairs.iter().copied()).to_string(), *text);
        }
    }

    proptest! {
        #[test]
        fn wire_form_round_trips(pairs in proptest::collection::btree_map("[a-z]{1,200}", "[^\\x00]{1,40}", 0..12)) {
            let labels = Labels::from_pairs(&pairs);
            prop_assert_eq!(Labels::from_wire(labels.as_bytes()).expect("canonical"), labels.clone());
            prop_assert!(labels.iter().eq(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
        }

        #[test]
        fn text_that_is_cut_off_in_a_character_is_refused(
            pairs in proptest::collection::vec([0, 1].map(|_| {
                let byte = prop_oneof![Just(b'a'), Just(0xc3), Just(0xa9)];
                prop_oneof![proptest::collection::vec(byte, 0..5), Just("é".repeat(70).into_bytes())]
            }), 0..4),
        ) {
            let mut wire = Vec::new();
            pairs.iter().for_each(|[name, value]| push_label(&mut wire, name, value));
            let mut parts = pairs.iter().flatten();
            let bad = parts.find(|part| std::str::from_utf8(part).is_err());
            match Labels::from_wire(&wire) {
                Err(LabelError::Utf8(part)) => {
                    prop_assert_eq!(Some(part), bad.map(|bad| String::from_utf8_lossy(bad).into_owned()));
                }
                Err(_) => {}
                Ok(_) => prop_assert_eq!(bad, None),
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Labels::from_wire(&bytes);
        }
    }
}
