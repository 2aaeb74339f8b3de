//! What a shard keeps per tenant besides the series themselves.

use std::collections::{BTreeMap, VecDeque};

use trireme_model::{Exemplar, MetricMetadata, SeriesKey, Tenant};

use crate::index::Index;
use crate::worst::Worst;

/// One tenant in one shard.
pub(crate) struct TenantState {
    pub tenant: Tenant,
    pub seed: u64,
    pub index: Index,
    /// Series there are.
    pub series: usize,
    /// Newest sample time; `i64::MIN` while there is none.
    pub newest: i64,
    /// The newest exemplars, oldest first.
    pub exemplars: VecDeque<(SeriesKey, Exemplar)>,
    pub metadata: BTreeMap<String, MetricMetadata>,
    /// What a refused series is told.
    pub worst: Worst,
}

impl TenantState {
    pub fn new(tenant: Tenant) -> Self {
        Self {
            seed: tenant.seed(),
            tenant,
            index: Index::new(),
            series: 0,
            newest: i64::MIN,
            exemplars: VecDeque::new(),
            metadata: BTreeMap::new(),
            worst: Worst::default(),
        }
    }

    /// Keeps an exemplar; false if the same one is among the newest of its series.
    pub fn add_exemplar(&mut self, key: SeriesKey, exemplar: &Exemplar, max: usize) -> bool {
        let last = self.exemplars.iter().rev().take(64).find(|(k, _)| *k == key);
        if last.is_some_and(|(_, known)| known == exemplar) {
            return false;
        }
        while self.exemplars.len() >= max.max(1) {
            self.exemplars.pop_front();
        }
        self.exemplars.push_back((key, exemplar.clone()));
        true
    }

    /// Keeps what a metric was declared as; the newest declaration wins. Without room another metric's goes: senders
    /// repeat what they declare.
    pub fn set_metadata(&mut self, metric: &str, metadata: &MetricMetadata, max: usize) {
        if let Some(known) = self.metadata.get_mut(metric) {
            known.clone_from(metadata);
            return;
        }
        while self.metadata.len() >= max.max(1) {
            self.metadata.pop_first();
        }
        self.metadata.insert(metric.to_owned(), metadata.clone());
    }
}
