//! Why bytes are not a frame.

use trireme_base::ErrorKind;

use super::FrameKind;
use crate::record::RecordError;

/// Why bytes are not a frame. After any of these the connection cannot be used further.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The length field leaves no room for the type.
    #[error("frame without a type")]
    Empty,
    /// The type byte is unknown: the peer is of a newer version, or not a Trireme node.
    #[error("frame type {0} is unknown to this version")]
    Kind(u8),
    /// The body is larger than its type allows.
    #[error("{kind:?} frame of {body_bytes} bytes is over the bound of {max_bytes}")]
    TooLarge {
        /// Type of the frame.
        kind: FrameKind,
        /// Announced size of the body.
        body_bytes: usize,
        /// Bound.
        max_bytes: usize,
    },
    /// A frame other than hello, welcome or refuse came before the handshake was over.
    #[error("{0:?} frame before the handshake was over")]
    TooEarly(FrameKind),
    /// The checksum does not fit.
    #[error("{kind:?} frame checksum is {got:08x}, expected {want:08x}")]
    Checksum {
        /// Type of the frame.
        kind: FrameKind,
        /// Computed.
        got: u32,
        /// Received.
        want: u32,
    },
    /// The body is not the message its type says.
    #[error("{0:?} frame has a malformed body")]
    Body(FrameKind),
    /// A record inside the frame failed its checks.
    #[error("frame carries a bad record: {0}")]
    Record(#[from] RecordError),
    /// The records of a frame are not a gapless run of one stream.
    #[error("frame carries records that are not one gapless run")]
    Run,
}

impl FrameError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Checksum { .. } | Self::Record(_) => ErrorKind::Corrupt,
            _ => ErrorKind::Invalid,
        }
    }
}
