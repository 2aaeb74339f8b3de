//! Why a question has no answer.

use trireme_base::ErrorKind;
use trireme_promql::{SelectError, Stop};

/// A failed query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    kind: ErrorKind,
    message: String,
    cause: Cause,
}

/// What went wrong, where the kind does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Other,
    Execution,
    /// The limit's name in requests.
    CostLimit(&'static str),
}

impl QueryError {
    /// An error of any kind with a text for the user.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            cause: Cause::Other,
        }
    }

    /// A parameter cannot be used, in Prometheus's words.
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Invalid,
            format!("invalid parameter {name:?}: {why}"),
        )
    }

    /// The request itself cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The expression is good, but cannot be evaluated over this data.
    pub fn execution(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message: message.into(),
            cause: Cause::Execution,
        }
    }

    /// The query costs more than it may; `limit` is the name of what it reached, as requests have it.
    pub fn cost_limit(limit: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::TooLarge,
            message: message.into(),
            cause: Cause::CostLimit(limit),
        }
    }

    /// A bound of the query that another node has reached, in that node's words.
    pub fn bound(message: String) -> Self {
        use trireme_promql::QueryError::{TooManySamplesRead, TooManySeries};
        let of_cost = [TooManySeries, TooManySamplesRead]
            .into_iter()
            .find(|known| known.to_string() == message);
        of_cost.map_or_else(|| Self::new(ErrorKind::TooLarge, message), Self::from)
    }

    /// True for failures while an expression is evaluated, which Prometheus answers 422.
    pub fn is_execution(&self) -> bool {
        self.cause == Cause::Execution
    }

    /// The limit of the query's cost that was reached, if one was.
    pub fn reached_limit(&self) -> Option<&'static str> {
        match self.cause {
            Cause::CostLimit(limit) => Some(limit),
            _ => None,
        }
    }

    /// What the caller should do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<SelectError> for QueryError {
    fn from(e: SelectError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl From<trireme_promql::QueryError> for QueryError {
    fn from(e: trireme_promql::QueryError) -> Self {
        match e {
            trireme_promql::QueryError::Execution(_) => Self::execution(e.to_string()),
            trireme_promql::QueryError::TooManySeries => {
                Self::cost_limit("max_series", e.to_string())
            }
            trireme_promql::QueryError::TooManySamplesRead => {
                Self::cost_limit("max_samples_read", e.to_string())
            }
            trireme_promql::QueryError::Parse(_) => Self::parameter("query", e),
            _ => Self::new(e.kind(), e.to_string()),
        }
    }
}

/// As the engine takes it.
impl From<QueryError> for SelectError {
    fn from(e: QueryError) -> Self {
        match e.kind() {
            ErrorKind::Cancelled => Self::Stopped(Stop::Canceled),
            ErrorKind::Timeout => Self::Stopped(Stop::TimedOut),
            ErrorKind::Limited | ErrorKind::TooLarge => Self::Limited(e.to_string()),
            ErrorKind::Corrupt => Self::Corrupt(e.to_string()),
            ErrorKind::Internal => Self::Internal(e.to_string()),
            _ => Self::Unavailable(e.to_string()),
        }
    }
}
