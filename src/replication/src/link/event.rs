//! What goes into a link and what comes out.

use trireme_base::{ErrorKind, Incarnation, StreamId};
use trireme_wire::frame::{EndReason, Frame, Health};
use trireme_wire::record::Record;

use crate::{Ends, PeerIdentity, PositionVector};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connection to the peer has passed the handshake.
    Up {
        /// Who answered.
        peer: PeerIdentity,
        /// Highest seq of each stream accepted for appending here.
        tails: PositionVector,
        /// Highest seq of each stream fsynced here.
        durable: PositionVector,
        /// How far each stream is applied here: frees the room of what was applied while there was no session.
        applied: PositionVector,
    },
    /// The connection is gone.
    Down,
    /// A frame came in; calls and handshake frames excepted.
    Frame(Frame),
    /// Streams to be taken from the peer, all of them: others are given up. From [`crate::GroupView::assigned`].
    Assigned(Vec<StreamId>),
    /// Records of one stream, without gaps, were written to this node's log, by whatever way they came.
    Appended(Vec<Record>),
    /// Records up to `seq` were written to this node's log, but the link was not given them (it was behind).
    TailMoved {
        /// The stream.
        stream: StreamId,
        /// Last record written.
        seq: u64,
    },
    /// This node's log is fsynced up to `seq`.
    Durable {
        /// The stream.
        stream: StreamId,
        /// Last record that is safe.
        seq: u64,
    },
    /// All shards have applied the stream up to `seq`.
    Applied {
        /// The stream.
        stream: StreamId,
        /// Last record applied.
        seq: u64,
    },
    /// The answer to [`Effect::ReadLog`].
    LogRead {
        /// The stream.
        stream: StreamId,
        /// First seq that was asked for.
        from_seq: u64,
        /// Records from there on without gaps; none if they cannot be read yet.
        result: Result<Vec<Record>, ReadFault>,
    },
    /// Record bytes given out with [`Effect::Send`] have left the sender's backlog.
    Sent {
        /// How many.
        bytes: u64,
    },
    /// Bytes came in that are not a whole frame yet: the peer lives.
    Heard,
    /// Time passes; at least a few times per heartbeat.
    Tick {
        /// This node's wall clock, milliseconds since the epoch.
        wall_ms: i64,
    },
    /// The log has not taken all that was handed over with [`Effect::Append`]: every stream is given up, and goes on from
    /// the log's tail when it is assigned again.
    SetBack {
        /// Highest seq of each stream that the log has taken.
        taken: PositionVector,
    },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a frame. Frames of one session must arrive in order.
    Send(Frame),
    /// Append records to the log: those at or below the log's tail are skipped, a gap is an error.
    Append {
        /// The stream of all of them.
        stream: StreamId,
        /// Records without gaps.
        records: Vec<Record>,
    },
    /// Read records of a stream from the log and answer with [`Event::LogRead`]. At most one per stream at a time.
    ReadLog {
        /// The stream.
        stream: StreamId,
        /// First seq.
        from_seq: u64,
        /// Stop after the record that reaches this many bytes.
        max_bytes: u64,
    },
    /// The peer has these positions durably: for [`crate::GroupView::observed`] and
    /// [`crate::CommitTracker::peer_durable`].
    PeerDurable {
        /// Who says so.
        incarnation: Incarnation,
        /// Positions; a part of its vector.
        positions: PositionVector,
        /// Epoch of the ring under which it says so; 0 if it does not say.
        epoch: u64,
    },
    /// What the peer says about itself.
    PeerHealth {
        /// Its health.
        health: Health,
        /// Its wall clock, milliseconds since the epoch.
        wall_ms: i64,
        /// Epoch of the ring by which it goes.
        epoch: u64,
    },
    /// Which streams the peer has settled, and which have ended for it; a part of them.
    PeerEnds(Ends),
    /// The peer does not serve a stream: for [`crate::GroupView::refused`].
    Unserved {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: EndReason,
        /// First seq it has, for [`EndReason::Trimmed`].
        first_seq: u64,
    },
    /// Close the connection. The session is over already.
    Disconnect(DisconnectReason),
}

/// Why a link gave up a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The peer was silent for too long.
    #[error("peer was silent for too long")]
    Silent,
    /// The connection is not with the node this link is for.
    #[error("connection is not with the expected peer")]
    WrongPeer,
    /// The peer broke the protocol.
    #[error("peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The peer has entries of this node's running stream that this node never wrote: its data directory was copied, or
    /// set back to an older state.
    #[error("peer has {claimed} entries of {stream}, but this node wrote only {written}")]
    SecondWriter {
        /// This node's stream.
        stream: StreamId,
        /// Entries written.
        written: u64,
        /// Entries the peer has.
        claimed: u64,
    },
}

impl DisconnectReason {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Silent => ErrorKind::Timeout,
            Self::WrongPeer => ErrorKind::Unavailable,
            Self::Protocol(_) => ErrorKind::Invalid,
            Self::SecondWriter { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Why the log gave no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// They are trimmed.
    #[error("records before {first_seq} are trimmed")]
    Trimmed {
        /// First seq that is there.
        first_seq: u64,
    },
    /// The read failed.
    #[error("log read failed: {0}")]
    Failed(String),
}

impl ReadFault {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Trimmed { .. } => ErrorKind::NotFound,
            Self::Failed(_) => ErrorKind::Unavailable,
        }
    }
}

/// How far one stream has come from the peer in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The stream.
    pub stream: StreamId,
    /// Last seq received, or had when it was asked for.
    pub seq: u64,
    /// The peer may send: there is credit, and this node reads.
    pub has_room: bool,
    /// The peer has sent records of it in this session.
    pub has_given: bool,
}
