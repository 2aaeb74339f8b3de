//! What this node knows: one view on the samples of its head, its blocks and the bucket.
//!
//! The way of a query: the HTTP layer asks [`Queries`]; [`Querier`] parses, gets the [`Source`]s of the tenant and time
//! range from the node's [`Catalog`], lays [`Merged`] over them (and [`Dedup`] over that, if replicas of HA pairs are to
//! become one), and lets the engine of `trireme-promql` read.
//!
//! | module | what |
//! |---|---|
//! | `source` | what holds samples: head, block, peer |
//! | `remote_block` | a block of the bucket, opened when it is asked |
//! | `ahead` | many far blocks read side by side |
//! | `clipped` | a source of which a part of the time is read |
//! | `labelled` | series with the external labels of their block |
//! | `merged` | many sources as one, series by series |
//! | `columns` | merging samples by time with the one conflict rule |
//! | `guarded` | series that stay whole while a window moves from the head to a block |
//! | `texts` | label names and values of many sources, each once |
//! | `dedup` | one series out of the replicas of an HA pair |
//! | `plan` | which copies of blocks to read |
//! | `resolution` | which downsampled blocks to read, and what of them |
//! | `querier` | the questions of the HTTP API |
//! | `read_index` | what a query has to read at least |
//!
//! What is absent on purpose: caches of results, other nodes (`trireme_distributed`), and any knowledge of HTTP or of threads.

mod ahead;
mod block_source;
mod clipped;
mod columns;
mod cost;
mod dedup;
mod error;
mod guarded;
mod head_source;
mod labelled;
mod merged;
mod notes;
mod plan;
mod querier;
mod queries;
mod read_index;
mod remote_block;
mod resolution;
mod source;
mod tenant_limits;
#[cfg(test)]
mod tests;
mod texts;
mod turns;
mod united;

pub use ahead::Far;
pub use block_source::BlockSource;
pub use clipped::clipped;
pub use columns::merge_columns;
pub use cost::{Costed, estimate_cost};
pub use dedup::Dedup;
pub use error::QueryError;
pub use head_source::HeadSource;
pub use labelled::{Labelled, Span, is_uncovered};
pub use merged::Merged;
pub use notes::Notes;
pub use plan::{Located, choose_blocks};
pub use querier::{Querier, QuerierOptions, is_light, query_options};
pub use queries::{
    Asked, CostLimits, ExemplarSeries, Found, InstantQuery, Queries, QueryContext, RangeQuery,
    Selection, TsdbStatus, TsdbTop,
};
pub use read_index::ReadIndex;
pub use remote_block::RemoteBlock;
pub use resolution::{Part, choose_resolutions, only_coarser};
pub use source::{Catalog, Moments, Scope, Source, SourceError, SourceList};
pub use tenant_limits::{TenantLimits, TenantLimitsTable};
pub use texts::Texts;
pub use turns::{Turn, TurnLimits, Turns};
pub use united::United;
