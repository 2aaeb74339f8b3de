//! One series out of the replicas of an HA pair.
//!
//! Two Prometheus servers scrape the same targets and send the same series with another `replica` label each. The answer
//! has the series once, without that label: the samples of the more complete replica, and in its gaps those of the
//! others. Samples of two replicas are never interleaved outside gaps, so the distance of samples stays the scrape
//! interval. Functions that look for counter resets must not see one where only the replica changed; see
//! [`splice`](splice::splice).

mod splice;
mod track;

#[cfg(test)]
mod tests;

use hashbrown::HashMap;
use trireme_model::Labels;
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

use splice::splice;
use track::Track;

use crate::columns::merge_counts;

/// Functions that take a fall of the value for a reset of a counter.
const COUNTER_FUNCTIONS: [&str; 4] = ["rate", "increase", "irate", "resets"];

/// Removes replica labels from another storage's series and makes one of the series that then are equal.
pub struct Dedup<S> {
    inner: S,
    replica_labels: Vec<String>,
}

impl<S: Select> Dedup<S> {
    /// Over `inner`; with no labels nothing is changed.
    pub fn new(inner: S, replica_labels: Vec<String>) -> Self {
        Self {
            inner,
            replica_labels,
        }
    }

    /// Labels without those of replicas.
    pub fn strip(&self, labels: &Labels) -> Labels {
        let names: Vec<&str> = self.replica_labels.iter().map(String::as_str).collect();
        if labels.iter().any(|(n, _)| names.contains(&n)) {
            labels.without(&names)
        } else {
            labels.clone()
        }
    }
}

impl<S: Select> Select for Dedup<S> {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        let SeriesSet { series, warnings } = self.inner.select(request, cancel)?;
        if self.replica_labels.is_empty() {
            return Ok(SeriesSet { series, warnings });
        }

        let mut groups: HashMap<Labels, Vec<Box<dyn SeriesRead>>> =
            HashMap::with_capacity(series.len());
        for series in series {
            groups
                .entry(self.strip(series.labels()))
                .or_default()
                .push(series);
        }

        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let counters = COUNTER_FUNCTIONS.contains(&request.hints.func.as_str());

        Ok(SeriesSet {
            series: groups
                .into_iter()
                .map(|(labels, replicas)| {
                    Box::new(DedupSeries {
                        labels,
                        replicas,
                        counters,
                    }) as Box<dyn SeriesRead>
                })
                .collect(),
            warnings,
        })
    }
}

/// The replicas of one series, in label order, so that ties are decided alike everywhere.
struct DedupSeries {
    labels: Labels,
    replicas: Vec<Box<dyn SeriesRead>>,
    counters: bool,
}

impl SeriesRead for DedupSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        if let [only] = self.replicas.as_slice() {
            return only.read_within(start_ms, end_ms, samples_max, out);
        }

        let mut all = Vec::with_capacity(self.replicas.len());
        for replica in &self.replicas {
            let mut columns = Columns::default();
            replica.read_within(start_ms, end_ms, samples_max, &mut columns)?;
            all.push(columns);
        }

        let tracks: Vec<Track> = all.iter().map(Track::new).collect();
        for (replica, at) in splice(&tracks, start_ms, end_ms, self.counters) {
            tracks[replica].push(at, &all[replica], out);
        }

        out.counts = all.iter().fold(Vec::new(), |counts, columns| {
            merge_counts(&counts, &columns.counts)
        });

        Ok(())
    }

    fn read_newest(
        &self,
        start_ms: i64,
        end_ms: i64,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        match self.replicas.as_slice() {
            [only] => only.read_newest(start_ms, end_ms, out),
            // Which replica speaks at the end depends on what came before.
            _ => self.read(start_ms, end_ms, out),
        }
    }
}
