//! Series in pages, so that growing never copies a million of them.

/// Slots per page, as a power of two.
const PAGE_BITS: u32 = 10;
/// Slots per page.
pub(crate) const PAGE_SLOTS: usize = 1 << PAGE_BITS;

/// Values by slot number; free slots are used again.
pub(crate) struct Slab<T> {
    pages: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Adds a value; `reuse` allows a free slot. `None` when all 2^32 - 2 slots are taken.
    pub fn insert(&mut self, value: T, reuse: bool) -> Option<u32> {
        let free = if reuse { self.free.pop() } else { None };
        let slot = match free {
            Some(slot) => {
                *self.entry(slot) = Some(value);
                slot
            }
            None => {
                if self.pages.last().is_none_or(|p| p.len() == PAGE_SLOTS) {
                    self.pages.push(Vec::with_capacity(PAGE_SLOTS));
                }
                let page = self.pages.last_mut().expect("BUG: just made");
                page.push(Some(value));
                let at = page.len() - 1;
                let slot = (self.pages.len() - 1) * PAGE_SLOTS + at;
                u32::try_from(slot).ok().filter(|s| *s < u32::MAX - 1)?
            }
        };
        self.len += 1;
        Some(slot)
    }

    /// Puts a value at a slot of choice; for loading. Slots between become free.
    pub fn insert_at(&mut self, slot: u32, value: T) {
        while self.slots() <= slot as usize {
            let next = self.slots() as u32;
            if self.pages.last().is_none_or(|p| p.len() == PAGE_SLOTS) {
                self.pages.push(Vec::with_capacity(PAGE_SLOTS));
            }
            self.pages.last_mut().expect("BUG: just made").push(None);
            if next != slot {
                self.free.push(next);
            }
        }
        self.len += usize::from(self.entry(slot).replace(value).is_none());
    }

    fn entry(&mut self, slot: u32) -> &mut Option<T> {
        &mut self.pages[slot as usize >> PAGE_BITS][slot as usize & (PAGE_SLOTS - 1)]
    }

    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.entry(slot).take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.pages.get(slot as usize >> PAGE_BITS)?.get(slot as usize & (PAGE_SLOTS - 1))?.as_ref()
    }

    /// Starts loading a value.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        let page = self.pages.get(slot as usize >> PAGE_BITS);
        if let Some(at) = page.and_then(|p| p.get(slot as usize & (PAGE_SLOTS - 1))) {
            crate::prefetch::lines(at);
        }
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.pages.get_mut(slot as usize >> PAGE_BITS)?.get_mut(slot as usize & (PAGE_SLOTS - 1))?.as_mut()
    }

    /// Values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Slots there are, used or free.
    pub fn slots(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE_SLOTS + last.len())
    }

    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Used slots of a page with their values.
    pub fn page(&self, page: usize) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.pages.get(page).map_or(&[][..], |p| p.as_slice());
        let base = page * PAGE_SLOTS;
        slots.iter().enumerate().filter_map(move |(at, v)| v.as_ref().map(|v| ((base + at) as u32, v)))
    }

    /// As [`Slab::page`], to change them.
    pub fn page_mut(&mut self, page: usize) -> impl Iterator<Item = (u32, &mut T)> {
        let slots = self.pages.get_mut(page).map_or(&mut [][..], |p| p.as_mut_slice());
        let base = page * PAGE_SLOTS;
        slots.iter_mut().enumerate().filter_map(move |(at, v)| v.as_mut().map(|v| ((base + at) as u32, v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuses_slots_and_loads_at_given_ones() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..3_000).map(|n| slab.insert(n, true).expect("room")).collect();
        assert_eq!(slots, (0..3_000).collect::<Vec<u32>>());
        assert_eq!(slab.remove(5), Some(5));
        assert_eq!(slab.remove(5), None);
        assert_eq!(slab.insert(77, false), Some(3_000));
        assert_eq!(slab.insert(78, true), Some(5));
        assert_eq!((slab.len(), slab.get(5), slab.get(9_999)), (3_001, Some(&78), None));
        let mut loaded = Slab::new();
        loaded.insert_at(2_050, 1);
        loaded.insert_at(3, 2);
        assert_eq!((0..3).flat_map(|p| loaded.page(p)).collect::<Vec<_>>(), [(3, &2), (2_050, &1)]);
        assert_eq!(loaded.len(), 2);
    }
}
