//! What is odd about a request that is stored nevertheless, in Prometheus's categories.

use std::collections::{BTreeMap, BTreeSet};

/// Different oddities of one category that a request can have counted; further ones are not, so that memory is bounded.
const COUNTED_MAX: usize = 1_000;
/// Longest text by which two oddities are told apart (bytes).
const TEXT_BYTES_MAX: usize = 128;

/// A metric without a data point.
pub(super) const EMPTY_DATA_POINTS: &str = "empty_data_points";
/// Attributes whose names become equal; their values are joined.
pub(super) const LABEL_NAME_COLLISION: &str = "label_name_collision";
/// A histogram that counts nothing and has a sum.
pub(super) const ZERO_COUNT_NON_ZERO_SUM: &str = "histogram_zero_count_non_zero_sum";
/// A histogram with an explicit bound of +Inf, whose bucket is the one of all.
pub(super) const PLUS_INF_BOUND: &str = "histogram_plus_inf_bound";

/// Counts each text once by category, as Prometheus does: not each point that it is true of.
#[derive(Debug, Default)]
pub(super) struct Warnings(BTreeMap<&'static str, BTreeSet<String>>);

impl Warnings {
    /// Counts `text` under `category` if it is new there.
    pub(super) fn add(&mut self, category: &'static str, text: &str) {
        let known = self.0.entry(category).or_default();
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        if known.len() < COUNTED_MAX && !known.contains(text) {
            known.insert(text.to_owned());
        }
    }

    /// How many different ones there are by category.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.0
            .iter()
            .map(|(category, texts)| (*category, texts.len() as u64))
            .collect()
    }
}
