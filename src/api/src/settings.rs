//! What the owner of the API decides.

use std::sync::Arc;
use std::time::Duration;

use trireme_promql::ParserOptions;
use trireme_query::TenantLimitsTable;
use trireme_remote::DecodeLimits;
use trireme_remote::otlp::OtlpOptions;

use crate::body::Bounds;

/// Switches that `features` shows and some paths obey.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// Start timestamps take part in queries that do not say otherwise.
    pub start_timestamps: bool,
    /// Names are removed at the end of a query.
    pub delayed_name_removal: bool,
    /// The label `__type__` says what is a counter.
    pub type_and_unit_labels: bool,
    /// The paths below `/api/v1/search`.
    pub search_api: bool,
    /// `stats=all` lists samples by step.
    pub per_step_stats: bool,
    /// Estimates and limits of what a query costs; `None` if they are off.
    pub query_cost: Option<CostCeilings>,
}

/// The most that a query may cost, whatever it asks for; 0 means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CostCeilings {
    /// Series that selectors choose (`query.max_series`).
    pub series: u64,
    /// Samples of storage that are read (`query.max_samples_read`).
    pub samples_read: u64,
    /// How long it takes (`query.max_duration`).
    pub duration: Duration,
}

/// Settings of the API; names of keys appear in messages, so they are the ones of the configuration file.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Header that names the tenant, and the one that is understood in its absence.
    pub tenant_headers: [String; 2],
    /// Tenant of requests that name none.
    pub tenant_default: String,
    /// Largest body as sent (`http.body_bytes_max`).
    pub body_bytes_max: usize,
    /// Largest body after decompression (`http.inflated_bytes_max`).
    pub inflated_bytes_max: usize,
    /// Longest time from a write request's head to the end of its body (`http.body_timeout`).
    pub body_timeout: Duration,
    /// Bytes of all write requests that are read, decoded or waiting for their quorum at one time; a tenant may
    /// take half.
    pub in_flight_bytes_max: usize,
    /// Bounds within one write request.
    pub decode: DecodeLimits,
    /// How OTLP resources become labels.
    pub otlp: OtlpOptions,
    /// Path that is taken off requests (`http.route_prefix`).
    pub route_prefix: String,
    /// Origins whose pages may read answers (`http.cors_origin`).
    pub cors_origins: Option<regex::Regex>,
    /// Longest run of a query; a request may ask for less.
    pub query_timeout: Duration,
    /// Queries at the same time (`query.max_concurrency`).
    pub query_places: usize,
    /// Exports, remote reads and the like at the same time (`query.max_streams`).
    pub stream_places: usize,
    /// Queries, and streams, of one tenant that wait for a place (`query.max_queued`).
    pub queued_max: usize,
    /// Memory of answers that clients have not taken yet; a tenant may take half (`query.answer_bytes_max`).
    pub answer_bytes_max: usize,
    /// Tenants with lines of their own in the node's metrics (`telemetry.metric_tenants_max`).
    pub metric_tenants_max: usize,
    /// A client that takes nothing of its answer for this long gets no more (`http.write_idle_timeout`).
    pub write_idle_timeout: Duration,
    /// How far back an instant selector looks unless the request says otherwise.
    pub lookback_delta: Duration,
    /// What the queries of single tenants may take.
    pub tenant_limits: Arc<TenantLimitsTable>,
    /// Most samples a remote read may return.
    pub remote_read_samples_max: usize,
    /// Which parts of the language are taken where expressions and selectors are read here.
    pub parser: ParserOptions,
    /// What is switched on beside the language.
    pub features: Features,
    /// Labels removed for deduplication unless the request names others.
    pub replica_labels: Vec<String>,
    /// What `status/config` shows: Prometheus's configuration, as far as there is one, in YAML.
    pub config_yaml: String,
    /// The node's own settings as the admin API shows them, without secrets.
    pub settings_text: String,
    /// Flags as `status/flags` shows them.
    pub flags: Vec<(String, String)>,
}

impl ApiSettings {
    /// Bounds of a write's body.
    pub(crate) fn body_bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.body_bytes_max,
            bytes_key: "http.body_bytes_max",
            timeout: self.body_timeout,
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            tenant_headers: ["THANOS-TENANT".to_owned(), "X-Scope-OrgID".to_owned()],
            tenant_default: trireme_model::Tenant::DEFAULT.to_owned(),
            body_bytes_max: 32 << 20,
            inflated_bytes_max: 128 << 20,
            body_timeout: Duration::from_secs(30),
            in_flight_bytes_max: 512 << 20,
            decode: DecodeLimits::default(),
            otlp: OtlpOptions::default(),
            route_prefix: String::new(),
            cors_origins: None,
            query_timeout: Duration::from_secs(120),
            query_places: 20,
            stream_places: 10,
            queued_max: 100,
            answer_bytes_max: 512 << 20,
            metric_tenants_max: 1_000,
            write_idle_timeout: Duration::from_secs(30),
            lookback_delta: Duration::from_secs(300),
            tenant_limits: Arc::default(),
            remote_read_samples_max: 50_000_000,
            parser: ParserOptions::default(),
            features: Features::default(),
            replica_labels: Vec::new(),
            config_yaml: String::new(),
            settings_text: String::new(),
            flags: Vec::new(),
        }
    }
}
