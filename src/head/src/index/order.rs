//! Series in label order, by comparing numbers.
//!
//! A series is a list of pair ids in label order. Once the pairs that occur are ranked by name and value, comparing
//! two series is comparing two short lists of ranks, which costs far less than comparing their texts.
//!
//! The index is asked only for the texts of the pairs that occur, some at a time: nobody who writes waits for a sort.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Index;

/// With ids more than this times as high as there are ids in the lists, ranking costs more than it saves.
const HIGHEST_PER_ID_MAX: usize = 16;
/// Pairs that are looked up in one look at the index.
const PAIRS_AT_A_TIME: usize = 4_096;
const UNRANKED: u32 = u32::MAX;

/// Lists of pair ids, one a series, in one vector.
#[derive(Default)]
pub(crate) struct PairLists {
    ids: Vec<u32>,
    /// Where each list ends.
    ends: Vec<usize>,
}

impl PairLists {
    pub fn push(&mut self, pairs: &[u32]) {
        self.ids.extend_from_slice(pairs);
        self.ends.push(self.ids.len());
    }

    fn list(&self, i: u32) -> &[u32] {
        let i = i as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start..self.ends[i]]
    }

    /// The numbers of the lists in the order of the labels they stand for; `None` if comparing labels is cheaper, or if
    /// the index does not know a pair (any more). `with_index` gives one look at it, and answers what the look does; it is
    /// called many times.
    pub fn order(
        mut self,
        with_index: impl Fn(&mut dyn FnMut(&Index) -> Option<()>) -> Option<()>,
    ) -> Option<Vec<u32>> {
        let highest = self.ids.iter().max().map_or(0, |id| *id as usize);
        if highest / HIGHEST_PER_ID_MAX > self.ids.len() {
            return None;
        }

        let mut ranks = vec![UNRANKED; highest + 1];
        let ids: Vec<u32> = self
            .ids
            .iter()
            .copied()
            .filter(|id: &u32| std::mem::replace(&mut ranks[*id as usize], 0) == UNRANKED)
            .collect();

        let used = UsedPairs::find(&ids, with_index)?;
        used.rank(&mut ranks);
        self.ids.iter_mut().for_each(|id| *id = ranks[*id as usize]);

        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.list(*a).cmp(self.list(*b)));
        Some(order)
    }
}

/// The pairs that occur, and the names they have.
struct UsedPairs {
    /// Names are few, and many pairs have the same.
    names: BTreeMap<u32, Arc<str>>,
    /// (name, value, id)
    pairs: Vec<(u32, Arc<str>, u32)>,
}

impl UsedPairs {
    fn find(
        ids: &[u32],
        with_index: impl Fn(&mut dyn FnMut(&Index) -> Option<()>) -> Option<()>,
    ) -> Option<Self> {
        let mut used = Self {
            names: BTreeMap::new(),
            pairs: Vec::with_capacity(ids.len()),
        };

        for some in ids.chunks(PAIRS_AT_A_TIME) {
            with_index(&mut |index| some.iter().try_for_each(|id| used.add(index, *id)))?;
        }

        Some(used)
    }

    fn add(&mut self, index: &Index, id: u32) -> Option<()> {
        let pair = index.pair(id)?;
        self.names
            .entry(pair.name)
            .or_insert_with(|| index.names[pair.name as usize].text.clone());
        self.pairs.push((pair.name, pair.value.clone(), id));
        Some(())
    }

    /// Notes for each pair which one it is in the order of names and values.
    fn rank(mut self, ranks: &mut [u32]) {
        let mut by_text: Vec<_> = self
            .names
            .iter()
            .map(|(number, text)| (&**text, *number))
            .collect();

        by_text.sort_unstable();
        let name_ranks: BTreeMap<u32, u32> = by_text
            .iter()
            .zip(0..)
            .map(|((_, number), rank)| (*number, rank))
            .collect();

        for (name, ..) in &mut self.pairs {
            *name = name_ranks[name];
        }

        self.pairs.sort_unstable();
        for ((.., id), rank) in self.pairs.iter().zip(0..) {
            ranks[*id as usize] = rank;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trireme_model::Labels;

    use super::*;

    proptest! {
        #[test]
        fn ranks_order_series_as_their_labels_do(
            sets in proptest::collection::btree_set(
                proptest::collection::btree_map("[a-d]", "[a-c]{1,2}", 0..4), 1..40),
        ) {
            // Names and values become known in another order than theirs.
            let sets: Vec<Labels> = sets.iter().rev().map(Labels::from_pairs).collect();
            let (mut index, mut lists) = (Index::new(), PairLists::default());
            for labels in &sets {
                let pairs: Vec<u32> = labels.iter().map(|(n, v)| index.intern(n, v, false)).collect();
                lists.push(&pairs);
            }
            let order = lists.order(|look| look(&index)).expect("a small index");
            let found: Vec<_> = order.iter().map(|i| sets[*i as usize].clone()).collect();
            let mut want = sets;
            want.sort();
            prop_assert_eq!(found, want);
        }
    }
}
