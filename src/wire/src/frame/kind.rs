//! Frame types and their size caps.

use crate::record::RECORD_BYTES_MAX;

/// The type byte of a frame. Numbers are part of the protocol and are never used for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// [`super::Frame::Hello`]
    Hello = 1,
    /// [`super::Frame::Welcome`]
    Welcome = 2,
    /// [`super::Frame::Refuse`]
    Refuse = 3,
    /// [`super::Frame::Heartbeat`]
    Heartbeat = 4,
    /// [`super::Frame::Subscribe`]
    Subscribe = 5,
    /// [`super::Frame::Unsubscribe`]
    Unsubscribe = 6,
    /// [`super::Frame::Records`]
    Records = 7,
    /// [`super::Frame::Ack`]
    Ack = 8,
    /// [`super::Frame::Credit`]
    Credit = 9,
    /// [`super::Frame::StreamEnded`]
    StreamEnded = 10,
    /// [`super::Frame::Request`]
    Request = 11,
    /// [`super::Frame::Response`]
    Response = 12,
}

impl FrameKind {
    /// Every type there is.
    pub const ALL: [Self; 12] = [
        Self::Hello,
        Self::Welcome,
        Self::Refuse,
        Self::Heartbeat,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Records,
        Self::Ack,
        Self::Credit,
        Self::StreamEnded,
        Self::Request,
        Self::Response,
    ];

    /// The type with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Largest body in bytes. Checked before anything is allocated for the frame.
    pub fn body_bytes_max(self) -> usize {
        match self {
            Self::Hello | Self::Welcome | Self::Refuse => 16 << 10,
            Self::Heartbeat => 1 << 20,
            Self::Subscribe | Self::Unsubscribe | Self::Ack | Self::Credit | Self::StreamEnded => {
                1 << 10
            }
            // One record of the largest size and the frame's own head.
            Self::Records | Self::Request | Self::Response => RECORD_BYTES_MAX + (64 << 10),
        }
    }

    /// True for the types that are allowed before the handshake is over.
    pub fn in_handshake(self) -> bool {
        matches!(self, Self::Hello | Self::Welcome | Self::Refuse)
    }
}
