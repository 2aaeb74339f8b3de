//! Native histogram samples of one series.
//!
//! The samples that came last are a run of bytes in memory, most of them as differences to one before
//! (`trireme_wire::entry::push_to_run`); full runs go to the chunk files. A run has its samples in the order in which they
//! came. No insert reads a run of a file: a sample that repeats one in there is kept until it is read.
//!
//! The block encoding is not used here: it forgets start timestamps and widens layouts, so a repeated sample could
//! not be told from a conflicting one.

use std::cmp::Ordering;

use trireme_model::{AnyHistogram, HistogramSample};
use trireme_wire::entry::{
    EntryError, decode_histogram, encode_histogram, push_to_run, read_run, run_times,
};

use crate::bucket::{BucketId, ClosedChunk, Placed, grow};
use crate::chunkfile::{ChunkData, ChunkFiles};
use crate::{HeadError, ShardOptions};

/// Samples of a run in memory.
const OPEN_SAMPLES_MAX: usize = 32;
/// Bytes of a run in memory that has no fewer samples than the next.
const OPEN_BYTES_MAX: usize = 2_048;
/// Samples that a run may have whatever they take: its first one takes the most.
const OPEN_SAMPLES_MIN: usize = 8;
/// Bytes of one run in a chunk file; a larger one is split.
const RUN_BYTES_MAX: usize = 60_000;

/// Histogram samples of one window and cut.
#[derive(Debug, Default)]
pub(crate) struct HistogramBucket {
    /// The run that is being written, each time once.
    pub open: Vec<u8>,
    pub closed: Vec<ClosedChunk>,
    /// The last note of it, see [`Recent`](crate::recent::Recent).
    pub noted: u32,
}

/// Histogram samples by bucket.
#[derive(Default)]
pub(crate) struct HistogramBuckets {
    /// By id.
    buckets: Vec<(BucketId, HistogramBucket)>,
}

/// A run on its way to a reader.
pub(crate) struct HistogramPart {
    data: ChunkData,
    /// Each sample stands whole, as in files of earlier versions.
    is_whole: bool,
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

        let at = self
            .buckets
            .binary_search_by_key(&id, |(id, _)| *id)
            .unwrap_or_else(|at| {
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
            for chunk in bucket
                .closed
                .iter()
                .filter(|c| c.overlaps(base, start, end))
            {
                out.push(HistogramPart {
                    data: files.get(chunk.place()),
                    is_whole: !chunk.is_marked(),
                });
            }

            out.push(HistogramPart {
                data: ChunkData::Bytes(bucket.open.clone()),
                is_whole: false,
            });
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
        self.buckets
            .iter_mut()
            .flat_map(|(_, bucket)| &mut bucket.closed)
    }

    /// Drops buckets of cuts up to `cut`; true if nothing is left.
    pub fn drop_buckets(
        &mut self,
        files: &mut ChunkFiles,
        takes: impl Fn(BucketId) -> bool,
    ) -> bool {
        self.buckets.retain(|(id, bucket)| {
            let keep = !takes(*id);
            if !keep {
                bucket
                    .closed
                    .iter()
                    .for_each(|chunk| files.release(chunk.place()));
            }
            keep
        });
        self.buckets.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(BucketId, HistogramBucket)>()
            + self
                .buckets
                .iter()
                .map(|(_, bucket)| bucket.heap_bytes())
                .sum::<usize>()
    }
}

impl HistogramBucket {
    fn insert(&mut self, files: &mut ChunkFiles, base: i64, sample: HistogramSample) -> Placed {
        let placed = self.place(base, sample).unwrap_or_else(|error| {
            files.failed = Some(unreadable(&error));
            Placed::New
        });

        if self.is_full()
            && let Err(error) = self.spill(files, base)
        {
            files.failed = Some(unreadable(&error));
        }

        placed
    }

    fn place(&mut self, base: i64, sample: HistogramSample) -> Result<Placed, EntryError> {
        let mut known = None;
        for (at, entry) in run_times(&self.open).enumerate() {
            if entry?.0 == sample.t {
                known = Some(at);
            }
        }

        let Some(at) = known else {
            push_to_run(&mut self.open, &sample)?;
            let has_closed = self
                .closed
                .iter()
                .any(|chunk| chunk.overlaps(base, sample.t, sample.t));
            return Ok(if has_closed {
                Placed::Unchecked
            } else {
                Placed::New
            });
        };

        let mut samples = read_run(&self.open).collect::<Result<Vec<_>, _>>()?;
        let old = &mut samples[at];
        let placed = compare(old, &sample);

        if order(old, &sample) == Ordering::Less {
            *old = sample;
            self.open = run_of(&samples)?;
        }

        Ok(placed)
    }

    fn is_full(&self) -> bool {
        let samples = run_times(&self.open).count();
        let is_long = self.open.len() >= OPEN_BYTES_MAX && samples >= OPEN_SAMPLES_MIN;
        is_long || samples >= OPEN_SAMPLES_MAX
    }

    /// Moves the run to the files, save for its newest sample, which is the likeliest to be repeated; what the disk refuses
    /// stays.
    fn spill(&mut self, files: &mut ChunkFiles, base: i64) -> Result<(), EntryError> {
        let times = run_times(&self.open).collect::<Result<Vec<_>, _>>()?;
        let Some(((_, _), before)) = times.split_last() else {
            return Ok(());
        };
        let in_run = before
            .last()
            .filter(|(_, end)| *end <= RUN_BYTES_MAX && times.is_sorted());
        let Some((_, end)) = in_run else {
            return self.spill_in_pieces(files, base);
        };

        // As a rule it can go as it is.
        let first = before[0].0;
        let last = before[before.len() - 1].0;
        let newest = read_run(&self.open).last().transpose()?;
        let left = run_of(newest.as_slice())?;
        let open = std::mem::take(&mut self.open);
        let is_closed = self.close(files, base, &open[..*end], (first, last), before.len());

        self.open = if is_closed { left } else { open };
        Ok(())
    }

