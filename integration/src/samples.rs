//! Sets of samples that are compared bit by bit.

use std::collections::BTreeMap;
use std::fmt;

/// Bits of the NaN by which senders mark the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Bits every other NaN is compared as: text forms carry no NaN payload.
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// A sample's value by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(u64);

impl Value {
    /// The stale marker.
    pub const STALE: Self = Self(STALE);

    /// Bits of a number; NaNs other than the stale marker are made one.
    pub fn of(number: f64) -> Self {
        let bits = number.to_bits();
        Self(if number.is_nan() && bits != STALE {
            NAN
        } else {
            bits
        })
    }

    /// True for the stale marker.
    pub fn is_stale(self) -> bool {
        self.0 == STALE
    }

    /// The number.
    pub fn number(self) -> f64 {
        f64::from_bits(self.0)
    }

    /// As text forms without a stale marker show it: any NaN is NaN.
    pub fn without_staleness(self) -> Self {
        if self.is_stale() { Self(NAN) } else { self }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stale() {
            write!(f, "stale")
        } else {
            write!(f, "{:?} ({:#x})", self.number(), self.0)
        }
    }
}

/// Series by their sorted labels, samples by timestamp in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SampleSet {
    series: BTreeMap<BTreeMap<String, String>, BTreeMap<i64, Value>>,
}

impl SampleSet {
    /// Adds a sample; the last one of a timestamp stays.
    pub fn add(&mut self, labels: &BTreeMap<String, String>, timestamp_ms: i64, value: Value) {
        match self.series.get_mut(labels) {
            Some(samples) => drop(samples.insert(timestamp_ms, value)),
            None => drop(
                self.series
                    .insert(labels.clone(), BTreeMap::from([(timestamp_ms, value)])),
            ),
        }
    }

    /// Adds all samples of another set.
    pub fn merge(&mut self, other: &Self) {
        for (labels, samples) in &other.series {
            self.series
                .entry(labels.clone())
                .or_default()
                .extend(samples);
        }
    }

    /// The samples whose timestamp lies in `start..end`, series without one left out.
    pub fn between(&self, start: i64, end: i64) -> Self {
        self.mapped(|timestamp, value| (timestamp >= start && timestamp < end).then_some(value))
    }

    /// The set as a text form shows it that writes stale markers as NaN.
    pub fn without_staleness(&self) -> Self {
        self.mapped(|_, value| Some(value.without_staleness()))
    }

    /// The set as Prometheus's own protobuf encoder sends it, which leaves out zeros, the negative one with them.
    pub fn without_negative_zeros(&self) -> Self {
        self.mapped(|_, value| {
            Some(if value.number() == 0.0 {
                Value::of(0.0)
            } else {
                value
            })
        })
    }

    fn mapped(&self, keep: impl Fn(i64, Value) -> Option<Value>) -> Self {
        let mut out = Self::default();
        for (labels, samples) in &self.series {
            let samples: BTreeMap<i64, Value> = samples
                .iter()
                .filter_map(|(timestamp, value)| Some((*timestamp, keep(*timestamp, *value)?)))
                .collect();
            if !samples.is_empty() {
                out.series.insert(labels.clone(), samples);
            }
        }

        out
    }

    /// Series and their samples.
    pub fn series(
        &self,
    ) -> impl Iterator<Item = (&BTreeMap<String, String>, &BTreeMap<i64, Value>)> {
        self.series.iter()
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Number of samples.
    pub fn sample_count(&self) -> usize {
        self.series.values().map(BTreeMap::len).sum()
    }

    /// Number of stale markers.
    pub fn stale_count(&self) -> usize {
        self.series
            .values()
            .flat_map(BTreeMap::values)
            .filter(|value| value.is_stale())
            .count()
    }

    /// First sample of `self` that `other` does not have with the same value, as text.
    pub fn first_missing_in(&self, other: &Self) -> Option<String> {
        for (labels, samples) in &self.series {
            let theirs = other.series.get(labels);
            for (timestamp, value) in samples {
                let found = theirs.and_then(|samples| samples.get(timestamp));
                if found != Some(value) {
                    return Some(format!(
                        "{labels:?} at {timestamp}: {value:?} here, {found:?} there"
                    ));
                }
            }
        }
        None
    }
}

/// Says how two sets differ, or `Ok` if they are equal bit by bit.
pub fn first_differences(
    left: (&str, &SampleSet),
    right: (&str, &SampleSet),
) -> anyhow::Result<()> {
    let ((left_name, left), (right_name, right)) = (left, right);
    if left == right {
        return Ok(());
    }

    let counts = |set: &SampleSet| {
        format!(
            "{} series, {} samples",
            set.series_count(),
            set.sample_count()
        )
    };

    let mut text = format!(
        "{left_name} ({}) differs from {right_name} ({})",
        counts(left),
        counts(right)
    );

    if let Some(missing) = left.first_missing_in(right) {
        text += &format!("\n  {left_name} against {right_name}: {missing}");
    }

    if let Some(missing) = right.first_missing_in(left) {
        text += &format!("\n  {right_name} against {left_name}: {missing}");
    }

    Err(anyhow::anyhow!(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_stale_markers_zeros_and_missing_samples_apart() {
        let labels = BTreeMap::from([("__name__".to_owned(), "up".to_owned())]);
        let set = |values: &[(i64, f64)]| {
            let mut set = SampleSet::default();
            values
                .iter()
                .for_each(|(timestamp, value)| set.add(&labels, *timestamp, Value::of(*value)));
            set
        };

        let stale = f64::from_bits(STALE);
        assert_eq!(set(&[(1, f64::NAN)]), set(&[(1, -f64::NAN)]));
        assert_ne!(set(&[(1, f64::NAN)]), set(&[(1, stale)]));
        assert_eq!(
            set(&[(1, stale)]).without_staleness(),
            set(&[(1, f64::NAN)])
        );
        assert_ne!(set(&[(1, 0.0)]), set(&[(1, -0.0)]));

        assert!(
            first_differences(("a", &set(&[(1, 1.0)])), ("b", &set(&[(1, 1.0), (2, 1.0)])))
                .is_err()
        );

        assert_eq!(set(&[(1, 1.0), (5, 1.0)]).between(1, 5), set(&[(1, 1.0)]));
    }
}
