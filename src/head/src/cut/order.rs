//! The series of a cut in label order, without building their labels.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Shard;
use crate::cut::Portion;
use crate::slab::PAGE_SLOTS;

/// Pairs looked at under one lock.
const PAIRS_AT_ONCE: usize = 4_096;

impl Shard {
    /// Slots of a tenant's series with samples that the portion takes, in label order.
    ///
    /// Every label pair gets its rank among all pairs; comparing two series is then comparing two lists of ranks.
    /// Takes about 60 bytes per series while it runs, and locks the shard for a page of them at a time.
    pub(super) fn cut_order(&self, tenant: u32, portion: &Portion) -> Vec<u32> {
        let mut slots: Vec<(u32, u32, u16)> = Vec::new();
        let mut lists: Vec<u32> = Vec::new();
        let all = self.state.read().tenants[tenant as usize]
            .index
            .all
            .ascending()
            .into_owned();

        for some in all.chunks(PAGE_SLOTS) {
            let state = self.state.read();
            for slot in some {
                let Some(series) = state.series.get(*slot).filter(|s| s.tenant == tenant) else {
                    continue;
                };
                let mut floats = series.buckets().map(|b| b.id);
                let mut histograms = series.histograms.iter().flat_map(|h| h.ids());
                let wanted = |id: crate::bucket::BucketId| portion.takes(id);
                if floats.any(wanted) || histograms.any(wanted) {
                    let pairs = state.lists.get(series.labels);
                    slots.push((*slot, lists.len() as u32, pairs.len() as u16));
                    lists.extend_from_slice(pairs);
                }
            }
        }

        self.rank(tenant, &mut lists);
        let of =
            |(_, at, len): &(u32, u32, u16)| &lists[*at as usize..*at as usize + usize::from(*len)];

        slots.sort_unstable_by(|a, b| of(a).cmp(of(b)));
        slots.into_iter().map(|(slot, _, _)| slot).collect()
    }

    /// Replaces pair ids by their ranks in (name, value) order.
    fn rank(&self, tenant: u32, lists: &mut [u32]) {
        let mut ids = lists.to_vec();
        ids.sort_unstable();
        ids.dedup();

        let mut texts: Vec<(Arc<str>, Arc<str>, u32)> = Vec::with_capacity(ids.len());
        for some in ids.chunks(PAIRS_AT_ONCE) {
            let state = self.state.read();
            let index = &state.tenants[tenant as usize].index;
            texts.extend(some.iter().filter_map(|id| {
                let pair = index.pair(*id)?;
                Some((
                    index.names[pair.name as usize].text.clone(),
                    pair.value.clone(),
                    *id,
                ))
            }));
        }

        texts.sort_unstable();
        let ranks: HashMap<u32, u32> = texts
            .iter()
            .enumerate()
            .map(|(rank, (_, _, id))| (*id, rank as u32))
            .collect();

        for id in lists {
            // A pair of a series with samples cannot be freed meanwhile.
            *id = ranks.get(id).copied().unwrap_or(u32::MAX);
        }
    }
}
