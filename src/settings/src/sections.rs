//! The sections and their defaults, as data: a file each.

use serde::{Deserialize, Serialize};

mod bucket;
mod checkpoint;
mod cluster;
mod compaction;
mod features;
mod http;
mod log;
mod node;
mod query;
mod storage;
mod telemetry;
mod tenants;

pub use bucket::{Bucket, BucketType, ConditionalPutSetting};
pub use checkpoint::Checkpoint;
pub use cluster::{Cluster, Peer};
pub use compaction::Compaction;
pub use features::Features;
pub use http::Http;
pub use log::{Durability, Log, LogCompression};
pub use node::Node;
pub use query::{DistributeSetting, Query};
pub use storage::{FloatEncoding, Storage};
pub use telemetry::Telemetry;
pub use tenants::{Limits, LimitsOverride, TenantCreation, Tenants};

/// All settings of a node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Who this node is and where its data lies.
    pub node: Node,
    /// The HTTP listener.
    pub http: Http,
    /// The replica group and the TCP mesh between its nodes.
    pub cluster: Cluster,
    /// The write-ahead log.
    pub log: Log,
    /// Windows, retention and acceptance of samples.
    pub storage: Storage,
    /// Checkpoints of the head.
    pub checkpoint: Checkpoint,
    /// Long-term storage.
    pub bucket: Bucket,
    /// Merging of blocks in the bucket.
    pub compaction: Compaction,
    /// Bounds and defaults of queries.
    pub query: Query,
    /// `[features]`
    pub features: Features,
    /// Tenants and their limits.
    pub tenants: Tenants,
    /// Logs and self-monitoring.
    pub telemetry: Telemetry,
}
