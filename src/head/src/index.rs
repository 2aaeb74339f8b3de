//! Labels of one tenant's series: names, pairs, postings.
//!
//! Every label pair is stored once; a series is a short list of pair ids in label order. Each pair keeps the slots
//! of its series. Tenants share nothing, so a query of one cannot see another's (I8).

pub(crate) mod lists;
pub(crate) mod order;
pub(crate) mod postings;
pub(crate) mod select;

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use trireme_model::{Labels, push_label};

pub(crate) use lists::{List, Lists};
pub(crate) use postings::Postings;

use crate::slab::give_back;

/// A label name of a tenant. The text is empty where no series has it any more.
pub(crate) struct Name {
    pub text: Arc<str>,
    /// Pairs of this name, in no order; freed ones are removed.
    pub pairs: Vec<u32>,
}

/// A label pair of a tenant.
pub(crate) struct Pair {
    pub name: u32,
    /// Place in the name's list.
    at: u32,
    pub value: Arc<str>,
    pub postings: Postings,
}

impl Pair {
    fn new(name: u32, value: &str) -> Self {
        Self {
            name,
            at: 0,
            value: Arc::from(value),
            postings: Postings::default(),
        }
    }
}

/// The label index of one tenant in one shard.
pub(crate) struct Index {
    pub names: Vec<Name>,
    name_ids: HashMap<Arc<str>, u32, FixedState>,
    free_names: Vec<u32>,
    pub pairs: Vec<Option<Pair>>,
    pair_ids: HashTable<u32>,
    free: Vec<u32>,
    /// All series of the tenant.
    pub all: Postings,
    hasher: FixedState,
}

impl Index {
    pub fn new() -> Self {
        Self {
            names: Vec::new(),
            name_ids: HashMap::with_hasher(FixedState::default()),
            free_names: Vec::new(),
            pairs: Vec::new(),
            pair_ids: HashTable::new(),
            free: Vec::new(),
            all: Postings::default(),
            hasher: FixedState::default(),
        }
    }

    fn hash(hasher: &FixedState, name: u32, value: &str) -> u64 {
        hasher.hash_one((name, value))
    }

    pub fn name_id(&self, name: &str) -> Option<u32> {
        self.name_ids.get(name).copied()
    }

    /// Id of a pair, if some series has it.
    pub fn pair_id(&self, name: u32, value: &str) -> Option<u32> {
        let hash = Self::hash(&self.hasher, name, value);
        self.pair_ids
            .find(hash, |id: &u32| {
                self.pair(*id)
                    .is_some_and(|p| p.name == name && *p.value == *value)
            })
            .copied()
    }

    pub fn pair(&self, id: u32) -> Option<&Pair> {
        self.pairs.get(id as usize)?.as_ref()
    }

    /// Id of a pair, made when new; `reuse` allows freed ids and numbers.
    pub fn intern(&mut self, name: &str, value: &str, reuse: bool) -> u32 {
        let name = self.intern_name(name, reuse);
        if let Some(id) = self.pair_id(name, value) {
            return id;
        }

        let pair = Pair::new(name, value);
        let free = if reuse { self.free.pop() } else { None };
        let id = match free {
            Some(id) => {
                self.pairs[id as usize] = Some(pair);
                id
            }
            None => {
                self.pairs.push(Some(pair));
                (self.pairs.len() - 1) as u32
            }
        };

        self.link(id, name);
        id
    }

    fn intern_name(&mut self, name: &str, reuse: bool) -> u32 {
        if let Some(id) = self.name_ids.get(name) {
            return *id;
        }
        let free = if reuse { self.free_names.pop() } else { None };
        let id = free.unwrap_or(self.names.len() as u32);
        self.put_name(id, name);
        id
    }

    /// The next name, for loading; an empty one is a free number. False if it is there.
    pub fn load_name(&mut self, name: &str) -> bool {
        let id = self.names.len() as u32;
        if name.is_empty() {
            self.names.push(Name {
                text: Arc::default(),
                pairs: Vec::new(),
            });
            self.free_names.push(id);
            return true;
        }

        if self.name_ids.contains_key(name) {
            return false;
        }

        self.put_name(id, name);
        true
    }

    /// Puts a name at a number that is free or the next.
    fn put_name(&mut self, id: u32, name: &str) {
        let text: Arc<str> = Arc::from(name);
        let new = Name {
            text: text.clone(),
            pairs: Vec::new(),
        };

        match self.names.get_mut(id as usize) {
            Some(free) => *free = new,
            None => self.names.push(new),
        }

        self.name_ids.insert(text, id);
    }

