//! Series in pages, so that growing never copies a million of them.

/// Slots per page, as a power of two.
const PAGE_BITS: u32 = 10;
/// Slots per page.
pub(crate) const PAGE_SLOTS: usize = 1 << PAGE_BITS;

/// Values by slot number; free slots are used again.
pub(crate) struct Slab<T> {
    pages: Vec<Page<T>>,
    free: Vec<u32>,
    len: usize,
}

/// Slots in a row. A page that had no value when the slab was shrunk has no memory either; its slots are free ones.
struct Page<T> {
    slots: Vec<Option<T>>,
    /// Slots with a value.
    used: u32,
}

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    /// Adds a value; `reuse` allows a free slot. `None` when all 2^32 - 2 slots are taken.
    pub fn insert(&mut self, value: T, reuse: bool) -> Option<u32> {
        let free = if reuse { self.free.pop() } else { None };
        let slot = match free {
            Some(slot) => slot,
            None => u32::try_from(self.slots())
                .ok()
                .filter(|slot| *slot < u32::MAX - 1)?,
        };

        self.set(slot, value);
        Some(slot)
    }

    /// Puts a value at a slot of choice; for loading. Slots between become free.
    pub fn insert_at(&mut self, slot: u32, value: T) {
        self.free.extend(self.slots() as u32..slot);
        self.set(slot, value);
    }

    fn set(&mut self, slot: u32, value: T) {
        let (page, at) = place(slot);
        while self.pages.len() <= page {
            // Of a page that another one follows all slots are there, or none.
            if let Some(last) = self.pages.last_mut().filter(|last| !last.slots.is_empty()) {
                last.slots.resize_with(PAGE_SLOTS, || None);
            }
            self.pages.push(Page {
                slots: Vec::new(),
                used: 0,
            });
        }

        let is_last = page + 1 == self.pages.len();

        let page = &mut self.pages[page];
        if page.slots.is_empty() {
            page.slots.reserve_exact(PAGE_SLOTS);
        }

        if page.slots.len() <= at {
            page.slots
                .resize_with(if is_last { at + 1 } else { PAGE_SLOTS }, || None);
        }

        if page.slots[at].replace(value).is_none() {
            page.used += 1;
            self.len += 1;
        }
    }

    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (page, at) = place(slot);
        let page = self.pages.get_mut(page)?;
        let value = page.slots.get_mut(at)?.take()?;
        page.used -= 1;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// Gives back the memory of pages without a value, and has the lowest free slots used first from now on, so that after
    /// many more values than there are now the pages at the end empty. Nobody may be walking over the pages.
    pub fn shrink(&mut self) {
        for page in self.pages.iter_mut().filter(|page| page.used == 0) {
            page.slots = Vec::new();
        }

        let used = self
            .pages
            .iter()
            .rposition(|page| page.used > 0)
            .map_or(0, |last| last + 1);

        self.pages.truncate(used);
        let end = self.slots() as u32;
        self.free.retain(|slot| *slot < end);

        // What was freed since the last time comes in ascending runs, which this sort only merges.
        self.free.sort_by(|a, b| b.cmp(a));
        give_back(&mut self.free);
        give_back(&mut self.pages);
    }

    #[inline]
    pub fn get(&self, slot: u32) -> Option<&T> {
        let (page, at) = place(slot);
        self.pages.get(page)?.slots.get(at)?.as_ref()
    }

    /// Starts loading a value.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        let (page, at) = place(slot);
        if let Some(value) = self.pages.get(page).and_then(|p| p.slots.get(at)) {
            crate::prefetch::lines(value);
        }
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (page, at) = place(slot);
        self.pages.get_mut(page)?.slots.get_mut(at)?.as_mut()
    }

    /// Values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Slots there are, used or free.
    pub fn slots(&self) -> usize {
        self.pages.last().map_or(0, |last| {
            (self.pages.len() - 1) * PAGE_SLOTS + last.slots.len()
        })
    }

    /// Bytes in memory, without what the values have elsewhere.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.pages.iter().map(|page| page.slots.capacity()).sum();
        slots * size_of::<Option<T>>() + self.free.capacity() * 4
    }

    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Used slots of a page with their values.
    pub fn page(&self, page: usize) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.pages.get(page).map_or(&[][..], |p| p.slots.as_slice());
        let base = page * PAGE_SLOTS;
        slots
            .iter()
            .enumerate()
            .filter_map(move |(at, v)| v.as_ref().map(|v| ((base + at) as u32, v)))
    }

    /// As [`Slab::page`], to change them.
    pub fn page_mut(&mut self, page: usize) -> impl Iterator<Item = (u32, &mut T)> {
        let slots = self
            .pages
            .get_mut(page)
            .map_or(&mut [][..], |p| p.slots.as_mut_slice());
        let base = page * PAGE_SLOTS;

        slots
            .iter_mut()
            .enumerate()
            .filter_map(move |(at, v)| v.as_mut().map(|v| ((base + at) as u32, v)))
    }
}

