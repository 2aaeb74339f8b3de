//! Matchers, and what replicas find with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{Exemplar, Labels, MatchOp, Matcher, MetricMetadata, MetricType, Patterns};
use trireme_promql::{Columns, Counted, HistogramPoint, SelectRequest};

use super::{BadMessage, bad, histogram_in, histogram_out, labels_in, wire};
use trireme_query::{ExemplarSeries, QueryContext, Selection};

fn matchers_out(sets: &[Vec<Matcher>]) -> Vec<wire::MatcherSet> {
    sets.iter()
        .map(|set| wire::MatcherSet {
            matchers: set
                .iter()
                .map(|m: &Matcher| wire::Matcher {
                    name: m.name.to_string(),
                    op: m.op.as_str().to_owned(),
                    value: m.value.to_string(),
                })
                .collect(),
        })
        .collect()
}

/// The question for the series of a selection, with their samples.
pub(crate) fn samples_out(request: &SelectRequest) -> wire::Find {
    wire::Find {
        what: wire::What::Samples.into(),
        sets: matchers_out(std::slice::from_ref(&request.matchers)),
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        ..wire::Find::default()
    }
}

/// The question for series, or names or values of their labels.
pub(crate) fn items_out(
    what: wire::What,
    name: &str,
    selection: &Selection,
    context: &QueryContext,
) -> wire::Find {
    wire::Find {
        what: what.into(),
        name: name.to_owned(),
        sets: matchers_out(&selection.matchers),
        start_ms: selection.start_ms,
        end_ms: selection.end_ms,
        replica_labels: context.replica_labels.clone(),
        limit: selection.limit as u64,
        ..wire::Find::default()
    }
}

pub(crate) fn matchers_in(sets: &[wire::MatcherSet]) -> Result<Vec<Vec<Matcher>>, BadMessage> {
    let mut patterns = Patterns::default();
    let mut matcher = |m: &wire::Matcher| {
        let ops = [
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ];
        let op = ops.into_iter().find(|op| op.as_str() == m.op);
        let op = op.ok_or_else(|| bad(format!("{:?} is no operator of a matcher", m.op)))?;
        Matcher::within(m.name.as_str(), op, m.value.as_str(), &mut patterns).map_err(bad)
    };

    sets.iter()
        .map(|set| set.matchers.iter().map(&mut matcher).collect())
        .collect()
}

pub(crate) fn series_labels_out(labels: &Labels) -> wire::Row {
    wire::Row {
        labels: labels.as_bytes().to_vec(),
        ..wire::Row::default()
    }
}

pub(crate) fn series_labels_in(row: &wire::Row) -> Result<Labels, BadMessage> {
    labels_in(&row.labels)
}

pub(crate) fn columns_out(labels: &Labels, columns: &Columns) -> wire::Row {
    let starts = columns.histograms.iter().map(|p| p.st);
    wire::Row {
        at: columns.float_t.clone(),
        values: columns.float_v.clone(),
        starts: columns.float_st.clone(),
        histograms_at: columns.histograms.iter().map(|p| p.t).collect(),
        histograms: columns.histograms.iter().map(point_out).collect(),
        histogram_starts: starts.collect(),
        counts_at: columns.counts.iter().map(|counted| counted.t).collect(),
        counts: columns.counts.iter().map(|counted| counted.n).collect(),
        ..series_labels_out(labels)
    }
}

fn point_out(point: &HistogramPoint) -> wire::Histogram {
    wire::Histogram {
        is_integer: point.is_integer,
        ..histogram_out(&point.h)
    }
}

