//! Which label names and values there are.

use std::borrow::Cow;
use std::collections::BTreeSet;

use trireme_model::{Matcher, Tenant};

use crate::Shard;
use crate::index::postings::common;
use crate::slab::PAGE_SLOTS;
use crate::state::State;

/// With so many matching series for each value of a label, looking for one series of each value is less work than looking
/// at the value of each series.
const SERIES_PER_VALUE_MIN: usize = 8;
/// Values that are looked at between two chances for writers.
const VALUES_LOCKED: usize = 256;

impl Shard {
    /// Calls `each` with the label names of the series that match, in any order. The shard may be locked meanwhile.
    pub fn label_names(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        mut each: impl FnMut(&str),
    ) {
        if matchers.is_empty() {
            return self.all_label_names(tenant, start, end, each);
        }

        let mut seen: Vec<bool> = Vec::new();
        self.each_matching(tenant, matchers, start, end, |index, _, pairs, _| {
            seen.resize(index.names.len().max(seen.len()), false);
            for pair in pairs.iter().filter_map(|id| index.pair(*id)) {
                let at = pair.name as usize;
                if !std::mem::replace(&mut seen[at], true) {
                    each(&index.names[at].text);
                }
            }
        });
    }

    /// Label names of all series in range. One series in range decides for a name, so most names cost one look.
    fn all_label_names(&self, tenant: &Tenant, start: i64, end: i64, mut each: impl FnMut(&str)) {
        let state = self.state.read();
        let Some(tenant) = state.tenant(tenant) else {
            return;
        };

        let index = &tenant.index;
        let all = self.are_all_in(&state, tenant, start, end);
        for (id, name) in index.names.iter().enumerate() {
            // Pairs without a series are removed.
            let is_used = if all {
                !name.pairs.is_empty()
            } else {
                let mut pairs = index.pairs_of(id as u32);
                pairs.any(|pair| self.any_in(&state, pair.postings.iter(), start, end))
            };
            if is_used {
                each(&name.text);
            }
        }
    }

    /// True if one of the series may have samples in `start..=end`.
    fn any_in(
        &self,
        state: &State,
        mut slots: impl Iterator<Item = u32>,
        start: i64,
        end: i64,
    ) -> bool {
        slots.any(|slot| {
            state
                .series
                .get(slot)
                .is_some_and(|s| self.overlaps(s, start, end))
        })
    }

    /// Calls `each` with the values of a label of the series that match, in any order, perhaps with some twice. The shard
    /// may be locked meanwhile.
    pub fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        mut each: impl FnMut(&str),
    ) {
        if matchers.is_empty() {
            return self.all_label_values(tenant, name, start, end, each);
        }

        if self
            .values_of_many(tenant, name, matchers, start, end, &mut each)
            .is_some()
        {
            return;
        }

        let mut found = BTreeSet::new();
        self.each_matching(tenant, matchers, start, end, |index, _, pairs, _| {
            let Some(name) = index.name_id(name) else {
                return;
            };
            if let Some((id, pair)) = pairs
                .iter()
                .find_map(|id: &u32| index.pair(*id).filter(|p| p.name == name).map(|p| (*id, p)))
                && found.insert(id)
            {
                each(&pair.value);
            }
        });
    }

    /// Values of a label of all series in range.
    fn all_label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        start: i64,
        end: i64,
        mut each: impl FnMut(&str),
    ) {
        let Some(ids) = self.pair_ids(tenant, name) else {
            return;
        };
        for some in ids.chunks(PAGE_SLOTS) {
            let state = self.state.read();
            let Some(tenant) = state.tenant(tenant) else {
                return;
            };

            // Series may be dropped meanwhile, and their numbers go to others.
            let Some(name) = tenant.index.name_id(name) else {
                return;
            };

            let all = self.are_all_in(&state, tenant, start, end);
            let pairs = some.iter().filter_map(|id| tenant.index.pair(*id));
            for pair in pairs.filter(|pair| pair.name == name) {
                // One series in range decides for a value, so most values cost one look.
                let is_used = if all {
                    !pair.postings.is_empty()
                } else {
                    self.any_in(&state, pair.postings.iter(), start, end)
                };
                if is_used {
                    each(&pair.value);
                }
            }
        }
    }

    /// The pairs with this label name.
    fn pair_ids(&self, tenant: &Tenant, name: &str) -> Option<Vec<u32>> {
        let state = self.state.read();
        let index = state.index(tenant)?;
        let name = index.name_id(name)?;
        Some(index.names[name as usize].pairs.clone())
    }

    /// Values of a label where far more series match than the label has values: one series in range decides for a value.
    /// `None` if that is not so, or if series were dropped meanwhile.
    fn values_of_many(
        &self,
        tenant: &Tenant,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        mut each: impl FnMut(&str),
    ) -> Option<()> {
        let (slots, ids, dropped) = {
            let state = self.state.read();
            let index = state.index(tenant)?;
            let ids = &index.names[index.name_id(name)? as usize].pairs;
            let slots = state.select(index, matchers);
            if slots.len() / SERIES_PER_VALUE_MIN < ids.len() {
                return None;
            }
            (slots, ids.clone(), state.dropped_series)
        };

        for some in ids.chunks(VALUES_LOCKED) {
            let state = self.state.read();
            let index = state
                .index(tenant)
                .filter(|_| state.dropped_series == dropped)?;

            for pair in some.iter().filter_map(|id| index.pair(*id)) {
                let of_value: Cow<'_, [u32]> = pair.postings.ascending();
                if self.any_in(&state, common(&of_value, &slots), start, end) {
                    each(&pair.value);
                }
            }
        }

        Some(())
    }
}
