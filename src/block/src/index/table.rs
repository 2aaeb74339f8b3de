//! The postings table: for every label pair, where its list is.

use std::ops::{ControlFlow, Range};

use crate::BlockError;
use crate::codec::{Cursor, Malformed};
use crate::error::io_at;
use crate::index::INDEX_FILE;
use crate::pages::Pages;

/// Takes a value and a reference to its list, and says whether there shall be more.
pub(crate) type EachValue<'a> = dyn FnMut(&str, u64) -> Result<ControlFlow<()>, BlockError> + 'a;

/// Every how many values of a name the offset is kept in memory.
const STEP: usize = 16;

/// The table of an open index. The entries themselves stay in the file.
pub(super) struct PostingsTable {
    /// Where the section's content is in the file.
    part: Range<u64>,
    /// Sorted by name; the first is "", whose only value "" is the list of all series.
    names: Vec<Name>,
}

struct Name {
    name: Box<str>,
    values: usize,
    /// Offset in the content of every [`STEP`]th entry, and of what stands behind the last.
    offsets: Vec<u32>,
}

impl Name {
    /// Number of steps.
    fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Bytes of a step.
    fn step(&self, number: usize) -> Range<u64> {
        u64::from(self.offsets[number])..u64::from(self.offsets[number + 1])
    }

    /// Counts a value whose entry is at `at`.
    fn count_value(&mut self, at: u32) {
        if self.values.is_multiple_of(STEP) {
            self.offsets.push(at);
        }
        self.values += 1;
    }
}

fn entry<'a>(c: &mut Cursor<'a>) -> Result<(&'a str, &'a str, u64), Malformed> {
    pair(c)?;
    Ok((c.text()?, c.text()?, c.uvarint()?))
}

/// Begins an entry.
fn pair(c: &mut Cursor<'_>) -> Result<(), Malformed> {
    if c.u8()? == 2 {
        Ok(())
    } else {
        Err(Malformed("has an entry that is not a pair"))
    }
}

fn at_table(e: Malformed) -> BlockError {
    e.at(format!("{INDEX_FILE}: postings table"))
}

fn place(c: &Cursor<'_>) -> Result<u32, Malformed> {
    u32::try_from(c.position()).map_err(|_| Malformed("is over 4 GiB"))
}

/// Ends the values of the name before at `at`, where those of another begin.
fn begin_name(names: &mut Vec<Name>, name: &str, at: u32) {
    if let Some(before) = names.last_mut() {
        before.offsets.push(at);
    }
    names.push(Name {
        name: name.into(),
        values: 0,
        offsets: Vec::new(),
    });
}

impl PostingsTable {
    /// Memory of the names and places that are kept (bytes).
    pub(super) fn memory_bytes(&self) -> usize {
        self.names
            .iter()
            .map(|name: &Name| size_of::<Name>() + name.name.len() + name.offsets.capacity() * 4)
            .sum()
    }

    /// Takes the table without length and checksum, which stands at `start` in the file; checks the order of all entries.
    pub(super) fn parse(content: &[u8], start: u64) -> Result<Self, Malformed> {
        let mut c = Cursor::new(content);
        let count = c.u32()?;
        let mut names: Vec<Name> = Vec::new();

        let mut last: Option<(&str, &str)> = None;
        for _ in 0..count {
            let at = place(&c)?;
            let (name, value, _) = entry(&mut c)?;
            if last.is_some_and(|last| last >= (name, value)) {
                return Err(Malformed("is not sorted"));
            }

            if last.is_none_or(|(last, _)| last != name) {
                begin_name(&mut names, name, at);
            }

            last = Some((name, value));

            let open = names.last_mut().expect("BUG: a name was just pushed");
            open.count_value(at);
        }

        if let Some(before) = names.last_mut() {
            before.offsets.push(place(&c)?);
        }

        if !c.is_empty() {
            return Err(Malformed("has bytes behind its last entry"));
        }

        Ok(Self {
            part: start..start + content.len() as u64,
            names,
        })
    }

    /// Where the section's content is in the file.
    pub(super) fn part(&self) -> Range<u64> {
        self.part.clone()
    }

    fn name(&self, name: &str) -> Option<&Name> {
        let at = self.names.binary_search_by(|n| (*n.name).cmp(name)).ok()?;
        Some(&self.names[at])
    }

    /// Label names, sorted, without the "" of all series.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .map(|n| &*n.name)
            .filter(|n| !n.is_empty())
    }

    /// Number of values of a name.
    pub(super) fn value_count(&self, name: &str) -> usize {
        self.name(name).map_or(0, |n| n.values)
    }

    /// Where the list of a pair is; `pages` are those of [`PostingsTable::part`].
    pub(super) fn find(
        &self,
        name: &str,
        value: &str,
        pages: &mut Pages<'_>,
    ) -> Result<Option<u64>, BlockError> {
        let mut found = None;
        self.each_value(name, value, pages, &mut |at_least, reference| {
            found = (at_least == value).then_some(reference);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Gives the values of a name, ascending, from the first that is not below `from`, and where their lists are.
    pub(super) fn each_value(
        &self,
        name: &str,
        from: &str,
        pages: &mut Pages<'_>,
        each: &mut EachValue<'_>,
    ) -> Result<(), BlockError> {
        let Some(known) = self.name(name) else {
            return Ok(());
        };

        let first = step_before(known, from, pages)?;
        for number in first..known.steps() {
            let bytes = pages.get(known.step(number)).map_err(io_at(INDEX_FILE))?;
            let mut c = Cursor::new(bytes);
            while !c.is_empty() {
                let (_, value, reference) = entry(&mut c).map_err(at_table)?;
                if value >= from && each(value, reference)?.is_break() {
                    return Ok(());
                }
            }
        }

        Ok(())
    }
}

/// The last step whose first value is not above `value`, or the first.
fn step_before(name: &Name, value: &str, pages: &mut Pages<'_>) -> Result<usize, BlockError> {
    let mut low = 0;

    let mut high = name.steps();
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let bytes = pages.get(name.step(middle)).map_err(io_at(INDEX_FILE))?;
        let (_, first, _) = entry(&mut Cursor::new(bytes)).map_err(at_table)?;
        if first <= value {
            low = middle;
        } else {
            high = middle;
        }
    }

    Ok(low)
}
