//! The postings table: for every label pair, where its list is.

use bytes::Bytes;

use crate::codec::{Cursor, Malformed};

/// Every how many values of a name the offset is kept in memory.
const STEP: usize = 16;

/// The table of an open index.
pub(super) struct PostingsTable {
    content: Bytes,
    /// Sorted by name; the first is "", whose only value "" is the list of all series.
    names: Vec<Name>,
}

struct Name {
    name: Box<str>,
    values: usize,
    /// Offset of every [`STEP`]th entry.
    offsets: Vec<u32>,
}

/// One entry: value and where its list is.
type Entry<'a> = (&'a str, u64);

fn entry<'a>(c: &mut Cursor<'a>) -> Result<(&'a str, &'a str, u64), Malformed> {
    pair(c)?;
    Ok((c.text()?, c.text()?, c.uvarint()?))
}

/// Begins an entry.
fn pair(c: &mut Cursor<'_>) -> Result<(), Malformed> {
    if c.u8()? == 2 { Ok(()) } else { Err(Malformed("has an entry that is not a pair")) }
}

/// Value and place of the next entry, whose texts were looked at when the table was opened.
fn known_entry<'a>(c: &mut Cursor<'a>) -> Option<(&'a [u8], u64)> {
    pair(c).and_then(|()| c.string()).ok()?;
    Some((c.string().ok()?, c.uvarint().ok()?))
}

impl PostingsTable {
    /// Takes the table without length and checksum; checks the order of all entries.
    pub(super) fn parse(content: Bytes) -> Result<Self, Malformed> {
        let mut c = Cursor::new(&content);
        let count = c.u32()?;
        let mut names: Vec<Name> = Vec::new();
        let mut last: Option<(&str, &str)> = None;
        for _ in 0..count {
            let at = u32::try_from(c.position()).map_err(|_| Malformed("is over 4 GiB"))?;
            let (name, value, _) = entry(&mut c)?;
            if last.is_some_and(|last| last >= (name, value)) {
                return Err(Malformed("is not sorted"));
            }
            if last.is_none_or(|(last, _)| last != name) {
                names.push(Name { name: name.into(), values: 0, offsets: Vec::new() });
            }
            last = Some((name, value));
            let open = names.last_mut().expect("BUG: a name was just pushed");
            if open.values.is_multiple_of(STEP) {
                open.offsets.push(at);
            }
            open.values += 1;
        }
        if !c.is_empty() {
            return Err(Malformed("has bytes behind its last entry"));
        }
        Ok(Self { content, names })
    }

    /// Bytes of the section without length and checksum.
    pub(super) fn content_len(&self) -> u64 {
        self.content.len() as u64
    }

    fn name(&self, name: &str) -> Option<&Name> {
        let at = self.names.binary_search_by(|n| (*n.name).cmp(name)).ok()?;
        Some(&self.names[at])
    }

    /// Label names, sorted, without the "" of all series.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| &*n.name).filter(|n| !n.is_empty())
    }

    /// Number of values of a name.
    pub(super) fn value_count(&self, name: &str) -> usize {
        self.name(name).map_or(0, |n| n.values)
    }

    /// Where the list of a pair is.
    pub(super) fn find(&self, name: &str, value: &str) -> Option<u64> {
        let (known, value) = (self.name(name)?, value.as_bytes());
        let start = self.step_before(known, value);
        let mut c = Cursor::from(&self.content, known.offsets[start] as usize);
        for _ in 0..STEP.min(known.values - start * STEP) {
            let (found, offset) = known_entry(&mut c)?;
            if found >= value {
                return (found == value).then_some(offset);
            }
        }
        None
    }

    /// Values of a name, ascending, from the first that is not below `from`.
    pub(super) fn values_from<'a>(&'a self, name: &str, from: &'a str) -> impl Iterator<Item = Entry<'a>> {
        let known = self.name(name);
        let (mut c, mut left) = (Cursor::new(&[]), 0);
        if let Some(known) = known {
            let start = self.step_before(known, from.as_bytes());
            c = Cursor::from(&self.content, known.offsets[start] as usize);
            left = known.values - start * STEP;
        }
        let all = std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            // Every entry was read once when the table was opened.
            let (_, value, offset) = entry(&mut c).ok()?;
            Some((value, offset))
        });
        all.skip_while(move |(value, _)| *value < from)
    }

    /// The last offset in memory whose value is not above `value`, or the first.
    fn step_before(&self, name: &Name, value: &[u8]) -> usize {
        let value_at =
            |at: u32| known_entry(&mut Cursor::from(&self.content, at as usize)).map(|(value, _)| value);
        name.offsets.partition_point(|at| value_at(*at).is_some_and(|v| v <= value)).saturating_sub(1)
    }
}
