//! From series key to slot, built for batches.
//!
//! Open addressing with linear probing over eight-byte entries: 32 bits of the key and the slot. The place of an
//! entry follows from those 32 bits alone, so growing never touches a series, and a probe is one cache miss that
//! the caller can start early for a whole batch ([`KeyTable::prefetch`]). Whether an entry is the series asked for
//! is decided by the full key, which is kept with the series.
//!
//! Senders choose their labels, and with them the keys. So the 32 bits come from a key by a secret of this process: nobody can
//! make many keys that fall to one place.

use std::hash::{BuildHasher, RandomState};

use trireme_model::SeriesKey;

/// Least number of entries, as a power of two.
const BITS_MIN: u32 = 8;

/// Maps keys to slots. Holds at most 2^32 - 1 slots.
pub(crate) struct KeyTable {
    /// Tag in the high half, slot + 1 in the low half; 0 is empty.
    entries: Vec<u64>,
    bits: u32,
    len: usize,
    /// Odd.
    secret: u64,
}

impl KeyTable {
    pub fn new() -> Self {
        let secret = RandomState::new().hash_one(0) | 1;
        Self {
            entries: vec![0; 1 << BITS_MIN],
            bits: BITS_MIN,
            len: 0,
            secret,
        }
    }

    /// The part of a key that the table stores. The high half of a key chooses the shard, so the low half is used.
    #[inline]
    fn tag(&self, key: SeriesKey) -> u32 {
        ((key.0 as u64).wrapping_mul(self.secret) >> 32) as u32
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (u64::from(tag) >> (32 - self.bits)) as usize
    }

    /// Starts loading what a later [`KeyTable::candidate`] needs.
    #[inline]
    pub fn prefetch(&self, key: SeriesKey) {
        crate::prefetch::read(&self.entries[self.home(self.tag(key))]);
    }

    /// Slot of the first entry that may be the key's; the full key of that slot decides.
    #[inline]
    pub fn candidate(&self, key: SeriesKey) -> Option<u32> {
        let tag = self.tag(key);
        let mask = self.entries.len() - 1;

        let mut at = self.home(tag);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if (entry >> 32) as u32 == tag {
                return Some(entry as u32 - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// The slot for which `is` says that it is the key's.
    #[inline]
    pub fn find(&self, key: SeriesKey, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = self.tag(key);
        let mask = self.entries.len() - 1;

        let mut at = self.home(tag);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if (entry >> 32) as u32 == tag && is(entry as u32 - 1) {
                return Some(entry as u32 - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a slot under a key that is not there yet.
    pub fn insert(&mut self, key: SeriesKey, slot: u32) {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.resize_to(self.bits + 1);
        }
        self.place(u64::from(self.tag(key)) << 32 | (u64::from(slot) + 1));
        self.len += 1;
    }

    /// Makes room for `more` keys at once, so that loading does not place every key anew each time the table doubles.
    pub fn reserve(&mut self, more: usize) {
        let needed = (self.len + more).saturating_mul(4).div_ceil(3) + 1;
        let bits = needed.next_power_of_two().trailing_zeros();
        if bits > self.bits && bits < 32 {
            self.resize_to(bits);
        }
    }

    fn place(&mut self, entry: u64) {
        let mask = self.entries.len() - 1;
        let mut at = self.home((entry >> 32) as u32);
        while self.entries[at] != 0 {
            at = (at + 1) & mask;
        }
        self.entries[at] = entry;
    }

    /// Gives back most of the room where far more keys have been; what is left takes as many again without growing.
    pub fn shrink(&mut self) {
        let bits = (self.len * 4 + 1)
            .next_power_of_two()
            .trailing_zeros()
            .max(BITS_MIN);
        if bits < self.bits {
            self.resize_to(bits);
        }
    }

    fn resize_to(&mut self, bits: u32) {
        self.bits = bits;
        let old = std::mem::replace(&mut self.entries, vec![0; 1 << self.bits]);
        old.into_iter()
            .filter(|e| *e != 0)
            .for_each(|entry| self.place(entry));
    }

    /// Removes a slot; does nothing if it is not there.
    pub fn remove(&mut self, key: SeriesKey, slot: u32) {
        let mask = self.entries.len() - 1;
        let wanted = u64::from(self.tag(key)) << 32 | (u64::from(slot) + 1);

        let mut hole = self.home(self.tag(key));
        while self.entries[hole] != wanted {
            if self.entries[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }

        self.len -= 1;

        // Pull later entries of the run into the hole where their home allows it, so that no run has a gap.
        let mut at = hole;
        loop {
            self.entries[hole] = 0;
            loop {
                at = (at + 1) & mask;
                let entry = self.entries[at];
                if entry == 0 {
                    return;
                }
                let home = self.home((entry >> 32) as u32);
                if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                    self.entries[hole] = entry;
                    hole = at;
                    break;
                }
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.entries.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use trireme_base::SeededRng;

    use super::*;

    #[test]
    fn behaves_like_a_map_under_inserts_and_removals() {
        let mut rng = SeededRng::new(3);
        let mut table = KeyTable::new();

        let mut model: HashMap<u32, SeriesKey> = HashMap::new();
        for step in 0..20_000u32 {
            if rng.chance(0.6) || model.is_empty() {
                // Few distinct tags, so that long runs and equal tags occur.
                let key = SeriesKey(u128::from(step) << 64 | u128::from(rng.below(300) << 55));
                table.insert(key, step);
                model.insert(step, key);
            } else {
                let slot = *model.keys().next().expect("not empty");
                let key = model.remove(&slot).expect("there");
                table.remove(key, slot);
                assert_eq!(table.find(key, |s| s == slot), None);
            }
        }

        assert_eq!(table.len, model.len());
        table.reserve(20_000);
        let bits = table.bits;

        for (slot, key) in &model {
            assert_eq!(table.find(*key, |s| s == *slot), Some(*slot));
        }

        let more = |n: u32| (SeriesKey(u128::from(n) << 32), 1_000_000 + n);
        (0..20_000)
            .map(more)
            .for_each(|(key, slot)| table.insert(key, slot));
        assert_eq!(table.bits, bits, "there is room for what was announced");

        for (slot, key) in &model {
            assert_eq!(table.find(*key, |s| s == *slot), Some(*slot));
        }

        (0..20_000)
            .map(more)
            .for_each(|(key, slot)| table.remove(key, slot));

        let full = table.bytes();
        table.shrink();
        assert!(
            table.bytes() < full,
            "room for far more keys than there are"
        );

        let fitting = table.bytes();
        table.shrink();
        assert_eq!(table.bytes(), fitting);

        for (slot, key) in &model {
            assert_eq!(table.find(*key, |s| s == *slot), Some(*slot));
        }
    }
}
