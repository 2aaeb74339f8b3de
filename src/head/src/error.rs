//! What can go wrong in the head.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trireme_base::{ErrorKind, StreamId, is_unreadable};
use trireme_chunk::ChunkError;
use trireme_wire::entry::EntryError;

/// The action of an [`HeadError::Io`] that could not read what is there.
pub(crate) const READ: &str = "read";

/// Failure of a shard, its files or what it was given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HeadError {
    /// A file operation failed.
    #[error("head: {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// A file of the head fails its checks.
    #[error("head: {path} is damaged: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A file of the head was written by another version, whose form this one does not know.
    #[error(
        "head: {path} was written by another version of trireme, which this one cannot read; start that version again",
        path = path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
    },
    /// A chunk cannot be decoded.
    #[error("head: chunk of a series is damaged: {0}")]
    Chunk(#[from] ChunkError),
    /// A record's payload cannot be read.
    #[error("head: record {seq} of stream {stream}: {source}")]
    Entry {
        /// The stream.
        stream: StreamId,
        /// The record.
        seq: u64,
        /// Why.
        source: EntryError,
    },
    /// A record names a series that its stream never defined. Everything else of the record was applied.
    #[error(
        "head: record {seq} of stream {stream} uses {count} references that were never defined"
    )]
    UnknownReference {
        /// The stream.
        stream: StreamId,
        /// The record.
        seq: u64,
        /// Samples that could not be placed.
        count: u64,
    },
    /// A record does not follow the last one applied to this shard.
    #[error("head: record {seq} of stream {stream} is for shard {got}, not {shard}")]
    WrongShard {
        /// The stream.
        stream: StreamId,
        /// The record.
        seq: u64,
        /// Shard of the record.
        got: u16,
        /// This shard.
        shard: u16,
    },
    /// A change of the shard panicked; the next start builds it from disk.
    #[error(
        "head: a change of shard {shard} panicked, what it holds is not trusted; it is built from disk by the next start"
    )]
    Suspect {
        /// The shard.
        shard: u16,
    },
    /// A record made the process panic each time it was applied; nothing of it is in the head here.
    #[error(
        "head: record {seq} of stream {stream} is set aside: the process panicked each time it was applied; report it, with the panics before"
    )]
    SetAside {
        /// The stream.
        stream: StreamId,
        /// The record.
        seq: u64,
    },
    /// One thing takes more bytes than a part of a checkpoint can have.
    #[error(
        "head: a part of the checkpoint would have {bytes} bytes, at most 4 GiB can be written"
    )]
    PartTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The shard was made with settings that do not fit its files.
    #[error("head: {0}")]
    Settings(String),
}

impl HeadError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let reads = matches!(action, "read" | "open" | "look at" | "list");
        if reads && is_unreadable(&source) {
            return Self::corrupt(path, format!("the disk cannot read it: {source}"));
        }

        Self::Io {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// True if files of the head are not what was written, or cannot be read any more: another copy is needed.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { action, .. } => *action == READ,
            other => other.kind() == ErrorKind::Corrupt,
        }
    }

    /// What a caller has to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. }
            | Self::WrongShard { .. }
            | Self::Suspect { .. }
            | Self::SetAside { .. } => ErrorKind::Internal,
            Self::Settings(_) | Self::Version { .. } => ErrorKind::Invalid,
            Self::PartTooLarge { .. } => ErrorKind::TooLarge,
            Self::Corrupt { .. }
            | Self::Chunk(_)
            | Self::Entry { .. }
            | Self::UnknownReference { .. } => ErrorKind::Corrupt,
        }
    }
}
