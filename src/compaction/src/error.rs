//! What can go wrong with a compaction.

use trireme_base::ErrorKind;
use trireme_block::BlockError;
use trireme_bucket::BucketError;
use ulid::Ulid;

use crate::Job;

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A source could not be read.
    #[error("source {block} in the {}: {error}", if *is_local { "local blocks" } else { "bucket" })]
    Source {
        /// The block.
        block: Ulid,
        /// True if its local copy was read.
        is_local: bool,
        /// Why.
        error: BlockError,
    },
    /// A source gave another number of samples than its meta says.
    #[error("source {block} has {found} samples, its meta says {said}")]
    SampleCount {
        /// The block.
        block: Ulid,
        /// True if its local copy was read.
        is_local: bool,
        /// Samples that were read.
        found: u64,
        /// Samples that it should have.
        said: u64,
    },
    /// The result could not be written, or is not what it should be.
    #[error(transparent)]
    Write(#[from] BlockError),
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The node stops.
    #[error("stopped before the job was done")]
    Stopped,
    /// The thread that did the job ended without a result.
    #[error("the thread that did it ended: {0}")]
    Thread(String),
}

impl CompactionError {
    /// The kind that callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { error, .. } | Self::Write(error) => error.kind(),
            Self::SampleCount { .. } => ErrorKind::Corrupt,
            Self::Bucket(error) => error.kind(),
            Self::Stopped => ErrorKind::Cancelled,
            Self::Thread(_) => ErrorKind::Internal,
        }
    }

    /// What it is counted as.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { .. } | Self::SampleCount { .. } => "source",
            Self::Write(_) => "write",
            Self::Bucket(_) => "bucket",
            Self::Stopped => "stopped",
            Self::Thread(_) => "internal",
        }
    }

    /// The source in the bucket whose bytes are bad for such a job: trying again cannot help.
    pub fn bad_source(&self, job: &Job) -> Option<Ulid> {
        match self {
            // One that is gone was compacted by somebody else.
            Self::Source { error, .. } if error.kind() == ErrorKind::NotFound => None,
            // It can be read, but not downsampled; its local copy is no other.
            Self::Source { block, error, .. }
                if job.is_downsampling() && error.kind() == ErrorKind::Invalid =>
            {
                Some(*block)
            }
            Self::Source {
                block,
                is_local: false,
                error,
            } => error.is_damage().then_some(*block),
            Self::SampleCount {
                block,
                is_local: false,
                ..
            } => Some(*block),
            _ => None,
        }
    }
}
