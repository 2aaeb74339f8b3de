//! One series.

use std::ops::RangeInclusive;

use trireme_model::SeriesKey;

use crate::ShardOptions;
use crate::bucket::{Bucket, BucketId, ClosedChunk, Part, grow};
use crate::chunkfile::ChunkFiles;
use crate::histograms::{HistogramBuckets, HistogramPart};
use crate::index::List;

/// Everything a shard keeps for one series. Most series have one bucket, so it is part of the struct.
// A box takes 8 bytes where a vector takes 24, in a struct of which there are millions.
#[allow(clippy::box_collection)]
pub(crate) struct Series {
    pub key: SeriesKey,
    pub current: Bucket,
    /// Other buckets: windows before, and late samples. By id.
    pub others: Option<Box<Vec<Bucket>>>,
    pub histograms: Option<Box<HistogramBuckets>>,
    /// Pair ids in label order.
    pub labels: List,
    /// Number of the tenant in this shard.
    pub tenant: u32,
    /// Reference in the own stream; 0 while there is none.
    pub own_ref: u32,
    /// References other streams have to it.
    pub foreign_refs: u32,
    /// Newest window written to by the own stream, as far as it fits.
    pub own_used: i32,
}

impl Series {
    pub fn new(key: SeriesKey, tenant: u32, labels: List) -> Self {
        Self {
            key,
            // A window that no sample can be in: the first sample makes the real bucket.
            current: Bucket::new(
                BucketId {
                    window: i64::MIN,
                    cut: i64::MIN,
                },
                0,
            ),
            others: None,
            histograms: None,
            labels,
            tenant,
            own_ref: 0,
            foreign_refs: 0,
            own_used: i32::MIN,
        }
    }

    /// All that the buckets which `takes` names hold, to be decoded without the shard's lock.
    pub fn copy(
        &self,
        files: &ChunkFiles,
        options: &ShardOptions,
        takes: impl Fn(BucketId) -> bool,
    ) -> (Vec<Part>, Vec<HistogramPart>) {
        let mut parts = Vec::new();
        for bucket in self.buckets().filter(|bucket| takes(bucket.id)) {
            bucket.parts(files, options, i64::MIN, i64::MAX, &mut parts);
        }

        let mut runs = Vec::new();
        if let Some(histograms) = &self.histograms {
            runs = histograms.parts(files, options, takes, i64::MIN, i64::MAX);
        }

        (parts, runs)
    }

    /// The bucket for `id`, made when it is not there.
    #[inline]
    pub fn bucket(&mut self, id: BucketId) -> &mut Bucket {
        if self.current.id == id {
            return &mut self.current;
        }
        self.other_bucket(id)
    }

    #[cold]
    fn other_bucket(&mut self, id: BucketId) -> &mut Bucket {
        let stagger = (self.key.0 >> 32) as u32;
        if self.current.max == i64::MIN {
            self.current = Bucket::new(id, stagger);
            return &mut self.current;
        }

        let others = self.others.get_or_insert_default();
        let at = match others.binary_search_by_key(&id, |b| b.id) {
            Ok(at) => return &mut others[at],
            Err(at) => at,
        };
        let bucket = Bucket::new(id, stagger);

        grow(others);
        if id.window > self.current.id.window && id.cut == id.window {
            // The newest window is the one that is written to.
            let before = std::mem::replace(&mut self.current, bucket);
            let at = others.partition_point(|b| b.id < before.id);
            others.insert(at, before);
            return &mut self.current;
        }

        others.insert(at, bucket);
        &mut others[at]
    }

