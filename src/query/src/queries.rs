//! The questions that can be asked, as data.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use trireme_model::{Exemplar, Labels, Matcher, MetricMetadata, Tenant};
use trireme_promql::{Cancel, QueryResult, SelectRequest, SeriesSet, TakenRoom};

use crate::QueryError;
use crate::read_index::ReadIndex;

/// Everything that can be asked of stored data. Calls block and compute: they belong on the CPU pool.
pub trait Queries: Send + Sync {
    /// True if answering takes well under a millisecond and waits for nobody, so that it may be tried on an event loop,
    /// with [`QueryContext::head_only`]. False if in doubt. Opens and reads nothing itself.
    fn is_quick(&self, _context: &QueryContext, _asked: &Asked<'_>) -> bool {
        false
    }

    /// Waits for all that a query has to wait for before it can be worked on: the end of a replay, and what other replicas
    /// say of how far they are, which the context keeps. Who does not call it waits in the query, on its thread.
    fn prepare<'a>(&'a self, _context: &'a QueryContext) -> BoxFuture<'a, Result<(), QueryError>> {
        Box::pin(ready(Ok(())))
    }

    /// Evaluates an expression at one time.
    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError>;
    /// Evaluates an expression at each step of a range.
    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError>;
    /// Raw series, sorted by labels.
    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError>;
    /// Label sets, sorted.
    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError>;
    /// Label names, sorted.
    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError>;
    /// Values of one label, sorted.
    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError>;
    /// Exemplars of the series that the selectors of `expr` choose, with timestamps in `[start_ms, end_ms]`.
    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError>;
    /// Metadata of one metric or of all, sorted by metric.
    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError>;
    /// Cardinality of the head; each list has at most `limit` entries.
    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError>;
}

/// Who asks, and how.
#[derive(Clone)]
pub struct QueryContext {
    /// Whose data.
    pub tenant: Tenant,
    /// Stops the query when its deadline passes or its client goes away.
    pub cancel: Cancel,
    /// Labels that tell HA replicas apart; they are removed and the series deduplicated. Empty: no deduplication.
    pub replica_labels: Vec<String>,
    /// True: a part that cannot be read becomes a warning. False: it becomes an error.
    pub partial_response: bool,
    /// True: only this replica's data.
    pub local_only: bool,
    /// Coarsest downsampled data that may answer (ms); 0 means raw samples only.
    pub max_source_resolution_ms: i64,
    /// Whether start timestamps take part; `None` is the engine's setting.
    pub start_timestamps: Option<bool>,
    /// What the query may cost at most.
    pub cost_limits: CostLimits,
    /// Samples that the query may hold, if that is less than the engine's bound; 0 for the engine's.
    pub samples_max: usize,
    /// Statistics are to tell steps apart.
    pub per_step_stats: bool,
    /// True on an event loop: only what is in memory may be looked at, and it is an error if that is not all there is.
    pub head_only: bool,
    /// How far the group was when the query began, once that is known; all clones share it.
    pub read_index: Arc<OnceLock<Arc<ReadIndex>>>,
    /// Room for the samples of other nodes that the query holds, of all its selectors; all clones share it.
    pub gathered: Arc<TakenRoom>,
}

impl QueryContext {
    /// A context with defaults: no deduplication, partial answers allowed.
    pub fn new(tenant: Tenant, cancel: Cancel) -> Self {
        Self {
            tenant,
            cancel,
            replica_labels: Vec::new(),
            partial_response: true,
            local_only: false,
            max_source_resolution_ms: 0,
            start_timestamps: None,
            cost_limits: CostLimits::default(),
            samples_max: 0,
            per_step_stats: false,
            head_only: false,
            read_index: Arc::default(),
            gathered: Arc::default(),
        }
    }
}

/// Limits of what a query costs; 0 means no bound. Without the engine's `query_cost` there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostLimits {
    /// Series that selectors may choose, summed over selectors.
    pub series_max: u64,
    /// Samples of storage that may be read, histograms by their size.
    pub samples_read_max: u64,
}

/// An expression at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantQuery {
    /// PromQL.
    pub expr: String,
    /// Evaluation time (ms).
    pub time_ms: i64,
    /// How far back instant selectors look; `None` is the engine's default.
    pub lookback: Option<Duration>,
}

/// An expression at each step of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeQuery {
    /// PromQL.
    pub expr: String,
    /// First evaluation time (ms).
    pub start_ms: i64,
    /// Last evaluation time (ms, inclusive).
    pub end_ms: i64,
    /// Distance of evaluation times (ms), over 0.
    pub step_ms: i64,
    /// How far back instant selectors look; `None` is the engine's default.
    pub lookback: Option<Duration>,
}

/// What is about to be asked; see [`Queries::is_quick`].
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// An expression.
    Expr {
        /// PromQL.
        text: &'a str,
        /// First evaluation time (ms).
        start_ms: i64,
        /// Last evaluation time (ms, inclusive).
        end_ms: i64,
        /// Distance of evaluation times (ms); 0 for a single one.
        step_ms: i64,
        /// How far back instant selectors look; `None` is the engine's default.
        lookback: Option<Duration>,
    },
    /// Label sets.
    Series(&'a Selection),
    /// Label names.
    LabelNames(&'a Selection),
    /// Values of the label of this name.
    LabelValues(&'a str, &'a Selection),
}

/// Series by matchers and time.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Selection {
    /// A series is chosen if all matchers of at least one set match; no set at all chooses every series.
    pub matchers: Vec<Vec<Matcher>>,
    /// Inclusive start (ms).
    pub start_ms: i64,
    /// Inclusive end (ms).
    pub end_ms: i64,
    /// Most items of the answer; 0 means no bound. One more may be found, which shows that there are more.
    pub limit: usize,
}

impl Selection {
    /// How many of the first items are worth finding.
    pub(crate) fn items_max(&self) -> usize {
        if self.limit == 0 {
            usize::MAX
        } else {
            self.limit.saturating_add(1)
        }
    }
}

/// Items of an answer, and what has to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// Sorted, distinct.
    pub items: Vec<T>,
    /// Texts for the user, for example that a block could not be read.
    pub warnings: Vec<String>,
}

impl<T> Found<T> {
    /// Cuts the items to `limit` (0: no bound) and says so.
    pub fn truncate(&mut self, limit: usize) {
        if limit > 0 && self.items.len() > limit {
            self.items.truncate(limit);
            self.warnings
                .push("results truncated due to limit".to_owned());
        }
    }
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Sorted by time.
    pub exemplars: Vec<Exemplar>,
}

/// Cardinality of the head.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TsdbStatus {
    /// Active series.
    pub series: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Open chunks or buffers.
    pub chunks: u64,
    /// No sample of the head is older (ms); `i64::MAX` without one.
    pub min_time_ms: i64,
    /// Newest sample (ms).
    pub max_time_ms: i64,
    /// Metrics with the most series.
    pub series_by_metric: Vec<TsdbTop>,
    /// Labels with the most values.
    pub values_by_label: Vec<TsdbTop>,
    /// Labels whose values take the most memory (bytes).
    pub memory_by_label: Vec<TsdbTop>,
    /// `name=value` pairs with the most series.
    pub series_by_pair: Vec<TsdbTop>,
}

/// One line of a ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsdbTop {
    /// What is counted.
    pub name: String,
    /// How much of it.
    pub value: u64,
}
