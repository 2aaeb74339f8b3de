//! PromQL parser and engine over a `Select` trait.

pub mod ast;
mod cancel;
mod durations;
mod select;
mod value;

pub use cancel::{Cancel, Stop};
pub use durations::{DurationContext, DurationError, resolve_durations};
pub use select::{
    Columns, HistogramPoint, Select, SelectError, SelectHints, SelectRequest, SeriesRead, SeriesSet,
};
pub use value::{QueryResult, QueryStats, Sample, SampleValue, Series, Value};
