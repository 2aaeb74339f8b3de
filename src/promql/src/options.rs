//! Settings of the engine and of one query.

use std::time::Duration;

/// Settings of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How far an instant selector looks back for a sample (ms, exclusive).
    pub lookback_ms: i64,
    /// Most samples that a query may hold in memory.
    pub samples_max: usize,
    /// Most steps of a range query, the first not counted.
    pub steps_max: usize,
    /// How long a query may take; needs a [`Cancel`](crate::Cancel) with a clock.
    pub timeout: Duration,
    /// Resolution of subqueries without one (ms).
    pub subquery_step_ms: i64,
    /// Metric names are removed when the query is done, not by each function.
    pub delayed_name_removal: bool,
    /// Start timestamps take part in `rate`, `irate`, `increase` and `resets`, and `start_timestamp` works.
    pub start_timestamps: bool,
    /// `rate` and `increase` look at the label `__type__` instead of the metric name's suffix.
    pub type_and_unit_labels: bool,
    /// Limits of what a query costs are kept, and all samples that are read are counted, those of steps of a subquery that
    /// no window holds too.
    pub query_cost: bool,
    /// Most series that selectors may choose, summed over selectors; 0 means no bound. Needs `query_cost`.
    pub series_max: u64,
    /// Most samples of storage that may be read, histograms by their size; 0 means no bound. Needs `query_cost`.
    pub samples_read_max: u64,
    /// Statistics tell the steps apart.
    pub per_step_stats: bool,
    /// Most bytes that the states of aggregations of a shard may take on their way to who asked.
    pub partial_bytes_max: usize,
    /// Threads that one query may use.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            samples_max: 50_000_000,
            steps_max: 11_000,
            timeout: Duration::from_secs(120),
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
            start_timestamps: false,
            type_and_unit_labels: false,
            query_cost: false,
            series_max: 0,
            samples_read_max: 0,
            per_step_stats: false,
            partial_bytes_max: usize::MAX,
            threads: 1,
        }
    }
}

/// What one query may set differently; `None` means as the engine does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// See [`EngineOptions::lookback_ms`].
    pub lookback_ms: Option<i64>,
    /// The least of it (ms), if the query does not say it itself.
    pub lookback_min_ms: i64,
    /// See [`EngineOptions::samples_max`]; only a lower value counts.
    pub samples_max: Option<usize>,
    /// See [`EngineOptions::timeout`]; only a lower value counts.
    pub timeout: Option<Duration>,
    /// See [`EngineOptions::threads`].
    pub threads: Option<usize>,
    /// See [`EngineOptions::start_timestamps`].
    pub start_timestamps: Option<bool>,
    /// See [`EngineOptions::series_max`].
    pub series_max: Option<u64>,
    /// See [`EngineOptions::samples_read_max`].
    pub samples_read_max: Option<u64>,
    /// See [`EngineOptions::per_step_stats`].
    pub per_step_stats: bool,
    /// See [`EngineOptions::partial_bytes_max`].
    pub partial_bytes_max: Option<usize>,
}

impl EngineOptions {
    /// These settings with what the query sets.
    pub(crate) fn with(&self, query: &QueryOptions) -> Self {
        let mut out = self.clone();
        match query.lookback_ms.filter(|ms| *ms > 0) {
            Some(lookback_ms) => out.lookback_ms = lookback_ms,
            None => out.lookback_ms = out.lookback_ms.max(query.lookback_min_ms),
        }

        out.samples_max = query
            .samples_max
            .map_or(out.samples_max, |n| n.min(out.samples_max));
        out.timeout = query.timeout.map_or(out.timeout, |t| t.min(out.timeout));
        out.start_timestamps = query.start_timestamps.unwrap_or(out.start_timestamps);
        out.series_max = query.series_max.unwrap_or(out.series_max);
        out.samples_read_max = query.samples_read_max.unwrap_or(out.samples_read_max);
        out.per_step_stats |= query.per_step_stats;
        out.partial_bytes_max = query.partial_bytes_max.unwrap_or(out.partial_bytes_max);
        out.threads = query.threads.unwrap_or(out.threads).max(1);

        out
    }
}
