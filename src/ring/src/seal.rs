//! Where streams end whose origin has left.

use serde::{Deserialize, Serialize};
use trireme_base::{Boot, Incarnation, StreamId};

/// The end of a stream by decision of the ring: the longest prefix that any live replica held when its origin left. It
/// covers everything a quorum acknowledged; nothing is added to the stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Data directory of the origin.
    pub incarnation: u64,
    /// Which start of it.
    pub boot: u32,
    /// Last seq of the stream (inclusive).
    pub seq: u64,
}

impl Seal {
    /// A seal of `stream` at `seq`.
    pub fn new(stream: StreamId, seq: u64) -> Self {
        Self {
            incarnation: stream.incarnation.0,
            boot: stream.boot.0,
            seq,
        }
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        StreamId {
            incarnation: Incarnation(self.incarnation),
            boot: Boot(self.boot),
        }
    }
}
