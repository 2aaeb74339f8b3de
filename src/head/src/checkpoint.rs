//! The head on disk, so that a start replays a minute of log and not two hours.
//!
//! A checkpoint is *fuzzy*: stream positions and reference tables are taken first, under the lock; series follow page
//! by page while writes go on. What a page holds beyond the positions comes again from the log, and is the same set.
//! No slot and no label pair is used again while it is written, so both can be named by number.
//!
//! A checkpoint is *proven* before it counts: it is read back whole, by the code that a start reads it with, before it takes
//! its name. The one before it stays as `checkpoint.previous`, and a start that cannot read the newest takes that; so the
//! log must not be let go further than to [`CheckpointReport::trim_to`].
//!
//! The byte format is in `docs/formats/checkpoint.md`.

mod codec;
mod load;
mod pace;
mod parts;
mod seen;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use trireme_base::StreamId;

pub use load::Recovered;
pub use pace::CheckpointPace;
pub use verify::verify_checkpoint;

/// File name of a shard's checkpoint in its directory.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// File name of the checkpoint before the newest.
pub(crate) const PREVIOUS_FILE: &str = "checkpoint.previous";
/// File name of the last checkpoint that could not be read.
pub(crate) const DAMAGED_FILE: &str = "checkpoint.damaged";

/// What a checkpoint covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Per stream the seq up to which everything for this shard is in the checkpoint.
    pub positions: Vec<(StreamId, u64)>,
    /// Per stream the seq up to which the checkpoint before this one covers it too; empty if there was none. Log behind it
    /// must stay, so that a start which cannot read this checkpoint loses nothing.
    pub trim_to: Vec<(StreamId, u64)>,
    /// Series in it.
    pub series: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The file, and the chunk files it relies on; together with the cut manifest a snapshot for a peer.
    pub files: Vec<PathBuf>,
}

/// Per stream the seq up to which every shard has everything, of what each has. A stream that one shard does not know of
/// is left out: nothing of it is covered there.
pub fn covered_by_all(
    shards: impl IntoIterator<Item = Vec<(StreamId, u64)>>,
) -> Vec<(StreamId, u64)> {
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
