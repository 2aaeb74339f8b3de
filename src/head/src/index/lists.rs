//! Short lists of pair ids without an allocation each.

use crate::slab::give_back;

/// Ids per page; a list never straddles pages.
const PAGE: usize = 1 << 16;

/// Where a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct List {
    at: u32,
    len: u16,
}

/// Lists of `u32` in pages; freed lists are used again by lists of the same length.
#[derive(Default)]
pub(crate) struct Lists {
    pages: Vec<Page>,
    /// The page that new lists go to.
    filling: Option<usize>,
    /// Pages without memory.
    vacant: Vec<usize>,
    /// Freed lists by length.
    free: Vec<Vec<u32>>,
}

#[derive(Default)]
struct Page {
    ids: Vec<u32>,
    /// Ids of lists that are in use.
    used: usize,
}

impl Lists {
    /// Stores a list; `None` for one longer than 65,535 or when 2^32 ids are stored.
    pub fn insert(&mut self, ids: &[u32]) -> Option<List> {
        let len = u16::try_from(ids.len()).ok()?;
        if ids.is_empty() {
            return Some(List::default());
        }

        if let Some(at) = self.free.get_mut(ids.len()).and_then(Vec::pop) {
            let (page, offset) = split(at);
            let page = &mut self.pages[page];
            page.ids[offset..offset + ids.len()].copy_from_slice(ids);
            page.used += ids.len();
            return Some(List { at, len });
        }

        let number = self.page_with_room(ids.len());
        let page = &mut self.pages[number];
        let at = u32::try_from(number * PAGE + page.ids.len()).ok()?;

        page.ids.extend_from_slice(ids);
        page.used += ids.len();
        Some(List { at, len })
    }

    /// The page being filled, or another one if that has no room for a list of this length.
    fn page_with_room(&mut self, len: usize) -> usize {
        if let Some(number) = self
            .filling
            .filter(|number| self.pages[*number].ids.len() + len <= PAGE)
        {
            return number;
        }

        let number = self.vacant.pop().unwrap_or_else(|| {
            self.pages.push(Page::default());
            self.pages.len() - 1
        });

        self.pages[number].ids.reserve_exact(PAGE);
        self.filling = Some(number);
        number
    }

    pub fn get(&self, list: List) -> &[u32] {
        if list.len == 0 {
            return &[];
        }
        let (page, offset) = split(list.at);
        &self.pages[page].ids[offset..offset + usize::from(list.len)]
    }

    pub fn remove(&mut self, list: List) {
        let len = usize::from(list.len);
        if len == 0 {
            return;
        }

        if self.free.len() <= len {
            self.free.resize_with(len + 1, Vec::new);
        }

        self.free[len].push(list.at);
        self.pages[split(list.at).0].used -= len;
    }

    /// Gives back the memory of pages without a list, and has the first free places used first from now on.
    pub fn shrink(&mut self) {
        for page in self.pages.iter_mut().filter(|page| page.used == 0) {
            page.ids = Vec::new();
        }

        let used = self
            .pages
            .iter()
            .rposition(|page| page.used > 0)
            .map_or(0, |last| last + 1);

        self.pages.truncate(used);
        self.filling = self
            .filling
            .filter(|number| has_lists(&self.pages, *number));
        self.vacant = (0..used)
            .rev()
            .filter(|number| !has_lists(&self.pages, *number))
            .collect();

        for places in &mut self.free {
            places.retain(|at| has_lists(&self.pages, split(*at).0));
            places.sort_by(|a, b| b.cmp(a));
            give_back(places);
        }
    }

    pub fn bytes(&self) -> usize {
        let ids: usize = self.pages.iter().map(|page| page.ids.capacity()).sum();
        (ids + self.free.iter().map(Vec::capacity).sum::<usize>()) * 4
    }
}

/// True if there is a page with this number, and a list in it.
fn has_lists(pages: &[Page], number: usize) -> bool {
    pages.get(number).is_some_and(|page| page.used > 0)
}

fn split(at: u32) -> (usize, usize) {
    (at as usize / PAGE, at as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn keeps_lists_and_gives_back_pages_of_those_that_are_gone(
            steps in proptest::collection::vec((0u8..5, 0usize..12, any::<u32>()), 1..40),
        ) {
            let (mut lists, mut model, mut next) = (Lists::default(), BTreeMap::new(), 0u32);
            for (step, len, number) in steps {
                match step {
                    0..3 => for _ in 0..number % 5_000 {
                        let ids: Vec<u32> = (0..len as u32).map(|n| next.wrapping_add(n)).collect();
                        model.insert(next, (lists.insert(&ids).expect("room"), ids));
                        next += 1;
                    },
                    3 => model.retain(|key, (list, _)| {
                        let stays = key % 11 == number % 11;
                        if !stays {
                            lists.remove(*list);
                        }
                        stays
                    }),
                    _ => {
                        lists.shrink();
                        let ids: usize = model.values().map(|(_, ids)| ids.len()).sum();
                        let pages = lists.pages.iter().filter(|page| page.ids.capacity() > 0).count();
                        prop_assert!(pages <= ids, "{} pages for {} ids", pages, ids);
                    }
                }
                for (list, ids) in model.values() {
                    prop_assert_eq!(lists.get(*list), ids.as_slice());
                }
            }
        }
    }
}
