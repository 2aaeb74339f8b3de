//! Native histogram samples of one series.
//!
//! A few samples of a bucket are kept decoded; the rest goes to the chunk files in runs, each sample whole. No insert reads
//! a run: a sample that repeats one in there is kept until it is read.
//! The block encoding is not used here: it forgets start timestamps and widens layouts, so a repeated sample could
//! not be told from a conflicting one.

use std::cmp::Ordering;

use trireme_model::{AnyHistogram, HistogramSample};
use trireme_wire::entry::{decode_histogram, encode_histogram};

use crate::bucket::{BucketId, ClosedChunk, Placed, grow};
use crate::chunkfile::{ChunkData, ChunkFiles};
use crate::{HeadError, ShardOptions};

/// Decoded samples kept per bucket.
const RECENT_MAX: usize = 16;
/// Bytes of one run in a chunk file; a larger one is split.
const RUN_BYTES_MAX: usize = 60_000;

/// Histogram samples of one window and cut.
#[derive(Debug, Default)]
pub(crate) struct HistogramBucket {
    pub recent: Vec<HistogramSample>,
    pub closed: Vec<ClosedChunk>,
}

/// Histogram samples by bucket.
#[derive(Default)]
pub(crate) struct HistogramBuckets {
    /// By id.
    buckets: Vec<(BucketId, HistogramBucket)>,
}

/// A piece on its way to a reader.
pub(crate) enum HistogramPart {
    Run(ChunkData),
    Samples(Vec<HistogramSample>),
}

impl HistogramBuckets {
    /// Adds a sample; for one timestamp the greater one stays.
    pub fn insert(
        &mut self,
        files: &mut ChunkFiles,
        options: &ShardOptions,
        id: BucketId,
        sample: HistogramSample,
    ) -> Placed {
        let base = id.window.saturating_mul(options.window_ms);
        self.bucket(id).insert(files, base, sample)
    }

    /// The bucket for `id`, made when it is not there.
    pub fn bucket(&mut self, id: BucketId) -> &mut HistogramBucket {
        // Mostly the newest is asked for.
        if self.buckets.last().is_some_and(|(last, _)| *last == id) {
            let last = self.buckets.len() - 1;
            return &mut self.buckets[last].1;
        }
        let at = self.buckets.binary_search_by_key(&id, |(id, _)| *id).unwrap_or_else(|at| {
            grow(&mut self.buckets);
            self.buckets.insert(at, (id, HistogramBucket::default()));
            at
        });
        &mut self.buckets[at].1
    }

    /// What the buckets that `wanted` names hold in `start..=end`, to be decoded without the shard's lock.
    pub fn parts(
        &self,
        files: &ChunkFiles,
        options: &ShardOptions,
        wanted: impl Fn(BucketId) -> bool,
        start: i64,
        end: i64,
    ) -> Vec<HistogramPart> {
        let mut out = Vec::new();
        for (id, bucket) in self.buckets.iter().filter(|(id, _)| wanted(*id)) {
            let base = id.window.saturating_mul(options.window_ms);
            for chunk in bucket.closed.iter().filter(|c| c.overlaps(base, start, end)) {
                out.push(HistogramPart::Run(files.get(chunk.place())));
            }
            out.push(HistogramPart::Samples(bucket.recent.clone()));
        }
        out
    }

    /// Buckets there are.
    pub fn ids(&self) -> impl Iterator<Item = BucketId> {
        self.buckets.iter().map(|(id, _)| *id)
    }

    /// All buckets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(BucketId, HistogramBucket)> {
        self.buckets.iter()
    }

    /// All closed runs.
    pub fn closed_mut(&mut self) -> impl Iterator<Item = &mut ClosedChunk> {
        self.buckets.iter_mut().flat_map(|(_, bucket)| &mut bucket.closed)
    }

    /// Drops buckets of cuts up to `cut`; true if nothing is left.
    pub fn drop_buckets(&mut self, files: &mut ChunkFiles, takes: impl Fn(BucketId) -> bool) -> bool {
        self.buckets.retain(|(id, bucket)| {
            let keep = !takes(*id);
            if !keep {
                bucket.closed.iter().for_each(|chunk| files.release(chunk.place()));
            }
            keep
        });
        self.buckets.is_empty()
    }

    /// Rough bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let sample = |s: &HistogramSample| match &s.h {
            AnyHistogram::Int(h) => 240 + 8 * (h.positive_buckets.len() + h.negative_buckets.len()),
            AnyHistogram::Float(h) => 240 + 8 * (h.positive_buckets.len() + h.negative_buckets.len()),
        };
        let bucket =
            |b: &HistogramBucket| b.recent.iter().map(sample).sum::<usize>() + b.closed.capacity() * 20;
        self.buckets.iter().map(|(_, b)| 80 + bucket(b)).sum()
    }
}

impl HistogramBucket {
    fn insert(&mut self, files: &mut ChunkFiles, base: i64, sample: HistogramSample) -> Placed {
        let placed = match self.recent.binary_search_by_key(&sample.t, |s| s.t) {
            Ok(at) => {
                let placed = compare(&self.recent[at], &sample);
                if order(&self.recent[at], &sample) == Ordering::Less {
                    self.recent[at] = sample;
                }
                placed
            }
            Err(at) => {
                self.recent.insert(at, sample);
                Placed::New
            }
        };
        if self.recent.len() >= RECENT_MAX {
            self.spill(files, base);
        }
        placed
    }

