//! What can go wrong with blocks.

use std::io;
use std::path::Path;

use trireme_base::{ErrorKind, is_unreadable};
use trireme_chunk::ChunkError;

/// Why a block could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file system or the store failed.
    #[error("{place}: {source}")]
    Io {
        /// File or directory.
        place: String,
        /// The failure.
        source: io::Error,
    },
    /// Bytes fail a check.
    #[error("{place}: {what}")]
    Corrupt {
        /// File and part of it.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The block is of a version or encoding that this program does not read.
    #[error("{place}: {what} is not supported")]
    Unsupported {
        /// File.
        place: String,
        /// The version or encoding.
        what: String,
    },
    /// The series given to the writer cannot be stored.
    #[error("cannot write block: {0}")]
    Input(String),
    /// The block is beyond what its format can hold.
    #[error("block is too large: {0}")]
    TooLarge(&'static str),
}

impl BlockError {
    /// The kind that callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // What the disk cannot read is as lost as what has changed.
            Self::Io { source, .. } if is_unreadable(source) => ErrorKind::Corrupt,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ErrorKind::Corrupt,
                io::ErrorKind::TimedOut => ErrorKind::Timeout,
                _ => ErrorKind::Unavailable,
            },
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } | Self::Input(_) => ErrorKind::Invalid,
            Self::TooLarge(_) => ErrorKind::TooLarge,
        }
    }

    pub(crate) fn corrupt(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Corrupt {
            place: place.into(),
            what: what.into(),
        }
    }

    /// The same error, naming the part of the file.
    pub(crate) fn within(self, part: &str) -> Self {
        match self {
            Self::Io { place, source } => Self::Io {
                place: format!("{place}: {part}"),
                source,
            },
            Self::Corrupt { place, what } => Self::Corrupt {
                place: format!("{place}: {part}"),
                what,
            },
            other => other,
        }
    }

    /// True if trying again later cannot help: the bytes themselves are bad.
    pub fn is_damage(&self) -> bool {
        matches!(self.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
            || matches!(self, Self::Unsupported { .. })
    }
}

/// Adds the file to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> BlockError {
    let place = path.display().to_string();
    move |source| BlockError::Io { place, source }
}

/// Adds the place to an I/O error.
pub(crate) fn io_at(place: &str) -> impl FnOnce(io::Error) -> BlockError {
    let place = place.to_owned();
    move |source| BlockError::Io { place, source }
}

/// Adds the chunk to a decoding error.
pub(crate) fn chunk_at(place: impl Into<String>) -> impl FnOnce(ChunkError) -> BlockError {
    let place = place.into();
    move |error| BlockError::Corrupt {
        place,
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_sector_is_damage_and_want_of_handles_is_not() {
        let of = |code| BlockError::Io {
            place: "index".into(),
            source: io::Error::from_raw_os_error(code),
        };
        assert!(of(5).is_damage() && of(117).is_damage());
        assert!(!of(24).is_damage() && !of(12).is_damage());
    }
}
