//! `[query]`: bounds and defaults of queries.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// Whether queries are divided among the replicas of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistributeSetting {
    /// Unless they are known to be cheap.
    Auto,
    /// Never; other replicas are not asked what they have either.
    Off,
    /// Whenever that is possible.
    Always,
}

/// `[query]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Longest run of a query.
    pub timeout: Span,
    /// Queries evaluated at once.
    pub max_concurrency: usize,
    /// Exports, remote reads and other streams at once.
    pub max_streams: usize,
    /// Queries, and streams, of one tenant that wait for a place; more are answered 503.
    pub max_queued: usize,
    /// Memory of answers that clients have not taken yet; a tenant may take half.
    pub answer_bytes_max: ByteSize,
    /// Samples a query may hold in memory.
    pub max_samples: usize,
    /// Samples that all queries may hold in memory together, 16 bytes each; 0 means no bound.
    pub max_samples_node: usize,
    /// Most series that the selectors of a query may choose together, with `features.query-cost`; 0 means no bound.
    pub max_series: u64,
    /// Most samples of storage that a query may read, histograms by their size, with `features.query-cost`; 0 means no bound.
    pub max_samples_read: u64,
    /// Longest run of a query with `features.query-cost`; 0 means `timeout`.
    pub max_duration: Span,
    /// How far back an instant selector looks.
    pub lookback_delta: Span,
    /// Whether anything in [`super::Features`] that Prometheus calls experimental may be on.
    pub enable_experimental: bool,
    /// Whether queries use the start timestamps that are kept, unless they say otherwise.
    pub start_timestamps: bool,
    /// Functions keep the metric name until the query is done.
    pub delayed_name_removal: bool,
    /// The label `__type__` says what is a counter, not the metric's name.
    pub type_and_unit_labels: bool,
    /// Labels that tell members of an HA pair apart; removed, and their series deduplicated.
    pub replica_labels: Vec<String>,
    /// Whether queries are divided among the replicas.
    pub distribute: DistributeSetting,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(120),
            max_concurrency: 20,
            max_streams: 10,
            max_queued: 100,
            answer_bytes_max: ByteSize(512 << 20),
            max_samples: 50_000_000,
            max_samples_node: 200_000_000,
            max_series: 0,
            max_samples_read: 0,
            max_duration: Span::from_secs(0),
            lookback_delta: Span::from_secs(300),
            enable_experimental: true,
            start_timestamps: true,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            replica_labels: Vec::new(),
            distribute: DistributeSetting::Auto,
        }
    }
}
