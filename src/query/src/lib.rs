//! One view on the samples of head, local blocks, bucket and peers.
//!
//! The way of a query: [`Queries`] is what the HTTP layer asks.

mod error;
mod queries;

pub use error::QueryError;
pub use queries::{
    ExemplarSeries, Found, InstantQuery, Queries, QueryContext, RangeQuery, Selection, TsdbStatus, TsdbTop,
};
