//! The sections and their defaults, as data.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{ByteSize, Span};

mod tenants;

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

/// `[node]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Unique name in the cluster; finds the node's own entry in `cluster.peers`.
    pub name: String,
    /// Failure zone; replicas of a group are spread over zones.
    pub zone: String,
    /// Directory that holds everything the node stores.
    pub data_dir: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "n0".into(),
            zone: String::new(),
            data_dir: "./trireme-data".into(),
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Address and port of remote write, query API, admin API and `/metrics`.
    pub listen: String,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Largest request body as sent.
    pub body_bytes_max: ByteSize,
    /// Largest request body after decompression.
    pub inflated_bytes_max: ByteSize,
    /// Connections at once.
    pub connections_max: usize,
    /// Of these, connections from one address; of IPv6 from one /64. 0 means no bound.
    pub connections_per_address: usize,
    /// How long a connection stays on which nothing is asked. Longer than the pools of usual clients and balancers keep
    /// theirs, so that it is not this side that hangs up while a request is on its way.
    pub keep_alive: Span,
    /// Origins whose pages may read answers, as an anchored regular expression; `*` is any. Empty sends no CORS headers.
    pub cors_origin: String,
    /// Address under which users reach the node through a proxy, as `https://metrics.example.org/eu`; empty if there is
    /// none.
    pub external_url: String,
    /// Path below which a proxy passes requests on, as `/metrics/eu`; everything is found without it too. Empty means the path of
    /// `external_url`.
    pub route_prefix: String,
    /// Time a client has to send the head of its request; ends slow-loris senders. It runs on while the process stands
    /// still, and senders drop what is answered 408: it is longer than they wait for an answer.
    pub request_timeout: Span,
    /// Time a client has to send the body of a write after its head.
    pub body_timeout: Span,
    /// A client that takes nothing of its answer for this long gets no more of it.
    pub write_idle_timeout: Span,
    /// How long the node goes on for its clients after a stop was asked for, not ready and closing their connections.
    pub drain_timeout: Span,
    /// Time requests in flight have to finish when the node stops.
    pub stop_timeout: Span,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:19291".into(),
            workers: 0,
            body_bytes_max: ByteSize(32 << 20),
            inflated_bytes_max: ByteSize(128 << 20),
            connections_max: 20_000,
            connections_per_address: 0,
            keep_alive: Span::from_secs(120),
            cors_origin: String::new(),
            external_url: String::new(),
            route_prefix: String::new(),
            request_timeout: Span::from_secs(120),
            body_timeout: Span::from_secs(30),
            write_idle_timeout: Span::from_secs(30),
            drain_timeout: Span::from_secs(15),
            stop_timeout: Span::from_secs(20),
        }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Nodes of clusters with other names are refused.
    pub name: String,
    /// Address and port of the TCP mesh.
    pub listen: String,
    /// Members of the replica group as `name=host:port`, this node included; empty means a group of one. Used for the
    /// first start only: after that the ring in the data directory counts.
    #[serde(with = "peer_list")]
    pub peers: Vec<Peer>,
    /// This node is not one of `peers` but is to join them: it waits until the ring has it (`trireme ring join`).
    pub join: bool,
    /// Copies of each sample; must equal the number of peers while there is one group.
    pub replication_factor: usize,
    /// How long a write waits for a quorum before it is answered 503.
    pub ack_timeout: Span,
    /// A peer that was silent for this long is taken as down.
    pub peer_timeout: Span,
    /// How often position vectors and health travel between peers.
    pub heartbeat_interval: Span,
    /// Log bytes in flight to one peer before it has to acknowledge.
    pub window_bytes: ByteSize,
    /// A clock that is further from the majority's is wrong.
    pub clock_offset_max: Span,
    /// Bytes a second at which a replica copies from a peer, while it is rebuilt or fetches a block that it lost; 0 means
    /// no bound.
    pub rebuild_rate: ByteSize,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "trireme".into(),
            listen: "0.0.0.0:19391".into(),
            peers: Vec::new(),
            join: false,
            replication_factor: 3,
            ack_timeout: Span::from_secs(10),
            peer_timeout: Span::from_secs(3),
            heartbeat_interval: Span::from_millis(500),
            window_bytes: ByteSize(16 << 20),
            clock_offset_max: Span::from_secs(300),
            rebuild_rate: ByteSize(64 << 20),
        }
    }
}

