//! The slots of a label pair's series.

use std::borrow::Cow;

/// A set of slots. New slots mostly ascend; others wait unsorted at the end until they are worth a merge.
#[derive(Default)]
pub(crate) struct Postings {
    slots: Vec<u32>,
    /// How many of `slots` ascend.
    sorted: u32,
}

impl Postings {
    /// An empty set with room for `slots`.
    pub fn with_capacity(slots: usize) -> Self {
        Self {
            slots: Vec::with_capacity(slots),
            sorted: 0,
        }
    }

    /// Adds a slot that is not in the set.
    pub fn insert(&mut self, slot: u32) {
        let sorted = self.sorted as usize;
        let ascends =
            sorted == self.slots.len() && self.slots.last().is_none_or(|last| *last < slot);

        if self.slots.len() == self.slots.capacity() {
            // A quarter instead of a double: most of the memory of an index is here.
            self.slots.reserve_exact((self.slots.len() / 4).max(4));
        }

        self.slots.push(slot);
        if ascends {
            self.sorted += 1;
        } else if self.slots.len() - sorted > (sorted / 8).max(64) {
            // The stable sort sees the long ascending run and only merges.
            self.slots.sort();
            self.sorted = self.slots.len() as u32;
        }
    }

    /// The slots in ascending order.
    pub fn ascending(&self) -> Cow<'_, [u32]> {
        if self.sorted as usize == self.slots.len() {
            return Cow::Borrowed(&self.slots);
        }
        let mut all = self.slots.clone();
        all.sort();
        Cow::Owned(all)
    }

    /// The slots in no order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }

    /// Removes all of `dead`, which ascends.
    pub fn remove_all(&mut self, dead: &[u32]) {
        self.slots.sort();
        self.slots.retain(|slot| dead.binary_search(slot).is_err());
        if self.slots.capacity() > self.slots.len() * 2 + 8 {
            self.slots.shrink_to_fit();
        }
        self.sorted = self.slots.len() as u32;
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.slots.capacity() * 4
    }
}

/// Slots in both, ascending; both ascend. Walks the shorter and gallops through the longer.
pub(crate) fn common<'a>(a: &'a [u32], b: &'a [u32]) -> impl Iterator<Item = u32> + use<'a> {
    let (short, mut long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(move |slot| {
        let mut step = 1;
        while step < long.len() && long[step] < *slot {
            step *= 2;
        }
        let end = (step + 1).min(long.len());
        let at = long[..end].partition_point(|s| s < slot);
        long = &long[at..];
        long.first() == Some(slot)
    })
}

/// All of [`common`].
pub(crate) fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len().min(b.len()));
    out.extend(common(a, b));
    out
}

/// Slots of `a` that are not in `b`; both ascend.
pub(crate) fn subtract(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut rest = b;
    a.iter()
        .filter(|slot: &&u32| {
            let at = rest.partition_point(|s| s < *slot);
            // Advance by what was passed, so that the search stays short.
            rest = &rest[at..];
            rest.first() != Some(*slot)
        })
        .copied()
        .collect()
}

/// All slots of several ascending lists, ascending, each once.
pub(crate) fn union(lists: &[Cow<'_, [u32]>]) -> Vec<u32> {
    match lists {
        [] => Vec::new(),
        [one] => one.to_vec(),
        many => {
            let mut all = Vec::with_capacity(many.iter().map(|l| l.len()).sum());
            many.iter().for_each(|list| all.extend_from_slice(list));
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn set_operations_agree_with_sets(
            a in proptest::collection::btree_set(0u32..200, 0..80),
            b in proptest::collection::btree_set(0u32..200, 0..80),
        ) {
            let list = |s: &BTreeSet<u32>| s.iter().copied().collect::<Vec<_>>();
            let (la, lb) = (list(&a), list(&b));
            prop_assert_eq!(intersect(&la, &lb), list(&(&a & &b)));
            prop_assert_eq!(subtract(&la, &lb), list(&(&a - &b)));
            prop_assert_eq!(union(&[Cow::Borrowed(&la), Cow::Borrowed(&lb)]), list(&(&a | &b)));
            let mut postings = Postings::default();
            // Any order of insertion.
            lb.iter().chain(&la.iter().copied().filter(|s| !b.contains(s)).collect::<Vec<_>>()).for_each(|s| postings.insert(*s));
            prop_assert_eq!(postings.ascending().to_vec(), list(&(&a | &b)));
            postings.remove_all(&la);
            prop_assert_eq!(postings.ascending().to_vec(), list(&(&b - &a)));
        }
    }
}
