//! A storage in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Labels, ResetHint, Span, is_stale};

use crate::cancel::Cancel;
use crate::select::{Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};
use crate::value::SampleValue;

/// Series in memory, for tests. Histograms come back with the reset hints that Prometheus's storage would give them.
#[derive(Default)]
pub struct MemoryStorage {
    series: BTreeMap<Labels, Arc<Vec<Stored>>>,
}

/// A sample.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) t: i64,
    /// Start timestamp (ms), 0 when unset.
    pub(super) st: i64,
    pub(super) value: SampleValue,
}

impl MemoryStorage {
    /// Adds a float sample; a later one at the same time replaces it.
    pub fn append_float(&mut self, labels: &Labels, t: i64, v: f64) {
        self.append(
            labels,
            Stored {
                t,
                st: 0,
                value: SampleValue::Float(v),
            },
        );
    }

    /// Adds a histogram sample; a later one at the same time replaces it.
    pub fn append_histogram(&mut self, labels: &Labels, t: i64, h: Arc<FloatHistogram>) {
        self.append(
            labels,
            Stored {
                t,
                st: 0,
                value: SampleValue::Histogram(h),
            },
        );
    }

    /// Adds a sample; a later one at the same time replaces it.
    pub(super) fn append(&mut self, labels: &Labels, sample: Stored) {
        let samples = Arc::make_mut(self.series.entry(labels.clone()).or_default());
        match samples.binary_search_by_key(&sample.t, |s| s.t) {
            Ok(i) => samples[i] = sample,
            Err(i) => samples.insert(i, sample),
        }
    }
}

impl Select for MemoryStorage {
    fn select(&self, request: &SelectRequest, cancel: &Cancel) -> Result<SeriesSet, SelectError> {
        cancel.check()?;
        let chosen = self.series.iter().filter(|(labels, _)| {
            let mut matchers = request.matchers.iter();
            matchers.all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
        });
        let series = chosen.map(|(labels, samples)| {
            let read = MemorySeries {
                labels: labels.clone(),
                samples: Arc::clone(samples),
            };
            Box::new(read) as Box<dyn SeriesRead>
        });

        Ok(SeriesSet {
            series: series.collect(),
            warnings: Vec::new(),
        })
    }
}

struct MemorySeries {
    labels: Labels,
    samples: Arc<Vec<Stored>>,
}

impl SeriesRead for MemorySeries {
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
        let mut previous: Option<&FloatHistogram> = None;
        for sample in self.samples.iter() {
            match &sample.value {
                SampleValue::Float(v) => {
                    previous = None;
                    if (start_ms..=end_ms).contains(&sample.t) {
                        out.push_float_st(sample.t, sample.st, *v);
                    }
                }
                SampleValue::Histogram(h) => {
                    let hint = stored_hint(previous, h);
                    previous = Some(h);
                    if (start_ms..=end_ms).contains(&sample.t) {
                        let mut h = Arc::clone(h);
                        if h.reset_hint != hint {
                            Arc::make_mut(&mut h).reset_hint = hint;
                        }
                        out.push_histogram(sample.t, sample.st, h);
                    }
                }
            }
        }

        out.check_within(samples_max)
    }
}

/// The reset hint of a histogram read back from Prometheus's chunks. A sample that goes on with the chunk of the one
/// before it is no reset. One that starts a chunk, be it for a reset or a new layout, is unknown: the chunk before it
/// may be gone by then.
fn stored_hint(previous: Option<&FloatHistogram>, h: &FloatHistogram) -> ResetHint {
    match previous {
        _ if h.reset_hint == ResetHint::Gauge => ResetHint::Gauge,
        Some(p) if continues_chunk(p, h) => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    }
}

/// True if a chunk of counters that ends with `p` can take `h`.
fn continues_chunk(p: &FloatHistogram, h: &FloatHistogram) -> bool {
    if p.reset_hint == ResetHint::Gauge || h.reset_hint == ResetHint::Reset {
        return false;
    }
    if is_stale(h.sum) || is_stale(p.sum) {
        return is_stale(h.sum);
    }

    let same_layout = h.schema == p.schema
        && h.zero_threshold == p.zero_threshold
        && (h.schema != CUSTOM_BUCKETS_SCHEMA || h.custom_values == p.custom_values);
    let fell = h.count < p.count
        || h.zero_count < p.zero_count
        || any_fell(
            (&p.positive_spans, &p.positive_buckets),
            (&h.positive_spans, &h.positive_buckets),
        )
        || any_fell(
            (&p.negative_spans, &p.negative_buckets),
            (&h.negative_spans, &h.negative_buckets),
        );

    same_layout && !fell
}

type Layout<'a> = (&'a [Span], &'a [f64]);

/// True if a bucket has less in `now` than in `before`.
fn any_fell(before: Layout<'_>, now: Layout<'_>) -> bool {
    let now: BTreeMap<i64, f64> = counts(now).collect();
    counts(before).any(|(index, count)| now.get(&index).copied().unwrap_or(0.0) < count)
}

fn counts<'a>((spans, buckets): Layout<'a>) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0_i64;
    let indexes = spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    });
    indexes.zip(buckets.iter().copied())
}
