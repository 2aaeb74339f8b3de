//! What a shard knows of each stream.

use trireme_base::StreamId;

use crate::bucket::BucketId;

/// Slot of a reference that means nothing.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// References per page, as a power of two.
const PAGE_BITS: u32 = 10;
const PAGE: usize = 1 << PAGE_BITS;
/// References are counted up by the origin; one that is further ahead is not from a sane stream.
const PAGE_GAP_MAX: usize = 4_096;

/// A stream in one shard.
#[derive(Default, Clone)]
pub(crate) struct Stream {
    /// Last seq applied; everything up to it that concerns this shard is in the head.
    pub applied: u64,
    /// Last window the stream closed.
    pub marker: Option<i64>,
    /// Slot by reference.
    pub refs: Refs,
}

/// Slots by reference. A stream uses each reference once, so over weeks of churn most are dead: pages without a
/// live reference are freed.
#[derive(Default, Clone)]
pub(crate) struct Refs {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Clone)]
struct Page {
    live: u32,
    slots: [u32; PAGE],
}

impl Refs {
    #[inline]
    pub fn slot(&self, reference: u32) -> Option<u32> {
        let page = self.pages.get(reference as usize >> PAGE_BITS)?.as_ref()?;
        Some(page.slots[reference as usize & (PAGE - 1)]).filter(|slot| *slot != NO_SLOT)
    }

    /// Defines a reference; answers the slot it had or [`NO_SLOT`], or `None` if it is out of all proportion.
    pub fn define(&mut self, reference: u32, slot: u32) -> Option<u32> {
        let at = reference as usize >> PAGE_BITS;
        if at >= self.pages.len() {
            if at > self.pages.len() + PAGE_GAP_MAX {
                return None;
            }
            self.pages.resize(at + 1, None);
        }

        let page = self.pages[at].get_or_insert_with(|| {
            Box::new(Page {
                live: 0,
                slots: [NO_SLOT; PAGE],
            })
        });

        let before = std::mem::replace(&mut page.slots[reference as usize & (PAGE - 1)], slot);
        page.live += u32::from(before == NO_SLOT);
        Some(before)
    }

    /// Takes a reference away; answers the slot it had.
    pub fn release(&mut self, reference: u32) -> Option<u32> {
        let at = reference as usize >> PAGE_BITS;
        let place = self.pages.get_mut(at)?;
        let page = place.as_mut()?;
        let slot = std::mem::replace(&mut page.slots[reference as usize & (PAGE - 1)], NO_SLOT);
        if slot == NO_SLOT {
            return None;
        }

        page.live -= 1;
        if page.live == 0 {
            *place = None;
        }

        Some(slot)
    }

    /// Live references with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let pages = self
            .pages
            .iter()
            .enumerate()
            .filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages.flat_map(|(at, page)| {
            let live = page
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| **slot != NO_SLOT);
            live.map(move |(n, slot)| (((at << PAGE_BITS) + n) as u32, *slot))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.pages.iter().all(Option::is_none)
    }

    /// How far references were defined, in pages; kept in checkpoints, because later ones are measured against it.
    pub fn extent(&self) -> usize {
        self.pages.len()
    }

    /// Pages that hold references up to this one.
    pub fn pages_for(reference: u32) -> usize {
        (reference as usize >> PAGE_BITS) + 1
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Option<Box<Page>>>()
            + self.pages.iter().flatten().count() * size_of::<Page>()
    }

    /// An empty table of this extent.
    pub fn with_extent(extent: usize) -> Self {
        Self {
            pages: vec![None; extent],
        }
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
    /// Cuts that samples went to, with the oldest window of these; a cut may occur more than once.
    cuts: Vec<BucketId>,
}

impl Buckets {
    /// `marker` is the last of the stream that can be meant (see `cut::sane_marker`), `floor` the last cut that was made or
    /// begun here.
    pub fn new(window_ms: i64, marker: Option<i64>, floor: Option<i64>) -> Self {
        Self {
            window_ms,
            cut_min: after(marker).max(after(floor)),
            id: BucketId {
                window: i64::MIN,
                cut: i64::MIN,
            },
            start: i64::MAX,
            end: i64::MIN,
            cuts: Vec::new(),
        }
    }

    /// Cuts that samples went to, with the oldest window of these.
    pub fn into_cuts(self) -> Vec<BucketId> {
        self.cuts
    }

    #[inline]
    pub fn of(&mut self, t: i64) -> BucketId {
        if t < self.start || t >= self.end {
            let window = t.div_euclid(self.window_ms);
            self.start = window.saturating_mul(self.window_ms);
            self.end = self.start.saturating_add(self.window_ms);
            self.id = BucketId {
                window,
                cut: window.max(self.cut_min),
            };
            match self.cuts.last_mut() {
                Some(last) if last.cut == self.id.cut => last.window = last.window.min(window),
                _ => self.cuts.push(self.id),
            }
        }
        self.id
    }
}

/// The number behind `k`; the lowest without one.
fn after(k: Option<i64>) -> i64 {
    k.map_or(i64::MIN, |k| k.saturating_add(1))
}

/// Position of a stream in a cut: what stands up to it is in blocks.
pub(crate) type Positions = std::collections::BTreeMap<StreamId, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_pages_are_freed_and_wild_references_refused() {
        let mut refs = Refs::default();
        for reference in 0..5_000 {
            assert_eq!(refs.define(reference, reference * 2), Some(NO_SLOT));
        }

        assert_eq!(refs.define(7, 1), Some(14));
        for reference in (0..5_000).filter(|r| r % 1_024 != 3 || *r > 2_000) {
            assert!(refs.release(reference).is_some());
            assert_eq!(refs.release(reference), None);
        }

        assert_eq!(refs.iter().collect::<Vec<_>>(), [(3, 6), (1_027, 2_054)]);
        assert_eq!(
            (
                refs.pages.iter().flatten().count(),
                refs.extent(),
                refs.is_empty()
            ),
            (2, 5, false)
        );

        assert_eq!(
            (refs.slot(3), refs.slot(4), refs.slot(u32::MAX)),
            (Some(6), None, None)
        );
        assert_eq!(refs.define(u32::MAX, 1), None);
        assert_eq!(
            Refs::with_extent(5).define(5 << PAGE_BITS, 9),
            Some(NO_SLOT)
        );
    }
}
