//! Equality of value, whatever the span layout.

use super::FloatHistogram;

impl FloatHistogram {
    /// True if both hold the same buckets (empty ones count), totals and bounds. NaN equals NaN of the same bits;
    /// hints are not compared. Compact both first to ignore empty buckets.
    pub fn equals(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
        let pairs = |a: &mut dyn Iterator<Item = (i32, f64)>,
                     b: &mut dyn Iterator<Item = (i32, f64)>| loop {
            match (a.next(), b.next()) {
                (None, None) => return true,
                (Some(x), Some(y)) if x.0 == y.0 && same(x.1, y.1) => {}
                _ => return false,
            }
        };

        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && same(self.zero_threshold, other.zero_threshold)
            && same(self.zero_count, other.zero_count)
            && pairs(&mut self.positive(), &mut other.positive())
            && pairs(&mut self.negative(), &mut other.negative())
    }
}
