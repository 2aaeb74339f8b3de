//! The protobuf messages of the frames, written by hand. Tags are part of the protocol and never reused.

use trireme_base::{Boot, End, ErrorKind, Incarnation, StreamId};

/// Who a node is and what it must agree on with its peer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// Newest protocol version the sender speaks.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Oldest protocol version the sender speaks.
    #[prost(uint32, tag = "2")]
    pub version_min: u32,
    /// Name of the cluster.
    #[prost(string, tag = "3")]
    pub cluster: String,
    /// Name of the sender.
    #[prost(string, tag = "4")]
    pub node: String,
    /// Identity of the sender's data directory.
    #[prost(fixed64, tag = "5")]
    pub incarnation: u64,
    /// Which start of that data directory.
    #[prost(uint32, tag = "6")]
    pub boot: u32,
    /// Epoch of the sender's ring.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// Hash of the sender's ring, see `trireme_ring::Ring::fingerprint`.
    #[prost(fixed64, tag = "8")]
    pub ring_hash: u64,
    /// Number of shards of the sender's data directory.
    #[prost(uint32, tag = "9")]
    pub shards: u32,
    /// Name of the node the sender thinks it talks to; empty when it was dialled and does not know.
    #[prost(string, tag = "10")]
    pub expects: String,
    /// Drawn at random by each process: two processes with one incarnation and boot are told apart by it.
    #[prost(fixed64, tag = "11")]
    pub process: u64,
    /// Earlier starts of the data directory, oldest first, as far as the sender remembers them.
    #[prost(message, repeated, tag = "12")]
    pub earlier: Vec<EarlierStart>,
}

/// A start of a data directory before the present one.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct EarlierStart {
    /// Which one.
    #[prost(uint32, tag = "1")]
    pub boot: u32,
    /// The number that its process drew.
    #[prost(fixed64, tag = "2")]
    pub process: u64,
}

/// End of the handshake.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Welcome {
    /// Protocol version of this connection.
    #[prost(uint32, tag = "1")]
    pub version: u32,
}

/// Why a hello was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum RefuseReason {
    /// Not one of the others.
    Unspecified = 0,
    /// No protocol version in common.
    Version = 1,
    /// Another cluster.
    Cluster = 2,
    /// The ring does not know a node of this name, or it is not the node that was meant to be reached.
    Node = 3,
    /// Another data directory claims the same incarnation and is connected: one of them is a copy.
    DuplicateIncarnation = 4,
    /// Another number of shards.
    Shards = 5,
    /// Another ring epoch.
    Epoch = 6,
    /// The same epoch but another ring.
    Ring = 7,
    /// A newer start of the same data directory is known.
    StaleBoot = 8,
    /// The node is stopping.
    Stopping = 9,
    /// A node of this name with another data directory is connected.
    DuplicateName = 10,
}

/// A refused hello.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refuse {
    /// Reason for programs.
    #[prost(enumeration = "RefuseReason", tag = "1")]
    pub reason: i32,
    /// Reason for people.
    #[prost(string, tag = "2")]
    pub detail: String,
}

/// One entry of a position vector.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Position {
    /// Incarnation of the stream.
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// Boot of the stream.
    #[prost(uint32, tag = "2")]
    pub boot: u32,
    /// Highest seq up to which the sender has everything durably.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
}

/// What a node says about itself; peers use it to judge it, never to route acknowledged data.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Health {
    /// Accepts writes.
    #[prost(bool, tag = "1")]
    pub ready: bool,
    /// Is being emptied of traffic.
    #[prost(bool, tag = "2")]
    pub draining: bool,
    /// Disk has no room for the log.
    #[prost(bool, tag = "3")]
    pub disk_full: bool,
    /// Last group commit took this long, in microseconds.
    #[prost(uint64, tag = "4")]
    pub fsync_us: u64,
    /// Writes waiting for a quorum.
    #[prost(uint64, tag = "5")]
    pub writes_waiting: u64,
    /// Does not have everything yet: it copies from a peer, or does not know whether it has to.
    #[prost(bool, tag = "6")]
    pub rebuilding: bool,
    /// Has data that its log alone could not give to a new replica.
    #[prost(bool, tag = "7")]
    pub has_history: bool,
    /// How much of the copy is done, in thousandths.
    #[prost(uint32, tag = "8")]
    pub rebuilt_permille: u32,
    /// It does not have everything because the logs of its peers do not reach back far enough, and for no other reason.
    #[prost(bool, tag = "9")]
    pub left_behind: bool,
}

/// Signs of life. A vector that is too long for one heartbeat continues in the next: positions only grow, so parts may
/// be merged in any order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Heartbeat {
    /// The sender's positions.
    #[prost(message, repeated, tag = "1")]
    pub positions: Vec<Position>,
    /// Health of the sender.
    #[prost(message, optional, tag = "2")]
    pub health: Option<Health>,
    /// The sender's wall clock, milliseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub wall_ms: i64,
    /// Epoch of the sender's ring.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Streams of earlier starts of which the sender needs nothing any more.
    #[prost(message, repeated, tag = "5")]
    pub settled: Vec<StartsBefore>,
    /// Streams of earlier starts that have ended for the sender: they are in no vector of its any more.
    #[prost(message, repeated, tag = "6")]
    pub ended: Vec<StartsBefore>,
}

