//! PromQL, Prometheus's query language: parser, printer and engine over anything that implements [`Select`].
//!
//! The way of a query: [`parse`] cuts the text into tokens, builds the tree of [`ast`] by precedence climbing and
//! checks its types; errors carry line and column in Prometheus's words. [`Engine`] computes duration expressions
//! ([`resolve_durations`]), asks [`Select`] once for each selector, and evaluates all steps together. The answer is a
//! [`QueryResult`] with its warnings and infos. Printing an expression gives its canonical text, [`prettify`] the one for
//! people.
//!
//! The reference is the Prometheus of [`PROMETHEUS_VERSION`], experimental parts included; its own test scripts are the oracle and run
//! through [`promqltest`]. Where a query can be answered in another way (shards, peers), that way can be held to the
//! same scripts: see [`promqltest::Evaluate`].
//!
//! When a function is added: its signature goes into `ast/functions.rs`, its evaluation into `functions/`. When a node
//! changes: the parser, `printer.rs`, `parser/check.rs` and `ast/visit.rs` follow.
//!
//! ```
//! use trireme_model::Labels;
//! use trireme_promql::promqltest::MemoryStorage;
//! use trireme_promql::{Cancel, Engine, ParserOptions, QueryOptions, Value, parse};
//!
//! let mut storage = MemoryStorage::default();
//! let labels = Labels::from_pairs([("__name__", "requests_total"), ("job", "api")]);
//! for minute in 0..5 {
//!     storage.append_float(&labels, minute * 60_000, minute as f64 * 30.0);
//! }
//! let query = "sum by (job) (increase(requests_total[4m]))";
//! let expr = parse(query, &ParserOptions::default())?;
//! let result =
//!     Engine::default().instant(&storage, &expr, query, 240_000, &QueryOptions::default(), &Cancel::never())?;
//! let Value::Vector(samples) = result.value else { panic!("a vector") };
//! assert_eq!(samples[0].labels.to_string(), r#"{job="api"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
mod partial;
mod printer;
pub mod promqltest;
mod room;
mod select;
mod value;

pub use cancel::{Cancel, Stop};
pub use durations::{
    DurationContext, DurationError, DurationFault, DurationLiteralError, format_duration,
    parse_duration, resolve_durations,
};
pub use engine::{CostEstimate, Engine};
pub use error::QueryError;
pub use options::{EngineOptions, QueryOptions};
pub use parse_error::ParseError;
pub use parser::{ParserOptions, STACK_BYTES, parse, parse_selector, parse_selectors};
pub use partial::{Partial, PartialGroup, PartialHistogram, PartialNote, PartialRow, Partials};
pub use printer::{Names, prettify};
pub use room::{Room, TakenRoom};
pub use select::{
    Columns, Counted, HistogramPoint, Select, SelectError, SelectHints, SelectRequest, SeriesRead,
    SeriesSet,
};
pub use value::{QueryResult, QueryStats, Sample, SampleValue, Series, Value};

/// The release of Prometheus whose language, query API and scripts this project follows.
pub const PROMETHEUS_VERSION: &str = "3.16.0";