    /// Moves the recent samples to the files, save for the newest, which is the likeliest to be repeated; what the disk
    /// refuses stays.
    fn spill(&mut self, files: &mut ChunkFiles, base: i64) {
        let mut run = Vec::new();
        let mut from = 0;
        let end = self.recent.len().saturating_sub(1);
        while from < end {
            run.clear();
            let mut to = from;
            while to < end && (to == from || run.len() < RUN_BYTES_MAX / 2) {
                let before = run.len();
                encode_sample(&mut run, &self.recent[to]);
                if run.len() > RUN_BYTES_MAX && to > from {
                    run.truncate(before);
                    break;
                }
                to += 1;
            }
            let Some(place) = files.append(&run) else { break };
            let (min, max) = (self.recent[from].t, self.recent[to - 1].t);
            grow(&mut self.closed);
            self.closed.push(ClosedChunk::new(place, base, min, max, (to - from) as u16));
            from = to;
        }
        self.recent.drain(..from);
    }
}

/// Drops runs that cannot be read; answers how many.
pub(crate) fn keep_readable_runs(parts: &mut Vec<HistogramPart>) -> u64 {
    let (before, mut buffer) = (parts.len(), Vec::new());
    parts.retain(|part| match part {
        HistogramPart::Run(data) => {
            data.load(&mut buffer).is_ok_and(|bytes| decode_run(bytes, &mut Vec::new()).is_ok())
        }
        HistogramPart::Samples(_) => true,
    });
    (before - parts.len()) as u64
}

/// Decodes and merges parts: times ascend, each once, conflicts decided by the one rule. Only `start..=end`.
pub(crate) fn merge_histograms(
    parts: Vec<HistogramPart>,
    start: i64,
    end: i64,
    out: &mut Vec<HistogramSample>,
) -> Result<(), HeadError> {
    let (mut found, mut buffer) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            HistogramPart::Run(data) => decode_run(data.load(&mut buffer)?, &mut found)?,
            HistogramPart::Samples(mut samples) => found.append(&mut samples),
        }
    }
    found.retain(|s| (start..=end).contains(&s.t));
    found.sort_by(|a, b| a.t.cmp(&b.t).then_with(|| order(b, a)));
    found.dedup_by_key(|s| s.t);
    out.append(&mut found);
    Ok(())
}

/// One sample of a run: t i64, then as in an entry.
fn encode_sample(out: &mut Vec<u8>, sample: &HistogramSample) {
    out.extend_from_slice(&sample.t.to_le_bytes());
    encode_histogram(out, sample);
}

fn decode_run(mut bytes: &[u8], out: &mut Vec<HistogramSample>) -> Result<(), HeadError> {
    let bad = || HeadError::corrupt(std::path::Path::new("chunk file"), "a run of histograms cannot be read");
    while let Some((t, rest)) = bytes.split_first_chunk::<8>() {
        let (sample, used) = decode_histogram(rest, i64::from_le_bytes(*t)).map_err(|_| bad())?;
        out.push(sample);
        bytes = &rest[used..];
    }
    if bytes.is_empty() { Ok(()) } else { Err(bad()) }
}

fn compare(old: &HistogramSample, new: &HistogramSample) -> Placed {
    if order(old, new) == Ordering::Equal { Placed::Duplicate } else { Placed::Conflict }
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
    encode_histogram(&mut out, sample);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use trireme_base::{Boot, Incarnation, StreamId};
    use trireme_model::Histogram;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn holds_what_a_map_with_the_rule_holds_whatever_the_order(
            samples in proptest::collection::vec((0i64..80, 0u64..3), 1..150), start in 0i64..80, len in 0i64..80,
        ) {
            let dir = tempfile::tempdir().expect("temp dir");
            let own = StreamId { incarnation: Incarnation(1), boot: Boot(1) };
            let options = ShardOptions::new(0, 1, 100_000, dir.path().to_owned(), own);
            let mut files = ChunkFiles::open(dir.path()).expect("opens");
            let mut buckets = HistogramBuckets::default();
            let mut model: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
            for (t, count) in samples {
                let h = AnyHistogram::Int(Arc::new(Histogram { count, sum: 1.5, ..Histogram::default() }));
                let id = BucketId { window: 0, cut: 0 };
                let placed = buckets.insert(&mut files, &options, id, HistogramSample { t, st: t - 1, h });
                let seen = model.entry(t).or_default();
                match placed {
                    // What is in runs is not looked at.
                    Placed::New => prop_assert!(seen.is_empty() || !buckets.buckets[0].1.closed.is_empty()),
                    Placed::Duplicate => prop_assert!(seen.contains(&count)),
                    Placed::Conflict => prop_assert!(!seen.is_empty()),
                }
                seen.push(count);
            }
            let parts = buckets.parts(&files, &options, |_| true, start, start + len);
            let mut got = Vec::new();
            merge_histograms(parts, start, start + len, &mut got).expect("decodes");
            let got: Vec<_> = got.iter().map(|s| match &s.h {
                AnyHistogram::Int(h) => (s.t, s.st, h.count),
                AnyHistogram::Float(_) => (s.t, s.st, u64::MAX),
            }).collect();
            let want: Vec<_> = model.range(start..=start + len)
                .map(|(t, all)| (*t, t - 1, *all.iter().max().expect("some"))).collect();
            prop_assert_eq!(got, want);
            prop_assert!(buckets.buckets[0].1.recent.len() < RECENT_MAX);
        }
    }
}