pub(crate) fn columns_in(row: wire::Row) -> Result<(Labels, Columns), BadMessage> {
    let labels = labels_in(&row.labels)?;
    let floats = row.at.len();
    let histograms = row.histograms_at.len();
    let rises = |times: &[i64]| times.windows(2).all(|w| w[0] < w[1]);
    let fits = row.values.len() == floats
        && [0, floats].contains(&row.starts.len())
        && row.histograms.len() == histograms
        && row.histogram_starts.len() == histograms
        && row.counts.len() == row.counts_at.len();

    if !fits
        || ![&row.at, &row.histograms_at, &row.counts_at]
            .into_iter()
            .all(|times| rises(times))
    {
        return Err(bad(
            "a series has columns of different lengths, or times that do not rise",
        ));
    }

    let times = row.histograms_at.into_iter().zip(row.histogram_starts);
    let histograms = times
        .zip(row.histograms)
        .map(|((t, st), h): ((i64, i64), wire::Histogram)| {
            Ok(HistogramPoint {
                t,
                st,
                is_integer: h.is_integer,
                h: Arc::new(histogram_in(h)?),
            })
        })
        .collect::<Result<_, BadMessage>>()?;

    let counts = row
        .counts_at
        .into_iter()
        .zip(row.counts)
        .map(|(t, n)| Counted { t, n })
        .collect();

    let float_t = row.at;
    let float_v = row.values;
    let float_st = row.starts;

    Ok((
        labels,
        Columns {
            float_t,
            float_v,
            float_st,
            histograms,
            counts,
        },
    ))
}

pub(crate) fn exemplars_out(series: &[ExemplarSeries]) -> Vec<wire::Exemplar> {
    let one = |labels: &Labels, e: &Exemplar| wire::Exemplar {
        series: labels.as_bytes().to_vec(),
        labels: e.labels.as_bytes().to_vec(),
        value: e.v,
        at: e.t,
    };
    series
        .iter()
        .flat_map(|s| s.exemplars.iter().map(|e| one(&s.labels, e)))
        .collect()
}

pub(crate) fn exemplars_in(rows: Vec<wire::Exemplar>) -> Result<Vec<ExemplarSeries>, BadMessage> {
    let mut by_series: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    for row in rows {
        let exemplar = Exemplar {
            labels: labels_in(&row.labels)?,
            v: row.value,
            t: row.at,
        };
        by_series
            .entry(labels_in(&row.series)?)
            .or_default()
            .push(exemplar);
    }

    Ok(by_series
        .into_iter()
        .map(|(labels, exemplars)| ExemplarSeries { labels, exemplars })
        .collect())
}

pub(crate) fn metadata_out(metrics: Vec<(String, Vec<MetricMetadata>)>) -> Vec<wire::Metadata> {
    let one = |metric: &String, m: MetricMetadata| wire::Metadata {
        metric: metric.clone(),
        kind: m.kind.number().into(),
        unit: m.unit,
        help: m.help,
    };
    metrics
        .into_iter()
        .flat_map(|(metric, all): (String, Vec<MetricMetadata>)| {
            all.into_iter().map(|m| one(&metric, m)).collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn metadata_in(row: wire::Metadata) -> (String, MetricMetadata) {
    // A type of a newer version is one that this node cannot name.
    let kind = u8::try_from(row.kind)
        .ok()
        .and_then(MetricType::from_number)
        .unwrap_or_default();
    (
        row.metric,
        MetricMetadata {
            kind,
            unit: row.unit,
            help: row.help,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_downsampled_data_come_back_as_they_went() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let columns = Columns {
            float_t: vec![300_000, 600_000],
            float_v: vec![0.5, 1.0],
            counts: vec![
                Counted {
                    t: 300_000,
                    n: 20.0,
                },
                Counted { t: 600_000, n: 3.0 },
            ],
            ..Columns::default()
        };

        let row = columns_out(&labels, &columns);
        let (named, back) = columns_in(row.clone()).expect("as it was written");
        assert_eq!(
            (named, back.float_t, back.float_v),
            (labels, columns.float_t, columns.float_v)
        );
        assert_eq!(back.counts, columns.counts);

        let short = wire::Row {
            counts: vec![20.0],
            ..row
        };
        assert!(columns_in(short).is_err(), "a time without a count");
    }
}
