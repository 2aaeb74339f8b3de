//! Cluster frames: what two nodes say to each other over one TCP connection.
//!
//! ```text
//! offset  size  field (integers little endian)
//!      0     4  length of everything after the CRC field
//!      4     4  CRC32C of everything after this field
//!      8     1  type
//!      9     n  body: one protobuf message, or for types that carry bytes:
//!                 u16 length of the protobuf message, the message, the carried bytes as they are
//! ```
//!
//! Records travel as carried bytes: the same bytes that the origin's log holds go to the peer's log, and a decoded
//! record is a slice of the buffer the socket was read into. `docs/formats/cluster-frames.md` has the whole picture.
//!
//! ```
//! use bytes::BytesMut;
//! use trireme_wire::frame::{Ack, Decoder, Frame};
//! let frame = Frame::Ack(Ack { incarnation: 7, boot: 1, position: 42, epoch: 1 });
//! let mut input = BytesMut::new();
//! frame.encode().write_to(&mut input);
//! assert_eq!(Decoder::default().next(&mut input), Ok(Some(frame)));
//! ```

mod decoder;
mod encoded;
mod error;
mod kind;
mod message;
mod records;

pub use decoder::Decoder;
pub use encoded::EncodedFrame;
pub use error::FrameError;
pub use kind::FrameKind;
pub use message::{
    Ack, Credit, EarlierStart, EndReason, Health, Heartbeat, Hello, Position, Refuse, RefuseReason,
    RequestHead, ResponseHead, StartsBefore, StreamEnded, Subscribe, Unsubscribe, Welcome,
};
pub use records::Records;

use bytes::Bytes;

/// Version of the cluster protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 3;
/// Oldest version of the cluster protocol that this build still speaks.
pub const PROTOCOL_VERSION_MIN: u32 = 1;
/// Bytes before the body: length, checksum and type.
pub const FRAME_HEADER_BYTES: usize = 9;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// First frame of both sides: who they are.
    Hello(Hello),
    /// The dialling side accepts the other's hello; from here on both may send anything.
    Welcome(Welcome),
    /// The hello was refused; the sender closes the connection.
    Refuse(Refuse),
    /// Signs of life, positions and health.
    Heartbeat(Heartbeat),
    /// Asks for a stream's records from a seq on.
    Subscribe(Subscribe),
    /// Ends a subscription from the subscriber's side.
    Unsubscribe(Unsubscribe),
    /// Records of one subscription.
    Records(Records),
    /// The sender has made a stream durable up to a position.
    Ack(Ack),
    /// More bytes may be sent for a subscription.
    Credit(Credit),
    /// Ends a subscription from the server's side.
    StreamEnded(StreamEnded),
    /// A call; the bytes are what `RequestHead::kind` says.
    Request(RequestHead, Bytes),
    /// A part of a call's answer.
    Response(ResponseHead, Bytes),
}

impl Frame {
    /// The frame's type.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Refuse(_) => FrameKind::Refuse,
            Self::Heartbeat(_) => FrameKind::Heartbeat,
            Self::Subscribe(_) => FrameKind::Subscribe,
            Self::Unsubscribe(_) => FrameKind::Unsubscribe,
            Self::Records(_) => FrameKind::Records,
            Self::Ack(_) => FrameKind::Ack,
            Self::Credit(_) => FrameKind::Credit,
            Self::StreamEnded(_) => FrameKind::StreamEnded,
            Self::Request(..) => FrameKind::Request,
            Self::Response(..) => FrameKind::Response,
        }
    }

    /// The bytes to send; carried bytes are shared, not copied.
    pub fn encode(&self) -> EncodedFrame {
        let kind = self.kind();
        match self {
            Self::Hello(m) => EncodedFrame::of_message(kind, m),
            Self::Welcome(m) => EncodedFrame::of_message(kind, m),
            Self::Refuse(m) => EncodedFrame::of_message(kind, m),
            Self::Heartbeat(m) => EncodedFrame::of_message(kind, m),
            Self::Subscribe(m) => EncodedFrame::of_message(kind, m),
            Self::Unsubscribe(m) => EncodedFrame::of_message(kind, m),
            Self::Ack(m) => EncodedFrame::of_message(kind, m),
            Self::Credit(m) => EncodedFrame::of_message(kind, m),
            Self::StreamEnded(m) => EncodedFrame::of_message(kind, m),
            Self::Records(r) => {
                let carried = r.records().iter().map(|record| record.bytes().clone());
                EncodedFrame::of_carrier(
                    kind,
                    &message::RecordsHead {
                        subscription: r.subscription(),
                    },
                    carried,
                )
            }
            Self::Request(head, body) => EncodedFrame::of_carrier(kind, head, [body.clone()]),
            Self::Response(head, body) => EncodedFrame::of_carrier(kind, head, [body.clone()]),
        }
    }
}
