//! Whether a histogram is one: the rules Prometheus's receiver applies before it stores a sample.

use std::sync::Arc;

use trireme_model::{
    AnyHistogram, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, HistogramSample, Span,
};

/// Finest resolution that is stored; finer ones that senders may use are merged down to it.
const SCHEMA_MAX: i32 = 8;
/// Finest resolution that the format knows.
const SCHEMA_WIRE_MAX: i32 = 52;
const SCHEMA_MIN: i32 = -4;

/// Checks spans, counts and bounds, and lowers a resolution over 8 to 8. The error is text for the sender.
pub fn check(sample: &mut HistogramSample) -> Result<(), String> {
    match &mut sample.h {
        AnyHistogram::Int(h) => check_integer(h),
        AnyHistogram::Float(h) => check_float(h),
    }
}

fn check_integer(h: &mut Arc<Histogram>) -> Result<(), String> {
    layout(
        h.schema,
        h.zero_threshold,
        &h.custom_values,
        h.zero_count != 0,
        h.negative_buckets.len(),
    )?;

    spans(&h.positive_spans, h.positive_buckets.len(), "positive")?;
    spans(&h.negative_spans, h.negative_buckets.len(), "negative")?;
    custom_fits(h.schema, &h.positive_spans, h.custom_values.len())?;

    let positive = absolute(&h.positive_buckets, "positive")?;
    let negative = absolute(&h.negative_buckets, "negative")?;
    let all = positive
        .iter()
        .chain(&negative)
        .map(|n| *n as u128)
        .sum::<u128>()
        + u128::from(h.zero_count);

    let count = u128::from(h.count);
    if (h.sum.is_nan() && all > count) || (!h.sum.is_nan() && all != count) {
        return Err(format!(
            "{all} observations found in buckets, but the count field is {count}"
        ));
    }

    match shift(h.schema) {
        // Merged buckets hold the observations of several: together they must still be a number.
        Some(_) if all > i64::MAX as u128 => Err(format!(
            "{all} observations are too many to merge their buckets"
        )),
        Some(shift) => lower_integer(Arc::make_mut(h), shift, &positive, &negative),
        None => Ok(()),
    }
}

/// Merges buckets, whose absolute counts are given.
fn lower_integer(
    h: &mut Histogram,
    shift: u32,
    positive: &[i64],
    negative: &[i64],
) -> Result<(), String> {
    h.schema = SCHEMA_MAX;
    let (s, b) = merge(&h.positive_spans, positive, shift, |a, b| a + b)?;
    (h.positive_spans, h.positive_buckets) = (s, deltas(&b));
    let (s, b) = merge(&h.negative_spans, negative, shift, |a, b| a + b)?;
    (h.negative_spans, h.negative_buckets) = (s, deltas(&b));
    Ok(())
}

fn check_float(h: &mut Arc<FloatHistogram>) -> Result<(), String> {
    layout(
        h.schema,
        h.zero_threshold,
        &h.custom_values,
        h.zero_count != 0.0,
        h.negative_buckets.len(),
    )?;

    spans(&h.positive_spans, h.positive_buckets.len(), "positive")?;
    spans(&h.negative_spans, h.negative_buckets.len(), "negative")?;
    custom_fits(h.schema, &h.positive_spans, h.custom_values.len())?;

    let counts = h
        .positive_buckets
        .iter()
        .chain(&h.negative_buckets)
        .chain([&h.zero_count, &h.count]);

    if let Some(bad) = counts.copied().find(|c| c.is_nan() || *c < 0.0) {
        return Err(format!(
            "a bucket or count is negative, or not a number: {bad}"
        ));
    }

    match shift(h.schema) {
        Some(shift) => lower_float(Arc::make_mut(h), shift),
        None => Ok(()),
    }
}

fn lower_float(h: &mut FloatHistogram, shift: u32) -> Result<(), String> {
    h.schema = SCHEMA_MAX;
    (h.positive_spans, h.positive_buckets) =
        merge(&h.positive_spans, &h.positive_buckets, shift, |a, b| a + b)?;
    (h.negative_spans, h.negative_buckets) =
        merge(&h.negative_spans, &h.negative_buckets, shift, |a, b| a + b)?;
    Ok(())
}

/// How many powers of two the resolution is over the finest stored one.
fn shift(schema: i32) -> Option<u32> {
    (schema > SCHEMA_MAX).then(|| (schema - SCHEMA_MAX) as u32)
}

