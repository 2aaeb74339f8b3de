//! Short lists of pair ids without an allocation each.

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
    pages: Vec<Vec<u32>>,
    free: Vec<Vec<u32>>,
}

impl Lists {
    /// Stores a list; `None` for one longer than 65,535 or when 2^32 ids are stored.
    pub fn insert(&mut self, ids: &[u32]) -> Option<List> {
        let len = u16::try_from(ids.len()).ok()?;
        if let Some(at) = self.free.get_mut(ids.len()).and_then(Vec::pop) {
            let list = List { at, len };
            let (page, offset) = split(at);
            self.pages[page][offset..offset + ids.len()].copy_from_slice(ids);
            return Some(list);
        }
        if self.pages.last().is_none_or(|p| p.len() + ids.len() > PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let page = self.pages.len() - 1;
        let offset = self.pages[page].len();
        let at = u32::try_from(page * PAGE + offset).ok()?;
        self.pages[page].extend_from_slice(ids);
        Some(List { at, len })
    }

    pub fn get(&self, list: List) -> &[u32] {
        let (page, offset) = split(list.at);
        &self.pages[page][offset..offset + usize::from(list.len)]
    }

    pub fn remove(&mut self, list: List) {
        let len = usize::from(list.len);
        if self.free.len() <= len {
            self.free.resize_with(len + 1, Vec::new);
        }
        self.free[len].push(list.at);
    }

    pub fn bytes(&self) -> usize {
        self.pages.len() * PAGE * 4
    }
}

fn split(at: u32) -> (usize, usize) {
    (at as usize / PAGE, at as usize % PAGE)
}
