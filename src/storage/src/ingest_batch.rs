//! What is asked of a shard of this node, and its answer.

use std::sync::Arc;

use trireme_log::LastRings;
use trireme_mailbox::Call;
use trireme_model::{Tenant, WriteOutcome};
use trireme_wire::batch::Batch;

use crate::commits::CommitReceiver;

/// A shard's share of a request.
pub struct IngestBatch {
    /// Whose data.
    pub tenant: Tenant,
    /// The whole request.
    pub batch: Arc<Batch>,
    /// Series of `batch` for this shard.
    pub indexes: Vec<u32>,
    /// True for one shard of the request only: it keeps the request's metadata.
    pub with_metadata: bool,
    /// Wakes the log when the last shard of the request has appended its part or given up.
    pub together: Arc<LastRings>,
}

impl Call for IngestBatch {
    type Reply = ShardAnswer;
}

/// What a shard did.
pub struct ShardAnswer {
    /// Counts and refusals.
    pub outcome: WriteOutcome,
    /// Series that belong to another shard.
    pub redirects: Vec<(u32, u16)>,
    /// Resolves when a quorum has what was stored; `None` if nothing was.
    pub committed: Option<CommitReceiver>,
}
