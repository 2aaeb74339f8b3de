//! One table says how each kind of actor runs, is bounded and is restarted.

use std::time::Duration;

/// The kinds of actors of a node, in the order of a sample's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// HTTP side: accept here or forward to a healthy member.
    Front,
    /// One shard of series.
    Ingest,
    /// One peer.
    Replicator,
    /// Windows, blocks, checkpoints, retention.
    BlockWriter,
    /// Copies blocks to the bucket.
    Uploader,
    /// Merges blocks of the bucket.
    Compactor,
    /// Finds damaged and missing blocks and gets good copies.
    Scrubber,
    /// Evaluates queries.
    QueryShard,
    /// The ring.
    Membership,
}

/// Which thread an actor's mailbox runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// A thread of its own: its handlers may work for long without stopping others.
    Own,
    /// The node's shared arbiter: handlers only pass work on.
    Shared,
}

/// How a kind of actor is run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The kind.
    pub kind: ActorKind,
    /// Name in logs and metrics.
    pub name: &'static str,
    /// Its thread.
    pub placement: Placement,
    /// Messages queued or worked on.
    pub queue_messages: usize,
    /// Why the bound is what it is.
    pub bound_reason: &'static str,
    /// Restarts within a minute before the node stops in order rather than flap.
    pub restarts_per_minute_max: usize,
    /// Longest wait for an answer.
    pub deadline: Duration,
}

/// The table.
pub const POLICIES: [Policy; 9] = [
    Policy {
        kind: ActorKind::Front,
        name: "front",
        placement: Placement::Shared,
        queue_messages: 4_096,
        bound_reason: "a message an HTTP request in flight",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(2),
    },
    Policy {
        kind: ActorKind::Ingest,
        name: "ingest",
        placement: Placement::Own,
        queue_messages: 512,
        bound_reason: "512 batches of 500 samples are 0.1 s of work; senders keep the rest",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(30),
    },
    Policy {
        kind: ActorKind::Replicator,
        name: "replicator",
        placement: Placement::Shared,
        queue_messages: 4_096,
        bound_reason: "wake-ups only; records themselves are bounded in bytes by the replication window",
        restarts_per_minute_max: 60,
        deadline: Duration::from_secs(5),
    },
    Policy {
        kind: ActorKind::BlockWriter,
        name: "block-writer",
        placement: Placement::Shared,
        queue_messages: 64,
        bound_reason: "timers and operators",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(60),
    },
    Policy {
        kind: ActorKind::Uploader,
        name: "uploader",
        placement: Placement::Shared,
        queue_messages: 64,
        bound_reason: "timers and operators",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(60),
    },
    Policy {
        kind: ActorKind::Compactor,
        name: "compactor",
        placement: Placement::Shared,
        queue_messages: 64,
        bound_reason: "a timer only",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(60),
    },
    Policy {
        kind: ActorKind::Scrubber,
        name: "scrubber",
        placement: Placement::Shared,
        queue_messages: 64,
        bound_reason: "a timer only",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(60),
    },
    Policy {
        kind: ActorKind::QueryShard,
        name: "query-shard",
        placement: Placement::Shared,
        queue_messages: 1_024,
        bound_reason: "queries waiting for a place on the CPU pool; more would time out",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(180),
    },
    Policy {
        kind: ActorKind::Membership,
        name: "membership",
        placement: Placement::Shared,
        queue_messages: 256,
        bound_reason: "operators and status pages",
        restarts_per_minute_max: 20,
        deadline: Duration::from_secs(5),
    },
];

/// The row of a kind.
pub fn policy(kind: ActorKind) -> &'static Policy {
    POLICIES
        .iter()
        .find(|p| p.kind == kind)
        .expect("BUG: every kind has a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row() {
        use ActorKind::*;

        let all = [
            Front,
            Ingest,
            Replicator,
            BlockWriter,
            Uploader,
            Compactor,
            Scrubber,
            QueryShard,
            Membership,
        ];

        for kind in all {
            assert_eq!(POLICIES.iter().filter(|p| p.kind == kind).count(), 1);
            assert!(policy(kind).queue_messages > 0);
        }
    }
}
