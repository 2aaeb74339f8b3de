//! Why a query has no result.

use trireme_base::ErrorKind;

use crate::cancel::Stop;
use crate::durations::DurationError;
use crate::parse_error::ParseError;
use crate::select::SelectError;

/// Why a query has no result; the texts are those of Prometheus.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum QueryError {
    /// The text is not PromQL, or a duration in it has no value for these steps.
    #[error("{0}")]
    Parse(String),
    /// The deadline passed.
    #[error("query timed out in query execution")]
    Timeout,
    /// The caller went away.
    #[error("query was canceled in query execution")]
    Canceled,
    /// More samples than the limit would be in memory at once.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More series than the limit were chosen.
    #[error("query would load too many series into memory in query execution")]
    TooManySeries,
    /// More samples than the limit were read.
    #[error("query would read too many samples in query execution")]
    TooManySamplesRead,
    /// All queries of the node hold as many samples as they may together.
    #[error(
        "the queries of this node hold as many samples in memory as they may together (query.max_samples_node), try again later"
    )]
    NodeFull,
    /// The states of a shard's aggregations have more bytes than the limit.
    #[error("the states of aggregations have more than {0} bytes")]
    PartialTooLarge(usize),
    /// More steps than the limit.
    #[error(
        "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
        thousands(*.0)
    )]
    TooManySteps(usize),
    /// The expression cannot be evaluated over this data.
    #[error("{0}")]
    Execution(String),
    /// Storage failed.
    #[error("expanding series: {0}")]
    Storage(SelectError),
    /// A defect of the engine.
    #[error("{0}")]
    Internal(String),
}

impl QueryError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::TooManySteps(_) | Self::Execution(_) => ErrorKind::Invalid,
            Self::Timeout => ErrorKind::Timeout,
            Self::Canceled => ErrorKind::Cancelled,
            Self::TooManySamples
            | Self::TooManySeries
            | Self::TooManySamplesRead
            | Self::PartialTooLarge(_) => ErrorKind::TooLarge,
            Self::NodeFull => ErrorKind::Unavailable,
            Self::Storage(e) => e.kind(),
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// An [`QueryError::Execution`] with this text.
    pub(crate) fn execution(text: impl Into<String>) -> Self {
        Self::Execution(text.into())
    }
}

/// A number with commas: `11,000`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();

    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }

    out
}

impl From<ParseError> for QueryError {
    fn from(e: ParseError) -> Self {
        Self::Parse(e.to_string())
    }
}

impl From<Stop> for QueryError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Canceled => Self::Canceled,
            Stop::TimedOut => Self::Timeout,
        }
    }
}

impl From<SelectError> for QueryError {
    fn from(e: SelectError) -> Self {
        match e {
            SelectError::Stopped(stop) => stop.into(),
            SelectError::TooManySamples => Self::TooManySamples,
            other => Self::Storage(other),
        }
    }
}

impl From<DurationError> for QueryError {
    fn from(e: DurationError) -> Self {
        Self::Parse(e.to_string())
    }
}
