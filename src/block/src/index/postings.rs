//! Lists of series that have a label pair.

use bytes::Bytes;

use crate::codec::{Cursor, Malformed};

/// Series ids, ascending, as they lie in the file.
#[derive(Clone, Debug, Default)]
pub struct Postings(Bytes);

impl Postings {
    /// Takes a list without length and checksum.
    pub(super) fn parse(content: Bytes) -> Result<Self, Malformed> {
        let n = Cursor::new(&content).u32()? as usize;
        if (content.len() - 4) / 4 != n || !content.len().is_multiple_of(4) {
            return Err(Malformed("counts other than it has"));
        }
        Ok(Self(content.slice(4..)))
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id at a position below [`Postings::len`].
    #[inline]
    pub fn get(&self, i: usize) -> u32 {
        u32::from_be_bytes(
            self.0[i * 4..i * 4 + 4]
                .try_into()
                .expect("BUG: four bytes"),
        )
    }

    /// Ids, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.0
            .chunks_exact(4)
            .map(|b| u32::from_be_bytes(b.try_into().expect("BUG: four bytes")))
    }

    /// Position of the first id at or behind `from` that is not below `id`; doubles its steps, so near is cheap.
    fn seek(&self, from: usize, id: u32) -> usize {
        let mut low = from;

        let mut step = 1;
        while low + step < self.len() && self.get(low + step) < id {
            low += step;
            step *= 2;
        }

        let (mut low, mut high) = (low, (low + step + 1).min(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }

        low
    }

    /// True if one of the ascending `ids` is in the list.
    pub(crate) fn meets(&self, ids: &[u32]) -> bool {
        if self.len() <= ids.len() {
            let mut rest = ids;
            return self.iter().any(|id| {
                rest = &rest[rest.partition_point(|other| *other < id)..];
                rest.first() == Some(&id)
            });
        }

        let mut at = 0;
        ids.iter().any(|id| {
            at = self.seek(at, *id);
            at < self.len() && self.get(at) == *id
        })
    }

    /// Keeps those of the ascending `ids` that are in the list, or with `present` false those that are not.
    pub(crate) fn retain(&self, ids: &mut Vec<u32>, present: bool) {
        let mut at = 0;
        ids.retain(|id| {
            at = self.seek(at, *id);
            (at < self.len() && self.get(at) == *id) == present
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(ids: &[u32]) -> Postings {
        let count = (ids.len() as u32).to_be_bytes();
        let bytes: Vec<u8> = count
            .into_iter()
            .chain(ids.iter().flat_map(|id| id.to_be_bytes()))
            .collect();
        Postings::parse(Bytes::from(bytes)).expect("whole list")
    }

    proptest! {
        #[test]
        fn retain_is_set_intersection_and_difference(
            a in prop::collection::btree_set(0u32..500, 0..100),
            b in prop::collection::btree_set(0u32..500, 0..300),
        ) {
            let list = list(&b.iter().copied().collect::<Vec<_>>());
            let (mut both, mut only) = (a.iter().copied().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(list.meets(&both), !a.is_disjoint(&b));
            list.retain(&mut both, true);
            list.retain(&mut only, false);
            prop_assert_eq!(both, a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(only, a.difference(&b).copied().collect::<Vec<_>>());
        }
    }
}