fn layout(
    schema: i32,
    threshold: f64,
    bounds: &[f64],
    has_zero: bool,
    negative: usize,
) -> Result<(), String> {
    // One that is not a number differs from itself, so that every sample would begin a chunk of its own.
    if !(threshold.is_finite() && threshold >= 0.0) {
        return Err(format!(
            "the zero threshold is {threshold}; it must be a number from 0 on"
        ));
    }

    if schema != CUSTOM_BUCKETS_SCHEMA {
        if !(SCHEMA_MIN..=SCHEMA_WIRE_MAX).contains(&schema) {
            return Err(format!("histogram schema {schema} is unknown"));
        }
        if !bounds.is_empty() {
            return Err(format!(
                "histogram schema {schema} has no custom bounds, but {} were sent",
                bounds.len()
            ));
        }
        return Ok(());
    }

    if bounds
        .windows(2)
        .any(|w| w[0].partial_cmp(&w[1]) != Some(std::cmp::Ordering::Less))
    {
        return Err("custom bounds are not in ascending order".to_owned());
    }

    if bounds.iter().any(|b| b.is_nan()) || bounds.last() == Some(&f64::INFINITY) {
        return Err("custom bounds hold NaN or +Inf".to_owned());
    }
    if has_zero || threshold != 0.0 || negative > 0 {
        return Err(
            "a histogram with custom bounds has no zero bucket and no negative buckets".to_owned(),
        );
    }

    Ok(())
}

fn spans(spans: &[Span], buckets: usize, side: &str) -> Result<(), String> {
    let mut total = 0u64;
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return Err(format!(
                "{side} span {i} has the negative offset {}",
                span.offset
            ));
        }
        total += u64::from(span.length);
    }

    Span::check_reach(spans).map_err(|e| e.to_string())?;
    if total != buckets as u64 {
        return Err(format!(
            "{side} spans announce {total} buckets, {buckets} were sent"
        ));
    }

    Ok(())
}

/// With n bounds there are n + 1 buckets.
fn custom_fits(schema: i32, spans: &[Span], bounds: usize) -> Result<(), String> {
    let end = spans
        .iter()
        .map(|s| i64::from(s.offset) + i64::from(s.length))
        .sum::<i64>();
    let first = spans.first().map_or(0, |s| s.offset);
    if schema == CUSTOM_BUCKETS_SCHEMA && (end > bounds as i64 + 1 || first < 0) {
        return Err(format!(
            "{bounds} custom bounds are too few for buckets up to {end}"
        ));
    }

    Ok(())
}

fn absolute(deltas: &[i64], side: &str) -> Result<Vec<i64>, String> {
    let mut count = 0i64;
    let all: Option<Vec<i64>> = deltas
        .iter()
        .map(|d: &i64| {
            count = count.checked_add(*d).filter(|c| *c >= 0)?;
            Some(count)
        })
        .collect();

    all.ok_or_else(|| format!("a {side} bucket has a negative count"))
}

fn deltas(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(n, p)| n - p).collect()
}

/// Merges 2^`shift` neighbours into one bucket. Bucket i covers (base^(i-1), base^i], hence the odd index arithmetic.
fn merge<T: Copy>(
    spans: &[Span],
    counts: &[T],
    shift: u32,
    add: impl Fn(T, T) -> T,
) -> Result<(Vec<Span>, Vec<T>), String> {
    let mut merged = Merged {
        spans: Vec::new(),
        counts: Vec::with_capacity(counts.len()),
        last: None,
    };

    let mut index = 0i64;

    let mut counts = counts.iter().copied();
    for span in spans {
        index += i64::from(span.offset);
        for n in counts.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> shift) + 1;
            index += 1;

            merged.add(target, n, &add)?;
        }
    }

    Ok((merged.spans, merged.counts))
}

/// Buckets of a lower resolution.
struct Merged<T> {
    spans: Vec<Span>,
    counts: Vec<T>,
    /// Index of the last bucket.
    last: Option<i64>,
}

