//! What a shard knows of each stream.

use trireme_base::StreamId;

use crate::bucket::BucketId;

/// Slot of a reference that means nothing.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// References are counted up by the origin; one that is further ahead is not from a sane stream.
const REF_GAP_MAX: usize = 1 << 22;

/// A stream in one shard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Stream {
    /// Last seq applied; everything up to it that concerns this shard is in the head.
    pub applied: u64,
    /// Last window the stream closed.
    pub marker: Option<i64>,
    /// Slot by reference.
    pub refs: Vec<u32>,
}

impl Stream {
    #[inline]
    pub fn slot(&self, reference: u32) -> Option<u32> {
        self.refs.get(reference as usize).copied().filter(|slot| *slot != NO_SLOT)
    }

    /// Defines a reference; answers the slot it had, or `None` if the reference is out of all proportion.
    pub fn define(&mut self, reference: u32, slot: u32) -> Option<u32> {
        let at = reference as usize;
        if at >= self.refs.len() {
            if at > self.refs.len() + REF_GAP_MAX {
                return None;
            }
            self.refs.resize(at + 1, NO_SLOT);
        }
        Some(std::mem::replace(&mut self.refs[at], slot))
    }
}

/// Last seq of the own stream that is in the log, and the marker that stands before it. Kept apart from the shard's
/// lock, because the log's thread writes it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct OwnLogged {
    pub seq: u64,
    pub marker: Option<i64>,
}

/// Computes buckets for the samples of one batch; neighbours mostly share theirs.
pub(crate) struct Buckets {
    window_ms: i64,
    /// No sample goes into a cut before this.
    cut_min: i64,
    id: BucketId,
    /// Times of `id.window`, half open.
    start: i64,
    end: i64,
}

impl Buckets {
    /// `marker` is the last of the stream, `floor` the last cut that was made or begun here.
    pub fn new(window_ms: i64, marker: Option<i64>, floor: Option<i64>) -> Self {
        let after = |k: Option<i64>| k.map_or(i64::MIN, |k| k.saturating_add(1));
        Self {
            window_ms,
            cut_min: after(marker).max(after(floor)),
            id: BucketId { window: i64::MIN, cut: i64::MIN },
            start: i64::MAX,
            end: i64::MIN,
        }
    }

    #[inline]
    pub fn of(&mut self, t: i64) -> BucketId {
        if t < self.start || t >= self.end {
            let window = t.div_euclid(self.window_ms);
            self.start = window.saturating_mul(self.window_ms);
            self.end = self.start.saturating_add(self.window_ms);
            self.id = BucketId { window, cut: window.max(self.cut_min) };
        }
        self.id
    }
}

/// Position of a stream in a cut: what stands up to it is in blocks.
pub(crate) type Positions = std::collections::BTreeMap<StreamId, u64>;
