//! Bounds and times of a link.

use std::time::Duration;

/// Bounds and times of a link. All nodes of a group use the same times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Epoch of the ring at the start; see [`crate::PeerLink::set_epoch`].
    pub epoch: u64,
    /// Time between heartbeats.
    pub heartbeat_every: Duration,
    /// A peer that was silent for this long is given up.
    pub peer_timeout: Duration,
    /// Record bytes of the stream that the peer is writing that may be on their way to this node or waiting to be applied.
    /// One record more may come on top.
    pub window_bytes: u64,
    /// The same for each other stream that is taken from the peer.
    pub other_window_bytes: u64,
    /// A records frame is closed when it has this many bytes.
    pub frame_bytes: u64,
    /// Bytes asked for in one read of the own log.
    pub read_bytes: u64,
    /// Bytes of fresh records kept for a subscription that cannot take them at once; what is dropped is read from the
    /// log later.
    pub fresh_bytes: u64,
    /// Record bytes given out to be sent and not reported as [`super::Event::Sent`]; keeps the send queue short, so that
    /// fresh entries do not queue behind a catch-up.
    pub sending_bytes: u64,
    /// Subscriptions the peer may hold here.
    pub subscriptions_max: usize,
    /// Positions in one heartbeat; a longer vector is spread over several.
    pub heartbeat_positions_max: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            epoch: 1,
            heartbeat_every: Duration::from_millis(500),
            peer_timeout: Duration::from_secs(3),
            window_bytes: 8 << 20,
            other_window_bytes: 1 << 20,
            frame_bytes: 512 << 10,
            read_bytes: 1 << 20,
            fresh_bytes: 4 << 20,
            sending_bytes: 2 << 20,
            subscriptions_max: 64,
            heartbeat_positions_max: 4096,
        }
    }
}
