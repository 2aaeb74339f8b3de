//! Places that hold samples.

use std::sync::Arc;

use trireme_base::ErrorKind;
use trireme_block::Aggregate;
use trireme_head::{Effort, Moment};
use trireme_model::{Matcher, MetricMetadata, Tenant};
use trireme_promql::{Cancel, SelectError, SeriesRead, Stop};

use crate::{ExemplarSeries, Far, QueryError, Texts, TsdbStatus};

/// Why a source could not answer.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// The query was canceled or ran out of time: not the source's fault.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// The source failed; another source may have the same samples.
    #[error("{message}")]
    Failed {
        /// What kind of failure.
        kind: ErrorKind,
        /// Text for the user.
        message: String,
    },
}

impl SourceError {
    /// A failure of the source itself.
    pub fn failed(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Failed {
            kind,
            message: message.into(),
        }
    }

    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Stopped(stop) => stop.kind(),
            Self::Failed { kind, .. } => *kind,
        }
    }
}

impl From<SourceError> for SelectError {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Stopped(stop) => Self::Stopped(stop),
            SourceError::Failed {
                kind: ErrorKind::Corrupt,
                message,
            } => Self::Corrupt(message),
            SourceError::Failed {
                kind: ErrorKind::Limited | ErrorKind::TooLarge,
                message,
            } => Self::Limited(message),
            SourceError::Failed {
                kind: ErrorKind::Internal,
                message,
            } => Self::Internal(message),
            SourceError::Failed { message, .. } => Self::Unavailable(message),
        }
    }
}

impl From<SourceError> for QueryError {
    fn from(e: SourceError) -> Self {
        SelectError::from(e).into()
    }
}

/// One holder of samples of one tenant: a shard of the head, a block, a peer. Calls block.
pub trait Source: Send + Sync {
    /// Name for warnings, for example `block 01J...`.
    fn name(&self) -> String;

    /// First and last millisecond (inclusive) of which there may be samples; outside it nothing is asked.
    fn time_range(&self) -> (i64, i64);

    /// What a selection takes at most, if that is known at once and everything it needs is in memory.
    fn effort(&self, _matchers: &[Matcher]) -> Option<Effort> {
        None
    }

    /// Number of values of a label, under the same conditions.
    fn value_count(&self, _name: &str) -> Option<usize> {
        None
    }

    /// Series that satisfy all matchers and may have samples in `[start_ms, end_ms]`, each label set once, in
    /// label order (another order only costs a sort).
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError>;

    /// True if a series satisfies all matchers.
    fn has_series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<bool, SourceError> {
        let mut names = Texts::default();
        self.label_names(matchers, start_ms, end_ms, &mut names)?;
        Ok(!names.into_sorted().is_empty())
    }

    /// Adds the label names of the series that satisfy all matchers (none: of all series).
    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError>;

    /// Adds the values of one label among the series that satisfy all matchers.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError>;
}

/// A state of every shard of the head, in their order. All that a query reads is of one such state.
pub type Moments = Vec<Arc<Moment>>;

/// What a query wants to read.
#[derive(Clone)]
pub struct Scope {
    /// Whose data.
    pub tenant: Tenant,
    /// Inclusive start (ms).
    pub start_ms: i64,
    /// Inclusive end (ms).
    pub end_ms: i64,
    /// Only what this replica holds itself.
    pub local_only: bool,
    /// Coarsest downsampled data that may answer (ms); 0 means raw samples only.
    pub max_source_resolution_ms: i64,
    /// What is read of downsampled data.
    pub aggregate: Aggregate,
    /// When the head is to be read; `None` is whenever a reader comes to it.
    pub moments: Option<Arc<Moments>>,
}

/// Sources that together hold everything of a scope.
#[derive(Default, Clone)]
pub struct SourceList {
    /// Oldest data first where that is known; merging is cheapest then.
    pub sources: Vec<Arc<dyn Source>>,
    /// What sources in the bucket are read through.
    pub far: Option<Far>,
    /// What is missing, for example a block that could not be opened.
    pub warnings: Vec<String>,
}

/// What a node holds.
pub trait Catalog: Send + Sync {
    /// A number that changes whenever a new source appears, before an older source lets go of samples that moved to it.
    ///
    /// Queries compare it to notice that what they read has moved; see the module `guarded`.
    fn generation(&self) -> u64 {
        0
    }

    /// As [`Catalog::generation`], but it changes for sources of this scope only. Asked when that one has changed.
    fn generation_of(&self, _scope: &Scope) -> u64 {
        self.generation()
    }

    /// The present state of the head.
    fn moments(&self) -> Moments {
        Moments::new()
    }

    /// The sources in memory, if they are all that there is of the scope; `None` if a block may have samples of it. Opens
    /// and reads nothing.
    fn head_sources(&self, _scope: &Scope) -> Option<Vec<Arc<dyn Source>>> {
        None
    }

    /// The sources to ask. May open blocks and wait for the bucket: not for event loops.
    fn sources(&self, scope: &Scope) -> SourceList;

    /// Exemplars with timestamps in `[start_ms, end_ms]` of series that satisfy all matchers of at least one set.
    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<ExemplarSeries>, SourceError>;

    /// Metadata of one metric or of all, in any order, perhaps with several entries for one metric.
    fn metadata(
        &self,
        tenant: &Tenant,
        metric: Option<&str>,
    ) -> Result<Vec<(String, MetricMetadata)>, SourceError>;

    /// Cardinality of the head.
    fn tsdb_status(&self, tenant: &Tenant, limit: usize) -> Result<TsdbStatus, SourceError>;
}
