//! The answer as one message.

use trireme_base::ErrorKind;
use trireme_model::{FloatHistogram, ResetHint, Span};
use trireme_promql::{Cancel, Columns, HistogramPoint, SelectError};
use trireme_query::QueryError;
use trireme_wire::prompb::read::{QueryResult, ReadResponse};
use trireme_wire::prompb::v1::{BucketSpan, Count, Histogram, Sample, TimeSeries, ZeroCount};

use super::{Chosen, labels_of};

/// Reads all series; over `limit` samples the request is refused, as the message must be whole in memory.
pub(super) fn response(sets: Vec<Chosen>, cancel: &Cancel, limit: usize) -> Result<ReadResponse, QueryError> {
    let mut results = Vec::with_capacity(sets.len());
    let mut columns = Columns::default();
    let mut left = limit;
    for Chosen { start_ms, end_ms, set } in sets {
        let mut timeseries = Vec::with_capacity(set.series.len());
        for series in set.series {
            cancel.check().map_err(SelectError::from)?;
            columns.clear();
            series.read(start_ms, end_ms, &mut columns)?;
            left = left.checked_sub(columns.len()).ok_or_else(|| {
                let text = format!(
                    "exceeded sample limit ({limit}) of remote read; ask for streamed chunks instead"
                );
                QueryError::new(ErrorKind::Invalid, text)
            })?;
            if !columns.is_empty() {
                let samples = columns.float_t.iter().zip(&columns.float_v);
                timeseries.push(TimeSeries {
                    labels: labels_of(series.labels()),
                    samples: samples.map(|(t, v)| Sample { value: *v, timestamp: *t }).collect(),
                    exemplars: Vec::new(),
                    histograms: columns.histograms.iter().map(histogram).collect(),
                });
            }
        }
        results.push(QueryResult { timeseries });
    }
    Ok(ReadResponse { results })
}

fn histogram(point: &HistogramPoint) -> Histogram {
    let h: &FloatHistogram = &point.h;
    let spans = |s: &[Span]| s.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect();
    Histogram {
        count: Some(Count::Float(h.count)),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: Some(ZeroCount::Float(h.zero_count)),
        negative_spans: spans(&h.negative_spans),
        negative_deltas: Vec::new(),
        negative_counts: h.negative_buckets.clone(),
        positive_spans: spans(&h.positive_spans),
        positive_deltas: Vec::new(),
        positive_counts: h.positive_buckets.clone(),
        reset_hint: match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp: point.t,
        custom_values: h.custom_values.clone(),
        start_timestamp: 0,
    }
}
