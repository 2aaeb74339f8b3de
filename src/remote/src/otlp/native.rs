//! Exponential histograms to native ones.

use std::sync::Arc;

use trireme_model::{AnyHistogram, Histogram, HistogramSample, STALE_NAN, Span};

use super::proto::{Buckets, ExponentialHistogramDataPoint};

/// Width of the zero bucket when the sender names none, as Prometheus has it.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Coarsest resolution that Prometheus knows.
const SCALE_MIN: i32 = -4;
/// Finest resolution that is accepted and merged down later.
const SCALE_MAX: i32 = 52;
/// Runs of empty buckets up to this long are kept, since a span costs more.
const GAP_MAX: usize = 2;

/// The sample, or why it cannot be one.
pub(super) fn sample(
    p: &ExponentialHistogramDataPoint,
    t: i64,
    st: i64,
    stale: bool,
) -> Result<HistogramSample, String> {
    if stale {
        let h = Histogram {
            sum: f64::from_bits(STALE_NAN),
            ..Default::default()
        };
        return Ok(HistogramSample {
            t,
            st,
            h: AnyHistogram::Int(Arc::new(h)),
        });
    }

    if !(SCALE_MIN..=SCALE_MAX).contains(&p.scale) {
        return Err(format!(
            "scale {} is outside {SCALE_MIN} to {SCALE_MAX}",
            p.scale
        ));
    }

    let (positive_spans, positive_buckets) = buckets(p.positive.as_ref())?;
    let (negative_spans, negative_buckets) = buckets(p.negative.as_ref())?;
    let h = Histogram {
        schema: p.scale,
        zero_threshold: if p.zero_threshold == 0.0 {
            ZERO_THRESHOLD
        } else {
            p.zero_threshold
        },
        zero_count: p.zero_count,
        count: p.count,
        sum: p.sum.unwrap_or(0.0),
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..Default::default()
    };

    Ok(HistogramSample {
        t,
        st,
        h: AnyHistogram::Int(Arc::new(h)),
    })
}

/// Spans and deltas. OTLP's bucket i covers (base^i, base^(i+1)], Prometheus's (base^(i-1), base^i].
fn buckets(all: Option<&Buckets>) -> Result<(Vec<Span>, Vec<i64>), String> {
    let (mut spans, mut deltas): (Vec<Span>, Vec<i64>) = (Vec::new(), Vec::new());
    let Some(all) = all else {
        return Ok((spans, deltas));
    };

    let mut before = 0i64;

    let mut empty = 0usize;
    for (i, n) in all.bucket_counts.iter().enumerate() {
        if *n == 0 {
            empty += 1;
            continue;
        }

        let n = i64::try_from(*n).map_err(|_| format!("a bucket has the count {n}"))?;
        match spans.last_mut() {
            Some(span) if empty <= GAP_MAX => {
                for _ in 0..empty {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += empty as u32 + 1;
            }
            Some(_) => spans.push(Span {
                offset: empty as i32,
                length: 1,
            }),
            None => {
                let offset = i64::from(all.offset) + i as i64 + 1;
                let offset = i32::try_from(offset)
                    .map_err(|_| format!("bucket index {offset} is out of range"))?;
                spans.push(Span { offset, length: 1 });
            }
        }

        deltas.push(n - before);
        (before, empty) = (n, 0);
    }

    Ok((spans, deltas))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_become_spans_and_deltas() {
        let all = Buckets {
            offset: -3,
            bucket_counts: vec![0, 2, 0, 3, 0, 0, 0, 1, 1],
        };
        let (spans, deltas) = buckets(Some(&all)).expect("good");

        assert_eq!(
            spans,
            [
                Span {
                    offset: -1,
                    length: 3
                },
                Span {
                    offset: 3,
                    length: 2
                }
            ]
        );

        assert_eq!(deltas, [2, -2, 3, -2, 0]);
    }

    #[test]
    fn odd_scales_and_counts_are_refused() {
        let p = ExponentialHistogramDataPoint {
            scale: -5,
            ..Default::default()
        };
        assert!(sample(&p, 0, 0, false).is_err());
        assert!(
            buckets(Some(&Buckets {
                offset: 0,
                bucket_counts: vec![u64::MAX]
            }))
            .is_err()
        );

        assert!(
            buckets(Some(&Buckets {
                offset: i32::MAX,
                bucket_counts: vec![1]
            }))
            .is_err()
        );
    }
}
