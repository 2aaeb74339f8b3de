//! The `tombstones` file: deleted intervals of series.
//!
//! ```text
//! magic 0130BA30 | version 1 | { series uvarint | first varint | last varint }* | crc32 of the entries
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use crate::BlockError;
use crate::codec::{Cursor, Malformed, checked, put_uvarint, put_varint};
use crate::files::{self, read_capped};

/// Name of the file.
pub const TOMBSTONES_FILE: &str = "tombstones";
const HEADER: [u8; 5] = [0x01, 0x30, 0xba, 0x30, 1];
/// The most bytes of a tombstones file that are read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A deleted time range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First deleted millisecond.
    pub first: i64,
    /// Last deleted millisecond.
    pub last: i64,
}

/// Deleted intervals by series id; sorted and without overlap for each series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(BTreeMap<u32, Vec<Interval>>);

impl Tombstones {
    /// Reads the file of a block; a missing one means that nothing is deleted.
    pub fn read(block: &Path) -> Result<Self, BlockError> {
        match read_capped(&block.join(TOMBSTONES_FILE), FILE_BYTES_MAX) {
            Ok(bytes) => Self::parse(&bytes),
            Err(BlockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Parses the content of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut c = Cursor::new(bytes);
        check_header(c.take(HEADER.len()).map_err(at_tombstones)?)?;
        let mut c = Cursor::new(checked(&bytes[HEADER.len()..]).map_err(at_tombstones)?);

        let mut all = Self::default();
        while !c.is_empty() {
            let id = u32::try_from(c.uvarint().map_err(at_tombstones)?);
            let id = id.map_err(|_| at_tombstones(Malformed("names a series over 32 bits")))?;
            let first = c.varint().map_err(at_tombstones)?;
            let last = c.varint().map_err(at_tombstones)?;
            if first > last {
                let error = Malformed("has an interval that ends before it starts");
                return Err(at_tombstones(error));
            }
            all.0.entry(id).or_default().push(Interval { first, last });
        }

        all.0.values_mut().for_each(merge);
        Ok(all)
    }

    /// Deletes an interval of a series.
    pub fn add(&mut self, id: u32, interval: Interval) {
        let list = self.0.entry(id).or_default();
        list.push(interval);
        merge(list);
    }

    /// The content of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        for (id, interval) in self.iter() {
            put_uvarint(&mut entries, u64::from(id));
            put_varint(&mut entries, interval.first);
            put_varint(&mut entries, interval.last);
        }

        let crc = crc32c::crc32c(&entries).to_be_bytes();
        HEADER.into_iter().chain(entries).chain(crc).collect()
    }

    /// Writes the file of a block through a temporary one, fsynced; the caller updates the count in the meta.
    pub fn write(&self, block: &Path) -> Result<(), BlockError> {
        files::replace(&block.join(TOMBSTONES_FILE), &self.to_bytes())
    }

    /// Deleted intervals of a series, in time order.
    pub fn of(&self, id: u32) -> &[Interval] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }

    /// All (series, interval) pairs.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Interval)> + '_ {
        self.0
            .iter()
            .flat_map(|(id, list)| list.iter().map(|i| (*id, *i)))
    }

    /// Number of intervals.
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// True if nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn check_header(header: &[u8]) -> Result<(), BlockError> {
    if header[..4] != HEADER[..4] {
        let error = Malformed("does not begin with the magic number of tombstones");
        return Err(at_tombstones(error));
    }

    if header[4] != HEADER[4] {
        let what = format!("tombstones version {}", header[4]);
        return Err(BlockError::Unsupported {
            place: TOMBSTONES_FILE.into(),
            what,
        });
    }

    Ok(())
}

fn at_tombstones(e: Malformed) -> BlockError {
    e.at(TOMBSTONES_FILE)
}

/// Sorts intervals and joins those that touch.
fn merge(list: &mut Vec<Interval>) {
    list.sort_unstable();

    let mut kept: Vec<Interval> = Vec::with_capacity(list.len());
    for next in list.drain(..) {
        match kept.last_mut() {
            Some(last) if next.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(next.last)
            }
            _ => kept.push(next),
        }
    }

    *list = kept;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_come_back(list in prop::collection::vec((any::<u32>(), any::<i64>(), 0i64..1000), 0..40)) {
            let mut all = Tombstones::default();
            for (id, first, len) in list {
                all.add(id, Interval { first, last: first.saturating_add(len) });
            }
            let bytes = all.to_bytes();
            prop_assert_eq!(Tombstones::parse(&bytes).expect("own bytes"), all);
            for len in 0..bytes.len() {
                prop_assert!(Tombstones::parse(&bytes[..len]).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Tombstones::parse(&bytes);
            let crc = crc32c::crc32c(&bytes).to_be_bytes();
            let _ = Tombstones::parse(&[&HEADER[..], &bytes, &crc].concat());
        }
    }

    #[test]
    fn touching_intervals_are_joined() {
        let mut all = Tombstones::default();
        for (first, last) in [(10, 20), (0, 5), (6, 9), (30, 40)] {
            all.add(7, Interval { first, last });
        }

        assert_eq!(
            all.of(7),
            [
                Interval { first: 0, last: 20 },
                Interval {
                    first: 30,
                    last: 40
                }
            ]
        );
    }
}
