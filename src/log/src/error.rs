//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use trireme_base::{ErrorKind, StreamId, is_starved, is_unreadable};

use crate::format::{Unusable, VERSION};

/// Failure of the log or one of its files.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error("log: {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The disk is full. Nothing of the refused batch is kept; the log goes on by itself when space returns.
    #[error("log: no space left for {path}", path = path.display())]
    Full {
        /// The file that could not be made, extended or synced.
        path: PathBuf,
    },
    /// The process or the system is short of handles or memory, or a file of that name is in the way. As with a full disk
    /// the log goes on by itself.
    #[error("log: cannot {action} {path} now: {source}", path = path.display())]
    Hindered {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// A file is of a later release. Nothing is guessed, and nothing of it is changed.
    #[error(
        "log: {path} has format version {version}, this release reads versions up to {known}; start the release that wrote it",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest that can be read.
        known: u32,
    },
    /// A file of the log fails its checks.
    #[error("log: {path} is damaged: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// The own stream of this start is already in the log: boots were not counted.
    #[error("log: stream {0} is already in use; the boot counter of the data directory went back")]
    StreamReused(StreamId),
    /// A record that was asked for is not in the log any more: it was trimmed, or damaged and not fetched yet.
    #[error("log: record {seq} of stream {stream} is not here")]
    Gone {
        /// The stream.
        stream: StreamId,
        /// The first seq that is missing.
        seq: u64,
    },
    /// The directory is not there any more, or another one is: what is written goes into files that no start will find.
    #[error("log: {path} was deleted or replaced while it was in use; what is written now is in no file that a start finds", path = path.display())]
    Unlinked {
        /// The directory.
        path: PathBuf,
    },
    /// Own records were made before an earlier append was refused, and may build on what it held.
    #[error("log: records build on ones that were refused")]
    Superseded,
    /// The files hold something else than they did when a replay was planned: the disk or somebody changed them.
    #[error("log: files in {path} changed while they were replayed", path = path.display())]
    Changed {
        /// Directory of the log.
        path: PathBuf,
    },
    /// The log's thread is gone, or a replay was told to end.
    #[error("log: stopped")]
    Stopped,
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let kind = source.kind();
        let path = path.to_owned();
        if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
            return Self::Full { path };
        }

        let source = Arc::new(source);
        if is_starved(&source) || kind == io::ErrorKind::AlreadyExists {
            return Self::Hindered {
                action,
                path,
                source,
            };
        }

        Self::Io {
            action,
            path,
            source,
        }
    }

    /// The error for a file that is no segment that can be read.
    pub(crate) fn unusable(path: &std::path::Path, unusable: Unusable) -> Self {
        let path = path.to_owned();
        match unusable {
            Unusable::Damaged(what) => Self::Corrupt { path, what },
            Unusable::Newer(version) => Self::Newer {
                path,
                version,
                known: VERSION,
            },
        }
    }

    /// True if what was to be read is not there any more, whoever or whatever took it.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => {
                source.kind() == io::ErrorKind::NotFound || is_unreadable(source)
            }
            _ => false,
        }
    }

    /// True if trying again later may help, and the log does that by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Hindered { .. })
    }

    /// What a caller has to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::StreamReused(_) => ErrorKind::Internal,
            Self::Full { .. }
            | Self::Hindered { .. }
            | Self::Unlinked { .. }
            | Self::Superseded
            | Self::Stopped => ErrorKind::Unavailable,
            Self::Newer { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } | Self::Changed { .. } => ErrorKind::Corrupt,
            Self::Gone { .. } => ErrorKind::NotFound,
        }
    }
}

/// Why an append was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is at its bound of records or bytes; try later.
    #[error("log queue is full: {records} records, {bytes} bytes")]
    Busy {
        /// Records waiting.
        records: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// The disk is full, or the system is short of something; the log takes appends again when that has passed.
    #[error("log takes nothing now and tries again by itself: {0}")]
    Waiting(String),
    /// A write or fsync failed; the log is read-only until the next start.
    #[error("log failed and is read-only: {0}")]
    Failed(String),
    /// A foreign record does not follow the last one of its stream. Records before it were taken.
    #[error("record {got} of stream {stream} does not follow {have}")]
    Gap {
        /// The stream.
        stream: StreamId,
        /// Last seq the log has.
        have: u64,
        /// Seq that was offered.
        got: u64,
    },
    /// The log is closed.
    #[error("log is closed")]
    Stopped,
}

impl AppendError {
    /// What a caller has to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gap { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        }
    }
}