/// Page and place in it of a slot.
#[inline]
fn place(slot: u32) -> (usize, usize) {
    (slot as usize >> PAGE_BITS, slot as usize & (PAGE_SLOTS - 1))
}

/// Gives back the room of a list that was far longer.
pub(crate) fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() > 2 * list.len() + 64 {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reuses_slots_and_loads_at_given_ones() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..3_000)
            .map(|n| slab.insert(n, true).expect("room"))
            .collect();

        assert_eq!(slots, (0..3_000).collect::<Vec<u32>>());
        assert_eq!(slab.remove(5), Some(5));
        assert_eq!(slab.remove(5), None);
        assert_eq!(slab.insert(77, false), Some(3_000));
        assert_eq!(slab.insert(78, true), Some(5));
        assert_eq!(
            (slab.len(), slab.get(5), slab.get(9_999)),
            (3_001, Some(&78), None)
        );

        let mut loaded = Slab::new();
        loaded.insert_at(2_050, 1);
        loaded.insert_at(3, 2);
        assert_eq!(
            (0..3).flat_map(|p| loaded.page(p)).collect::<Vec<_>>(),
            [(3, &2), (2_050, &1)]
        );
        assert_eq!(loaded.len(), 2);
    }

    #[test]
    fn gives_back_what_values_that_are_gone_took() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..20_000)
            .map(|n| slab.insert([n; 64], true).expect("room"))
            .collect();
        let full = slab.bytes();

        // The last one stays.
        slots[..19_999]
            .iter()
            .for_each(|slot| assert!(slab.remove(*slot).is_some()));
        slab.shrink();

        assert!(slab.bytes() < full / 8, "{} of {full}", slab.bytes());
        // What comes next goes to the begin, so that the next time the end can go.
        assert_eq!(slab.insert([1; 64], true), Some(0));
        slab.remove(19_999);
        slab.shrink();
        assert_eq!(
            (slab.slots(), slab.pages(), slab.get(0)),
            (PAGE_SLOTS, 1, Some(&[1; 64]))
        );
        slab.remove(0);
        slab.shrink();
        assert_eq!((slab.slots(), slab.insert([2; 64], false)), (0, Some(0)));
    }

    proptest! {
        #[test]
        fn is_a_map_of_slots_however_often_it_is_shrunk(
            steps in proptest::collection::vec((0u8..6, any::<u32>()), 1..60),
        ) {
            let (mut slab, mut model) = (Slab::new(), BTreeMap::new());
            for (step, number) in steps {
                match step {
                    0..3 => for n in 0..number % 900 {
                        let slot = slab.insert(n, step > 0).expect("room");
                        prop_assert!(model.insert(slot, n).is_none());
                    },
                    3 => for slot in model.keys().copied().filter(|slot| slot % 7 != number % 7).collect::<Vec<_>>() {
                        prop_assert_eq!(slab.remove(slot), model.remove(&slot));
                    },
                    4 => slab.shrink(),
                    _ => {
                        let slot = slab.slots() as u32 + number % 2_000;
                        slab.insert_at(slot, number);
                        model.insert(slot, number);
                    }
                }
                let all: Vec<_> = (0..slab.pages()).flat_map(|page| slab.page(page)).map(|(s, v)| (s, *v)).collect();
                prop_assert_eq!(all, model.iter().map(|(s, v)| (*s, *v)).collect::<Vec<_>>());
                prop_assert_eq!(slab.len(), model.len());
                prop_assert_eq!(slab.slots(), slab.len() + slab.free.len());
            }
        }
    }
}