/// The streams of an incarnation before a boot.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct StartsBefore {
    /// The incarnation.
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// The boot.
    #[prost(uint32, tag = "2")]
    pub boot: u32,
    /// Tells how far each of the streams came, if they have ended.
    #[prost(fixed64, tag = "3")]
    pub digest: u64,
}

impl StartsBefore {
    /// In wire form.
    pub fn of((incarnation, end): (Incarnation, End)) -> Self {
        Self {
            incarnation: incarnation.0,
            boot: end.before.0,
            digest: end.digest,
        }
    }

    /// The incarnation, and how far its streams have ended.
    pub fn parts(&self) -> (Incarnation, End) {
        (
            Incarnation(self.incarnation),
            End {
                before: Boot(self.boot),
                digest: self.digest,
            },
        )
    }
}

/// Asks for records of a stream.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Subscribe {
    /// The subscriber's number for it, new for each subscription of a connection.
    #[prost(uint32, tag = "1")]
    pub subscription: u32,
    /// Incarnation of the stream.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// Boot of the stream.
    #[prost(uint32, tag = "3")]
    pub boot: u32,
    /// First seq wanted.
    #[prost(uint64, tag = "4")]
    pub from_seq: u64,
    /// Record bytes that may be sent at once. The last record sent may go over it.
    #[prost(uint64, tag = "5")]
    pub credit_bytes: u64,
}

/// Ends a subscription.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Unsubscribe {
    /// The subscription.
    #[prost(uint32, tag = "1")]
    pub subscription: u32,
}

/// The envelope of records.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct RecordsHead {
    #[prost(uint32, tag = "1")]
    pub(super) subscription: u32,
}

/// A durable position.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Ack {
    /// Incarnation of the stream.
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// Boot of the stream.
    #[prost(uint32, tag = "2")]
    pub boot: u32,
    /// Highest seq up to which the sender has everything durably.
    #[prost(uint64, tag = "3")]
    pub position: u64,
    /// Epoch of the ring by which the sender goes; 0 from a sender that does not say.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
}

/// Room for more records.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Credit {
    /// The subscription.
    #[prost(uint32, tag = "1")]
    pub subscription: u32,
    /// Record bytes that were appended and applied since the last credit.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Why a server ended a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EndReason {
    /// Not one of the others.
    Unspecified = 0,
    /// The wanted records were trimmed from the server's log.
    Trimmed = 1,
    /// The server could not read its log.
    ReadFailed = 2,
    /// The server has as many subscriptions as it allows.
    TooMany = 3,
}

/// The server ended a subscription.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct StreamEnded {
    /// The subscription.
    #[prost(uint32, tag = "1")]
    pub subscription: u32,
    /// Why.
    #[prost(enumeration = "EndReason", tag = "2")]
    pub reason: i32,
    /// First seq the server still has, for [`EndReason::Trimmed`].
    #[prost(uint64, tag = "3")]
    pub first_seq: u64,
}

/// The envelope of a call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestHead {
    /// The caller's number for the call, new for each call of a connection.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What is called; numbers are given by the crate that owns the call.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// The caller waits this long, in milliseconds; 0 means the caller has gone and the call is to be dropped.
    #[prost(uint64, tag = "3")]
    pub deadline_ms: u64,
    /// Version of the body's format.
    #[prost(uint32, tag = "4")]
    pub version: u32,
    /// Which part of the body this is, from 0; since version 3 of the protocol.
    #[prost(uint32, tag = "5")]
    pub part: u32,
    /// More parts follow.
    #[prost(bool, tag = "6")]
    pub more: bool,
}

/// The envelope of one part of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseHead {
    /// The call's number.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// 0 for success, else an error kind, see [`ResponseHead::error_kind`].
    #[prost(uint32, tag = "2")]
    pub status: u32,
    /// More parts follow.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

pub(super) const ERROR_KINDS: [ErrorKind; 10] = [
    ErrorKind::Invalid,
    ErrorKind::TooLarge,
    ErrorKind::Limited,
    ErrorKind::NotFound,
    ErrorKind::NoQuorum,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Cancelled,
    ErrorKind::Corrupt,
    ErrorKind::Internal,
];

impl ResponseHead {
    /// Status number of an error kind, from 1.
    pub fn status_of(kind: ErrorKind) -> u32 {
        let at = ERROR_KINDS
            .iter()
            .position(|k| *k == kind)
            .expect("BUG: every kind is listed");
        at as u32 + 1
    }

    /// The error the status stands for; `None` for success. A number of a newer version reads as `Internal`.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        let at = self.status.checked_sub(1)?;
        Some(
            ERROR_KINDS
                .get(at as usize)
                .copied()
                .unwrap_or(ErrorKind::Internal),
        )
    }
}

macro_rules! names_a_stream {
    ($($message:ty),*) => {$(
        impl $message {
            /// The stream it is about.
            pub fn stream(&self) -> StreamId {
                StreamId { incarnation: Incarnation(self.incarnation), boot: Boot(self.boot) }
            }
        }
    )*};
}

names_a_stream!(Position, Subscribe, Ack, Hello);
