//! What a shard keeps per tenant besides the series themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
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
    /// The exemplars that came last, each once.
    pub exemplars: VecDeque<(SeriesKey, Exemplar)>,
    /// Fingerprints of `exemplars`.
    pub exemplar_prints: HashSet<u64, FixedState>,
    /// What each metric was declared as, the greatest first. Replicas hear of declarations in different orders.
    pub metadata: BTreeMap<String, Vec<MetricMetadata>>,
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
            exemplar_prints: HashSet::default(),
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

    /// Keeps an exemplar; false if it is there.
    pub fn add_exemplar(&mut self, key: SeriesKey, exemplar: &Exemplar, max: usize) -> bool {
        if !self.exemplar_prints.insert(fingerprint(key, exemplar)) {
            return false;
        }

        while self.exemplars.len() >= max.max(1) {
            self.drop_oldest_exemplar();
        }

        self.exemplar_bytes += exemplar_bytes(exemplar);
        self.exemplars.push_back((key, exemplar.clone()));
        true
    }

    fn drop_oldest_exemplar(&mut self) {
        if let Some((key, exemplar)) = self.exemplars.pop_front() {
            self.exemplar_bytes -= exemplar_bytes(&exemplar);
            self.exemplar_prints.remove(&fingerprint(key, &exemplar));
        }
    }

    /// True if the metric is known to be declared as this.
    pub fn has_metadata(&self, metric: &str, metadata: &MetricMetadata) -> bool {
        self.metadata
            .get(metric)
            .is_some_and(|entries| entries.contains(metadata))
    }

    /// Keeps what a metric was declared as. Of one metric the greatest declarations stay, whatever came first, so that all
    /// replicas have the same; `max` bounds the metrics.
    pub fn add_metadata(
        &mut self,
        metric: &str,
        metadata: &MetricMetadata,
        max: usize,
    ) -> AddedMetadata {
        let Some(entries) = self.metadata.get_mut(metric) else {
            if self.metadata.len() >= max.max(1) {
                return AddedMetadata::NoRoom;
            }
            self.metadata_bytes += metadata_bytes(metric, metadata);
            self.metadata
                .insert(metric.to_owned(), vec![metadata.clone()]);
            return AddedMetadata::Kept;
        };

        let Err(at) = entries.binary_search_by(|entry| metadata.cmp(entry)) else {
            return AddedMetadata::Kept;
        };
        if at >= METADATA_ENTRIES_MAX {
            return AddedMetadata::Lesser;
        }

        if entries.len() >= METADATA_ENTRIES_MAX
            && let Some(least) = entries.pop()
        {
            self.metadata_bytes -= metadata_bytes(metric, &least);
        }

        self.metadata_bytes += metadata_bytes(metric, metadata);
        entries.insert(at, metadata.clone());
        AddedMetadata::Kept
    }

    /// Gives back what its index took for series that are gone.
    pub fn shrink(&mut self) {
        if self.series == 0 {
            self.index = Index::new();
        } else {
            self.index.shrink();
        }
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
            bytes += if stays {
                metadata
                    .iter()
                    .map(|entry| metadata_bytes(metric, entry))
                    .sum()
            } else {
                0
            };
            stays
        });

        self.metadata_bytes = bytes;
    }
}

/// Declarations kept of one metric.
pub(crate) const METADATA_ENTRIES_MAX: usize = 16;

/// What became of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddedMetadata {
    /// It is there now.
    Kept,
    /// The metric has enough of greater ones.
    Lesser,
    /// There is no room for another metric.
    NoRoom,
}

/// Tells exemplars apart; equal ones of a tenant would have to be sought for, and cost their sender an exemplar.
fn fingerprint(key: SeriesKey, exemplar: &Exemplar) -> u64 {
    let Exemplar { labels, v, t } = exemplar;
    FixedState::default().hash_one((key.0, t, v.to_bits(), labels.as_bytes()))
}

/// Memory of an exemplar and its fingerprint (bytes).
fn exemplar_bytes(exemplar: &Exemplar) -> usize {
    exemplar.labels.as_bytes().len() + 112
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
    fn exemplars_are_a_set_however_many_come_in_between() {
        let mut tenant = tenant();
        let exemplar = |t| Exemplar {
            labels: Labels::from_pairs([("trace_id", "x")]),
            v: f64::NAN,
            t,
        };

        for _ in 0..3 {
            for t in 0..1_000 {
                tenant.add_exemplar(SeriesKey(t as u128 % 7), &exemplar(t), 2_000);
            }
        }

        assert_eq!(tenant.exemplars.len(), 1_000);
        assert!(
            tenant.add_exemplar(SeriesKey(8), &exemplar(0), 2_000),
            "another series"
        );

        // What has left may come again.
        for t in 0..10 {
            tenant.add_exemplar(SeriesKey(9), &exemplar(t), 3);
        }

        assert!(!tenant.add_exemplar(SeriesKey(9), &exemplar(9), 3));
        assert!(tenant.add_exemplar(SeriesKey(9), &exemplar(0), 3));
        assert_eq!(
            (tenant.exemplars.len(), tenant.exemplar_prints.len()),
            (3, 3)
        );
        tenant.halve_exemplars();
        assert_eq!(
            (tenant.exemplars.len(), tenant.exemplar_prints.len()),
            (1, 1)
        );
    }

    fn gauge(help: &str) -> MetricMetadata {
        MetricMetadata {
            kind: MetricType::Gauge,
            unit: String::new(),
            help: help.to_owned(),
        }
    }

    #[test]
    fn declarations_of_a_metric_are_the_same_in_whatever_order_they_come() {
        let all: Vec<_> = (0..40).map(|n| gauge(&format!("help {n:02}"))).collect();
        let kept = |order: &mut dyn Iterator<Item = &MetricMetadata>| {
            let mut tenant = tenant();
            order.for_each(|metadata| {
                tenant.add_metadata("m", metadata, 10);
            });
            let bytes: usize = tenant.metadata["m"]
                .iter()
                .map(|entry| metadata_bytes("m", entry))
                .sum();
            assert_eq!(tenant.metadata_bytes, bytes);
            tenant.metadata["m"].clone()
        };

        let forth = kept(&mut all.iter());
        assert_eq!(forth, kept(&mut all.iter().rev()));
        assert_eq!(forth, kept(&mut all.iter().chain(all.iter().rev())));
        assert_eq!((forth.len(), &forth[0]), (METADATA_ENTRIES_MAX, &all[39]));
    }

    #[test]
    fn known_metrics_keep_their_metadata_when_there_is_no_room_for_more() {
        let mut tenant = tenant();
        for metric in ["a", "b"] {
            assert_eq!(
                tenant.add_metadata(metric, &gauge("old"), 2),
                AddedMetadata::Kept
            );
        }

        assert_eq!(
            tenant.add_metadata("c", &gauge("new"), 2),
            AddedMetadata::NoRoom
        );
        assert_eq!(
            tenant.add_metadata("a", &gauge("new"), 2),
            AddedMetadata::Kept
        );
        assert_eq!(tenant.metadata.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(tenant.metadata["a"], [gauge("old"), gauge("new")]);
    }
}
