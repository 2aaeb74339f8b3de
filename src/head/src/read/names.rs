//! Which label names and values there are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{Matcher, Tenant};

use crate::Shard;
use crate::index::Pair;
use crate::index::postings::common;
use crate::slab::PAGE_SLOTS;

/// With so many matching series for each value of a label, looking for one series of each value is less work than looking
/// at the value of each series.
const SERIES_PER_VALUE_MIN: usize = 8;
/// Values that are looked at between two chances for writers.
const VALUES_LOCKED: usize = 256;

impl Shard {
    /// Label names of the series that match, ascending.
    pub fn label_names(&self, tenant: &Tenant, matchers: &[Matcher], start: i64, end: i64) -> Vec<Arc<str>> {
        if matchers.is_empty() {
            return self.all_label_names(tenant, start, end);
        }
        let mut seen: Vec<Option<Arc<str>>> = Vec::new();
        self.each_matching(tenant, matchers, start, end, |index, _, pairs, _| {
            seen.resize(index.names.len().max(seen.len()), None);
            for pair in pairs.iter().filter_map(|id| index.pair(*id)) {
                let at = pair.name as usize;
                seen[at].get_or_insert_with(|| index.names[at].text.clone());
            }
        });
        let mut names: Vec<Arc<str>> = seen.into_iter().flatten().collect();
        names.sort_unstable();
        names
    }

    /// Label names of all series in range, ascending. One series in range decides for a name, so most names cost one look.
    fn all_label_names(&self, tenant: &Tenant, start: i64, end: i64) -> Vec<Arc<str>> {
        let state = self.state.read();
        let Some(index) = state.index(tenant) else { return Vec::new() };
        let live = |slot: u32| state.series.get(slot).is_some_and(|s| self.overlaps(s, start, end));
        let has_live = |name: &u32| index.pairs_of(*name).any(|pair| pair.postings.iter().any(live));
        let mut names: Vec<Arc<str>> = (0..index.names.len() as u32)
            .filter(has_live)
            .map(|name| Arc::clone(&index.names[name as usize].text))
            .collect();
        names.sort_unstable();
        names
    }

    /// Values of a label of the series that match, ascending.
    pub fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Vec<Arc<str>> {
        let mut values: Vec<Arc<str>> = Vec::new();
        if matchers.is_empty() {
            let (name, ids) = {
                let state = self.state.read();
                let Some(index) = state.index(tenant) else { return values };
                let Some(name) = index.name_id(name) else { return values };
                (name, index.names[name as usize].pairs.clone())
            };
            for some in ids.chunks(PAGE_SLOTS) {
                let state = self.state.read();
                let Some(index) = state.index(tenant) else { return values };
                // One series in range decides for a value, so most values cost one look.
                let live = |slot: u32| state.series.get(slot).is_some_and(|s| self.overlaps(s, start, end));
                let has_live = |p: &&Pair| p.name == name && p.postings.iter().any(live);
                let pairs = some.iter().filter_map(|id| index.pair(*id));
                values.extend(pairs.filter(has_live).map(|p| p.value.clone()));
            }
        } else if let Some(found) = self.values_of_many(tenant, name, matchers, start, end) {
            values = found;
        } else {
            let mut found: BTreeMap<u32, Arc<str>> = BTreeMap::new();
            self.each_matching(tenant, matchers, start, end, |index, _, pairs, _| {
                let Some(name) = index.name_id(name) else { return };
                let of_name = |id: &u32| index.pair(*id).filter(|p| p.name == name).map(|p| (*id, p));
                if let Some((id, pair)) = pairs.iter().find_map(of_name) {
                    found.entry(id).or_insert_with(|| pair.value.clone());
                }
            });
            values.extend(found.into_values());
        }
        values.sort_unstable();
        values.dedup();
        values
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
    ) -> Option<Vec<Arc<str>>> {
        let (slots, ids, dropped) = {
            let state = self.state.read();
            let index = state.index(tenant)?;
            let ids = &index.names[index.name_id(name)? as usize].pairs;
            let slots = index.select(matchers);
            if slots.len() / SERIES_PER_VALUE_MIN < ids.len() {
                return None;
            }
            (slots, ids.clone(), state.dropped_series)
        };
        let mut values = Vec::new();
        for some in ids.chunks(VALUES_LOCKED) {
            let state = self.state.read();
            let index = state.index(tenant).filter(|_| state.dropped_series == dropped)?;
            let live = |slot: u32| state.series.get(slot).is_some_and(|s| self.overlaps(s, start, end));
            for pair in some.iter().filter_map(|id| index.pair(*id)) {
                let of_value: Cow<'_, [u32]> = pair.postings.ascending();
                if common(&of_value, &slots).any(live) {
                    values.push(pair.value.clone());
                }
            }
        }
        Some(values)
    }
}
