//! The answer as one message.

use trireme_base::ErrorKind;
use trireme_model::{FloatHistogram, Labels, ResetHint, Span};
use trireme_promql::{Cancel, Columns, HistogramPoint, SelectError};
use trireme_query::QueryError;
use trireme_remote::prompb::read::{QueryResult, ReadResponse};
use trireme_remote::prompb::v1::{BucketSpan, Count, Histogram, Sample, TimeSeries, ZeroCount};

use super::{Chosen, Sets, labels_of};

/// Labels of a series weigh as much as one sample for each of these bytes.
const LABEL_BYTES_PER_SAMPLE: usize = 16;

/// Reads all series; over `limit` samples the request is refused, as the message must be whole in memory. Labels count as
/// samples: series without many samples take memory too.
pub(super) fn response(
    sets: Sets,
    cancel: &Cancel,
    limit: usize,
) -> Result<ReadResponse, QueryError> {
    let mut results = Vec::new();
    let mut columns = Columns::default();

    let mut left = limit;
    for chosen in sets {
        let Chosen {
            start_ms,
            end_ms,
            set,
        } = chosen?;

        let mut timeseries = Vec::new();
        for series in set.series {
            cancel.check().map_err(SelectError::from)?;
            columns.clear();
            series.read(start_ms, end_ms, &mut columns)?;

            if columns.is_empty() {
                continue;
            }

            let weight = columns.len() + series.labels().as_bytes().len() / LABEL_BYTES_PER_SAMPLE;
            left = left.checked_sub(weight).ok_or_else(|| {
                let text = format!(
                    "exceeded sample limit ({limit}) of remote read; ask for streamed chunks instead"
                );
                QueryError::new(ErrorKind::Invalid, text)
            })?;

            timeseries.push(time_series(series.labels(), &columns));
        }

        results.push(QueryResult { timeseries });
    }

    Ok(ReadResponse { results })
}

fn time_series(labels: &Labels, columns: &Columns) -> TimeSeries {
    let samples = columns.float_t.iter().zip(&columns.float_v);
    TimeSeries {
        labels: labels_of(labels),
        samples: samples
            .map(|(t, v)| Sample {
                value: *v,
                timestamp: *t,
            })
            .collect(),
        exemplars: Vec::new(),
        histograms: columns.histograms.iter().map(histogram).collect(),
    }
}

fn histogram(point: &HistogramPoint) -> Histogram {
    let h: &FloatHistogram = &point.h;

    let mut found = Histogram {
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        negative_spans: spans_of(&h.negative_spans),
        positive_spans: spans_of(&h.positive_spans),
        reset_hint: number_of(h.reset_hint),
        timestamp: point.t,
        custom_values: h.custom_values.clone(),
        ..Histogram::default()
    };

    let integer = if point.is_integer {
        h.to_integer()
    } else {
        None
    };

    if let Some(integer) = integer {
        found.count = Some(Count::Int(integer.count));
        found.zero_count = Some(ZeroCount::Int(integer.zero_count));
        found.negative_deltas = integer.negative_buckets;
        found.positive_deltas = integer.positive_buckets;
    } else {
        found.count = Some(Count::Float(h.count));
        found.zero_count = Some(ZeroCount::Float(h.zero_count));
        found.negative_counts.clone_from(&h.negative_buckets);
        found.positive_counts.clone_from(&h.positive_buckets);
    }

    found
}

fn spans_of(spans: &[Span]) -> Vec<BucketSpan> {
    spans
        .iter()
        .map(|s| BucketSpan {
            offset: s.offset,
            length: s.length,
        })
        .collect()
}

fn number_of(hint: ResetHint) -> i32 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trireme_model::{AnyHistogram, Histogram as Stored};

    use super::*;

    #[test]
    fn integer_histograms_stay_integer() {
        let stored = Stored {
            count: 9,
            zero_count: 2,
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            positive_buckets: vec![3, 1],
            ..Stored::default()
        };

        let mut columns = Columns::default();
        columns.push_stored_histogram(1, 0, &AnyHistogram::Int(Arc::new(stored.clone())));
        columns.push_stored_histogram(2, 0, &AnyHistogram::Float(Arc::new(stored.to_float())));

        let found: Vec<_> = columns.histograms.iter().map(histogram).collect();
        assert_eq!(
            (found[0].count, found[0].zero_count),
            (Some(Count::Int(9)), Some(ZeroCount::Int(2)))
        );
        assert_eq!(
            (&*found[0].positive_deltas, &*found[0].positive_counts),
            (&[3, 1][..], &[][..])
        );
        assert_eq!(
            (found[1].count, found[1].zero_count),
            (Some(Count::Float(9.0)), Some(ZeroCount::Float(2.0)))
        );
        assert_eq!(
            (&*found[1].positive_deltas, &*found[1].positive_counts),
            (&[][..], &[3.0, 4.0][..])
        );
    }
}
