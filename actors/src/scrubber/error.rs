//! Why a block was not read again, or not fetched.

use trireme_base::pool::PoolError;
use trireme_block::BlockError;
use trireme_bucket::BucketError;
use trireme_transport::CallError;

/// Each of these is tried again later.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrubError {
    /// This node's disk, or the content of a copy.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// No thread for the work.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A peer did not answer, or said no.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What was sent is not what was asked for.
    #[error("{0}")]
    Unfit(String),
    /// A copy would leave too little room on the disk.
    #[error("the copy takes {bytes} bytes, and the disk has room for {room}")]
    NoRoom {
        /// Bytes of the copy.
        bytes: u64,
        /// Bytes that may be written.
        room: u64,
    },
    /// No peer and no bucket has it.
    #[error("nobody has a copy")]
    Nobody,
}

impl ScrubError {
    /// As a label of metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Block(error) if error.is_damage() => "damaged",
            Self::Block(_) => "disk",
            Self::Pool(_) => "busy",
            Self::Peer(_) => "peer",
            Self::Bucket(_) => "bucket",
            Self::Unfit(_) => "unfit",
            Self::NoRoom { .. } => "room",
            Self::Nobody => "nobody",
        }
    }

    /// True if the source itself has no good copy.
    pub(super) fn is_sources_fault(&self) -> bool {
        matches!(self.reason(), "damaged" | "unfit" | "nobody")
    }
}
