//! Why a payload cannot be read.

use trireme_base::ErrorKind;

/// Why bytes are not an entry payload.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum EntryError {
    /// The bytes end inside of a field.
    #[error("entry is cut off at byte {0} of its section")]
    Truncated(usize),
    /// A number does not fit its type.
    #[error("entry holds a number out of range at byte {0} of its section")]
    Range(usize),
    /// Text is not UTF-8.
    #[error("entry holds text that is not UTF-8")]
    Utf8,
    /// Well-formed parts that make no sense together.
    #[error("entry makes no sense: {0}")]
    Malformed(&'static str),
    /// A section kind, value code or type of a newer version.
    #[error("entry holds {what} {code}, unknown to this version")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        code: u8,
    },
}

impl EntryError {
    /// Every case means damaged or newer data.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }
}
