//! Blocks that are held open.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use trireme_block::Block;
use ulid::Ulid;

/// What an open block takes beside what its index says (bytes).
const BLOCK_BYTES: usize = 4 << 10;

/// Open blocks up to a bound in bytes, the longest unused closed first.
pub(super) struct OpenBlocks {
    bytes_max: usize,
    bytes: usize,
    blocks: HashMap<Ulid, (Arc<Block>, u64)>,
    used: BTreeMap<u64, Ulid>,
    clock: u64,
}

impl OpenBlocks {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            blocks: HashMap::new(),
            used: BTreeMap::new(),
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, ulid: Ulid) -> Option<Arc<Block>> {
        let (block, used) = self.blocks.get_mut(&ulid)?;
        self.clock += 1;
        self.used.remove(used);
        self.used.insert(self.clock, ulid);
        *used = self.clock;
        Some(Arc::clone(block))
    }

    pub(super) fn put(&mut self, ulid: Ulid, block: &Arc<Block>) {
        self.remove(ulid);
        self.clock += 1;
        self.bytes += bytes_of(block);
        self.used.insert(self.clock, ulid);
        self.blocks.insert(ulid, (Arc::clone(block), self.clock));

        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    /// True if another block might close one.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.bytes_max / 8 * 7
    }

    pub(super) fn retain(&mut self, keep: &dyn Fn(Ulid) -> bool) {
        let gone: Vec<Ulid> = self
            .blocks
            .keys()
            .copied()
            .filter(|ulid| !keep(*ulid))
            .collect();
        gone.into_iter().for_each(|ulid| self.remove(ulid));
    }

    pub(super) fn remove(&mut self, ulid: Ulid) {
        if let Some((block, used)) = self.blocks.remove(&ulid) {
            self.used.remove(&used);
            self.bytes -= bytes_of(&block);
        }
    }
}

fn bytes_of(block: &Block) -> usize {
    block.memory_bytes() + BLOCK_BYTES
}
