//! What can be wrong with a chunk.

use trireme_base::ErrorKind;

/// Why bytes are not a chunk, or a sample does not fit one.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// The bytes end inside a sample or the header.
    #[error("chunk ends early, at bit {0}")]
    Truncated(usize),
    /// The bits have no meaning.
    #[error("chunk is malformed at bit {bit}: {what}")]
    Malformed {
        /// Position in the chunk.
        bit: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// An encoding byte this program does not know.
    #[error("unknown chunk encoding {0}")]
    UnknownEncoding(u8),
    /// The chunk has another encoding than the caller asked for.
    #[error("chunk has encoding {0}, which holds another kind of samples")]
    WrongEncoding(u8),
    /// A histogram that no chunk can hold.
    #[error("histogram is not valid: {0}")]
    BadHistogram(&'static str),
    /// A chunk counts its samples in 16 bits.
    #[error("chunk is full: {0} samples")]
    Full(u16),
}

impl ChunkError {
    /// The kind that callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Truncated(_) | Self::Malformed { .. } | Self::UnknownEncoding(_) => {
                ErrorKind::Corrupt
            }
            Self::WrongEncoding(_) | Self::BadHistogram(_) | Self::Full(_) => ErrorKind::Invalid,
        }
    }
}
