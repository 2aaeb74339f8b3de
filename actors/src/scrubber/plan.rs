//! Which blocks of other replicas are missing here. Pure.
//!
//! Replicas cut the same windows into the same blocks, and a block's name follows from its bytes: the names of the
//! blocks of a window are its digest. A replica that lacks a name lacks data, or has it in another block; either way it
//! has everything once it has every block that any replica has, because reading a sample twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use trireme_base::NodeName;
use trireme_model::Tenant;
use ulid::Ulid;

/// A block of some replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) tenant: Tenant,
    pub(super) ulid: Ulid,
    /// Start of its window (ms, inclusive).
    pub(super) start_ms: i64,
    /// End of its window (ms, exclusive).
    pub(super) end_ms: i64,
    /// Bytes of its files.
    pub(super) bytes: u64,
}

impl Listed {
    pub(super) fn key(&self) -> Key {
        (self.tenant.clone(), self.ulid)
    }
}

/// What a block is known by.
pub(super) type Key = (Tenant, Ulid);

/// How it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// Nothing of its window is here.
    Missing,
    /// The window has other blocks here.
    Differs,
    /// It is here, and its bytes are bad.
    Damaged,
}

impl Lack {
    /// As a label of metrics and a value in the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Damaged => "damaged",
        }
    }
}

/// A block to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tenant: Tenant,
    pub(super) ulid: Ulid,
    /// Window and bytes as a replica or this node knows them; `None` if the block was set aside and nobody lists it.
    pub(super) listed: Option<Listed>,
    pub(super) lack: Lack,
    /// Who says that it has the block.
    pub(super) peers: Vec<NodeName>,
}

/// This node's side of a comparison.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Good and damaged blocks.
    pub(super) blocks: Vec<Listed>,
    /// Those that are damaged.
    pub(super) damaged: BTreeSet<Key>,
    /// Blocks that were set aside and are not back.
    pub(super) lost: Vec<Key>,
    /// The last cut.
    pub(super) cut: Option<i64>,
    /// Tenants and starts (ms) of windows that this node has in its head still, because it could not write them.
    pub(super) left: BTreeSet<(Tenant, i64)>,
}

/// What this node keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Length of a window (ms).
    pub(super) window_ms: i64,
    /// Blocks that end here or earlier are dropped (ms).
    pub(super) from_ms: i64,
    /// Size over which the oldest blocks are dropped; 0 means no bound.
    pub(super) bytes_max: u64,
}

/// What to fetch, the newest window first: it is asked for most.
pub(super) fn wanted(own: &Own, peers: &[(NodeName, Vec<Listed>)], keep: Keep) -> Vec<Wanted> {
    let mut found: BTreeMap<Key, Wanted> = BTreeMap::new();

    let here = Here::of(own);
    for (peer, blocks) in peers {
        for block in blocks {
            let Some(lack) = here.lack_of(block) else {
                continue;
            };

            // A damaged block is kept until it was shipped, however old it is, and has to be good for that.
            if lack != Lack::Damaged && !here.is_expected(block, keep) {
                continue;
            }

            let entry = found.entry(block.key()).or_insert_with(|| Wanted {
                tenant: block.tenant.clone(),
                ulid: block.ulid,
                listed: Some(block.clone()),
                lack,
                peers: Vec::new(),
            });

            entry.peers.push(peer.clone());
        }
    }

    // What no peer lists may be in the bucket.
    for block in own.blocks.iter().filter(|b| own.damaged.contains(&b.key())) {
        found.entry(block.key()).or_insert_with(|| Wanted {
            tenant: block.tenant.clone(),
            ulid: block.ulid,
            listed: Some(block.clone()),
            lack: Lack::Damaged,
            peers: Vec::new(),
        });
    }

    for (tenant, ulid) in own
        .lost
        .iter()
        .filter(|(_, ulid)| end_ms(*ulid) > keep.from_ms)
    {
        found
            .entry((tenant.clone(), *ulid))
            .or_insert_with(|| Wanted {
                tenant: tenant.clone(),
                ulid: *ulid,
                listed: None,
                lack: Lack::Missing,
                peers: Vec::new(),
            });
    }

    let mut all: Vec<Wanted> = found.into_values().collect();
    all.sort_by(|a, b| {
        end_ms(b.ulid)
            .cmp(&end_ms(a.ulid))
            .then_with(|| a.tenant.cmp(&b.tenant))
    });

    all
}

/// End of the window of a block of ours, which is the time in its name (ms).
fn end_ms(ulid: Ulid) -> i64 {
    i64::try_from(ulid.timestamp_ms()).unwrap_or(i64::MAX)
}

/// This node's blocks, to be looked up.
struct Here<'a> {
    own: &'a Own,
    good: BTreeSet<Key>,
    windows: BTreeSet<(&'a Tenant, i64, i64)>,
    bytes: u64,
    oldest_end_ms: i64,
}

impl<'a> Here<'a> {
    fn of(own: &'a Own) -> Self {
        let keys = own.blocks.iter().map(Listed::key);
        Self {
            own,
            good: keys.filter(|key| !own.damaged.contains(key)).collect(),
            windows: own
                .blocks
                .iter()
                .map(|b| (&b.tenant, b.start_ms, b.end_ms))
                .collect(),
            bytes: own.blocks.iter().map(|b| b.bytes).sum(),
            oldest_end_ms: own
                .blocks
                .iter()
                .map(|b| b.end_ms)
                .min()
                .unwrap_or(i64::MIN),
        }
    }

    /// Should this node have the block: is its window cut here, and is it kept?
    fn is_expected(&self, block: &Listed, keep: Keep) -> bool {
        // The oldest one goes first where there is no room for all.
        let has_room = keep.bytes_max == 0
            || self.bytes.saturating_add(block.bytes) <= keep.bytes_max
            || block.end_ms > self.oldest_end_ms;
        let is_left = self
            .own
            .left
            .contains(&(block.tenant.clone(), block.start_ms));

        block.end_ms > keep.from_ms
            && self.own.cut.is_some_and(|cut: i64| {
                block.end_ms <= cut.saturating_add(1).saturating_mul(keep.window_ms)
            })
            && has_room
            && !is_left
    }

    fn lack_of(&self, block: &Listed) -> Option<Lack> {
        let key = block.key();
        if self.own.damaged.contains(&key) {
            return Some(Lack::Damaged);
        }
        if self.good.contains(&key) {
            return None;
        }

        let has_window = self
            .windows
            .contains(&(&block.tenant, block.start_ms, block.end_ms));

        Some(if has_window {
            Lack::Differs
        } else {
            Lack::Missing
        })
    }
}

#[cfg(test)]
mod tests;
