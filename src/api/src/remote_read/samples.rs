//! The answer as one message.

use trireme_base::ErrorKind;
use trireme_model::{FloatHistogram, ResetHint, Span};
use trireme_promql::{Cancel, Columns, HistogramPoint, SelectError};
use trireme_query::QueryError;
use trireme_wire::prompb::read::{QueryResult, ReadResponse};
use trireme_wire::prompb::v1::{BucketSpan, Count, Histogram, Sample, TimeSeries, ZeroCount};

use super::{Chosen, Sets, labels_of};

/// Labels of a series weigh as much as one sample for each of these bytes.
const LABEL_BYTES_PER_SAMPLE: usize = 16;

/// Reads all series; over `limit` samples the request is refused, as the message must be whole in memory. Labels count as
/// samples: series without many samples take memory too.
pub(super) fn response(sets: Sets, cancel: &Cancel, limit: usize) -> Result<ReadResponse, QueryError> {
    let mut results = Vec::new();
    let mut columns = Columns::default();
    let mut left = limit;
    for chosen in sets {
        let Chosen { start_ms, end_ms, set } = chosen?;
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
            let samples = columns.float_t.iter().zip(&columns.float_v);
            timeseries.push(TimeSeries {
                labels: labels_of(series.labels()),
                samples: samples.map(|(t, v)| Sample { value: *v, timestamp: *t }).collect(),
                exemplars: Vec::new(),
                histograms: columns.histograms.iter().map(histogram).collect(),
            });
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
