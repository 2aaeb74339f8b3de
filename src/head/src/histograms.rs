//! Native histogram samples of one series.

use std::cmp::Ordering;

use trireme_model::{AnyHistogram, HistogramSample};

use crate::bucket::{BucketId, Placed};

/// Histogram samples by bucket. Samples share their bucket layout with the sender's next ones only in blocks, so the
/// head keeps them as they came, behind one pointer each.
#[derive(Default)]
pub(crate) struct HistogramBuckets {
    buckets: Vec<(BucketId, Vec<HistogramSample>)>,
}

impl HistogramBuckets {
    /// Adds a sample; for one timestamp the greater one stays.
    pub fn insert(&mut self, id: BucketId, sample: HistogramSample) -> Placed {
        let at = match self.buckets.iter().position(|(b, _)| *b == id) {
            Some(at) => at,
            None => {
                self.buckets.push((id, Vec::new()));
                self.buckets.len() - 1
            }
        };
        let samples = &mut self.buckets[at].1;
        match samples.binary_search_by_key(&sample.t, |s| s.t) {
            Err(at) => {
                samples.insert(at, sample);
                Placed::New
            }
            Ok(at) => match order(&samples[at], &sample) {
                Ordering::Equal => Placed::Duplicate,
                Ordering::Less => {
                    samples[at] = sample;
                    Placed::Conflict
                }
                Ordering::Greater => Placed::Conflict,
            },
        }
    }

    /// Samples of the buckets that `wanted` names, within `start..=end`, by time, each time once.
    pub fn read(
        &self,
        wanted: impl Fn(BucketId) -> bool,
        start: i64,
        end: i64,
        out: &mut Vec<HistogramSample>,
    ) {
        let from = out.len();
        for (_, samples) in self.buckets.iter().filter(|(id, _)| wanted(*id)) {
            let first = samples.partition_point(|s| s.t < start);
            let last = samples.partition_point(|s| s.t <= end);
            out.extend_from_slice(&samples[first..last]);
        }
        let mut found = out.split_off(from);
        found.sort_by(|a, b| a.t.cmp(&b.t).then_with(|| order(b, a)));
        found.dedup_by_key(|s| s.t);
        out.append(&mut found);
    }

    /// Buckets there are.
    pub fn ids(&self) -> impl Iterator<Item = BucketId> {
        self.buckets.iter().map(|(id, _)| *id)
    }

    /// All samples with their buckets.
    pub fn iter(&self) -> impl Iterator<Item = (BucketId, &[HistogramSample])> {
        self.buckets.iter().map(|(id, samples)| (*id, samples.as_slice()))
    }

    /// Drops buckets of cuts up to `cut`; true if nothing is left.
    pub fn drop_cut(&mut self, cut: i64) -> bool {
        self.buckets.retain(|(id, _)| id.cut > cut);
        self.buckets.is_empty()
    }
}

/// The one rule for two histograms at one timestamp: any total order will do as long as all replicas use it.
///
/// A sample that is not a stale marker beats one that is; then the greater count, then the greater encoding.
fn order(a: &HistogramSample, b: &HistogramSample) -> Ordering {
    let rank = |s: &HistogramSample| {
        let (count, sum) = match &s.h {
            AnyHistogram::Int(h) => (h.count as f64, h.sum),
            AnyHistogram::Float(h) => (h.count, h.sum),
        };
        (!trireme_model::is_stale(sum), count)
    };
    let (ra, rb) = (rank(a), rank(b));
    ra.0.cmp(&rb.0).then_with(|| ra.1.total_cmp(&rb.1)).then_with(|| encoded(a).cmp(&encoded(b)))
}

fn encoded(sample: &HistogramSample) -> Vec<u8> {
    let mut out = Vec::new();
    trireme_wire::entry::encode_histogram(&mut out, sample);
    out
}
