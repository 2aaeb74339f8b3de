//! Aggregations in parts: what shards of the series hand over, and what is merged into one result.
//!
//! A shard evaluates an aggregation over its part of the series and keeps the state of each group instead of the result:
//! sums with their compensation, means with their count, histograms before they are divided. States of all shards merge
//! to what one evaluation over all series would have come to, but for the last bits of sums.

use std::sync::Arc;

use trireme_model::{FloatHistogram, Labels};

use crate::ast::PosRange;
use crate::value::QueryStats;

/// What one shard has of a query's aggregations.
#[derive(Clone, Debug, Default)]
pub struct Partials {
    /// One for each aggregation that was asked for.
    pub nodes: Vec<Partial>,
    /// What it cost.
    pub stats: QueryStats,
}

/// What one shard has of one aggregation.
#[derive(Clone, Debug, Default)]
pub struct Partial {
    /// Where the aggregation stands in the query: its name for those who merge.
    pub pos: PosRange,
    /// Steps; 1 if the aggregation is the same at all steps.
    pub steps: usize,
    /// States, of operators that compute a value per group.
    pub groups: Vec<PartialGroup>,
    /// Candidates, of operators that choose elements.
    pub rows: Vec<PartialRow>,
    /// Warnings and infos.
    pub notes: Vec<PartialNote>,
}

/// A warning or info without its position as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialNote {
    /// False for an info.
    pub warning: bool,
    /// The text.
    pub text: String,
    /// What it is about; `None` for what the storage said.
    pub pos: Option<PosRange>,
}

/// State of one group. Columns have an entry per step, or none if the operator does not need them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartialGroup {
    /// Labels of the result.
    pub labels: Labels,
    /// Labels of the group's first series. Groups appear in the order of these.
    pub first: Labels,
    /// Whether the name is to be removed at the end of the query.
    pub drop_name: bool,
    /// Bits: 1 there was a float, 2 there was a histogram, 4 histograms did not go together, 8 the mean is incremental.
    pub seen: Vec<u8>,
    /// Sum, mean, least, greatest or count of the floats.
    pub values: Vec<f64>,
    /// Compensation of a sum or mean.
    pub compensations: Vec<f64>,
    /// Number of floats of a mean.
    pub counts: Vec<f64>,
    /// Histograms, by step.
    pub histograms: Vec<PartialHistogram>,
}

/// Sum or mean of a group's histograms at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialHistogram {
    /// The step, from 0.
    pub step: u32,
    /// Sum (or mean, if incremental), and what rounding took from it.
    pub sum: [FloatHistogram; 2],
    /// Number of histograms.
    pub count: f64,
    /// The sum overflowed: it is a mean.
    pub incremental: bool,
    /// One followed a counter reset.
    pub reset_seen: bool,
    /// One did not.
    pub not_reset_seen: bool,
    /// Custom bounds had to be reconciled.
    pub reconciled: bool,
}

/// A chosen series.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialRow {
    /// Its labels.
    pub labels: Labels,
    /// Whether the name is to be removed at the end of the query.
    pub drop_name: bool,
    /// Floats by step.
    pub floats: Vec<(u32, f64)>,
    /// Histograms by step.
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
}
