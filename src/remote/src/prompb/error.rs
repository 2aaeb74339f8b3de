//! Why a request body could not be decoded.

use trireme_base::ErrorKind;

/// A request that is refused as a whole; nothing of it was stored.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// Not a message of the announced type.
    #[error("malformed protobuf at byte {at}: {what}")]
    Malformed {
        /// Offset in the inflated body.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The compressed body is damaged.
    #[error("snappy: {0}")]
    Snappy(String),
    /// The gzip stream is damaged.
    #[error("gzip: {0}")]
    Gzip(String),
    /// Not JSON, or not of the announced type.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// The inflated body is over the cap; it was not inflated.
    #[error("the inflated body has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Declared or reached size in bytes.
        size: u64,
        /// The cap in bytes.
        limit: usize,
    },
    /// The request holds more of something than is allowed.
    #[error("the request holds more than {limit} {what}")]
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// There is no memory now for what the body decodes to.
    #[error("there is no memory for {bytes} bytes of decoded data now, try again")]
    NoRoom {
        /// What was needed so far.
        bytes: usize,
    },
}

impl DecodeError {
    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } | Self::Snappy(_) | Self::Gzip(_) | Self::Json(_) => {
                ErrorKind::Invalid
            }
            Self::TooLarge { .. } | Self::TooMany { .. } => ErrorKind::TooLarge,
            Self::NoRoom { .. } => ErrorKind::Unavailable,
        }
    }
}
