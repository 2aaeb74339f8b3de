//! PromQL parser and engine over a `Select` trait.

mod annotations;
pub mod ast;
mod cancel;
mod durations;
mod engine;
mod error;
mod functions;
mod lexer;
mod options;
mod parse_error;
mod parser;
mod printer;
pub mod promqltest;
mod select;
mod value;

pub use cancel::{Cancel, Stop};
pub use durations::{
    DurationContext, DurationError, DurationLiteralError, format_duration, parse_duration, resolve_durations,
};
pub use engine::Engine;
pub use error::QueryError;
pub use options::{EngineOptions, QueryOptions};
pub use parse_error::ParseError;
pub use parser::{ParserOptions, parse, parse_selector};
pub use printer::prettify;
pub use select::{
    Columns, HistogramPoint, Select, SelectError, SelectHints, SelectRequest, SeriesRead, SeriesSet,
};
pub use value::{QueryResult, QueryStats, Sample, SampleValue, Series, Value};
