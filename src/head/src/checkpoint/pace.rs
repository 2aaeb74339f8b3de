//! When the next checkpoint is worth its bytes.
//!
//! A checkpoint writes the whole head, whatever changed. The log behind the last one is what a start has to apply beside
//! loading it, so as long as that is a small part of the checkpoint, another one saves the start little and costs the disk
//! as much as the head is large.

/// A checkpoint may have so many times the bytes of the log behind the last one.
const TIMES_THE_LOG: u64 = 4;
/// So many bytes of a checkpoint are not counted: a small head costs a disk nothing.
const FREE_BYTES: u64 = 1 << 20;

/// What a node knows about its last checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointPace {
    bytes: u64,
    logged: u64,
}

impl CheckpointPace {
    /// Of a checkpoint that has `bytes`, begun when `logged` bytes had been written to the log. Before the first one of a
    /// start there is no pace ([`CheckpointPace::default`]), and the next one is due.
    pub fn new(bytes: u64, logged: u64) -> Self {
        Self { bytes, logged }
    }

    /// Whether the log, now with `logged` bytes written, has grown enough for another one. `behind_max` is the length of log
    /// that no checkpoint may wait for, however large the head is.
    pub fn is_due(self, logged: u64, behind_max: u64) -> bool {
        let wanted = self.bytes.saturating_sub(FREE_BYTES) / TIMES_THE_LOG;
        logged.saturating_sub(self.logged) >= wanted.min(behind_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_waits_for_a_quarter_of_its_bytes_of_log() {
        let pace = CheckpointPace::new(401 << 20, 1_000);
        let quarter = 1_000 + ((400 << 20) / 4);
        assert!(!pace.is_due(quarter - 1, u64::MAX));
        assert!(pace.is_due(quarter, u64::MAX));
        assert!(
            pace.is_due(1_000 + (10 << 20), 10 << 20),
            "as much log as may stand behind one"
        );
    }

    #[test]
    fn a_small_head_and_a_start_do_not_wait() {
        assert!(CheckpointPace::new(1 << 20, 77).is_due(77, u64::MAX));
        assert!(CheckpointPace::default().is_due(0, u64::MAX));
    }
}
