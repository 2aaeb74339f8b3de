//! What a shard keeps per tenant besides the series themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use trireme_model::{Exemplar, MetricMetadata, SeriesKey, Tenant};

use crate::index::Index;
use crate::times::Newest;
use crate::worst::Worst;

/// One tenant in one shard.
pub(crate) struct TenantState {
    pub tenant: Tenant,
    pub seed: u64,
    pub index: Index,
    /// Series there are.
    pub series: usize,
    /// Newest sample time in this shard; `i64::MIN` while there is none.
    pub newest: i64,
    /// Newest sample time in any shard of the node.
    pub newest_of_all: Arc<Newest>,
    /// Windows that have samples, and perhaps some that have none any more.
    pub windows: BTreeSet<i64>,
    /// The newest exemplars, oldest first.
    pub exemplars: VecDeque<(SeriesKey, Exemplar)>,
    pub metadata: BTreeMap<String, MetricMetadata>,
    /// What a refused series is told.
    pub worst: Worst,
    /// Memory of the exemplars (bytes).
    pub exemplar_bytes: usize,
    /// Memory of the metadata (bytes).
    pub metadata_bytes: usize,
    /// How often series were collected since something last came for the tenant.
    pub idle_collections: u32,
}

impl TenantState {
    pub fn new(tenant: Tenant, newest_of_all: Arc<Newest>) -> Self {
        Self {
            seed: tenant.seed(),
            tenant,
            index: Index::new(),
            series: 0,
            newest: i64::MIN,
            newest_of_all,
            windows: BTreeSet::new(),
            exemplars: VecDeque::new(),
            metadata: BTreeMap::new(),
            worst: Worst::default(),
            exemplar_bytes: 0,
            metadata_bytes: 0,
            idle_collections: 0,
        }
    }

    /// There is a sample of this time.
    pub fn note_newest(&mut self, t: i64) {
        self.newest = self.newest.max(t);
        self.newest_of_all.note(t);
    }

    /// Keeps an exemplar; false if the same one is among the newest of its series.
    pub fn add_exemplar(&mut self, key: SeriesKey, exemplar: &Exemplar, max: usize) -> bool {
        let last = self.exemplars.iter().rev().take(64).find(|(k, _)| *k == key);
        // By bits: NaN is equal to itself here.
        let is_same = |known: &Exemplar| {
            known.t == exemplar.t
                && known.v.to_bits() == exemplar.v.to_bits()
                && known.labels == exemplar.labels
        };
        if last.is_some_and(|(_, known)| is_same(known)) {
            return false;
        }
        while self.exemplars.len() >= max.max(1) {
            self.drop_oldest_exemplar();
        }
        self.push_exemplar(key, exemplar.clone());
        true
    }

    /// Keeps an exemplar whatever there is.
    pub fn push_exemplar(&mut self, key: SeriesKey, exemplar: Exemplar) {
        self.exemplar_bytes += exemplar_bytes(&exemplar);
        self.exemplars.push_back((key, exemplar));
    }

    fn drop_oldest_exemplar(&mut self) {
        if let Some((_, exemplar)) = self.exemplars.pop_front() {
            self.exemplar_bytes -= exemplar_bytes(&exemplar);
        }
    }

    /// Keeps what a metric was declared as; the newest declaration wins. False without room for another metric.
    pub fn set_metadata(&mut self, metric: &str, metadata: &MetricMetadata, max: usize) -> bool {
        if let Some(known) = self.metadata.get_mut(metric) {
            self.metadata_bytes -= metadata_bytes(metric, known);
            self.metadata_bytes += metadata_bytes(metric, metadata);
            known.clone_from(metadata);
            return true;
        }
        if self.metadata.len() >= max.max(1) {
            return false;
        }
        self.metadata_bytes += metadata_bytes(metric, metadata);
        self.metadata.insert(metric.to_owned(), metadata.clone());
        true
    }

    /// Drops the older half of the exemplars.
    pub fn halve_exemplars(&mut self) {
        for _ in 0..self.exemplars.len().div_ceil(2) {
            self.drop_oldest_exemplar();
        }
        self.exemplars.shrink_to_fit();
    }

    /// Drops every second metric's metadata.
    pub fn halve_metadata(&mut self) {
        let mut bytes = 0;
        let mut number = 0;
        self.metadata.retain(|metric, metadata| {
            number += 1;
            let stays = number % 2 == 0;
            bytes += if stays { metadata_bytes(metric, metadata) } else { 0 };
            stays
        });
        self.metadata_bytes = bytes;
    }
}

/// Memory of an exemplar (bytes).
fn exemplar_bytes(exemplar: &Exemplar) -> usize {
    exemplar.labels.as_bytes().len() + 96
}

/// Memory of a metric's metadata (bytes).
fn metadata_bytes(metric: &str, metadata: &MetricMetadata) -> usize {
    metric.len() + metadata.help.len() + metadata.unit.len() + 128
}

#[cfg(test)]
mod tests {
    use trireme_model::{Labels, MetricType};

    use super::*;
    use crate::TenantTimes;

    fn tenant() -> TenantState {
        TenantState::new(Tenant::default(), TenantTimes::default().of("a"))
    }

    #[test]
    fn a_repeated_exemplar_is_kept_once_even_if_it_is_not_a_number() {
        let mut tenant = tenant();
        let exemplar = Exemplar { labels: Labels::default(), v: f64::NAN, t: 5 };
        assert!(tenant.add_exemplar(SeriesKey(1), &exemplar, 10));
        assert!(!tenant.add_exemplar(SeriesKey(1), &exemplar, 10));
        assert_eq!(tenant.exemplars.len(), 1);
    }

    #[test]
    fn known_metrics_keep_their_metadata_when_there_is_no_room_for_more() {
        let mut tenant = tenant();
        let metadata = |help: &str| MetricMetadata {
            kind: MetricType::Gauge,
            unit: String::new(),
            help: help.to_owned(),
        };
        for metric in ["a", "b"] {
            assert!(tenant.set_metadata(metric, &metadata("old"), 2));
        }
        assert!(!tenant.set_metadata("c", &metadata("new"), 2));
        assert!(tenant.set_metadata("a", &metadata("new"), 2));
        assert_eq!(tenant.metadata.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}
