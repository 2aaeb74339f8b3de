//! The series of a cut in label order, without building their labels.

use std::collections::HashMap;
use std::ops::Range;
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
        let Found {
            mut places,
            mut lists,
        } = self.find_taken(tenant, portion);

        self.rank(tenant, &mut lists);
        places.sort_unstable_by(|a, b| lists[a.list()].cmp(&lists[b.list()]));
        places.into_iter().map(|place| place.slot).collect()
    }

    /// The tenant's series with samples that the portion takes, by slot.
    fn find_taken(&self, tenant: u32, portion: &Portion) -> Found {
        let mut found = Found::default();
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
                if floats.any(|id| portion.takes(id)) || histograms.any(|id| portion.takes(id)) {
                    found.add(*slot, state.lists.get(series.labels));
                }
            }
        }

        found
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

/// Series that were found, each with a list of what stands for its label pairs.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    /// All lists, one behind the other.
    lists: Vec<u32>,
}

impl Found {
    fn add(&mut self, slot: u32, pairs: &[u32]) {
        self.places.push(Place {
            slot,
            at: self.lists.len() as u32,
            len: pairs.len() as u16,
        });
        self.lists.extend_from_slice(pairs);
    }
}

/// Where the list of a series is.
struct Place {
    slot: u32,
    at: u32,
    len: u16,
}

impl Place {
    fn list(&self) -> Range<usize> {
        let at = self.at as usize;
        at..at + usize::from(self.len)
    }
}
