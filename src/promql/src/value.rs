//! Results of queries.

use std::sync::Arc;
use std::time::Duration;

use trireme_model::{FloatHistogram, Labels};

/// A float or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Evaluation time (ms).
    pub t: i64,
    /// Its value.
    pub value: SampleValue,
}

/// One series of a matrix. Each timestamp (ms, rising) is either among the floats or among the histograms.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Float points.
    pub floats: Vec<(i64, f64)>,
    /// Histogram points.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// What an expression evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at an evaluation time (ms).
    Scalar {
        /// Evaluation time (ms).
        t: i64,
        /// The number.
        v: f64,
    },
    /// A text at an evaluation time (ms).
    String {
        /// Evaluation time (ms).
        t: i64,
        /// The text.
        v: String,
    },
    /// Unsorted, except after sorting functions, `topk` and `bottomk`.
    Vector(Vec<Sample>),
    /// Sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// Name of the type in the HTTP API.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "scalar",
            Self::String { .. } => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }
}

/// What a query cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples of storage that the windows of selectors consumed over all steps; a sample in several windows counts each
    /// time. Histograms count by their size.
    pub total_samples: u64,
    /// Samples of storage that were read for that: each once a selector, as its windows slide.
    pub samples_read: u64,
    /// Most samples held in memory at once.
    pub peak_samples: u64,
    /// Series that selectors chose, summed over selectors.
    pub series: u64,
    /// Time that choosing them took.
    pub prepare: Duration,
    /// Time of each step (ms), with its total and read samples; empty unless asked for.
    pub by_step: Vec<(i64, u64, u64)>,
}

/// A value and what has to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The value.
    pub value: Value,
    /// Texts of the warnings, with positions, sorted, each once.
    pub warnings: Vec<String>,
    /// Texts of the infos, with positions, sorted, each once.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
}
