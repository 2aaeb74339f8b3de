//! The head on disk, so that a start replays a minute of log and not two hours.
//!
//! A checkpoint is *fuzzy*: stream positions and reference tables are taken first, under the lock; series follow page
//! by page while writes go on. What a page holds beyond the positions comes again from the log, and is the same set.
//! No slot and no label pair is used again while it is written, so both can be named by number.
//!
//! The byte format is in `docs/formats/checkpoint.md`.

mod codec;
mod load;
mod parts;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use trireme_base::StreamId;

pub use load::Recovered;

/// File name of a shard's checkpoint in its directory.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// What a checkpoint covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Per stream the seq up to which everything for this shard is in the checkpoint.
    pub positions: Vec<(StreamId, u64)>,
    /// Series in it.
    pub series: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The file, and the chunk files it relies on; together with the cut manifest a snapshot for a peer.
    pub files: Vec<PathBuf>,
}

/// Per stream the seq up to which every shard has everything, of what each has. A stream that one shard does not know of
/// is left out: nothing of it is covered there.
pub fn covered_by_all(shards: impl IntoIterator<Item = Vec<(StreamId, u64)>>) -> Vec<(StreamId, u64)> {
    let mut shards = shards.into_iter();
    let first = shards.next().unwrap_or_default();
    let mut all: BTreeMap<_, _> = first.into_iter().collect();
    for positions in shards {
        let positions: BTreeMap<_, _> = positions.into_iter().collect();
        all.retain(|stream, seq| {
            let here = positions.get(stream);
            *seq = (*seq).min(here.copied().unwrap_or(0));
            here.is_some()
        });
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests;