    /// Makes room for so many series and pairs; for loading.
    pub fn reserve(&mut self, series: usize, pairs: usize) {
        self.all = Postings::with_capacity(series);
        self.pairs.reserve_exact(pairs);
        let known = &self.pairs;
        let hasher = &self.hasher;
        self.pair_ids
            .reserve(pairs, |id| pair_hash(known, hasher, *id));
    }

    /// Puts a pair at an id of choice, with room for `series`; for loading. Ids between become free.
    pub fn load_pair(&mut self, id: u32, name: u32, value: &str, series: usize) {
        while self.pairs.len() <= id as usize {
            let next = self.pairs.len() as u32;
            if next != id {
                self.free.push(next);
            }
            self.pairs.push(None);
        }

        let postings = Postings::with_capacity(series);
        self.pairs[id as usize] = Some(Pair {
            postings,
            ..Pair::new(name, value)
        });
        self.link(id, name);
    }

    /// As [`Index::add_series`], for loading; false if there is no such pair.
    pub fn load_series(&mut self, slot: u32, pairs: &[u32]) -> bool {
        self.all.insert(slot);
        pairs
            .iter()
            .all(|id| match self.pairs.get_mut(*id as usize) {
                Some(Some(pair)) => {
                    pair.postings.insert(slot);
                    true
                }
                _ => false,
            })
    }

    fn link(&mut self, id: u32, name: u32) {
        let of_name = &mut self.names[name as usize].pairs;
        of_name.push(id);

        let at = (of_name.len() - 1) as u32;
        if let Some(pair) = &mut self.pairs[id as usize] {
            pair.at = at;
        }

        let pairs = &self.pairs;
        let hasher = &self.hasher;
        let hash = pair_hash(pairs, hasher, id);

        self.pair_ids
            .insert_unique(hash, id, |id| pair_hash(pairs, hasher, *id));
    }

    /// Notes that the series at `slot` has these pairs.
    pub fn add_series(&mut self, slot: u32, pairs: &[u32]) {
        self.all.insert(slot);
        for id in pairs {
            if let Some(pair) = &mut self.pairs[*id as usize] {
                pair.postings.insert(slot);
            }
        }
    }

    /// Forgets series: `dead` ascends, `pairs` are all pairs they had, in any order and number.
    pub fn remove_series(&mut self, dead: &[u32], mut pairs: Vec<u32>) {
        pairs.sort_unstable();
        pairs.dedup();
        self.all.remove_all(dead);

        for id in pairs {
            let Some(pair) = &mut self.pairs[id as usize] else {
                continue;
            };
            pair.postings.remove_all(dead);
            if pair.postings.is_empty() {
                self.free_pair(id);
            }
        }
    }

    fn free_pair(&mut self, id: u32) {
        let Some(pair) = self.pairs[id as usize].take() else {
            return;
        };

        let hash = Self::hash(&self.hasher, pair.name, &pair.value);
        if let Ok(entry) = self.pair_ids.find_entry(hash, |other| *other == id) {
            entry.remove();
        }

        let of_name = &mut self.names[pair.name as usize].pairs;
        of_name.swap_remove(pair.at as usize);

        if let Some(moved) = of_name.get(pair.at as usize)
            && let Some(moved) = &mut self.pairs[*moved as usize]
        {
            moved.at = pair.at;
        }

        let is_unused = of_name.is_empty();
        self.free.push(id);

        if is_unused {
            let name = &mut self.names[pair.name as usize];
            self.name_ids.remove(&name.text);
            name.text = Arc::default();
            self.free_names.push(pair.name);
        }
    }

    /// Gives back what far more pairs and names took, and has the first free numbers used first from now on. Nobody may go
    /// by numbers meanwhile.
    pub fn shrink(&mut self) {
        self.shrink_pairs();
        self.shrink_names();
    }

    fn shrink_pairs(&mut self) {
        let used = self
            .pairs
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);

        self.pairs.truncate(used);
        give_back(&mut self.pairs);
        self.free.retain(|id| (*id as usize) < used);
        self.free.sort_by(|a, b| b.cmp(a));
        give_back(&mut self.free);