impl<T: Copy> Merged<T> {
    /// Adds a count to the bucket `target`, which is the last one or comes behind it.
    fn add(&mut self, target: i64, n: T, add: impl Fn(T, T) -> T) -> Result<(), String> {
        match (self.last, self.counts.last_mut()) {
            (Some(l), Some(sum)) if l == target => *sum = add(*sum, n),
            (Some(l), Some(_)) if l + 1 == target => {
                self.counts.push(n);
                self.spans
                    .last_mut()
                    .expect("a bucket lies in a span")
                    .length += 1;
            }
            _ => {
                let offset = self.last.map_or(target, |l| target - l - 1);
                let offset = i32::try_from(offset)
                    .map_err(|_| "a bucket index is out of range".to_owned())?;
                self.spans.push(Span { offset, length: 1 });
                self.counts.push(n);
            }
        }

        self.last = Some(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trireme_model::{FloatHistogram, Histogram};

    use super::*;

    fn int(h: Histogram) -> HistogramSample {
        HistogramSample {
            t: 0,
            st: 0,
            h: AnyHistogram::Int(Arc::new(h)),
        }
    }

    #[test]
    fn rules_of_the_receiver() {
        let good = Histogram {
            count: 4,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![1, 2],
            ..Default::default()
        };

        type Change = fn(&mut Histogram);

        let cases: &[(Change, &str)] = &[
            (|_| (), ""),
            (|h| h.count = 5, "but the count field is 5"),
            (|h| (h.count, h.sum) = (9, f64::NAN), ""),
            (|h| h.positive_buckets = vec![1, -2], "negative count"),
            (|h| h.positive_buckets = vec![i64::MAX, 1], "negative count"),
            (|h| h.positive_spans[0].length = 3, "announce 3 buckets"),
            (
                |h| {
                    h.positive_spans.push(Span {
                        offset: -1,
                        length: 0,
                    })
                },
                "negative offset",
            ),
            (|h| h.zero_threshold = f64::NAN, "zero threshold"),
            (|h| h.zero_threshold = -1.0, "zero threshold"),
            (|h| h.zero_threshold = f64::INFINITY, "zero threshold"),
            (
                |h| (h.schema, h.positive_buckets, h.count) = (9, vec![i64::MAX, 0], u64::MAX - 1),
                "too many to merge",
            ),
            (|h| h.schema = 53, "schema 53 is unknown"),
            (|h| h.custom_values = vec![1.0], "no custom bounds"),
            (|h| (h.schema, h.custom_values) = (-53, vec![1.0, 2.0]), ""),
            (|h| h.schema = -53, "too few"),
            (
                |h| (h.schema, h.custom_values) = (-53, vec![2.0, 1.0]),
                "ascending",
            ),
            (
                |h| (h.schema, h.custom_values) = (-53, vec![2.0, f64::INFINITY]),
                "+Inf",
            ),
            (
                |h| {
                    (h.schema, h.custom_values, h.zero_count, h.count) = (-53, vec![1.0, 2.0], 1, 5)
                },
                "no zero bucket",
            ),
        ];

        for (i, (change, want)) in cases.iter().enumerate() {
            let mut h = good.clone();
            change(&mut h);
            let got = check(&mut int(h)).err().unwrap_or_default();
            assert!(
                got.contains(want) && got.is_empty() == want.is_empty(),
                "case {i}: {got:?}"
            );
        }
    }

    #[test]
    fn finer_resolutions_are_merged_down_to_eight() {
        let h = Histogram {
            schema: 10,
            count: 15,
            positive_spans: vec![
                Span {
                    offset: 1,
                    length: 4,
                },
                Span {
                    offset: 4,
                    length: 1,
                },
            ],
            positive_buckets: vec![1, 1, 1, 1, 1],
            ..Default::default()
        };

        let mut sample = int(h);
        check(&mut sample).expect("good");
        let AnyHistogram::Int(h) = &sample.h else {
            panic!("stays integer")
        };

        // Buckets 1..=4 become bucket 1 (1+2+3+4), bucket 9 becomes bucket 3.
        assert_eq!(h.schema, 8);
        assert_eq!(
            h.positive_spans,
            [
                Span {
                    offset: 1,
                    length: 1
                },
                Span {
                    offset: 1,
                    length: 1
                }
            ]
        );

        assert_eq!(h.positive_buckets, [10, -5]);
        check(&mut sample).expect("still good");
    }

    #[test]
    fn float_counts_must_not_be_negative() {
        let h = FloatHistogram {
            count: -1.0,
            ..Default::default()
        };
        let mut sample = HistogramSample {
            t: 0,
            st: 0,
            h: AnyHistogram::Float(Arc::new(h)),
        };

        assert!(check(&mut sample).is_err());
    }
}