/// One entry of `cluster.peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Node name.
    pub name: String,
    /// `host:port` of its TCP mesh listener.
    pub address: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) =
            peer_parts(text).ok_or_else(|| format!("{text:?} is no peer; write name=host:port"))?;

        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

/// Name and address of `name=host:port`.
fn peer_parts(text: &str) -> Option<(&str, &str)> {
    let (name, address) = text.trim().split_once('=')?;
    let (host, port) = address.rsplit_once(':')?;
    let is_peer = !name.is_empty() && !host.is_empty() && port.parse::<u16>().is_ok();
    is_peer.then_some((name, address))
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

/// A list in TOML, or one string with commas in `--set` and the environment.
mod peer_list {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(
        peers: &[Peer],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(peers.iter().map(Peer::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Peer>, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::List(list) => list.iter().map(|text| parse(text)).collect(),
            Form::Text(text) => text
                .split(',')
                .filter(|part| !part.trim().is_empty())
                .map(parse)
                .collect(),
        }
    }

    fn parse<E: de::Error>(text: &str) -> Result<Peer, E> {
        text.parse().map_err(E::custom)
    }
}

/// When a write counts as durable on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After fsync.
    Fsync,
    /// After the write to the operating system; fsync follows every `log.sync_interval`.
    Memory,
}

/// How log records are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogCompression {
    /// As they are.
    None,
    /// Each by itself with zstd.
    Zstd,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `fsync` or `memory`.
    pub durability: Durability,
    /// Time between fsyncs with `memory`.
    pub sync_interval: Span,
    /// `none` or `zstd`; what is on disk is read either way.
    pub compression: LogCompression,
    /// Size of a segment file.
    pub segment_bytes: ByteSize,
    /// Bytes waiting for the log before writes are answered 503.
    pub queue_bytes: ByteSize,
    /// Log kept for a replica that is away; beyond it the replica has to be rebuilt.
    pub retention_bytes: ByteSize,
    /// Log older than this is not kept for a replica that is away either.
    pub retention: Span,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            sync_interval: Span::from_secs(1),
            compression: LogCompression::None,
            segment_bytes: ByteSize(128 << 20),
            queue_bytes: ByteSize(64 << 20),
            retention_bytes: ByteSize(64 << 30),
            retention: Span::from_secs(72 * 3600),
        }
    }
}

/// How floats are stored in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatEncoding {
    /// Every Prometheus reads it. Chunks with start timestamps to keep are written in the other one all the same.
    Xor,
    /// Prometheus reads it since 3.11. Start timestamps are kept and used, as with [`Features::use_start_timestamps`].
    Xor2,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// Shards of series; fixed when the data directory is made and equal on all nodes of a group.
    pub shards: u16,
    /// Length of a window; a window becomes a block.
    pub window: Span,
    /// How long after its end a window stays open for stragglers.
    pub window_grace: Span,
    /// `xor` or `xor2`: the encoding of floats in new blocks; equal on all nodes of a group.
    pub float_encoding: FloatEncoding,
    /// How long local blocks are kept.
    pub retention: Span,
    /// Local blocks are also dropped, oldest first, over this size; 0 means no bound.
    pub retention_bytes: ByteSize,
    /// How old a client's sample may be, counted from the newest of its tenant.
    pub out_of_order_window: Span,
    /// The same while history is imported; the longer of both counts.
    pub backfill_window: Span,
    /// Active series on this node, of all tenants; known ones keep flowing at the bound, new ones are refused. 0 means as
    /// many as fit into half of the machine's memory.
    pub series_max: u64,
    /// Windows in which a tenant may have samples that are in no block yet.
    pub tenant_windows_max: usize,
    /// How far ahead of this node's clock a client's sample may be.
    pub max_future: Span,
    /// Windows are cut without a member that has been away for this long.
    pub seal_after: Span,
    /// How often the block writer looks for windows to close and cut.
    pub tick: Span,
    /// Free disk space below which writes are refused with 503.
    pub disk_free_min: ByteSize,
    /// Time between two checks of all local blocks against their checksums and against the other replicas; 0 means none.
    pub scrub_interval: Span,
    /// Bytes a second at which such a check reads blocks; 0 means no bound.
    pub scrub_rate: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            shards: 4,
            window: Span::from_secs(2 * 3600),
            window_grace: Span::from_secs(15 * 60),
            float_encoding: FloatEncoding::Xor,
            retention: Span::from_secs(30 * 86_400),
            retention_bytes: ByteSize(0),
            out_of_order_window: Span::from_secs(86_400),
            backfill_window: Span::from_secs(0),
            series_max: 0,
            tenant_windows_max: 1_000,
            max_future: Span::from_secs(600),
            seal_after: Span::from_secs(3600),
            tick: Span::from_secs(5),
            disk_free_min: ByteSize(64 << 20),
            scrub_interval: Span::from_secs(86_400),
            scrub_rate: ByteSize(16 << 20),
        }
    }
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Least time between checkpoints; those of a large head wait for as much log as makes them worth their bytes.
    pub interval: Span,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            interval: Span::from_secs(60),
        }
    }
}

/// Kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketType {
    /// A local directory.
    File,
    /// Amazon S3 and compatible servers.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// No long-term storage.
    None,
}

/// Whether objects are created in an S3 bucket under the condition that none has their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionalPutSetting {
    /// Unless the server turns out not to know the condition.
    Auto,
    /// Never.
    Off,
}

/// `[bucket]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// Kind of object store.
    #[serde(rename = "type")]
    pub kind: BucketType,
    /// Directory for `file`; empty means `bucket` inside the data directory.
    pub path: String,
    /// Bucket or container name.
    pub name: String,
    /// Folder inside the bucket.
    pub prefix: String,
    /// Address of an S3-compatible server; empty means the provider's own.
    pub endpoint: String,
    /// Region of an S3 bucket.
    pub region: String,
    /// S3 access key, or Azure account; empty takes the provider's usual environment, instance or pod identity.
    pub access_key: String,
    /// S3 secret key, or Azure account key.
    pub secret_key: String,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
    /// Whether an S3 server is asked to create objects under a condition (`If-None-Match: *`).
    pub conditional_put: ConditionalPutSetting,
    /// Labels of every block beside the tenant's, for example `group`.
    pub external_labels: BTreeMap<String, String>,
    /// External labels of blocks in the bucket that tell copies of the same samples apart: they are not shown, and what is
    /// then the same series is united.
    pub replica_labels: Vec<String>,
    /// Whose the blocks in the bucket are that have no tenant label; empty means nobody's, and they are not read.
    pub default_tenant: String,
    /// How long the replica next in line waits before it uploads a window itself.
    pub upload_turn: Span,
    /// How often the uploader looks for blocks to ship.
    pub upload_interval: Span,
    /// Blocks that it looks at, and uploads, side by side.
    pub uploads_at_once: usize,
    /// How often the list of blocks in the bucket is read for queries.
    pub sync_interval: Span,
    /// How often that list shows marks of blocks, too, for which every object has to be listed.
    pub marks_interval: Span,
    /// Memory for pieces of bucket blocks.
    pub cache_bytes: ByteSize,
    /// Disk for copies of indexes of bucket blocks.
    pub index_cache_bytes: ByteSize,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            kind: BucketType::File,
            path: String::new(),
            name: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            region: "us-east-1".into(),
            access_key: String::new(),
            secret_key: String::new(),
            allow_http: false,
            conditional_put: ConditionalPutSetting::Auto,
            external_labels: BTreeMap::new(),
            replica_labels: vec!["receive_replica".into()],
            default_tenant: String::new(),
            upload_turn: Span::from_secs(300),
            upload_interval: Span::from_secs(5),
            uploads_at_once: 4,
            sync_interval: Span::from_secs(60),
            marks_interval: Span::from_secs(900),
            cache_bytes: ByteSize(256 << 20),
            index_cache_bytes: ByteSize(8 << 30),
        }
    }
}