        if self.pair_ids.capacity() > 4 * self.pair_ids.len() + 64 {
            let pairs = &self.pairs;
            let hasher = &self.hasher;
            self.pair_ids
                .shrink_to(2 * self.pair_ids.len(), |id| pair_hash(pairs, hasher, *id));
        }
    }

    fn shrink_names(&mut self) {
        let used = self
            .names
            .iter()
            .rposition(|name| !name.text.is_empty())
            .map_or(0, |last| last + 1);

        self.names.truncate(used);
        give_back(&mut self.names);
        self.names
            .iter_mut()
            .for_each(|name| give_back(&mut name.pairs));
        self.free_names.retain(|id| (*id as usize) < used);
        give_back(&mut self.free_names);

        if self.name_ids.capacity() > 4 * self.name_ids.len() + 64 {
            self.name_ids.shrink_to(2 * self.name_ids.len());
        }
    }

    /// Builds the label set of a series from its pair ids.
    pub fn labels(&self, pairs: &[u32], scratch: &mut Vec<u8>) -> Labels {
        scratch.clear();
        self.label_bytes(pairs, scratch);
        Labels::from_canonical_unchecked(scratch)
    }

    /// Appends the canonical bytes of a label set.
    pub fn label_bytes(&self, pairs: &[u32], out: &mut Vec<u8>) {
        for id in pairs {
            if let Some(pair) = self.pair(*id) {
                push_label(
                    out,
                    self.names[pair.name as usize].text.as_bytes(),
                    pair.value.as_bytes(),
                );
            }
        }
    }

    /// Rough bytes in memory.
    pub fn bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<Option<Pair>>()
            + self
                .pairs
                .iter()
                .flatten()
                .map(|p: &Pair| 16 + p.value.len() + p.postings.bytes())
                .sum::<usize>()
            + self.pair_ids.capacity() * 5
            + self.all.bytes()
            + self.names.capacity() * size_of::<Name>()
            + self
                .names
                .iter()
                .map(|n: &Name| 16 + n.text.len() + n.pairs.capacity() * 4)
                .sum::<usize>()
            + self.name_ids.capacity() * 25
            + (self.free.capacity() + self.free_names.capacity()) * 4
    }
}

/// Hash of a pair that is linked.
fn pair_hash(pairs: &[Option<Pair>], hasher: &FixedState, id: u32) -> u64 {
    let pair = pairs[id as usize]
        .as_ref()
        .expect("BUG: linked pairs exist");
    Index::hash(hasher, pair.name, &pair.value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn numbers_of_what_is_gone_are_used_again_and_memory_is_given_back(
            steps in proptest::collection::vec((0u8..4, 0u32..400, 0u32..9), 1..30),
        ) {
            let (mut index, mut model) = (Index::new(), std::collections::BTreeMap::new());
            let mut next = 0;
            for (step, count, seed) in steps {
                match step {
                    0 | 1 => for n in 0..count {
                        let labels = [("job".to_owned(), format!("{}", n % 5)), (format!("l{}", n % (40 + seed)), format!("{n}"))];
                        let pairs: Vec<u32> =
                            labels.iter().map(|(name, value)| index.intern(name, value, step == 0)).collect();
                        index.add_series(next, &pairs);
                        model.insert(next, (pairs, labels));
                        next += 1;
                    },
                    2 => {
                        let dead: Vec<u32> = model.keys().copied().filter(|slot| slot % 10 > seed).collect();
                        let pairs = dead.iter().flat_map(|slot| model[slot].0.clone()).collect();
                        index.remove_series(&dead, pairs);
                        dead.iter().for_each(|slot| drop(model.remove(slot)));
                    }
                    _ => index.shrink(),
                }
                for (slot, (pairs, labels)) in &model {
                    let want: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                    let found = index.labels(pairs, &mut Vec::new());
                    prop_assert_eq!(found.iter().collect::<Vec<_>>(), want.clone());
                    for (name, value) in want {
                        let id = index.name_id(name).and_then(|name| index.pair_id(name, value));
                        prop_assert!(id.is_some_and(|id| index.pair(id).is_some_and(|p| p.postings.iter().any(|s| s == *slot))));
                    }
                }
                let names: std::collections::BTreeSet<_> = model.values().flat_map(|(_, l)| l.iter().map(|(n, _)| n.as_str())).collect();
                let known: std::collections::BTreeSet<_> = index.names.iter().map(|n| &*n.text).filter(|n| !n.is_empty()).collect();
                prop_assert_eq!(known, names);
            }
        }
    }
}