    #[cold]
    fn spill_in_pieces(&mut self, files: &mut ChunkFiles, base: i64) -> Result<(), EntryError> {
        let mut samples = read_run(&self.open).collect::<Result<Vec<_>, _>>()?;
        samples.sort_by_key(|sample| sample.t);
        let end = samples.len().saturating_sub(1);

        let mut from = 0;
        while from < end {
            let mut run = Vec::new();

            let mut to = from;
            while to < end {
                let before = run.len();
                push_to_run(&mut run, &samples[to])?;
                if run.len() > RUN_BYTES_MAX && to > from {
                    run.truncate(before);
                    break;
                }
                to += 1;
            }

            if !self.close(
                files,
                base,
                &run,
                (samples[from].t, samples[to - 1].t),
                to - from,
            ) {
                break;
            }

            from = to;
        }

        self.open = run_of(&samples[from..])?;
        Ok(())
    }

    /// Puts a run with times from the first to the last into a file; false if the disk refuses.
    fn close(
        &mut self,
        files: &mut ChunkFiles,
        base: i64,
        run: &[u8],
        (first, last): (i64, i64),
        samples: usize,
    ) -> bool {
        let Some(place) = files.append(run) else {
            return false;
        };
        grow(&mut self.closed);
        self.closed
            .push(ClosedChunk::new(place, base, first, last, samples as u16).marked());
        true
    }

    fn heap_bytes(&self) -> usize {
        self.open.capacity() + self.closed.capacity() * size_of::<ClosedChunk>()
    }
}

fn run_of(samples: &[HistogramSample]) -> Result<Vec<u8>, EntryError> {
    let mut run = Vec::new();
    samples
        .iter()
        .try_for_each(|sample| push_to_run(&mut run, sample))?;
    Ok(run)
}

fn unreadable(_: &EntryError) -> HeadError {
    HeadError::corrupt(
        std::path::Path::new("chunk file"),
        "a run of histograms cannot be read",
    )
}

/// Drops runs that cannot be read; answers how many.
pub(crate) fn keep_readable_runs(parts: &mut Vec<HistogramPart>) -> u64 {
    let before = parts.len();
    parts.retain(|part| part.read(&mut Vec::new(), &mut Vec::new()).is_ok());
    (before - parts.len()) as u64
}

/// Decodes and merges parts: times ascend, each once, conflicts decided by the one rule. Only `start..=end`.
pub(crate) fn merge_histograms(
    parts: Vec<HistogramPart>,
    start: i64,
    end: i64,
    out: &mut Vec<HistogramSample>,
) -> Result<(), HeadError> {
    let mut found = Vec::new();

    let mut buffer = Vec::new();
    for part in parts {
        part.read(&mut buffer, &mut found)?;
    }

    found.retain(|s| (start..=end).contains(&s.t));
    found.sort_by(|a, b| a.t.cmp(&b.t).then_with(|| order(b, a)));
    found.dedup_by_key(|s| s.t);
    out.append(&mut found);

    Ok(())
}

impl HistogramPart {
    /// Appends its samples.
    fn read(&self, buffer: &mut Vec<u8>, out: &mut Vec<HistogramSample>) -> Result<(), HeadError> {
        let bytes = self.data.load(buffer)?;
        let read = if self.is_whole {
            read_whole(bytes, out)
        } else {
            read_differences(bytes, out)
        };
        read.map_err(|error| unreadable(&error))
    }
}

fn read_differences(run: &[u8], out: &mut Vec<HistogramSample>) -> Result<(), EntryError> {
    for sample in read_run(run) {
        out.push(sample?);
    }
    Ok(())
}

/// A run of an earlier version: per sample t i64, then as in an entry.
fn read_whole(mut run: &[u8], out: &mut Vec<HistogramSample>) -> Result<(), EntryError> {
    while !run.is_empty() {
        let (t, rest) = run
            .split_first_chunk::<8>()
            .ok_or(EntryError::Truncated(0))?;
        let (sample, used) = decode_histogram(rest, i64::from_le_bytes(*t))?;
        out.push(sample);
        run = &rest[used..];
    }
    Ok(())
}

fn compare(old: &HistogramSample, new: &HistogramSample) -> Placed {
    if order(old, new) == Ordering::Equal {
        Placed::Duplicate
    } else {
        Placed::Conflict
    }
}

/// The one rule for two histograms at one timestamp: any total order will do as long as all replicas use it.
///
/// A sample that is not a stale marker beats one that is; then the greater count, then the greater encoding.
fn order(a: &HistogramSample, b: &HistogramSample) -> Ordering {
    let ra = rank(a);
    let rb = rank(b);
    ra.0.cmp(&rb.0)
        .then_with(|| ra.1.total_cmp(&rb.1))
        .then_with(|| encoded(a).cmp(&encoded(b)))
}

/// True if it is no stale marker, and its count.
fn rank(s: &HistogramSample) -> (bool, f64) {
    let (count, sum) = match &s.h {
        AnyHistogram::Int(h) => (h.count as f64, h.sum),
        AnyHistogram::Float(h) => (h.count, h.sum),
    };
    (!trireme_model::is_stale(sum), count)
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
                    Placed::New => prop_assert!(seen.is_empty()),
                    Placed::Unchecked => prop_assert!(!buckets.buckets[0].1.closed.is_empty()),
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
            prop_assert!(!buckets.buckets[0].1.is_full());
        }
    }
}
