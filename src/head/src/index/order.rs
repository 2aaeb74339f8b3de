//! Series in label order, by comparing numbers.
//!
//! A series is a list of pair ids in label order. Once the pairs that occur are ranked by name and value, comparing
//! two series is comparing two short lists of ranks, which costs far less than comparing their texts.

use super::Index;

/// With more pairs in the index than this for each pair id of the series, ranking costs more than it saves.
const INDEX_PAIRS_PER_ID_MAX: usize = 16;
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
    /// `index` does not know a pair (any more).
    pub fn order(mut self, index: &Index) -> Option<Vec<u32>> {
        if index.pairs.len() / INDEX_PAIRS_PER_ID_MAX > self.ids.len() {
            return None;
        }
        let mut ranks = vec![UNRANKED; index.pairs.len()];
        let mut names: Vec<u32> = (0..index.names.len() as u32).collect();
        names.sort_unstable_by_key(|name| &index.names[*name as usize].text);
        let mut name_ranks = vec![0u32; names.len()];
        names.iter().zip(0..).for_each(|(name, rank)| name_ranks[*name as usize] = rank);
        let mut distinct = Vec::new();
        for id in &self.ids {
            let rank = ranks.get_mut(*id as usize)?;
            if *rank == UNRANKED {
                *rank = 0;
                let pair = index.pair(*id)?;
                distinct.push((name_ranks[pair.name as usize], &*pair.value, *id));
            }
        }
        distinct.sort_unstable();
        distinct.iter().zip(0..).for_each(|((.., id), rank)| ranks[*id as usize] = rank);
        self.ids.iter_mut().for_each(|id| *id = ranks[*id as usize]);
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.list(*a).cmp(self.list(*b)));
        Some(order)
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
            let order = lists.order(&index).expect("a small index");
            let found: Vec<_> = order.iter().map(|i| sets[*i as usize].clone()).collect();
            let mut want = sets;
            want.sort();
            prop_assert_eq!(found, want);
        }
    }
}
