//! Why a connection is not there.

use std::io;

use trireme_base::ErrorKind;
use trireme_wire::frame::FrameError;

use crate::Refusal;

/// Why a connection could not be made or went away.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer sent something that is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer closed the connection.
    #[error("peer closed the connection")]
    Closed,
    /// Nothing happened for too long.
    #[error("timeout while {0}")]
    Timeout(&'static str),
    /// The peer does not want to talk to this node.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(Refusal),
    /// This node does not want to talk to the peer.
    #[error("refused the peer: {refusal}")]
    Refused {
        /// The name the peer gave.
        node: String,
        /// Why.
        refusal: Refusal,
    },
    /// The handshake did not keep to its order.
    #[error("unexpected frame in the handshake")]
    Handshake,
}

impl TransportError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) | Self::Closed => ErrorKind::Unavailable,
            Self::Frame(error) => error.kind(),
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::RefusedByPeer(_) | Self::Refused { .. } | Self::Handshake => ErrorKind::Invalid,
        }
    }
}