    /// Buckets that hold something.
    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        std::iter::once(&self.current)
            .chain(self.others())
            .filter(|b| b.max != i64::MIN)
    }

    /// Chunks of floats, the open ones too, and buckets of histograms.
    pub fn chunks(&self) -> u64 {
        let floats = self
            .buckets()
            .map(|bucket| bucket.closed.len() + usize::from(!bucket.bytes.is_empty()));
        let histograms = self
            .histograms
            .iter()
            .map(|histograms| histograms.ids().count());

        floats.chain(histograms).sum::<usize>() as u64
    }

    /// Windows and cuts of its samples of any kind.
    pub fn ids(&self) -> impl Iterator<Item = BucketId> {
        let histograms = self
            .histograms
            .iter()
            .flat_map(|histograms| histograms.ids());
        self.buckets().map(|bucket| bucket.id).chain(histograms)
    }

    /// Buckets of these windows that hold something.
    pub fn buckets_of(&self, windows: RangeInclusive<i64>) -> impl Iterator<Item = &Bucket> {
        let others = self.others();
        let are_before = others
            .last()
            .is_none_or(|last| last.id.window < *windows.start());

        // Mostly the newest samples are asked for.
        let first = if are_before {
            others.len()
        } else {
            others.partition_point(|b| b.id.window < *windows.start())
        };

        let end = first + others[first..].partition_point(|b| b.id.window <= *windows.end());
        let current = Some(&self.current).filter(|b| windows.contains(&b.id.window));
        current
            .into_iter()
            .chain(&others[first..end])
            .filter(|b| b.max != i64::MIN)
    }

    /// True if it may have samples at `start` (ms) or later in these windows. Mostly the current bucket tells.
    pub fn overlaps(&self, windows: RangeInclusive<i64>, start: i64) -> bool {
        let current = &self.current;
        let is_current =
            current.max != i64::MIN && current.max >= start && windows.contains(&current.id.window);

        is_current
            || self
                .buckets_of(windows.clone())
                .any(|bucket| bucket.max >= start)
            || self
                .histograms
                .as_ref()
                .is_some_and(|h| h.ids().any(|id| windows.contains(&id.window)))
    }

    fn others(&self) -> &[Bucket] {
        self.others.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The newest float (time, value, start timestamp), if it ends an open chunk and nothing else is as new. `None` says
    /// nothing.
    pub fn newest_at_hand(&self, options: &ShardOptions) -> Option<(i64, f64, i64)> {
        let (t, v, start) = self.current.newest_at_hand(options)?;
        let others = self.others();

        // Windows before end before this sample.
        let mut not_before = others
            .iter()
            .rev()
            .take_while(|b| b.id.window >= self.current.id.window);

        not_before
            .all(|bucket| bucket.max < t)
            .then_some((t, v, start))
    }

    /// All closed chunks, of floats and histograms.
    pub fn closed(&self) -> impl Iterator<Item = &ClosedChunk> {
        let floats = self.buckets().flat_map(|bucket| &bucket.closed);
        let histograms = self
            .histograms
            .iter()
            .flat_map(|histograms| histograms.iter());
        floats.chain(histograms.flat_map(|(_, bucket)| &bucket.closed))
    }

    /// As [`Series::closed`], to move them.
    pub fn closed_mut(&mut self) -> impl Iterator<Item = &mut ClosedChunk> {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        let floats = std::iter::once(&mut self.current)
            .chain(others)
            .flat_map(|bucket| &mut bucket.closed);
        let histograms = self
            .histograms
            .iter_mut()
            .flat_map(|histograms| histograms.closed_mut());

        floats.chain(histograms)
    }

    /// The bucket for `id`, if there is one.
    pub fn find_bucket(&mut self, id: BucketId) -> Option<&mut Bucket> {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        std::iter::once(&mut self.current)
            .chain(others)
            .find(|bucket| bucket.id == id)
    }

    /// Drops all float buckets of cuts up to `cut` and gives them to `dropped`.
    pub fn drop_buckets(
        &mut self,
        takes: impl Fn(BucketId) -> bool,
        mut dropped: impl FnMut(&Bucket),
    ) {
        if let Some(others) = &mut self.others {
            others.retain(|b| {
                let keep = !takes(b.id);
                if !keep {
                    dropped(b);
                }
                keep
            });
            if others.is_empty() {
                self.others = None;
            }
        }
        if self.current.max != i64::MIN && takes(self.current.id) {
            dropped(&self.current);
            let next = self.others.as_mut().and_then(|o| o.pop());

            if self.others.as_ref().is_some_and(|o| o.is_empty()) {
                self.others = None;
            }

            self.current = next.unwrap_or_else(|| {
                Bucket::new(
                    BucketId {
                        window: i64::MIN,
                        cut: i64::MIN,
                    },
                    0,
                )
            });
        }
    }

    /// True if it holds no sample of any kind.
    pub fn is_empty(&self) -> bool {
        self.current.max == i64::MIN && self.others.is_none() && self.histograms.is_none()
    }

    /// Bytes on the heap, of floats and of histograms.
    pub fn heap_bytes(&self) -> (usize, usize) {
        let others = self
            .others
            .as_ref()
            .map_or(0, |o| 24 + o.capacity() * size_of::<Bucket>());
        let histograms = self.histograms.as_ref().map_or(0, |h| 24 + h.heap_bytes());

        (
            others + self.buckets().map(Bucket::heap_bytes).sum::<usize>(),
            histograms,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_windows_are_found_whatever_order_they_came_in() {
        let mut series = Series::new(SeriesKey(1), 0, List::default());
        let ids = [
            (3, 3),
            (1, 1),
            (7, 7),
            (4, 9),
            (5, 5),
            (2, 8),
            (9, 9),
            (4, 8),
        ];

        for (window, cut) in ids {
            series.bucket(BucketId { window, cut }).max = window * 100;
        }

        assert_eq!(series.current.id.window, 9);
        assert!(series.others().is_sorted_by_key(|bucket| bucket.id));

        for start in 0..11 {
            for end in 0..11 {
                let mut found: Vec<_> = series
                    .buckets_of(start..=end)
                    .map(|b| (b.id.window, b.id.cut))
                    .collect();
                found.sort_unstable();
                let mut want = ids.to_vec();
                want.retain(|(window, _)| (start..=end).contains(window));
                want.sort_unstable();
                assert_eq!(found, want, "{start} to {end}");
            }
        }

        assert_eq!(series.buckets().count(), ids.len());
    }
}