/// `[compaction]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// Whether the node merges blocks of the bucket, deletes those that were merged or are too old, and downsamples.
    pub enabled: bool,
    /// Whether it downsamples, if it merges.
    pub downsampling: bool,
    /// Time between two looks at the bucket, for each of which all its objects are listed.
    pub interval: Span,
    /// A range without a later block is merged so long after its end.
    pub grace: Span,
    /// How long a block stays in the bucket that is marked for deletion.
    pub delete_delay: Span,
    /// How long raw blocks stay in the bucket; 0 means for ever.
    pub retention_raw: Span,
    /// How long blocks of 5 minutes stay; 0 means for ever.
    pub retention_5m: Span,
    /// How long blocks of an hour stay; 0 means for ever.
    pub retention_1h: Span,
    /// Jobs at once.
    pub concurrency: usize,
    /// The most bytes of blocks that become one.
    pub block_bytes_max: ByteSize,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            enabled: false,
            downsampling: true,
            interval: Span::from_secs(600),
            grace: Span::from_secs(12 * 3_600),
            delete_delay: Span::from_secs(48 * 3_600),
            retention_raw: Span::from_secs(0),
            retention_5m: Span::from_secs(0),
            retention_1h: Span::from_secs(0),
            concurrency: 1,
            block_bytes_max: ByteSize(64 << 30),
        }
    }
}

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
    /// Whether anything in [`Features`] that Prometheus calls experimental may be on.
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

/// `[features]`: switches under the names that Prometheus has for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Features {
    /// Functions and aggregations that may still change.
    pub promql_experimental_functions: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub promql_binop_fill_modifiers: bool,
    /// Names with letters of any script and dots need no quotes.
    pub promql_unquoted_utf8_names: bool,
    /// Start timestamps are kept in blocks and given to readers, and take part in `rate`, `irate`, `increase` and
    /// `resets`, unless a query says otherwise. Off, they are nowhere; equal on all nodes of a group.
    pub use_start_timestamps: bool,
    /// The paths below `/api/v1/search`.
    pub search_api: bool,
    /// What a query costs is estimated on demand, and limited.
    pub query_cost: bool,
    /// `stats=all` lists samples by step.
    pub promql_per_step_stats: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            promql_experimental_functions: true,
            promql_binop_fill_modifiers: true,
            promql_unquoted_utf8_names: false,
            use_start_timestamps: false,
            search_api: false,
            query_cost: false,
            promql_per_step_stats: false,
        }
    }
}

impl Settings {
    /// True if start timestamps are kept in blocks and given to readers, from blocks and from the head.
    pub fn keeps_start_timestamps(&self) -> bool {
        self.features.use_start_timestamps || self.storage.float_encoding == FloatEncoding::Xor2
    }

    /// The switches as they are in force.
    pub fn features_in_force(&self) -> Features {
        let query = &self.query;
        let on = &self.features;
        let experimental = query.enable_experimental;

        Features {
            promql_experimental_functions: experimental && on.promql_experimental_functions,
            promql_binop_fill_modifiers: experimental && on.promql_binop_fill_modifiers,
            promql_unquoted_utf8_names: experimental && on.promql_unquoted_utf8_names,
            use_start_timestamps: query.start_timestamps && self.keeps_start_timestamps(),
            search_api: experimental && on.search_api,
            query_cost: experimental && on.query_cost,
            promql_per_step_stats: experimental && on.promql_per_step_stats,
        }
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// `auto`, `terminal` or `json`.
    pub log_format: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Writes the node's own metrics into the cluster.
    pub self_monitoring: bool,
    /// Time between these writes.
    pub self_monitoring_interval: Span,
    /// Tenants that have lines of their own in the node's metrics; the others are counted together as `other`.
    pub metric_tenants_max: usize,
    /// Lets `POST /api/v1/admin/crash?actor=NAME` make an actor panic, for tests and game days.
    pub fault_injection: bool,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: "auto".into(),
            log_level: "info".into(),
            self_monitoring: false,
            self_monitoring_interval: Span::from_secs(15),
            metric_tenants_max: 1_000,
            fault_injection: false,
        }
    }
}
