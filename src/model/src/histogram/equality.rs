//! Equality of value, whatever the span layout.

use super::FloatHistogram;

impl FloatHistogram {
    /// True if both hold the same buckets (empty ones count), totals and bounds. NaN equals NaN of the same bits;
    /// hints are not compared. Compact both first to ignore empty buckets.
    pub fn equals(&self, other: &Self) -> bool {
        self.schema == other.schema
            && is_same(self.count, other.count)
            && is_same(self.sum, other.sum)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && is_same(self.zero_threshold, other.zero_threshold)
            && is_same(self.zero_count, other.zero_count)
            && are_same(self.positive(), other.positive())
            && are_same(self.negative(), other.negative())
    }
}

/// True if both lists hold the same buckets.
fn are_same(
    mut a: impl Iterator<Item = (i32, f64)>,
    mut b: impl Iterator<Item = (i32, f64)>,
) -> bool {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) if x.0 == y.0 && is_same(x.1, y.1) => {}
            _ => return false,
        }
    }
}

fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a == b
}
